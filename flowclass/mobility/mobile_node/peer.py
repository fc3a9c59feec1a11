"""The state that a mobile node keeps for one receiver of its binding updates: retransmission timers, rate limits, and
the tokens of return routability with a correspondent node (RFC 6275 section 11.6)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from math import inf
from typing import Final

from flowclass.wire.auth import authorize, binding_key, is_authentic
from flowclass.wire.messages import BindingUpdate, CareOfTest, CareOfTestInit, HomeTest, HomeTestInit
from flowclass.wire.numbers import INITIAL_BINDACK_TIMEOUT, MAX_BINDACK_TIMEOUT, MAX_TOKEN_LIFETIME, MAX_UPDATE_RATE
from flowclass.wire.options import NonceIndices
from flowclass.wire.packets import MobilityPacket, encode_packet, mobility_header

from .plan import Plan
from .update_list import UpdateList

__all__ = ["MAX_HOME_UPDATE_RATE", "Peer", "Rate"]


MAX_HOME_UPDATE_RATE: Final = 16
"""The most updates that are sent to a home agent or anchor point in a second; RFC 6275 sets no limit for these."""

_CORRECTIONS: Final = 2
"""How many refusals in a row, of the kind that a changed update can avoid, are followed by that update at once."""


class Rate:
    """A rate limit for messages of one kind to one receiver: at most ``most`` of them within a second.

    The default is `MAX_UPDATE_RATE` of RFC 6275 sections 11.5.3 and 11.8.
    """

    __slots__ = ("_times",)

    def __init__(self, most: int = MAX_UPDATE_RATE) -> None:
        self._times: deque[float] = deque(maxlen=most)

    def next(self, now: float) -> float:
        """Return the time, ``now`` or later, at which the next message may be sent."""
        times = self._times
        return now if len(times) < (times.maxlen or 0) else max(now, times[0] + 1.0)

    def count(self, now: float) -> None:
        """Note that a message is sent now."""
        self._times.append(now)


@dataclass(slots=True)
class _Token:
    """A keygen token and the index of its nonce (RFC 6275 section 5.2.5)."""

    index: int
    token: bytes
    since: float


@dataclass(slots=True)
class _Test:
    """A Home Test Init or Care-of Test Init message that was sent and is not answered yet."""

    cookie: bytes
    next_at: float
    timeout: float


@dataclass(slots=True)
class Peer:
    """A receiver of binding updates, with its update list, timers, rate limits and keygen tokens."""

    updates: UpdateList
    home: IPv6Address
    random: Callable[[int], bytes]
    next_at: float = inf
    timeout: float = INITIAL_BINDACK_TIMEOUT
    tokens: dict[IPv6Address, _Token] = field(
        default_factory=dict
    )  # by the tested address, which may be the home address
    tests: dict[IPv6Address, _Test] = field(default_factory=dict)
    updates_sent: Rate = field(default_factory=Rate)
    moves_sent: Rate = field(default_factory=Rate)  # updates that register a new care-of address
    hold_until: float = -inf  # after a refusal, nothing is sent automatically before this time
    backoff: float = INITIAL_BINDACK_TIMEOUT
    corrections: int = 0  # refusals in a row that the next update was to avoid
    home_tests: Rate = field(default_factory=Rate)
    care_of_tests: Rate = field(default_factory=Rate)

    def refused(self, now: float) -> None:
        """Note a refusal: automatic updates wait from now on, with each refusal twice as long as before.

        This is the back-off of RFC 6275 section 11.8.
        """
        self.hold_until = now + self.backoff
        self.backoff = min(2 * self.backoff, MAX_BINDACK_TIMEOUT)

    def corrected(self, now: float) -> None:
        """Note a refusal that the next update avoids. It is sent at once, unless there were too many of these in a
        row."""
        self.corrections += 1
        if self.corrections > _CORRECTIONS:
            self.refused(now)

    def accepted(self) -> None:
        """Note that an update was accepted completely: the back-off starts anew."""
        self.backoff = INITIAL_BINDACK_TIMEOUT
        self.hold_until = -inf
        self.corrections = 0

    def test(self, plan: Plan, now: float) -> list[bytes] | None:
        """Return the test init messages to send now for the tokens that ``plan`` needs and that are missing.

        None means that no token is missing or about to expire. The Home Test Init has to go through the home agent: the
        caller tunnels the packets whose source is the home address (RFC 6275 section 11.6.1).
        """
        needed = [self.home] + ([plan.secured] if plan.secured is not None else [])
        missing = []
        for address in needed:
            token = self.tokens.get(address)
            if token is None or now - token.since >= MAX_TOKEN_LIFETIME - MAX_BINDACK_TIMEOUT:
                missing.append(address)
        self.tests = {a: t for a, t in self.tests.items() if a in missing}
        if not missing:
            return None
        packets = []
        times = []
        for address in missing:
            test = self.tests.get(address)
            if test is None or test.next_at <= now:
                rate = self.home_tests if address == self.home else self.care_of_tests
                if (when := rate.next(now)) > now:
                    times.append(when)
                    continue
                rate.count(now)
                timeout = INITIAL_BINDACK_TIMEOUT if test is None else min(2 * test.timeout, MAX_BINDACK_TIMEOUT)
                # section 11.8: each transmission has a new cookie
                test = self.tests[address] = _Test(self.random(8), now + timeout, timeout)
                message = HomeTestInit(test.cookie) if address == self.home else CareOfTestInit(test.cookie)
                packets.append(encode_packet(MobilityPacket(address, self.updates.peer, message), self.updates.profile))
        self.next_at = min(times + [test.next_at for test in self.tests.values() if test.next_at > now])
        return packets

    def tested(self, address: IPv6Address, message: HomeTest | CareOfTest, home: bool, now: float) -> bool:
        """Store the token of a Home Test or Care-of Test message; return whether the message was accepted.

        It must have arrived at the tested address and contain the cookie that was sent (RFC 6275 section 11.6.2).
        """
        test = self.tests.get(address)
        if test is None or test.cookie != message.cookie or home != (address == self.home):
            return False
        del self.tests[address]
        self.tokens[address] = _Token(message.nonce_index, message.token, now)
        return True

    def _key(self, plan: Plan) -> bytes | None:
        home, tested = self.tokens.get(self.home), plan.secured
        care_of = None if tested is None else self.tokens.get(tested)
        if home is None or (tested is not None and care_of is None):
            return None
        return binding_key(home.token, b"" if care_of is None else care_of.token)

    def secure(self, plan: Plan, message: BindingUpdate) -> BindingUpdate:
        """Return the message with the nonce indices and the authenticator added (RFC 6275 section 5.2.6).

        The tokens that the plan needs must be there.
        """
        key, tested = self._key(plan), plan.secured
        assert key is not None
        care_of = 0 if tested is None else self.tokens[tested].index
        indices = NonceIndices(self.tokens[self.home].index, care_of)
        message = replace(message, options=(indices, *message.options))
        return authorize(message, key, tested or self.home, self.updates.peer, self.updates.profile)

    def is_authentic(self, packet: bytes, plan: Plan) -> bool:
        """Whether an acknowledgement of the plan has the right authenticator, made with the key of the plan's
        tokens."""
        key = self._key(plan)
        return key is not None and is_authentic(
            mobility_header(packet), key, plan.secured or self.home, self.updates.peer
        )  # fmt: skip
