"""Mutates messages and packets for as long as one wants, and holds what the codecs give against what they promise.

    python tests/support/fuzz_wire.py [--seconds 60] [--seed N]

Octets in, and nothing else may happen than a value that is encoded as it came, or a `DecodeError` with a place inside
of the octets. The same seed makes the same inputs in the same order. An input that breaks this is printed, status 1.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from typing import Any

import hypothesis
from wire_values import packets

from flowclass.errors import DecodeError
from flowclass.wire import DRAFT, RFC6089, Profile, decode_message, decode_packet, encode_message, encode_packet
from flowclass.wire.auth import is_authentic, is_authenticated
from flowclass.wire.packets import mobility_header

SEEDS = 200  # packets of each profile to begin with
POOL = 2000  # inputs that are mutated further: these, and some that were decoded since
_HERE = IPv6Address("2001:db8::1")
_TYPICAL = (0, 1, 2, 3, 4, 5, 6, 8, 16, 18, 35, 44, 45, 59, 60, 127, 128, 135, 254, 255)


def attempt(decode: Callable[[bytes, Profile], Any], octets: bytes, profile: Profile) -> Any:
    """What the decoder gives, or None for a DecodeError, whose offset lies in the octets; any other error is raised."""
    error: DecodeError
    try:
        return decode(octets, profile)
    except DecodeError as caught:
        error = caught
    assert 0 <= error.offset <= len(octets)
    return None


def check_message(octets: bytes, profile: Profile) -> bool:
    """A value is a fixpoint of encoding and decoding. Whether the octets are a message."""
    for is_so in (is_authentic, is_authenticated):
        assert not is_so(octets, b"a key that nobody used", _HERE, _HERE)
    message = attempt(decode_message, octets, profile)
    if message is None:
        return False
    again = encode_message(message, profile=profile)
    assert len(again) == len(octets)
    assert decode_message(again, profile) == message
    assert encode_message(decode_message(again, profile), profile=profile) == again
    return True


def check_packet(octets: bytes, profile: Profile) -> bool:
    """The same for a packet, whose checksum is right after that."""
    packet = attempt(decode_packet, octets, profile)
    if packet is None:
        return False
    again = decode_packet(encode_packet(packet, profile), profile)
    assert again == packet
    assert again.checksum_ok
    return True


def seeds(profile: Profile, seed: int, count: int) -> list[bytes]:
    """Packets with any messages and options, always the same ones for a seed."""
    made: list[bytes] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(packets(profile))
    def collect(packet: Any) -> None:
        made.append(encode_packet(packet, profile))

    collect()
    return made


def mutate(rng: random.Random, pool: list[bytes]) -> bytes:
    """One input of the pool with a few changes: octets, runs moved or doubled, another input's part, its end cut."""
    octets = bytearray(rng.choice(pool))
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(octets) + 1)
        n = rng.choice((1, 2, 4, 8, 16, 24))
        match rng.randrange(8):
            case 0 | 1 | 2 if at < len(octets):
                octets[at] = rng.choice(_TYPICAL) if rng.random() < 0.7 else rng.randrange(256)
            case 3:
                del octets[at : at + n]
            case 4:
                octets[at:at] = octets[at : at + n]
            case 5:
                octets[at:at] = rng.randbytes(n)
            case 6:
                other = rng.choice(pool)
                begin = rng.randrange(len(other) + 1)
                octets[at : at + rng.choice((0, n))] = other[begin : begin + n]
            case 7 if rng.random() < 0.2:
                del octets[at:]
    return bytes(octets)


def repair(octets: bytes) -> bytes:
    """The packet with lengths that fit its octets again: what a change of size breaks first hides all the rest."""
    made = bytearray(octets)
    if len(made) < 48:
        return octets
    made[4:6] = (len(made) - 40).to_bytes(2)
    start = 64 if made[6] == 60 and len(made) >= 72 else 40
    made += bytes(-(len(made) - start) % 8)
    made[4:6] = (len(made) - 40).to_bytes(2)
    made[start : start + 2] = bytes((59, min((len(made) - start) // 8 - 1, 255)))
    return bytes(made)


def run(seed: int, begin_with: int = SEEDS) -> Iterator[bool]:
    """Checks one mutated input after the other, without end; yields for each whether it was accepted."""
    rng = random.Random(seed)
    pools = {profile: seeds(profile, seed, begin_with) for profile in (DRAFT, RFC6089)}
    for done in itertools.count():
        profile = rng.choice((DRAFT, RFC6089))
        pool = pools[profile]
        octets = mutate(rng, pool)
        if rng.random() < 0.6:
            octets = repair(octets)
        message = octets[40:]
        try:
            accepted = check_packet(octets, profile)
            if accepted:
                message = mobility_header(octets)
                if len(pool) < POOL:
                    pool.append(octets)
                else:
                    pool[rng.randrange(begin_with, POOL)] = octets
            accepted |= check_message(message, profile)
        except Exception as error:
            error.add_note(f"profile {profile.name}, execution {done} of seed {seed}: {octets.hex()}")
            raise
        yield accepted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    done = accepted = 0
    for was in run(arguments.seed):
        done += 1
        accepted += was
        if time.monotonic() >= end:
            break
    print(f"fuzz_wire: {done} executions, {accepted} of them values, seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
