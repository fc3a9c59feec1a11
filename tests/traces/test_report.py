"""flowclass report: one page, whole by itself, that says what the summary says; and time in constant memory."""

from __future__ import annotations

import json
import random
import re
import subprocess
from html.parser import HTMLParser
from ipaddress import IPv6Address
from pathlib import Path

import numpy as np
import pytest

from flowclass import __version__
from flowclass.cli import main
from flowclass.generate.bindings import bindings_toml, random_nodes
from flowclass.generate.captures import Frame, write_pcap
from flowclass.generate.mobility import START_NS, mobility_trace
from flowclass.traces.outcomes import Outcomes, Rows, RowValues
from flowclass.traces.reader import NO_TIME
from flowclass.traces.timeline import KINDS, Timeline
from flowclass.wire import (
    BindingIdentifier,
    BindingReference,
    BindingUpdate,
    FlowIdentification,
    MobilityPacket,
    TrafficSelector6,
    TrafficSelectorOption,
    UpdateFlag,
    encode_packet,
)

VOID = {"meta", "br", "rect", "path", "link", "img", "input"}


class Checker(HTMLParser):
    """Every element closed, nothing from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("link", "iframe", "img", "object")
        for name, value in attrs:
            assert name not in ("src", "href", "srcset"), (tag, value)
        # while a tag is handled, it has a text
        if tag not in VOID or (tag == "path" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]  # a tag is being read
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID or (self.open and self.open[-1] == tag):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def text_of(path: Path) -> str:
    checker = Checker()
    checker.feed(path.read_text())
    assert checker.open == []
    assert not re.search(r"https?://|@import|url\(", path.read_text())
    return " ".join(checker.texts)


@pytest.fixture
def section5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["demo", "--save", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path / "section5.pcapng"


def test_replay(section5: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(section5), "--replay", "-o", str(page)]) == 0
    text = text_of(page)
    assert "not accepted ▼" in page.read_text()
    for words in ("15", "binding updates, 2 accepted", "flow 1", "flow 2", "2001:db8:a::1", "None: each of 2 did."):
        assert words in text


def updates_of(path: Path, events: list[tuple[int, int, tuple[FlowIdentification, ...]]], end: int) -> None:
    """Writes a capture of binding updates: (second, sequence number, flow options). At second ``end`` all ends."""
    home, agent, care_of = map(IPv6Address, ("2001:db8:1::1", "2001:db8:1::ffff", "2001:db8:a::1"))
    flags = UpdateFlag.ACKNOWLEDGE | UpdateFlag.HOME_REGISTRATION
    frames = []
    for second, sequence, flows in events:
        options = () if second == end else (BindingIdentifier(1, care_of, priority=1), *flows)
        message = BindingUpdate(sequence=sequence, lifetime=0 if second == end else 900, flags=flags, options=options)
        packet = MobilityPacket(source=care_of, destination=agent, home_address=home, message=message)
        frames.append(Frame(START_NS + second * 10**9, encode_packet(packet)))
    with path.open("wb") as stream:
        write_pcap(stream, frames, linktype=101)


def test_every_update_is_drawn_and_flows_of_any_time_are_counted(tmp_path: Path) -> None:
    trace, page = tmp_path / "t.pcap", tmp_path / "page.html"
    made = FlowIdentification(
        fid=7,
        pri=3,
        suboptions=(BindingReference((1,)), TrafficSelectorOption(TrafficSelector6(source_port=(22, 22)))),
    )
    # every third sequence number is an old one, which is refused
    events = [(i, i % 3 and i + 1, (made,) if i == 1 else ()) for i in range(600)]
    updates_of(trace, events, end=2)
    assert main(["report", str(trace), "--replay", "-o", str(page)]) == 0
    text, found = text_of(page), page.read_text()
    data = json.loads(re.search(r"const data = (\{.*\});", found)[1])  # type: ignore[index]  # it is there
    assert [sum(each) for each in data["updates"]] == [401, 199]
    assert all(map(any, zip(*data["updates"], strict=True)))  # no span without updates
    assert "those no longer in force included" in text
    assert re.search(r"<td>flow 7</td><td class=n>3</td><td>1</td><td>gone</td>", found)


def test_how_a_page_was_made_stands_in_it(section5: Path, tmp_path: Path) -> None:
    page, bindings = tmp_path / "page.html", section5.with_suffix(".toml")
    assert main(["report", str(section5), "--bindings", str(bindings), "-o", str(page)]) == 0
    found = page.read_text()
    for words in (f"flowclass {__version__}", f"flowclass report {section5}", str(bindings), "not looked at"):
        assert words in found
    again = tmp_path / "again.html"
    assert main(["report", str(section5), "--bindings", str(bindings), "-o", str(again)]) == 0
    assert again.read_text() == found.replace("page.html", "again.html")  # no date, nothing by chance


def test_a_page_about_nothing_says_so(tmp_path: Path) -> None:
    trace, page = tmp_path / "t.pcap", tmp_path / "page.html"
    with trace.open("wb") as stream:
        write_pcap(stream, [])
    assert main(["report", str(trace), "--replay", "-o", str(page)]) == 0
    text = text_of(page)
    for words in ("There are no packets.", "no packet with a time", "No binding update was found.", "no flow bindings"):
        assert words in text


def test_numbers_do_not_stand_glued_to_addresses(tmp_path: Path) -> None:
    rng = random.Random(2)
    nodes = random_nodes(rng, 30, 12)
    bindings, trace, page = tmp_path / "b.toml", tmp_path / "t.pcap", tmp_path / "page.html"
    bindings.write_text(bindings_toml(nodes))
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes[:3], 2000)])
    assert main(["report", str(trace), "--bindings", str(bindings), "-o", str(page)]) == 0
    after = re.findall(r"</code>(.{8})", page.read_text())
    assert {text[:4] for text in after if text[:4] != "</td"} == {" <sp"}


def test_flows_that_never_matched(tmp_path: Path) -> None:
    rng = random.Random(2)
    nodes = random_nodes(rng, 30, 12)
    bindings, trace, page = tmp_path / "b.toml", tmp_path / '<odd> & "name".pcap', tmp_path / "page.html"
    bindings.write_text(bindings_toml(nodes))
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes[:3], 2000)])
    trace.write_bytes(trace.read_bytes()[:-3])
    assert main(["report", str(trace), "--bindings", str(bindings), "-o", str(page)]) == 1
    text = text_of(page)
    assert re.search(r"\d+ of 360\.", text)
    assert "Damaged places" in text
    assert str(trace) in text
    assert page.stat().st_size < 1_000_000
    # thin spaces in numbers: a line may break at one, unless told not to
    spaced = re.findall(r"<([a-z]+)([^>]*)>[^<]*\d\u2009\d", page.read_text())
    assert spaced
    assert all(re.search(r'class="?n\b', attributes) or tag in ("b", "p", "caption") for tag, attributes in spaced)


def test_malformed_and_the_time_axis(tmp_path: Path) -> None:
    """Malformed packets have a series and rows of their own; the axis begins with the first packet, ticks are round."""
    bindings, trace, page = tmp_path / "b.toml", tmp_path / "t.pcap", tmp_path / "page.html"
    bindings.write_text('[[node]]\nhome_address = "2001:db8:1::1"\n')
    day = 86_400 * 10**9
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(i * 37 * day, b"\x60" + bytes(9 + i % 2 * 40)) for i in range(400)], linktype=101)
    assert main(["report", str(trace), "--bindings", str(bindings), "-o", str(page)]) == 0
    text = text_of(page)
    assert "1969" not in page.read_text()
    assert "</span>malformed</li>" in page.read_text()
    assert "<td>malformed</td>" in page.read_text()
    assert "</span>not IP" not in page.read_text()
    assert "Packets by reason" in text
    years = re.findall(r'<div class="tick[^>]*><span>([^<]*)<', page.read_text())
    assert years == ["1970", "1980", "1990", "2000", "2010"]


def test_wrong_usage(section5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["-o", "x.txt", "--replay"], ["-o", str(tmp_path / "no/x.html"), "--replay"], ["-o", "x.html"]):
        assert main(["report", str(section5), *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.needs_tool("chromium")
def test_in_a_browser(section5: Path, tmp_path: Path) -> None:
    """Its script runs: the buttons that need it appear; and a picture of the page isn't empty."""
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    assert main(["report", str(section5), "--replay", "-o", str(page)]) == 0
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*browser, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    buttons = re.findall(r"<button[^>]*>", done.stdout)
    assert sum("data-what" in button for button in buttons) == 2
    assert not any("hidden" in button for button in buttons)
    # by the keyboard alone: the arrow keys say what a span holds, the second button shows octets
    keys = """<script>document.getElementById("timeline").focus();
for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"])
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
document.querySelector("button[data-what=octets]").click()</script>"""
    driven = tmp_path / "driven.html"
    driven.write_text(page.read_text() + keys)
    done = subprocess.run([*browser, "--dump-dom", driven.as_uri()], capture_output=True, text=True, timeout=120)
    readout = re.search(r'id="readout"[^>]*>([^<]*)', done.stdout)
    assert readout is not None
    assert re.search(r": unbound \d+ octets$", readout[1]), readout[1]
    assert re.findall(r'<button data-what="(\w*)" aria-pressed="true"', done.stdout) == ["octets"]
    shot = [*browser, f"--screenshot={picture}", "--window-size=1000,1400", page.as_uri()]
    subprocess.run(shot, capture_output=True, timeout=120, check=True)
    assert picture.stat().st_size > 20_000


