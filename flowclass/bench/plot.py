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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
_GRID: Final = "#e5e5e5"
# the plot area, in pixels; the legend stands to its right
_LEFT, _RIGHT, _TOP, _HEIGHT = 70, 650, 58, 428
_DPI: Final = 150


@dataclass(frozen=True, slots=True)
class _Line:
    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0
    dashed: bool = False
    curve: bool = False


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    colour: str


@dataclass(frozen=True, slots=True)
class _Words:
    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = 12
    upright: bool = False


@dataclass(slots=True)
class _Drawing:
    width: float = 0.0
    height: float = 0.0
    parts: list[_Line | _Dot | _Words] = field(default_factory=list)


def _draw(curves: Mapping[str, Curve], title: str, subtitle: str, x_label: str, y_label: str) -> _Drawing:
    kept = {name: sorted(p for p in curve if p[0] > 0 and min(p[1:]) > 0) for name, curve in curves.items()}
    points = [p for curve in kept.values() for p in curve]
    if not points:
        raise FlowclassError("nothing to plot")
    xs, ys = [p[0] for p in points], [y for p in points for y in p[1:]]
    widen = max(1.0, math.sqrt(2 * min(xs) / max(xs)))  # an axis spans a factor of two at least
    x0, x1 = min(xs) / widen, max(xs) * widen
    y0, y1 = min(ys) / 1.3, max(ys) * 1.3
    bottom = max(_HEIGHT, _TOP + 18 * len(curves))
    drawing = _Drawing(_RIGHT + 60 + 7 * max(map(len, curves)), bottom + 50)
    add = drawing.parts.append

    def across(x: float) -> float:
        return _LEFT + math.log(x / x0) / math.log(x1 / x0) * (_RIGHT - _LEFT)

    def up(y: float) -> float:
        return bottom - math.log(y / y0) / math.log(y1 / y0) * (bottom - _TOP)

    add(_Words(_LEFT, 22, title, size=15))
    add(_Words(_LEFT, 42, subtitle, size=11))
    add(_Words((_LEFT + _RIGHT) / 2, drawing.height - 12, x_label, "middle"))
    add(_Words(18, (_TOP + bottom) / 2, y_label, "middle", upright=True))
    for tick in logarithmic(x0, x1):
        add(_Line([(across(tick), _TOP), (across(tick), bottom)], _GRID))
        add(_Words(across(tick), bottom + 18, short(tick), "middle"))
    for tick in logarithmic(y0, y1):
        add(_Line([(_LEFT, up(tick)), (_RIGHT, up(tick))], _GRID))
        add(_Words(_LEFT - 8, up(tick) + 4, short(tick), "end"))
    for i, (name, curve) in enumerate(kept.items()):
        colour, dashed = _COLOURS[i % len(_COLOURS)], i >= len(_COLOURS)
        add(_Line([(across(p[0]), up(p[1])) for p in curve], colour, 2, dashed, curve=True))
        for x, y, *spread in curve:
            if spread and max(spread) > min(spread):
                ends = [(across(x), up(min(spread))), (across(x), up(max(spread)))]
                add(_Line(ends, colour, 1.2))
                for _, end in ends:
                    add(_Line([(across(x) - 4, end), (across(x) + 4, end)], colour, 1.2))
            add(_Dot(across(x), up(y), colour))
        row = _TOP + 10 + 18 * i
        add(_Line([(_RIGHT + 14, row - 4), (_RIGHT + 36, row - 4)], colour, 2, dashed))
        add(_Words(_RIGHT + 42, row, name))
    return drawing


def _as_svg(drawing: _Drawing) -> str:
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
        f' width="{drawing.width:g}" height="{drawing.height:g}" font-family="sans-serif" font-size="12">',
        f'<rect width="{drawing.width:g}" height="{drawing.height:g}" fill="white"/>',
    ]
    for part in drawing.parts:
        if isinstance(part, _Dot):
            out.append(f'<circle cx="{part.x:.1f}" cy="{part.y:.1f}" r="3" fill="{part.colour}"/>')
        elif isinstance(part, _Words):
            more = f' transform="rotate(-90 {part.x:.1f} {part.y:.1f})"' if part.upright else ""
            more += f' font-size="{part.size}"' if part.size != 12 else ""
            place = f'x="{part.x:.1f}" y="{part.y:.1f}" text-anchor="{part.anchor}"'
            out.append(f"<text {place}{more}>{escape(part.text)}</text>")
        else:
            stroke = f'stroke="{part.colour}" stroke-width="{part.width:g}"'
            stroke += ' stroke-dasharray="6 4"' if part.dashed else ""
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
            style |= {"marker": "o", "markersize": 6 * point, "linestyle": "none"}
        else:
            style |= {"linewidth": part.width * point, "linestyle": (0, (4, 3)) if part.dashed else "-"}
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
