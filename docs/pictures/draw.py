"""The pictures of docs/explanation: `python docs/pictures/draw.py` writes the .svg files beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

HERE: Final = Path(__file__).parent
INK, PAPER, ACCENT, SOFT, GOOD = "#20303c", "#ffffff", "#b0452b", "#dfe7ec", "#dcebd9"


class Picture:
    """Boxes, arrows and words on a grid of pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' font-family="system-ui, sans-serif" font-size="13" fill="{INK}" role="img">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            f' orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker></defs>',
        ]

    def box(self, x: float, y: float, w: float, h: float, *lines: str, fill: str = PAPER, bold: bool = False) -> None:
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4" fill="{fill}" stroke="{INK}" stroke-width="1.2"/>'
        )
        top = y + h / 2 - (len(lines) - 1) * 8.5 + 4.5
        for i, line in enumerate(lines):
            self.text(x + w / 2, top + 17 * i, line, anchor="middle", bold=bold and i == 0)

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False, mono: bool = False,
        colour: str = INK,
    ) -> None:  # fmt: skip
        more = ' font-weight="600"' if bold else ""
        more += ' font-family="ui-monospace, monospace" font-size="12"' if mono else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}" xml:space="preserve"{more}>'
            f"{escape(words)}</text>"
        )

    def arrow(self, *points: tuple[float, float], colour: str = INK, dashed: bool = False, tip: bool = True) -> None:
        path = " ".join(f"{x},{y}" for x, y in points)
        more = ' stroke-dasharray="5 4"' if dashed else ""
        more += ' marker-end="url(#tip)"' if tip else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{more}/>')

    def save(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


def planes() -> Picture:
    p = Picture(720, 300, "Control plane and data plane meet in the engine")
    p.text(20, 24, "control plane", bold=True)
    p.text(430, 24, "data plane", bold=True)
    p.box(20, 40, 250, 44, "Mobility Header octets", fill=SOFT)
    p.box(20, 110, 250, 44, "wire: octets to values")
    p.box(20, 180, 250, 60, "mobility: binding cache, roles", "begin, change, commit or abort")
    p.box(430, 40, 270, 44, "packet octets", fill=SOFT)
    p.box(430, 110, 270, 44, "packet: octets to keys")
    p.box(430, 180, 270, 60, "fib and rules: keys to decisions", "readers never wait")
    for x in (145, 565):
        p.arrow((x, 84), (x, 110))
        p.arrow((x, 154), (x, 180))
    p.arrow((270, 210), (430, 210))
    p.text(350, 200, "publish one node", anchor="middle")
    p.arrow((565, 240), (565, 266))
    p.text(565, 286, "action, FID, BID, care-of addresses, reason", anchor="middle")
    p.text(145, 266, "acknowledgement, only after the commit", anchor="middle")
    return p


def forest() -> Picture:
    p = Picture(720, 390, "Five rules in a forest of two trees")
    rows = [
        ("rule", "source", "destination", "port"),
        ("0", "10.0.0.0/8", "any", "any"),
        ("1", "10.0.0.0/8", "192.0.2.1", "80"),
        ("2", "11.0.0.0/8", "any", "any"),
        ("3", "any", "192.0.2.2", "443"),
        ("4", "10.0.0.0/7", "any", "any"),
    ]
    for i, row in enumerate(rows):
        for x, cell in zip((20, 65, 165, 270), row, strict=True):
            p.text(x, 28 + 22 * i, cell, bold=i == 0, mono=i > 0)
    p.text(20, 180, "1 and 3 fix a long destination: a tree of their own.", colour=ACCENT)
    p.text(20, 200, "0, 2 and 4 fix the first bits of the source: the other tree.", colour=ACCENT)
    p.box(430, 20, 270, 40, "tree “long destination”", "leaf {1, 3}", fill=GOOD)
    p.box(430, 110, 270, 44, "tree “the rest”", "node: bit 56 of word 0", fill=SOFT)
    p.box(430, 200, 120, 44, "slot 0", "leaf {0, 4}", fill=GOOD)
    p.box(580, 200, 120, 44, "slot 1", "leaf {2, 4}", fill=GOOD)
    p.arrow((500, 154), (490, 200))
    p.arrow((630, 154), (640, 200))
    p.text(466, 182, "0", bold=True)
    p.text(650, 182, "1", bold=True)
    p.text(20, 262, "The packet 11.1.1.1 to 192.0.2.9:", bold=True)
    p.box(20, 280, 200, 60, "long destination: no", "192.0.2.9 is in no slot")
    p.box(260, 280, 200, 60, "the rest: bit 56 of", "11.1.1.1 is 1, slot 1")
    p.box(500, 280, 200, 60, "compare 2: it matches", "4 comes later: not looked at", fill=GOOD)
    p.arrow((220, 310), (260, 310))
    p.arrow((460, 310), (500, 310))
    p.text(
        20,
        372,
        "A rule that leaves bit 56 open is found on both sides; so a node looks at bits that most of its rules fix.",
    )
    return p


def vector() -> Picture:
    p = Picture(720, 300, "A leaf that no node divides: a row of bits for each interval of a field")
    p.text(20, 26, "five rules: two ports each", bold=True)
    for i, (rule, first, second) in enumerate(
        [("0", "10-19", "5"), ("1", "10-29", "6"), ("2", "20-29", "5"), ("3", "any", "7"), ("4", "15-25", "any")]
    ):
        p.text(20, 52 + 22 * i, f"rule {rule}", mono=True)
        p.text(85, 52 + 22 * i, f"{first:8}{second}", mono=True)
    p.text(270, 26, "rows for the first port", bold=True)
    p.text(270, 48, "begins at   rules 0 1 2 3 4", mono=True)
    for i, (first, bits) in enumerate(
        [
            ("0", "00010"),
            ("10", "11010"),
            ("15", "11011"),
            ("20", "01111"),
            ("26", "01110"),
            ("30", "00010"),
            ("lacks it", "00010"),
        ]
    ):
        y = 60 + 24 * i
        p.text(330, y + 15, first, anchor="end", mono=True)
        for j, bit in enumerate(bits):
            fill = ACCENT if first == "15" and bit == "1" else SOFT if bit == "1" else PAPER
            p.box(392 + 22 * j, y, 20, 20, bit, fill=fill if first != "15" or bit == "0" else "#f1c9bd")
    p.text(530, 26, "key (16, 7)", bold=True)
    p.text(530, 62, "first port   11011", mono=True)
    p.text(530, 86, "second port  00011", mono=True)
    p.text(530, 110, "both         00011", mono=True, colour=ACCENT)
    p.text(530, 140, "Rule 3 is compared")
    p.text(530, 158, "first, and matches.")
    p.text(20, 266, "Rows may claim too much where intervals were merged to save memory, but never too little,")
    p.text(20, 286, "and every rule that is left over is compared: so answers stay right.")
    return p


def table() -> Picture:
    p = Picture(720, 330, "The forwarding table: from an address to a node's record")
    p.box(20, 40, 150, 44, "home index", "2001:db8:1::1", fill=SOFT)
    p.box(20, 130, 150, 44, "prefix index", "2001:db8:100::/56", fill=SOFT)
    p.box(230, 84, 110, 46, "anchor", "one reference")
    p.arrow((170, 62), (200, 62), (200, 100), (230, 100))
    p.arrow((170, 152), (200, 152), (200, 116), (230, 116))
    p.arrow((340, 107), (400, 107))
    p.text(540, 26, "record: written once, never changed", anchor="middle", bold=True)
    for y, h, words, fill in (
        (40, 30, "header: home address, default target", PAPER),
        (70, 48, "signatures: three picked octets of a flow", "#f1c9bd"),
        (118, 30, "targets: BID 1, BID 2", PAPER),
        (148, 48, "bodies: the flows' conditions", PAPER),
        (196, 30, "lists of n-cast; prefixes", PAPER),
    ):
        p.box(400, y, 300, h, words, fill=fill)
    p.text(20, 236, "A look-up", bold=True)
    p.text(20, 258, "hash, bucket, record; all signatures at once;")
    p.text(20, 276, "the few candidates' bodies, in order; targets.")
    p.text(400, 258, "A change", bold=True)
    p.text(400, 280, "a new record beside the old one, then one store of its")
    p.text(400, 298, "reference: the node has changed for all its addresses.")
    p.text(400, 316, "The old record is freed when every reader has left it.")
    return p


def turn() -> Picture:
    p = Picture(720, 205, "A reader checks whether updates came while it was busy")
    p.arrow((90, 60), (700, 60))
    p.text(20, 65, "updates", bold=True)
    p.text(20, 125, "reader", bold=True)
    for x, w, words in ((180, 110, "insert a"), (430, 110, "remove b")):
        p.box(x, 45, w, 30, words, fill="#f1c9bd")
    for x, number in ((130, "6"), (235, "7"), (360, "8"), (485, "9"), (620, "10")):
        p.text(x, 36, f"turn {number}", anchor="middle")
    p.box(140, 105, 320, 34, "one block of 256 keys", fill=GOOD)
    p.text(140, 160, "was 6", anchor="middle")
    p.text(460, 160, "is 9", anchor="middle")
    p.text(
        20,
        192,
        "Keys inside a or b are looked up again; all others have the same answer in every state of the interval.",
    )
    return p


PICTURES = {"planes": planes, "forest": forest, "vector": vector, "table": table, "turn": turn}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (HERE / f"{name}.svg").write_text(draw().save(), encoding="utf-8")
