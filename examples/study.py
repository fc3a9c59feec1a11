"""A study of rule sets in one command, measured on this machine.

    python examples/study.py [--out FOLDER] [--size 1k ...] [--peer module:name ...]

For IPv4 and IPv6: how many packets per second one thread classifies in rule sets of each size, beside linear search and
DPDK's rte_acl (where it is installed) and any classifier of yours. It writes lookup_ipv4.svg and .json, the same for
IPv6, nodes.svg and so on. `--quick` takes a minute and is no measurement.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SIZES = ("100", "1k", "10k", "100k")
NODES = ("1k", "10k", "100k")


def bench(out: Path, name: str, arguments: list[str]) -> None:
    """One `flowclass bench`, as a picture and as JSON of the same measurement."""
    command = [sys.executable, "-m", "flowclass", "bench", *arguments, "--plot", str(out / f"{name}.svg"), "--json"]
    print("$ flowclass", *command[3:-1])
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    (out / f"{name}.json").write_bytes(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--size", action="append", help="rules; may be repeated (default: 100, 1k, 10k and 100k)")
    parser.add_argument("--family", action="append", help="acl, fw or ipc; may be repeated (default: all)")
    parser.add_argument("--peer", action="append", default=[], help="module:name of a classifier of your own")
    parser.add_argument("--quick", action="store_true", help="one round of small sets, to see that it works")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = arguments.size or (["100", "300"] if arguments.quick else SIZES)
    families = arguments.family or (["acl"] if arguments.quick else ["acl", "fw", "ipc"])
    rounds = ["--rounds", "1" if arguments.quick else "7"]
    packets = ["--packets", "1k" if arguments.quick else "100k"]
    common = [word for size in sizes for word in ("--size", size)]
    common += [word for family in families for word in ("--family", family)]
    common += [word for peer in arguments.peer for word in ("--peer", peer)]
    for version in ("4", "6"):
        bench(arguments.out, f"lookup_ipv{version}", ["lookup", "--ip", version, *common, *rounds, *packets])
    nodes = ["100", "300"] if arguments.quick else NODES
    bench(arguments.out, "nodes", ["nodes", *(w for n in nodes for w in ("--nodes", n)), *rounds, *packets])


if __name__ == "__main__":
    main()
