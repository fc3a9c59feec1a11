"""The kernel decides and forwards: the flow bindings of a bindings file as rules of nftables and of routing.

    kernel_rules.py BINDINGS

Run it as root. Each packet to a mobile node gets a mark, the BID that its flows select, and a routing rule leads the
mark to the routing table of that number, which you fill: `ip -6 route add 2001:db8:100::5 dev TUNNEL table BID`. What
is said in docs/howto/operate-agent.md about n-cast and ports of fragments applies. The rules go when the program ends.
"""

import signal
import sys

from flowclass.agent.nftables import KernelRules
from flowclass.mobility import load_bindings


def main(bindings: str) -> None:
    with KernelRules() as rules:
        for node in load_bindings(bindings).cache:
            rules.apply(node)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print("ready", flush=True)
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
