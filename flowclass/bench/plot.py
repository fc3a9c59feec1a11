"""Draws curves over size with logarithmic axes, each point with its spread, as SVG, PNG or PDF.

The drawing is a list of lines, dots and words. SVG is written here without other packages. For PNG and PDF,
the same lines, dots and words are passed to matplotlib (``pip install 'flowclass[plot]'``).
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final
from xml.sax.saxutils import escape

from flowclass.errors import FlowclassError
from flowclass.ticks import logarithmic, short

__all__ = ["check_plot", "render", "svg"]

Curve = Sequence[tuple[float, ...]]
"""Points (x, y), or (x, y, lowest, highest) of several measurements; all above 0."""

ENDINGS: Final = (".svg", ".png", ".pdf")
# colours that the colour-blind tell apart (Okabe and Ito, 2008)
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
# and patterns, for whoever sees no colours: dashes of a line, and the shape of its dots
_PATTERNS: Final = (("", "circle"), ("8 4", "square"), ("2 3", "triangle"), ("8 3 2 3", "diamond"))
_GRID: Final = "#e5e5e5"
# the plot area, in pixels; the legend stands below it. Narrow, so that words can be read also where a picture is shrunk
_WIDTH, _LEFT, _RIGHT, _HEIGHT = 600, 76, 582, 330
_SIZE: Final = 14  # of letters
_NEAREST: Final = 38  # labels of sizes, in pixels
_DPI: Final = 150


@dataclass(frozen=True, slots=True)
class _Line:
    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0
    dashes: str = ""
    curve: bool = False


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    colour: str
    shape: str = "circle"

    def corners(self) -> list[tuple[float, float]]:
        """Of a shape that isn't a circle."""
        moves = {
            "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
            "triangle": ((0, -4.5), (4.5, 3.5), (-4.5, 3.5)),
            "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        }
        return [(self.x + dx, self.y + dy) for dx, dy in moves[self.shape]]


@dataclass(frozen=True, slots=True)
class _Words:
    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = _SIZE
    upright: bool = False


@dataclass(slots=True)
class _Drawing:
    width: float = 0.0
    height: float = 0.0
    parts: list[_Line | _Dot | _Words] = field(default_factory=list)


def _letters(size: int) -> int:
    """About how many letters of a size fit into a line."""
    return int((_WIDTH - 24) / (0.56 * size))


def _styles(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """The colour, the dashes and the shape of dots of each curve.

    Of a name "who, what" the colour is who's and the pattern what's, so that they look alike in all pictures.
    """
    whos = list(dict.fromkeys(name.partition(", ")[0] for name in names))
    whats = list(dict.fromkeys(name.partition(", ")[2] for name in names))
    if len(whos) > len(_COLOURS) or len(whats) > len(_PATTERNS):
        places = [(i % len(_COLOURS), i // len(_COLOURS) % len(_PATTERNS)) for i in range(len(names))]
    else:
        places = [(whos.index(who), whats.index(what)) for who, _, what in (name.partition(", ") for name in names)]
    return [(_COLOURS[colour], *_PATTERNS[pattern]) for colour, pattern in places]


def _sizes(xs: Sequence[float], across: Callable[[float], float], x0: float, x1: float) -> list[float]:
    """Where the ticks of the axis of sizes are: at the sizes, if their labels have room, or at round numbers."""
    sizes = sorted(set(xs))
    apart = min((across(b) - across(a) for a, b in pairwise(sizes)), default=0.0)
    return sizes if apart >= _NEAREST else logarithmic(x0, x1)


def _draw(curves: Mapping[str, Curve], title: str, subtitle: str, x_label: str, y_label: str) -> _Drawing:
    kept = {name: sorted(p for p in curve if p[0] > 0 and min(p[1:]) > 0) for name, curve in curves.items()}
    kept = {name: curve for name, curve in kept.items() if curve}
    points = [p for curve in kept.values() for p in curve]
    if not points:
        raise FlowclassError("nothing to plot")
    xs, ys = [p[0] for p in points], [y for p in points for y in p[1:]]
    widen = max(1.0, math.sqrt(2 * min(xs) / max(xs)))  # an axis spans a factor of two at least
    x0, x1 = min(xs) / widen, max(xs) * widen
    y0, y1 = min(ys) / 1.3, max(ys) * 1.3
    heads = [(16, line) for line in textwrap.wrap(title, _letters(16))]
    heads += [(12, line) for line in textwrap.wrap(subtitle, _letters(12))]
    top = 20 * len(heads) + 20
    bottom = top + _HEIGHT
    columns = max(1, int((_WIDTH - 20) / (50 + 7.8 * max(map(len, kept)))))
    drawing = _Drawing(_WIDTH, bottom + 62 + 20 * -(-len(kept) // columns))
    add = drawing.parts.append

    def across(x: float) -> float:
        return _LEFT + math.log(x / x0) / math.log(x1 / x0) * (_RIGHT - _LEFT)

    def up(y: float) -> float:
        return bottom - math.log(y / y0) / math.log(y1 / y0) * _HEIGHT

    for i, (size, line) in enumerate(heads):
        add(_Words(12, 22 + 20 * i, line, size=size))
    add(_Words((_LEFT + _RIGHT) / 2, bottom + 40, x_label, "middle"))
    add(_Words(20, (top + bottom) / 2, y_label, "middle", upright=True))
    for tick in _sizes(xs, across, x0, x1):
        add(_Line([(across(tick), top), (across(tick), bottom)], _GRID))
        add(_Words(across(tick), bottom + 18, short(float(f"{tick:.3g}")), "middle"))
    for tick in logarithmic(y0, y1):
        add(_Line([(_LEFT, up(tick)), (_RIGHT, up(tick))], _GRID))
        add(_Words(_LEFT - 8, up(tick) + 4, short(tick), "end"))
    rows = -(-len(kept) // columns)
    for i, ((name, curve), (colour, dashes, shape)) in enumerate(zip(kept.items(), _styles(list(kept)), strict=True)):
        add(_Line([(across(p[0]), up(p[1])) for p in curve], colour, 2, dashes, curve=True))
        for x, y, *spread in curve:
            if spread and max(spread) > min(spread):
                ends = [(across(x), up(min(spread))), (across(x), up(max(spread)))]
                add(_Line(ends, colour, 1.2))
                for _, end in ends:
                    add(_Line([(across(x) - 4, end), (across(x) + 4, end)], colour, 1.2))
            add(_Dot(across(x), up(y), colour, shape))
        left, row = 12 + (_WIDTH - 20) / columns * (i // rows), bottom + 68 + 20 * (i % rows)
        add(_Line([(left, row - 4), (left + 36, row - 4)], colour, 2, dashes))
        add(_Dot(left + 18, row - 4, colour, shape))
        add(_Words(left + 44, row, name))
    return drawing


def _as_svg(drawing: _Drawing) -> str:
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
        f' width="{drawing.width:g}" height="{drawing.height:g}" font-family="sans-serif" font-size="{_SIZE}">',
        f'<rect width="{drawing.width:g}" height="{drawing.height:g}" fill="white"/>',
    ]
    for part in drawing.parts:
        if isinstance(part, _Dot):
            if part.shape == "circle":
                out.append(f'<circle cx="{part.x:.1f}" cy="{part.y:.1f}" r="3.5" fill="{part.colour}"/>')
            else:
                spots = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.corners())
                out.append(f'<polygon points="{spots}" fill="{part.colour}"/>')
        elif isinstance(part, _Words):
            more = f' transform="rotate(-90 {part.x:.1f} {part.y:.1f})"' if part.upright else ""
            more += f' font-size="{part.size}"' if part.size != _SIZE else ""
            place = f'x="{part.x:.1f}" y="{part.y:.1f}" text-anchor="{part.anchor}"'
            out.append(f"<text {place}{more}>{escape(part.text)}</text>")
        else:
            stroke = f'stroke="{part.colour}" stroke-width="{part.width:g}"'
            stroke += f' stroke-dasharray="{part.dashes}"' if part.dashes else ""
            if part.curve:
                spots = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.points)
                out.append(f'<polyline points="{spots}" fill="none" {stroke}/>')
            else:
                path = "L".join(f"{x:.1f} {y:.1f}" for x, y in part.points)
                out.append(f'<path d="M{path}" fill="none" {stroke}/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _by_matplotlib(drawing: _Drawing, ending: str) -> bytes:
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
        lines: Any = importlib.import_module("matplotlib.lines")
    except ImportError:
        raise FlowclassError(
            f"a {ending} plot needs matplotlib (pip install 'flowclass[plot]'); .svg needs nothing"
        ) from None
    inch = 96.0  # the drawing's pixels, as browsers show them
    figure = figures.Figure(figsize=(drawing.width / inch, drawing.height / inch))
    point = 72 / inch
    anchors = {"start": "left", "middle": "center", "end": "right"}

    def place(x: float, y: float) -> tuple[float, float]:
        return x / drawing.width, 1 - y / drawing.height

    for part in drawing.parts:
        if isinstance(part, _Words):
            figure.text(
                *place(part.x, part.y),
                part.text,
                ha=anchors[part.anchor],
                va="baseline",
                rotation=90 if part.upright else 0,
                rotation_mode="anchor",
                fontsize=part.size * point,
                parse_math=False,
            )
            continue
        spots = [(part.x, part.y)] if isinstance(part, _Dot) else part.points
        xs, ys = zip(*(place(*spot) for spot in spots), strict=True)
        style: dict[str, Any] = {"color": part.colour}
        if isinstance(part, _Dot):
            marker = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D"}[part.shape]
            style |= {"marker": marker, "markersize": 7 * point, "linestyle": "none"}
        else:
            dashes = tuple(float(length) / part.width for length in part.dashes.split())
            style |= {"linewidth": part.width * point, "linestyle": (0, dashes) if dashes else "-"}
        figure.add_artist(lines.Line2D(xs, ys, **style))
    image = io.BytesIO()
    figure.savefig(image, format=ending[1:], dpi=_DPI)
    return image.getvalue()


def svg(curves: Mapping[str, Curve], *, title: str, x_label: str, y_label: str, subtitle: str = "") -> str:
    """An SVG picture of named curves. Raises FlowclassError if there is no point to draw."""
    return _as_svg(_draw(curves, title, subtitle, x_label, y_label))


def check_plot(path: str) -> None:
    """Raises FlowclassError for a picture that could not be made; to be called before anything is measured."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        raise FlowclassError(f"{path}: a plot's name ends in .svg, .png or .pdf")
    if ending != ".svg" and importlib.util.find_spec("matplotlib") is None:
        _by_matplotlib(_Drawing(), ending)


def render(
    path: str, curves: Mapping[str, Curve], *, title: str, x_label: str, y_label: str, subtitle: str = ""
) -> bytes:
    """The picture in the format that the path's ending names."""
    drawing = _draw(curves, title, subtitle, x_label, y_label)
    ending = os.path.splitext(path)[1].lower()
    return _as_svg(drawing).encode() if ending == ".svg" else _by_matplotlib(drawing, ending)
