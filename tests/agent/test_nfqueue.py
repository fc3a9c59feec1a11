"""The kernel's packet queues: arguments, a queue that somebody has, what the netlink socket may bring."""

from __future__ import annotations

import struct

import pytest
from network_kit import Laboratory, needs_namespaces

from flowclass.agent.nfqueue import PacketQueue, QueuedPacket
from flowclass.errors import FlowclassError

_TWICE = """
from flowclass.agent.nfqueue import PacketQueue
from flowclass.errors import FlowclassError
with PacketQueue(7, fail_open=True) as queue:
    print(queue.read())
    try:
        PacketQueue(7)
    except FlowclassError as error:
        print(error)
PacketQueue(7).close()
"""


@pytest.mark.parametrize("wrong", [{"number": -1}, {"number": 65536}, {"number": 1, "length": 0}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(FlowclassError, match="expected, got"):
        PacketQueue(**wrong)


@needs_namespaces
def test_a_queue_that_another_program_has_is_refused_until_it_is_closed(laboratory: Laboratory) -> None:
    printed = laboratory.python("core", _TWICE).splitlines()
    assert printed == ["[]", "NFQUEUE 7: another program has it"]


def test_messages_are_read_as_far_as_they_make_sense() -> None:
    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    def message(kind: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 20 + len(body), kind, 0, 0, 0) + struct.pack(">BBH", 10, 0, 7) + body

    header = attribute(1, struct.pack(">IHBx", 99, 0x86DD, 0))
    whole = message(0x300, header + attribute(3, b"\0\0\0\5") + attribute(10, b"packet"))
    other = message(2, bytes(4))
    without = message(0x300, attribute(10, b"no number"))
    read = PacketQueue._packets
    assert list(read(whole + other + without + whole)) == [QueuedPacket(99, b"packet", 5)] * 2
    for size in range(len(whole)):
        assert len(list(read(whole[:size]))) <= 1
    assert list(read(message(0x300, header + struct.pack("=HH", 3, 10)))) == [QueuedPacket(99, b"", 0)]
    assert list(read(struct.pack("=IHHII", 3, 0x300, 0, 0, 0) + whole)) == []
