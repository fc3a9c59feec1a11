"""The kernel forwards, flowclass decides: packets that a rule of the packet filter queues are accepted with a mark, the
BID that the bindings file's flows select, or dropped.

    nfqueue_marks.py BINDINGS QUEUE

Run it as root, with a rule such as `ip6tables -t mangle -A PREROUTING -d 2001:db8:100::/64 -j NFQUEUE --queue-num 5`.
Routing rules then lead each mark to the routing table of its tunnel or link: `ip -6 rule add fwmark 1 lookup 1`.
"""

import select
import sys

from flowclass.agent.nfqueue import PacketQueue
from flowclass.engine.decisions import Action
from flowclass.mobility import load_bindings


def main(bindings: str, number: str) -> None:
    agent = load_bindings(bindings)
    with PacketQueue(int(number)) as queue:
        print("ready", flush=True)
        while True:
            select.select([queue], [], [])
            waiting = queue.read()
            decisions = agent.classify([entry.packet for entry in waiting])
            queue.decide(
                (entry.number, None if decision["action"] == Action.DISCARD else int(decision["bid"]))
                for entry, decision in zip(waiting, decisions, strict=True)
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