@pytest.mark.needs_tool("chromium")
def test_tables_are_sorted_and_filtered_in_a_browser(tmp_path: Path) -> None:
    rng = random.Random(2)
    nodes = random_nodes(rng, 12, 4)
    bindings, trace, page = tmp_path / "b.toml", tmp_path / "t.pcap", tmp_path / "page.html"
    bindings.write_text(bindings_toml(nodes))
    with trace.open("wb") as stream:
        write_pcap(stream, [Frame(p.time_ns, p.frame) for p in mobility_trace(rng, nodes, 2000)])
    assert main(["report", str(trace), "--bindings", str(bindings), "-o", str(page)]) == 0
    keys = """<script>{
const table = document.getElementById("nodes"), tools = table.previousElementSibling;
const first = () => [...table.tBodies].map(body => body.rows[0].cells[0].textContent);
const log = [table.querySelectorAll("tr.folded").length > 0];
table.querySelector("th button").click();
log.push(first()[0].endsWith("::1"), table.querySelector("th").getAttribute("aria-sort"));
table.querySelector("th button").click();
log.push(first()[0].endsWith("::c"));
const input = tools.querySelector("input");
input.value = "::B"; input.dispatchEvent(new Event("input"));
log.push([...table.tBodies].filter(body => !body.hidden).length, tools.querySelector("span").textContent);
tools.querySelector("button").click();
log.push(table.querySelectorAll("tr.folded").length);
document.body.append(Object.assign(document.createElement("pre"), {id: "log", textContent: JSON.stringify(log)}));
}</script>"""
    page.write_text(page.read_text() + keys)
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*browser, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    log = re.search(r'<pre id="log">(.*?)</pre>', done.stdout)
    assert log is not None
    assert json.loads(log[1]) == [True, True, "ascending", True, 1, "1 of 12 nodes", 0]


