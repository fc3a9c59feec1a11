"""Binding updates in fragments, in NULL-encrypted ESP and in UDP drive a replay; what can't be read is counted."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from flowclass import wire
from flowclass.cli import main
from flowclass.engine.packets import INNERMOST
from flowclass.generate.captures import Frame, write_pcap
from flowclass.mobility import HomeAgent
from flowclass.traces import Run, Summary, replay

HOME, CARE_OF, AGENT = (IPv6Address(f"2001:db8:{n}::1") for n in ("1", "a", "ffff"))


def update(flows: int = 0) -> tuple[bytes, bytes]:
    """A binding update as (the IPv6 header and the destination options header, the Mobility Header)."""
    options = tuple(wire.PadN(bytes(200)) for _ in range(flows))
    message = wire.BindingUpdate(1, 60, wire.UpdateFlag.ACKNOWLEDGE | wire.UpdateFlag.HOME_REGISTRATION, options)
    packet = wire.encode_packet(wire.MobilityPacket(CARE_OF, AGENT, message, HOME))
    return packet[:64], packet[64:]


def ipv6(head: bytes, following: int, body: bytes) -> bytes:
    """The headers with another next header at their end, and another body."""
    whole = head[:40] + bytes((following,)) + head[41:] + body
    return whole[:4] + struct.pack(">H", len(whole) - 40) + whole[6:]


def fragments(head: bytes, body: bytes, size: int, following: int = 135) -> list[bytes]:
    return [
        ipv6(head, 44, struct.pack(">BBHI", following, 0, at | (at + size < len(body)), 77) + body[at : at + size])
        for at in range(0, len(body), size)
    ]


def esp(head: bytes, body: bytes, *, check_value: int = 12, initialization: int = 0) -> bytes:
    padding = -(len(body) + 2) % 4
    trailer = bytes(range(1, padding + 1)) + bytes((padding, 135))
    return ipv6(head, 50, struct.pack(">II", 256, 1) + bytes(initialization) + body + trailer + b"\x69" * check_value)


def ipv4_fragments(packet: bytes, size: int) -> list[bytes]:
    head, body = packet[:20], packet[20:]
    return [
        head[:2] + struct.pack(">HHH", 20 + len(body[at : at + size]), 9, at // 8 | (at + size < len(body)) << 13)
        + head[8:] + body[at : at + size]
        for at in range(0, len(body), size)
    ]  # fmt: skip


def in_udp(packet: bytes) -> bytes:
    udp = struct.pack(">HHHH", 50000, 4191, 8 + len(packet), 0) + packet
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\xcb\0\x71\5", b"\xc0\0\2\1")
    return head + udp


def replayed(tmp_path: Path, packets: Sequence[bytes], *, snap_length: int = 65535, **how: Any) -> Summary:
    path = tmp_path / "t.pcap"
    with path.open("wb") as stream:
        times = how.pop("times", range(len(packets)))
        frames = [Frame(10**9 * t, p) for t, p in zip(times, packets, strict=True)]
        write_pcap(stream, frames, linktype=101, snap_length=snap_length)
    run = Run(HomeAgent(), **how)
    summary = replay(run, [str(path)])
    assert summary.packets == len(packets)
    return summary


def assert_taken(summary: Summary, **unread: int) -> None:
    assert summary.updates is not None
    assert (summary.updates.received, summary.updates.accepted) == (1, 1)
    assert summary.updates.unread == {reason.replace("_", " "): n for reason, n in unread.items()}


def assert_unread(summary: Summary, reason: str, count: int = 1) -> None:
    assert summary.updates is not None
    assert summary.updates.received == 0
    assert summary.updates.unread == {reason: count}


@pytest.mark.parametrize("size", [8, 16, 64, 400])
def test_fragments_in_any_order(tmp_path: Path, size: int) -> None:
    head, body = update(flows=3)
    pieces = fragments(head, body, size)
    assert len(pieces) > 1
    for seed in range(3):
        random.Random(seed).shuffle(pieces)
        assert_taken(replayed(tmp_path, pieces, times=[0] * len(pieces)))
    pieces.insert(1, pieces[0])  # the same one again
    assert_taken(replayed(tmp_path, pieces, times=[0] * len(pieces)))


def test_fragments_that_do_not_become_whole(tmp_path: Path) -> None:
    head, body = update(flows=3)
    pieces = fragments(head, body, 256)
    assert_unread(replayed(tmp_path, pieces[:-1]), "fragments are missing")
    assert_unread(replayed(tmp_path, pieces, times=[0, *[61] * (len(pieces) - 1)]), "fragments are missing", 2)
    other = bytearray(pieces[1])
    other[-1] ^= 1
    found = replayed(tmp_path, [pieces[0], pieces[1], bytes(other)])
    assert_unread(found, "fragments overlap")
    assert_unread(replayed(tmp_path, pieces[:1], snap_length=200), "cut by the snap length")


def test_few_datagrams_are_put_together_at_one_time(tmp_path: Path) -> None:
    head, body = update(flows=3)
    begun = []
    for number in range(100):
        piece = bytearray(fragments(head, body, 256)[0])
        piece[68:72] = number.to_bytes(4, "big")
        begun.append(bytes(piece))
    found = replayed(tmp_path, begun, times=[0] * 100)
    assert_unread(found, "fragments are missing", 100)


@pytest.mark.parametrize("check_value", [0, 12, 16, 32])
@pytest.mark.parametrize("initialization", [0, 8])
def test_esp_with_null_encryption(tmp_path: Path, check_value: int, initialization: int) -> None:
    packet = esp(*update(), check_value=check_value, initialization=initialization)
    assert_taken(replayed(tmp_path, [packet]))
    off = replayed(tmp_path, [packet], esp_null=False)
    assert off.updates is not None
    assert (off.updates.received, off.updates.unread) == (0, {})


def test_esp_that_is_encrypted(tmp_path: Path) -> None:
    head, body = update()
    secret = random.Random(1).randbytes(len(body) + 20)
    assert_unread(replayed(tmp_path, [ipv6(head, 50, secret)]), "in ESP, encrypted or not understood")
    plain = head[:6] + b"\x32" + head[7:40]
    found = replayed(tmp_path, [plain[:4] + struct.pack(">H", len(secret)) + plain[6:] + secret])  # a user's data
    assert found.updates is not None
    assert found.updates.unread == {}


def test_fragments_of_esp(tmp_path: Path) -> None:
    head, body = update(flows=3)
    whole = esp(head, body)
    assert_taken(replayed(tmp_path, fragments(whole[:64], whole[64:], 128, following=50)))


def test_udp(tmp_path: Path) -> None:
    head, body = update()
    assert_taken(replayed(tmp_path, [in_udp(head + body)]))
    assert_taken(replayed(tmp_path, [in_udp(esp(head, body))]))
    assert_unread(replayed(tmp_path, [in_udp(head + body)], snap_length=100), "cut by the snap length")


def test_udp_in_ipv4_fragments(tmp_path: Path) -> None:
    head, body = update(flows=3)
    whole = in_udp(head + body)
    pieces = ipv4_fragments(whole, 256)
    assert len(pieces) == 3
    for order in (pieces, pieces[::-1], [pieces[1], pieces[1], pieces[2], pieces[0]]):
        assert_taken(replayed(tmp_path, order, times=[0] * len(order)))
    assert_unread(replayed(tmp_path, pieces[:-1]), "fragments are missing")
    assert_unread(replayed(tmp_path, pieces[:1], snap_length=200), "cut by the snap length")
    # another port, or nobody knows which: not counted
    other = ipv4_fragments(whole[:22] + b"\0\x35" + whole[24:], 256)
    for order in (other, other[::-1], pieces[1:]):
        found = replayed(tmp_path, order, times=[0] * len(order))
        assert found.updates is not None
        assert (found.updates.received, found.updates.unread) == (0, {})


def test_decode_shows_what_is_hidden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, body = update(flows=3)
    whole = esp(head, body)
    secret = ipv6(head, 50, random.Random(1).randbytes(200))
    outer = head[:4] + struct.pack(">HB", len(head + body), 41) + head[7:40] + head + body
    packets = [
        head + body,
        *fragments(head, body, 400),
        whole,
        in_udp(whole),
        *ipv4_fragments(in_udp(head + body), 400),
        *fragments(whole[:64], whole[64:], 400, following=50),
        secret,
        outer,
    ]
    path = tmp_path / "t.pcap"
    with path.open("wb") as stream:
        write_pcap(stream, [Frame(0, packet) for packet in packets], linktype=101)
    assert main(["decode", str(path), "--json"]) == 0
    out, error = capsys.readouterr()
    document = json.loads(out)
    found = [(message["frame"], message["through"]) for message in document["messages"]]
    assert found == [
        (1, ""), (3, "fragments"), (4, "ESP"), (5, "UDP, ESP"), (7, "fragments, UDP"), (9, "fragments, ESP"),
    ]  # fmt: skip
    for message in document["messages"]:
        assert message["message"] == document["messages"][0]["message"]
    assert document["unread"] == {"in ESP, encrypted or not understood": 1}
    assert "1 packet with signalling that could not be read: in ESP, encrypted or not understood" in error
    assert main(["decode", str(path), "--json", "--inner", "--no-esp-null"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [message["frame"] for message in document["messages"]] == [1, 3, 7, 11]
    assert main(["decode", str(path)]) == 0
    assert "frame 5 (out of UDP, ESP): 2001:db8:a::1 > 2001:db8:ffff::1" in capsys.readouterr().out


def test_plain_and_in_tunnels(tmp_path: Path) -> None:
    head, body = update()
    packet = head + body
    assert_taken(replayed(tmp_path, [packet]))
    assert_unread(replayed(tmp_path, [packet], snap_length=len(packet) - 3), "cut by the snap length")
    tunnel = struct.pack(">IHBB", 6 << 28, len(packet), 41, 64) + AGENT.packed + AGENT.packed + packet
    outside = replayed(tmp_path, [tunnel])
    assert outside.updates is not None
    assert outside.updates.received == 0
    assert_taken(replayed(tmp_path, [tunnel], inner=INNERMOST))
    inside_esp = esp(head, body)
    tunnel = struct.pack(">IHBB", 6 << 28, len(inside_esp), 41, 64) + AGENT.packed + AGENT.packed + inside_esp
    assert_taken(replayed(tmp_path, [tunnel], inner=INNERMOST))
