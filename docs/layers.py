"""Writes the lists of layers in docs/tshark.md: what is read, from the tests' frames of each; what is not, and why.

python docs/layers.py            writes them
python docs/layers.py --check    exit status 1 if they are not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tshark.md"
BEGIN, END = "<!-- written by docs/layers.py -->", "<!-- end of what docs/layers.py writes -->"

ALSO = {
    12: "raw, as the BSDs number it",
    14: "raw, as OpenBSD numbers it",
    108: "LOOP: as NULL, in network byte order",
    228: "IPv4",
    229: "IPv6",
    285: "EDSA of Marvell",
}  # what the table of the tests' frames doesn't have, as it is read as something else in it
NOT_READ = [
    ("7 and 129 (ARCNET)", "not asked for"),
    ("195, 215, 230, 283 (IEEE 802.15.4)", "6LoWPAN compresses the IP header away"),
    ("147 to 162 (USER0 to USER15)", "mean something else to everybody"),
    ("189, 220, 249 (USB)", "networks over USB have a framing for each device"),
    ("187, 201, 251, 256 (Bluetooth)", "IP is in connections that would have to be followed"),
    ("130 to 137, 164, 167, 168, 194, 200 (other Juniper ones)", "not asked for"),
    ("182 (FRF.16), PPP multilink", "a frame may hold a part of a packet"),
    ("ATM and AAL5 records in ERF", "cells would have to be put together"),
    ("encrypted 802.11, MACsec and ESP", "nothing can be read; a replay reads signalling in NULL-encrypted ESP"),
    ("DTLS-protected CAPWAP, GRE and MPLS in UDP (ports 5246, 4755, 6636)", "encrypted"),
    ("FOU (IP in UDP on any port)", "no number says that it is one"),
    ("LISP-GPE, STT, OTV, NVGRE without GRE's type, 6rd beyond protocol 41", "not asked for"),
    ("PPP's bridging protocol (0x0031), ATM VC multiplexing", "not asked for"),
    ("PIM register messages, sFlow and OpenFlow samples, headers quoted by ICMP", "quotations of packets, no traffic"),
]  # fmt: skip


def tables() -> str:
    """The section, as Markdown."""
    sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "engine")]
    import naive_layers
    import naive_packets
    import test_layers as tested

    links: dict[int, list[str]] = {}
    for name, (number, _) in (tested.LINKS | tested.LINKS_OF_IP).items():
        links.setdefault(number, []).append(name)
    untested = sorted(set(naive_layers.LINK_TYPES) - set(links))
    lines = ["### Read", "", "| link type (LINKTYPE_) | with |", "|---|---|"]
    lines += [f"| {number} | {'; '.join(names)} |" for number, names in sorted(links.items())]
    assert untested == sorted(ALSO)
    lines += [f"| {number} | {name} |" for number, name in ALSO.items()]
    lines += [""]
    shims = "; ".join(tested.SHIMS | tested.SHIMS_OF_PPP)
    lines += [f"**Tags and shims**, in each other in any order, at most 32 in front of an IP header: {shims}.", ""]
    tunnels = "; ".join(tested.TUNNELS | tested.TUNNELS_OF_IP | tested.WCCP | tested.TEREDO)
    lines += [f"**Tunnels** (`--inner`), in each other up to 16 IP headers deep: {tunnels}.", ""]
    headers = ", ".join(naive_packets.EXTENSIONS.values())
    lines += [f"**Extension headers** of IPv6: {headers}; of IPv4: authentication.", "", "### Not read", ""]
    lines += ["| what | why |", "|---|---|"]
    lines += [f"| {what} | {why} |" for what, why in NOT_READ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"
    if "--check" in arguments:
        return int(written != text)
    PAGE.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
