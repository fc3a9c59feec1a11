"""Decides which mobile network prefixes a mobile router may register (RFC 3963 section 6.2)."""

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
    """Return the mobile network prefixes that an accepted update registers (RFC 3963 section 6.2).

    In explicit mode these are the prefixes in its options, all or none; in implicit mode those that the policy's
    prefix table has for the home address. Without the R flag the sender is a mobile node and has no prefixes.

    `RefusedUpdateError` is raised for a prefix that the sender may not have. If the table has the home address, or is
    closed, exactly its prefixes for this address are allowed (status 142 for others). Otherwise a prefix must lie
    within the agent's own prefixes, if these are known (status 141). It must not be that of another node, contain or
    lie within such a prefix, or contain the home address of another node (status 142).
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
    """Whether the prefix table gives another home address a prefix that overlaps with this one."""
    return any(
        other != home and any(is_inside(prefix, theirs) or is_inside(theirs, prefix) for theirs in prefixes)
        for other, prefixes in policy.prefix_table.items()
    )
