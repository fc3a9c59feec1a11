"""Mobile network prefixes of an update (RFC 3963 section 6.2): which ones a mobile router may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flowclass.wire.numbers import BindingStatus, UpdateFlag

from ..addresses import Prefix, is_routable
from .policy import Policy
from .received_update import RefusedUpdateError, Update

__all__ = ["network_prefixes"]

_MOBILE_ROUTER: Final = UpdateFlag.MOBILE_ROUTER.value


def network_prefixes(update: Update, home: bytes, policy: Policy, owners: Mapping[Prefix, bytes]) -> tuple[Prefix, ...]:
    """The mobile network prefixes that an accepted update registers (RFC 3963 section 6.2).

    Explicit mode: those of its options, all or none. Implicit mode: those that the policy has for the home address.
    Without the R flag the sender is a mobile node, and nothing is forwarded to a network behind it.
    """
    if not update.flags & _MOBILE_ROUTER:
        return ()
    allowed = policy.prefix_table.get(home)
    if not update.prefixes:
        if not allowed:
            raise RefusedUpdateError(BindingStatus.FORWARDING_SETUP_FAILED)
        return tuple(allowed)
    if len(update.prefixes) > policy.limits.prefixes_per_node:
        raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
    found: dict[Prefix, None] = {}
    for option in update.prefixes:
        length = option.prefix_length
        if length > 128 or length == 0 or not is_routable(option.prefix.packed):
            raise RefusedUpdateError(BindingStatus.INVALID_PREFIX)
        host = 128 - length
        prefix = ((int(option.prefix) >> host << host).to_bytes(16, "big"), length)
        if (allowed is not None and prefix not in allowed) or owners.get(prefix, home) != home:
            raise RefusedUpdateError(BindingStatus.NOT_AUTHORIZED_FOR_PREFIX)
        found[prefix] = None
    return tuple(found)
