"""Mobile network prefixes of an update (RFC 3963 section 6.2): which ones a mobile router may have."""

from __future__ import annotations

from typing import Final

from flowclass.wire.numbers import BindingStatus, UpdateFlag

from ..addresses import Prefix, is_inside, is_routable
from ..cache.owners import Owners
from .policy import Policy
from .received_update import RefusedUpdateError, Update

__all__ = ["network_prefixes"]

_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value


def network_prefixes(update: Update, home: bytes, policy: Policy, owners: Owners) -> tuple[Prefix, ...]:
    """The mobile network prefixes that an accepted update registers (RFC 3963 section 6.2).

    Explicit mode: those of its options, all or none. Implicit mode: those that the policy has for the home address.
    Without the R flag the sender is a mobile node, and nothing is forwarded to a network behind it.

    Whose they are: with a closed table, the prefixes that it has for the home address, to the letter (else 142). With
    an open one, for a home address that it doesn't have, those that lie in the agent's own prefixes where these are
    known (else 141), and are in nobody's way: not another's, nor around or inside another's, nor around another's home
    address (else 142).
    """
    if not update.flags & _MOBILE_ROUTER:
        return ()
    allowed = policy.prefix_table.get(home, ())
    if not update.prefixes:
        if not allowed:
            raise RefusedUpdateError(BindingStatus.FORWARDING_SETUP_FAILED)
        return tuple(allowed)
    if len(update.prefixes) > policy.limits.prefixes_per_node:
        raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
    found: dict[Prefix, None] = {}
    for option in update.prefixes:
        length = option.prefix_length
        if not 0 < length <= 128 or not is_routable(option.prefix.packed):
            raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
        host = 128 - length
        prefix = ((int(option.prefix) >> host << host).to_bytes(16, "big"), length)
        if allowed or policy.closed_prefixes:
            if prefix not in allowed:
                raise RefusedUpdateError(BindingStatus.NOT_AUTHORIZED_FOR_PREFIX)
        elif policy.home_prefixes and not any(is_inside(prefix, around) for around in policy.home_prefixes):
            raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
        if owners.get(prefix) != home and (owners.in_the_way(prefix, home) or _reserved(prefix, home, policy)):
            raise RefusedUpdateError(BindingStatus.NOT_AUTHORIZED_FOR_PREFIX)
        found[prefix] = None
    return tuple(found)


def _reserved(prefix: Prefix, home: bytes, policy: Policy) -> bool:
    """Whether the table has something in the way of a prefix for another home address."""
    return any(
        other != home and any(is_inside(prefix, theirs) or is_inside(theirs, prefix) for theirs in prefixes)
        for other, prefixes in policy.prefix_table.items()
    )
