"""``flowclass decode``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from flowclass.wire.numbers import MOBILITY_HEADER

from . import DAMAGED, DONE, INTERRUPTED
from ._console import counted, warn, warn_places
from ._inputs import (
    InnerCommand,
    Part,
    esp_option,
    inner_option,
    memory_option,
    profile_of,
    profile_options,
    selection_options,
)

if TYPE_CHECKING:
    from flowclass.traces.reader import Trace
    from flowclass.traces.selection import Selection
    from flowclass.wire import Profile


@click.command("decode", cls=InnerCommand, short_help="Show the Mobility Header messages of a capture file.")
@click.argument("trace", type=click.Path(), metavar="TRACE")
@profile_options
@esp_option
@inner_option
@memory_option
@selection_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with one message on each line.")
def command(
    trace: str,
    profile: str | None,
    option_type: int | None,
    esp_null: bool,
    inner: int,
    memory: int,
    part: Part,
    as_json: bool,
) -> int:
    """Shows the Mobility Header messages of a capture file with all their options, one per frame.

    Messages in fragments, in ESP with NULL encryption and in UDP port 4191 (RFC 5555) are shown too, at the frame that
    completed them; those in tunnels with --inner. What was probably a message and could not be read is counted.
    A message that can't be decoded is shown with the reason and the place, and so is an option that breaks a rule;
    exit status 1 says that there was one, or that the capture was damaged.
    """
    from flowclass.traces.interruption import interruptible
    from flowclass.traces.reader import Trace

    chosen = profile_of(profile, option_type)
    selection = part.selection(decides=False)
    with interruptible() as interruption, Trace(trace, memory=memory, interruption=interruption) as capture:
        unread: dict[str, int] = {}
        found = messages(capture, chosen, selection, inner=inner, esp_null=esp_null, unread=unread)
        faults = _Faults(capture.name)
        if as_json:
            _print_json(chosen, found, capture, faults, unread)
        else:
            _print_text(found, capture, faults)
    faults.warn()
    for reason, count in sorted(unread.items()):
        warn(f"{capture.name}: {counted(count, 'packet')} with signalling that could not be read: {reason}")
    warn_places(capture.name, capture.damages)
    if interruption.requested:
        warn("interrupted: the messages are those of what was read until then")
        return INTERRUPTED
    return DAMAGED if faults.count or capture.damages else DONE


class _Faults:
    """Messages that break a rule: the first are kept, to be reported at the end, and the others are counted."""

    MOST = 1000

    def __init__(self, file: str) -> None:
        self.count = 0
        self._file = file
        self._kept: list[str] = []

    def add(self, entry: dict[str, Any]) -> None:
        """Adds the faults of one message."""
        for fault in [entry] if "error" in entry else entry["faults"]:
            self.count += 1
            if self.count <= self.MOST:
                of = "message" if entry["through"] else "frame"
                place = f"frame {entry['frame']}, octet {fault['offset']} of the {of}"
                self._kept.append(f"{self._file}: {place}: {fault['error']}")

    def warn(self) -> None:
        """Prints a line for each to standard error."""
        for line in self._kept:
            warn(line)
        if self.count > self.MOST:
            warn(f"{self._file}: and {counted(self.count - self.MOST, 'more fault')}")


def messages(
    trace: Trace,
    profile: Profile,
    selection: Selection | None = None,
    *,
    inner: int = 0,
    esp_null: bool = True,
    unread: dict[str, int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Every frame with a Mobility Header message, or that completes one: frame, time_ns, and the packet or an error.

    ``through`` says what the message was taken out of: "" or, for example, "fragments, ESP". ``unread`` counts, by
    reason, what could not be read.
    """
    from flowclass.engine.packets import SIGNALLING
    from flowclass.traces.reader import NO_TIME
    from flowclass.traces.run import new_fragments
    from flowclass.traces.signalling import Signalling, may_be_signalling

    signalling = Signalling({} if unread is None else unread, esp_null=esp_null, every=True)
    keys = trace.keys(fragments=new_fragments(), inner=inner, keep=SIGNALLING, keep_also=may_be_signalling)
    for batch in keys:
        chosen = None if selection is None else set(selection.choose_keys(trace.name, batch).tolist())
        for i in sorted(batch.kept):
            time, info, start = int(batch.times[i]), batch.infos[i], int(batch.infos["ip_offset"][i])
            if batch.keys["protocol"][i] == MOBILITY_HEADER and info["fragment"] == 0:
                octets, through = batch.kept[i][start:], ""
            elif (found := signalling.find(batch.kept[i], batch.keys[i], info, time)) is not None:
                (octets, through), start = found, 0
            else:
                continue
            if chosen is None or i in chosen:
                place = {"frame": batch.first_frame + i, "time_ns": None if time == NO_TIME else time}
                yield place | {"through": through} | _decoded(octets, start, profile)
        if selection is not None and selection.done:
            break
    signalling.finish()


def _decoded(octets: bytes, start: int, profile: Profile) -> dict[str, Any]:
    """The packet in words, or its error. Offsets count from ``start`` octets before it."""
    from flowclass.errors import DecodeError
    from flowclass.traces.mobility_text import faults_of, packet_dict
    from flowclass.wire import decode_packet

    try:
        packet = packet_dict(decode_packet(octets, profile), profile)
    except DecodeError as error:
        # the offset counts from the start of the frame, as in a hex dump or Wireshark
        return {"error": error.reason, "offset": start + error.offset}
    faults = [{"error": reason, "offset": start + offset} for reason, offset in faults_of(packet)]
    return packet | {"faults": faults}


def _print_text(found: Iterator[dict[str, Any]], trace: Trace, faults: _Faults) -> None:
    from flowclass.traces.mobility_text import message_lines

    none = True
    for entry in found:
        none = False
        faults.add(entry)
        place = f"frame {entry['frame']}"
        if entry["through"]:
            place += f" (out of {entry['through']})"
        if "error" in entry:
            click.echo(f"{place}: not decodable: {entry['error']} (octet {entry['offset']})")
            continue
        lines = message_lines(entry)
        click.echo(f"{place}: {lines[0]}")
        for line in lines[1:]:
            click.echo(f"    {line}")
    if none:
        click.echo(f"no Mobility Header in {trace.frames} frames")


def _print_json(
    profile: Profile, found: Iterator[dict[str, Any]], trace: Trace, faults: _Faults, unread: dict[str, int]
) -> None:
    """Prints the messages as JSON one by one, so that memory stays constant."""
    click.echo(f'{{"file": {json.dumps(trace.name)}, "profile": {json.dumps(profile.name)}, "messages": [', nl=False)
    between = "\n"
    for entry in found:
        faults.add(entry)
        click.echo(between + json.dumps(entry), nl=False)
        between = ",\n"
    damage = [{"offset": d.offset, "frame": d.frame, "skipped": d.skipped, "what": d.what} for d in trace.damages]
    rest = {"unread": unread, "frames": trace.frames, "damage": damage, "more_damage": trace.damages.more}
    click.echo(f"\n], {json.dumps(rest)[1:]}")
