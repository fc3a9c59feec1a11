"""How many binding updates per second a live home agent acknowledges durably, and how long each takes.

    python benchmarks/agent_updates.py [--seconds 10] [--nodes 500] [--outstanding 64]

Network namespaces, made and removed; `flowclass ha` with a store, `synchronous=FULL`. Updates go out by a raw socket,
each node's next one when the last was answered; what is counted are acknowledgements with status 0 on the wire. Needs
root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests/support")]

from network_kit import Laboratory, why_not  # noqa: E402 (behind sys.path)

CLIENT = """
import select, socket, sys, time
from ipaddress import IPv6Address
from flowclass.wire import BindingIdentifier, BindingUpdate, MobilityPacket, decode_packet, encode_packet
seconds, nodes, outstanding = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
agent, care_of = IPv6Address("2001:db8:100::1"), IPv6Address("2001:db8:b::2")
homes = [IPv6Address("2001:db8:100::1:0") + i for i in range(nodes)]
where = {home.packed: i for i, home in enumerate(homes)}
sequences = [0] * nodes
sent = [0.0] * nodes
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
tap.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
tap.bind(("lte", 0x86DD))
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)

def update(i):
    sequences[i] = (sequences[i] + 1) & 0xFFFF
    message = BindingUpdate(sequences[i], 1000, 0xC000, (BindingIdentifier(1, care_of),))
    sent[i] = time.monotonic()
    out.sendto(encode_packet(MobilityPacket(care_of, agent, message, homes[i])), (str(agent), 0))

waiting, following = set(), list(range(nodes))
latencies, lost, began = [], 0, time.monotonic()
while (now := time.monotonic()) < began + seconds:
    while len(waiting) < outstanding and following:
        i = following.pop(0)
        waiting.add(i)
        update(i)
    if not select.select([tap], [], [], 0.5)[0]:
        lost += len(waiting)
        following += waiting
        waiting.clear()
        continue
    data, source = tap.recvfrom(65535)
    if source[2] != 0 or data[6] != 43:
        continue
    i = where[data[48:64]]
    message = decode_packet(data).message
    assert message.status == 0, message
    if i in waiting and message.sequence == sequences[i]:
        latencies.append(time.monotonic() - sent[i])
        waiting.discard(i)
        following.append(i)
passed = time.monotonic() - began
latencies.sort()
rate = len(latencies) / passed
print(f"{rate:.0f} acknowledged updates per second ({len(latencies)} in {passed:.1f} s, {lost} unanswered)")
for share in (50, 90, 99, 99.9, 100):
    value = latencies[min(len(latencies) - 1, int(len(latencies) * share / 100))]
    print(f"  {share:5} % within {1000 * value:8.2f} ms")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--outstanding", type=int, default=64)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, Laboratory(Path(folder)) as lab:
        lab.home_agent('store = "bindings.sqlite"\n[limits]\nupdates_per_second = 100000')
        numbers = [str(arguments.seconds), str(arguments.nodes), str(arguments.outstanding)]
        subprocess.run(lab.inside("mn", sys.executable, "-c", CLIENT, *numbers), check=True)
        found = lab.ctl("counters")
        print(f"the agent has had {found['latency']['count']} packets and has {found['nodes']} nodes")


if __name__ == "__main__":
    main()