FLOW, DEFAULT = RowValues("forward", "flow", "::1", 1, 1, ("::2",)), RowValues("forward", "default", "::1")


def rows(times: list[int], outcomes: list[RowValues]) -> Rows:
    table = Outcomes()
    ids = np.array([table.number(outcome) for outcome in outcomes], dtype=np.uint32)
    frames = np.arange(1, len(times) + 1, dtype=np.uint64)
    sizes = np.full(len(times), 10, dtype=np.uint32)
    return Rows("f", frames, np.array(times, dtype=np.int64), ids, table, sizes)


@pytest.mark.parametrize("seed", range(5))
def test_timeline_loses_nothing(seed: int) -> None:
    rng = random.Random(seed)
    timeline, every, told = Timeline(), [], []
    for _ in range(20):
        scale = 10 ** rng.randrange(3, 14)
        times = [START_NS + rng.randrange(-scale, scale) for _ in range(50)]
        outcomes = [rng.choice((FLOW, DEFAULT)) for _ in times]
        every += list(zip(times, outcomes, strict=True))
        timeline.add(rows(times, outcomes))
        timeline.add_update(times[0], accepted=outcomes[0] is FLOW)
        told.append((times[0], outcomes[0] is FLOW))
    start, width, counts, updates = timeline.spans(100)
    assert counts.shape[2] <= 100
    right = np.zeros((len(KINDS), counts.shape[2]), dtype=np.int64)
    for time, outcome in every:
        right[KINDS.index(outcome.reason), (time - start) // width] += 1
    assert np.array_equal(counts[0], right)
    assert np.array_equal(counts[1], 10 * right)
    marks = np.zeros((2, counts.shape[2]), dtype=np.int64)
    for time, accepted in told:
        marks[int(not accepted), (time - start) // width] += 1
    assert np.array_equal(updates, marks)


def test_one_time_that_is_far_off_does_not_hide_the_others() -> None:
    """Damage in a header made one packet five months younger: the picture is of the two minutes of all others."""
    times = [START_NS + i * 10**7 for i in range(12_000)]
    odd = START_NS + 13_000_000 * 10**9
    for place in (0, 1, 6000, 11_999):
        timeline = Timeline()
        mine = [*times[:place], odd, *times[place:]]
        for at in range(0, len(mine), 500):
            timeline.add(rows(mine[at : at + 500], [FLOW] * len(mine[at : at + 500])))
        start, width, counts, _ = timeline.spans(100)
        assert timeline.left_out == 1
        assert counts[0].sum() == 12_000
        assert START_NS - width < start <= START_NS
        assert counts.shape[2] > 50
    # but what is no exception is shown: a trace of two days with nothing in between
    timeline = Timeline()
    for start in (START_NS, START_NS + 86_400 * 10**9):
        for at in range(0, 12_000, 500):
            timeline.add(rows([start + (at + i) * 10**7 for i in range(500)], [FLOW] * 500))
    assert timeline.left_out == 0
    assert timeline.spans()[2][0].sum() == 24_000


def test_page_of_a_damaged_time(tmp_path: Path) -> None:
    trace, bindings, page = tmp_path / "t.pcap", tmp_path / "b.toml", tmp_path / "page.html"
    frames = [Frame(START_NS + i * 10**7, b"x" * 60) for i in range(12_000)]
    frames[7] = Frame(START_NS + 10**16, b"x" * 60)
    bindings.write_text("")
    with trace.open("wb") as stream:
        write_pcap(stream, frames)
    assert main(["report", str(trace), "--bindings", str(bindings), "-o", str(page)]) == 0
    text = text_of(page)
    for words in ("1 packet of a time far from all others left out.", "UTC, 2 min", "There were no flow bindings."):
        assert words in text


def test_timeline_without_times() -> None:
    timeline = Timeline()
    timeline.add(rows([NO_TIME, NO_TIME], [FLOW, FLOW]))
    assert timeline.spans()[2].shape[2] == 0
    timeline.add(rows([NO_TIME, 5], [FLOW, DEFAULT]))
    assert timeline.spans()[2].sum() == 11
