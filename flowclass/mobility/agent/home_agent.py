"""The home agent (section 8 of the draft; RFC 6275 section 10.3)."""

from __future__ import annotations

from os import PathLike
from typing import Final, NoReturn

from flowclass.errors import BindingsFileError, ClassifierError
from flowclass.wire.numbers import BindingStatus, UpdateFlag

from ..bindings_file.read import BindingsFile, read_bindings
from ..cache.node import Node
from .agent import Agent
from .received_update import RefusedUpdateError, SilentlyIgnored, Update

__all__ = ["HomeAgent", "load_bindings"]


_HOME_REGISTRATION: Final = UpdateFlag.HOME_REGISTRATION.value
_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value


class HomeAgent(Agent):
    """A home agent without sockets: it takes packets and returns packets, and decides where data packets go.

    All arguments are optional:

    * ``profile``: "draft" or "rfc6089", or a `flowclass.wire.Profile`;
    * ``limits``, ``capabilities``, ``switches``: values of `flowclass.mobility`, docs/switches.md has their fields;
    * ``home_prefixes``: prefixes; home addresses must lie in one of these (else status 132);
    * ``prefix_table``: maps home addresses to mobile network prefixes; ``ipv4_homes`` maps them to IPv4 home addresses.
      ``allocate_ipv4(home)`` returns a new IPv4 home address for a packed one that has none;
    * ``admit_update(update, node)``: returns 0 to admit an update, a status of 128 or more to refuse it;
      ``admit_flow(node, option)``: returns a bool;
    * ``listener(event)``: called with every `flowclass.mobility.Event`;
    * ``table``, ``store``: a `ForwardingTable` and a `flowclass.mobility.Store` for the agent's own cache, or
      ``cache``: a `flowclass.mobility.BindingCache` that agents share.

    Addresses and prefixes may be packed, `ipaddress` objects or text (`flowclass.addresses`).

    `receive` takes a packet and returns those to send; `begin` does the same, but leaves the commit to the caller.
    `tick` is to be called at the time that `next_deadline` returns. `classify`, `care_of` and `account` are for data
    packets, `export_state` and `import_state` for restarts. The caller passes the time, in seconds. A wrong argument
    raises a FlowclassError that names it.
    """

    def _validate(self, update: Update, node: Node | None, now: float) -> frozenset[bytes] | None:
        if not update.flags & _HOME_REGISTRATION:
            self._not_a_home_registration(update, node)
        if update.nonces is not None:
            raise SilentlyIgnored("nonce indices")  # RFC 6275 section 9.5.1
        if not update.away and update.alternate not in (None, update.home) and update.lifetime and not update.bids:
            # RFC 6275 section 10.3.1: a registration has a Home Address option, unless it comes from the home link
            # itself (H flag) or through an IPv4 tunnel (RFC 5555 section 4.4.2)
            raise SilentlyIgnored("no Home Address option")
        self._check_sequence(update)
        self._check_router(update, node)
        self._check_subnet(update.home)
        return None

    def _not_a_home_registration(self, update: Update, node: Node | None) -> NoReturn:
        """Refuse or ignore an update without the H flag, which is meant for a correspondent node."""
        if node is not None:
            self._check_sequence(update)
            raise RefusedUpdateError(BindingStatus.TYPE_CHANGE_DISALLOWED)  # RFC 6275 section 9.5.1
        if update.flags & _MOBILE_ROUTER:
            raise RefusedUpdateError(BindingStatus.MOBILE_ROUTER_NOT_PERMITTED)  # RFC 3963 section 6.2
        raise SilentlyIgnored("no home registration")

    def load(self, found: BindingsFile) -> None:
        """Add the nodes of a bindings file to the binding cache.

        Implicit mode uses the prefixes of the file (RFC 3963 section 5.2); its IPv4 home addresses are static.
        `BindingsFileError` is raised when the forwarding table can't hold the nodes.
        """
        for i, node in enumerate(found.nodes):
            try:
                self.cache.put(node)
            except ClassifierError as error:  # the forwarding table is full
                path = f"node[{i}]"
                raise BindingsFileError(str(error), file=found.file, path=path, line=found.line(path)) from None
            if node.prefixes:
                self.prefix_table[node.home] = node.prefixes
            if node.also:
                self.ipv4_homes[node.home] = node.also[0]


def load_bindings(path: str | PathLike[str]) -> HomeAgent:
    """Return a home agent with the state that a bindings file describes; its entries never expire.

    Raises `BindingsFileError` with the file, the key and, if it is known, the line.
    """
    found = read_bindings(path)
    agent = HomeAgent(found.profile)
    agent.load(found)
    return agent
