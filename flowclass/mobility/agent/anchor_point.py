"""The mobility anchor point (section 9 of the draft; RFC 5380): a home agent for regional care-of addresses.

The Home Address option contains the regional care-of address (RCoA), so that bindings are stored under the RCoA and
lead to on-link care-of addresses (LCoA, R132). The M flag distinguishes a local binding update from one to a home
agent. The mobility anchor point (MAP) never learns the home address of the mobile node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from flowclass.addresses import PrefixLike
from flowclass.wire.numbers import BindingStatus, UpdateFlag

from ..addresses import Prefix, in_prefixes
from ..arguments import check_prefixes
from ..cache.node import Node
from .agent import Agent
from .received_update import RefusedUpdateError, SilentlyIgnored, Update

__all__ = ["MobilityAnchorPoint"]


_HOME_REGISTRATION: Final = UpdateFlag.HOME_REGISTRATION.value
_MAP_REGISTRATION: Final = UpdateFlag.MAP_REGISTRATION.value


class MobilityAnchorPoint(Agent):
    """A mobility anchor point without sockets; its arguments and methods are those of `HomeAgent`.

    ``home_prefixes`` are the prefixes of its RCoAs. If
    ``care_of_prefixes`` is given, LCoAs must lie in one of these; others are refused with status 129 (RFC 5380
    section 6.2).
    """

    def __init__(self, *arguments: Any, care_of_prefixes: Iterable[PrefixLike] = (), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.care_of_prefixes: tuple[Prefix, ...] = check_prefixes("care_of_prefixes", care_of_prefixes)

    def _validate(self, update: Update, node: Node | None, now: float) -> frozenset[bytes] | None:
        if update.nonces is not None:
            raise SilentlyIgnored("nonce indices")
        if not update.flags & _MAP_REGISTRATION:
            if update.flags & _HOME_REGISTRATION:
                raise RefusedUpdateError(BindingStatus.HOME_REGISTRATION_NOT_SUPPORTED)  # RFC 6275 section 10.3.1
            raise SilentlyIgnored("no registration with an anchor point")
        self._check_sequence(update)
        self._check_router(update, node)
        self._check_subnet(update.home)
        if self.care_of_prefixes and update.lifetime:
            addresses = [option.care_of.packed for option in update.bids if option.care_of is not None]
            for address in addresses if update.bids else [update.care_of]:
                if address != update.home and not in_prefixes(address, self.care_of_prefixes):
                    raise RefusedUpdateError(BindingStatus.PROHIBITED)
        return None
