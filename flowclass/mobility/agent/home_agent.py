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
    """A home agent without sockets: packets in, packets out, decisions for data packets.

    All arguments may be left out:

    * ``profile``: "draft" or "rfc6089", or a `flowclass.wire.Profile`;
    * ``limits``, ``capabilities``, ``switches``: values of `flowclass.mobility`, docs/switches.md has their fields;
    * ``home_prefixes``: the only ones that home addresses may have (else 132), pairs (packed network, length);
    * ``prefix_table``: home address -> mobile network prefixes, ``ipv4_homes``: home address -> IPv4 home address, all
      packed; ``allocate_ipv4(home)`` makes one up;
    * ``admit_update(update, node)``: a status of 128 or more refuses, 0 admits; ``admit_flow(node, option)``: a bool;
    * ``listener(event)``: called with every `flowclass.mobility.Event`;
    * ``table``, ``store``: a `ForwardingTable` and a `flowclass.mobility.Store` for the agent's own cache, or
      ``cache``: a `flowclass.mobility.BindingCache` that agents share.

    `receive` takes a packet and returns those to send, `begin` leaves the commit to the caller; `tick` at
    `next_deadline`; `classify`, `care_of` and `account` are for data packets; `export_state` and `import_state` for
    restarts. Times are the caller's, in seconds. A wrong argument is a FlowclassError that names it.
    """

    def _validate(self, update: Update, node: Node | None, now: float) -> frozenset[bytes] | None:
        if not update.flags & _HOME_REGISTRATION:
            self._not_a_home_registration(update, node)
        if update.nonces is not None:
            raise SilentlyIgnored("nonce indices")  # RFC 6275 section 9.5.1
        if not update.away and update.alternate not in (None, update.home) and update.lifetime and not update.bids:
            # RFC 6275 section 10.3.1: a registration has a Home Address option. One from the home link itself (H flag)
            # and one through an IPv4 tunnel (RFC 5555 section 4.4.2) do without
            raise SilentlyIgnored("no Home Address option")
        self._check_sequence(update)
        self._check_router(update, node)
        self._check_subnet(update.home)
        return None

    def _not_a_home_registration(self, update: Update, node: Node | None) -> NoReturn:
        """H is clear: meant for a correspondent node, which this isn't."""
        if node is not None:
            self._check_sequence(update)
            raise RefusedUpdateError(BindingStatus.TYPE_CHANGE_DISALLOWED)  # RFC 6275 section 9.5.1
        if update.flags & _MOBILE_ROUTER:
            raise RefusedUpdateError(BindingStatus.MOBILE_ROUTER_NOT_PERMITTED)  # RFC 3963 section 6.2
        raise SilentlyIgnored("no home registration")

    def load(self, found: BindingsFile) -> None:
        """Take over the nodes of a bindings file; its prefixes are what implicit mode uses (RFC 3963 section 5.2), its
        IPv4 home addresses are static."""
        for i, node in enumerate(found.nodes):
            try:
                self.cache.put(node)
            except ClassifierError as error:  # more than the forwarding table holds
                path = f"node[{i}]"
                raise BindingsFileError(str(error), file=found.file, path=path, line=found.line(path)) from None
            if node.prefixes:
                self.prefix_table[node.home] = node.prefixes
            if node.also:
                self.ipv4_homes[node.home] = node.also[0]


def load_bindings(path: str | PathLike[str]) -> HomeAgent:
    """A home agent with the state that a bindings file describes; nothing in it expires.

    Raises `BindingsFileError` with the file, the key and, where it can be had, the line.
    """
    found = read_bindings(path)
    agent = HomeAgent(found.profile)
    agent.load(found)
    return agent
