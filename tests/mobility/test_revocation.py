"""Binding revocation (RFC 5846): a home agent takes bindings away, and the mobile node hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from mobility_kit import AGENT, COA1, COA2, HOME, SSH

from flowclass.errors import FlowclassError
from flowclass.mobility import Association, HomeAgent, MobileNode, Node, Refusal, SharedKey, SharedKeys
from flowclass.wire import (
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    RevocationFlag,
    RevocationTrigger,
    decode_packet,
    encode_packet,
)

KEY = bytes(range(20))


class FailingStore:
    """A store that fails when it is told to: at once, or at the end of a batch."""

    at_once = at_end = False

    def put(self, home: bytes, node: Node | None) -> None:
        if self.at_once:
            raise OSError(28, "No space left on device")

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield
        if self.at_end:
            raise OSError(28, "No space left on device")


class Pair:
    """A home agent and a mobile node with two care-of addresses and a flow, and what the listener was told."""

    def __init__(self, keys: bool = False, store: FailingStore | None = None) -> None:
        self.now = 1000.0
        associations = [Association(256, HOME.packed, KEY)]
        security = SharedKeys(associations, wall=lambda: self.now) if keys else None
        self.agent = HomeAgent(security=security, store=store)
        self.told: list[Refusal] = []
        self.node = MobileNode(
            HOME,
            listener=lambda peer, refusal: self.told.append(refusal),
            security=SharedKey(256, KEY, wall=lambda: self.now) if keys else None,
        )
        self.node.add_receiver(AGENT)
        self.talk(self.node.register(AGENT, 1, COA1, 20, now=self.now))
        self.now += 1
        self.talk(self.node.register(AGENT, 2, COA2, 10, now=self.now))
        self.now += 1
        self.talk(self.node.add_flow(AGENT, 5, 1, (1,), SSH, now=self.now))
        self.now += 1
        assert sorted(self.bound()) == [1, 2]

    def bound(self) -> list[int]:
        node = self.agent.cache.get(HOME.packed)
        return [] if node is None else list(node.care_of)

    def talk(self, packets: list[bytes]) -> None:
        """Carry packets of the mobile node, and the answers, until nobody has anything to say."""
        while packets:
            answers = [answer for packet in packets for answer in self.agent.receive(packet, now=self.now)]
            packets = [more for answer in answers for more in self.node.receive(answer, now=self.now)]

    def revoke(self, *bids: int, trigger: int = RevocationTrigger.ADMINISTRATIVE) -> Any:
        """The indication, as it is on the wire."""
        (packet,) = self.agent.revoke(HOME.packed, bids, now=self.now, trigger=trigger)
        return packet


@pytest.mark.parametrize("keys", [False, True])
def test_a_node_whose_bindings_are_revoked_says_so_and_stays_away(keys: bool) -> None:
    pair = Pair(keys)
    packet = pair.revoke()
    assert pair.bound() == []
    found = decode_packet(packet)
    assert (found.source, found.destination, found.routing_home, found.checksum_ok) == (AGENT, COA2, HOME, True)
    assert isinstance(found.message, BindingRevocationIndication)
    answers = pair.node.receive(packet, now=pair.now)
    assert [type(decode_packet(a).message) for a in answers] == [BindingRevocationAcknowledgement]
    assert decode_packet(answers[0]).message.status == 0  # type: ignore[union-attr]  # its type is known
    pair.talk(answers)
    assert pair.agent.next_deadline() is None
    assert pair.node.next_deadline() is None
    assert pair.told == [Refusal("revoked", 1, 1), Refusal("revoked", 2, 1)]
    pair.talk(pair.node.register(AGENT, 1, COA1, now=pair.now + 5))  # its user wants it back
    assert pair.bound() == [1]


def test_a_node_that_may_return_does_so_at_once() -> None:
    pair = Pair()
    pair.talk(pair.node.receive(pair.revoke(trigger=RevocationTrigger.UNSPECIFIED), now=pair.now))
    node = pair.agent.cache.get(HOME.packed)
    assert node is not None
    assert (sorted(node.care_of), list(node.flows)) == ([1, 2], [5])


def test_one_of_two_bindings_is_revoked() -> None:
    pair = Pair()
    packet = pair.revoke(1)
    assert pair.bound() == [2]
    # its type is known
    assert [o.bid for o in decode_packet(packet).message.options if hasattr(o, "bid")] == [1]  # type: ignore[union-attr]  # a message with options
    pair.talk(pair.node.receive(packet, now=pair.now))
    updates = pair.node.update_list(AGENT)
    assert (list(updates.care_of), list(updates.wanted_care_of)) == ([2], [2])
    assert pair.bound() == [2]
    assert pair.told == [Refusal("revoked", 1, 1)]


def test_an_indication_is_sent_again_until_it_is_answered_and_not_for_ever() -> None:
    pair = Pair()
    first = pair.revoke()
    times = []
    while (when := pair.agent.next_deadline()) is not None:
        times += [when - pair.now] * len(again := pair.agent.tick(when))
        assert again in ([first], [])
    assert times == [1.0, 3.0, 7.0, 15.0]
    pair = Pair()
    packet = pair.revoke()
    pair.talk(pair.node.receive(packet, now=pair.now))
    late = pair.node.receive(packet, now=pair.now)
    assert decode_packet(late[0]).message.status == 128  # type: ignore[union-attr]  # its type is known
    assert pair.agent.receive(late[0], now=pair.now) == []
    assert pair.agent.counters.ignored["no such revocation"] == 1


def test_a_new_registration_ends_the_retransmissions() -> None:
    pair = Pair()
    pair.revoke()
    pair.now += 0.5
    other = MobileNode(HOME, random=lambda n: b"\x40" * n)  # it was started anew, and has heard nothing
    other.add_receiver(AGENT)
    (update,) = other.register(AGENT, 3, COA1, now=pair.now)
    while update:
        (answer,) = pair.agent.receive(update, now=pair.now)
        update = next(iter(other.receive(answer, now=pair.now)), b"")
    assert pair.bound() == [3]
    assert pair.agent.tick(pair.now + 10) == []


@pytest.mark.parametrize("keys", [False, True])
def test_what_is_not_from_the_home_agent_is_not_believed(keys: bool) -> None:
    pair = Pair(keys)
    found = decode_packet(pair.revoke())
    forged = encode_packet(replace(found, message=BindingRevocationIndication(7, 1)))
    assert pair.node.receive(forged, now=pair.now, authenticated=keys) == []
    assert sorted(pair.node.update_list(AGENT).care_of) == [1, 2]
    answer = encode_packet(replace(found, source=COA2, destination=AGENT, home_address=HOME, routing_home=None,
                                   message=BindingRevocationAcknowledgement(found.message.sequence)))  # type: ignore[union-attr]  # fmt: skip
    assert pair.agent.receive(answer, now=pair.now, authenticated=keys) == []
    assert pair.agent.counters.ignored["unauthenticated"] == 1
    assert pair.agent.next_deadline() is not None


def test_proxy_revocations_are_for_others() -> None:
    pair = Pair()
    found = decode_packet(pair.revoke())
    proxy = encode_packet(replace(found, message=BindingRevocationIndication(7, 1, RevocationFlag.PROXY.value)))
    (answer,) = pair.node.receive(proxy, now=pair.now)
    assert decode_packet(answer).message.status == 135  # type: ignore[union-attr]  # its type is known
    assert sorted(pair.node.update_list(AGENT).care_of) == [1, 2]


def test_what_is_not_bound_cannot_be_revoked() -> None:
    pair = Pair()
    with pytest.raises(FlowclassError, match="no binding with BID 9"):
        pair.agent.revoke(HOME.packed, (1, 9), now=pair.now)
    assert sorted(pair.bound()) == [1, 2]
    pair.revoke()
    with pytest.raises(FlowclassError, match=f"{HOME} has no binding"):
        pair.agent.revoke(HOME.packed, now=pair.now)


def test_a_binding_that_is_named_twice_is_one_binding() -> None:
    pair = Pair()
    pair.revoke(1, 1)
    assert pair.bound() == [2]


@pytest.mark.parametrize("bids", [(), (1,), (1, 1)])
@pytest.mark.parametrize("when", ["at_once", "at_end"])
def test_where_the_store_fails_nothing_is_revoked_and_nobody_is_told(when: str, bids: tuple[int, ...]) -> None:
    store = FailingStore()
    pair = Pair(store=store)
    deadline = pair.agent.next_deadline()
    setattr(store, when, True)
    with pytest.raises(OSError, match="No space"), pair.agent.cache.batch():
        pair.agent.revoke(HOME.packed, bids, now=pair.now)
    assert pair.bound() == [1, 2]
    setattr(store, when, False)
    assert pair.agent.tick(pair.now + 5) == []
    assert pair.agent.next_deadline() == deadline
    pair.revoke(1)  # and its home address isn't busy
    assert pair.bound() == [2]


def test_bindings_that_have_just_expired_can_be_revoked() -> None:
    pair = Pair()
    pair.now += 700
    pair.revoke(1)
    assert pair.bound() == []
