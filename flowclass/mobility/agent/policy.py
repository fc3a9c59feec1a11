"""What one agent judges every update by: its settings, and what was configured for its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from flowclass.wire.flow_options import FlowIdentification
from flowclass.wire.profiles import Profile

from ..addresses import Prefix
from ..cache.node import Node
from ..settings import Capabilities, Limits, Switches

__all__ = ["Policy"]


class Policy(Struct, gc=False):
    """The inputs of `process` that are the same for each update; addresses are packed."""

    profile: Profile
    switches: Switches = Switches()
    limits: Limits = Limits()
    capabilities: Capabilities = Capabilities()
    correspondent: bool = False
    """Whether a correspondent node decides: it has no IPsec, and binds addresses with a token only."""
    replay_memory: float = 0.0
    """Seconds for which a sequence number outlives its binding, whichever way that ends."""
    prefix_table: Mapping[bytes, Sequence[Prefix]] = {}
    """Mobile network prefixes by home address: those of implicit mode, and those that explicit mode may name."""
    ipv4_homes: Mapping[bytes, bytes] = {}
    """IPv4 home addresses by home address."""
    allocate_ipv4: Callable[[bytes], bytes | None] | None = None
    """Makes up an IPv4 home address for a home address; None refuses."""
    admit_flow: Callable[[Node, FlowIdentification], bool] | None = None
    """Local policy about one flow option; None admits all."""
