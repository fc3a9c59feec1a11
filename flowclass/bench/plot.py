"""Curves over rule-set size, both axes logarithmic: SVG written by hand, or PNG where matplotlib is installed."""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from flowclass.errors import FlowclassError

__all__ = ["check_plot", "render", "svg"]

Curve = Sequence[tuple[float, float]]

# colours that the colour-blind tell apart (Okabe and Ito, 2008)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
# the plot area, in pixels; the legend stands to its right
_LEFT, _RIGHT, _TOP, _HEIGHT = 70, 650, 40, 410


def _text(x: float, y: float, text: str, *, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _number(value: float) -> str:
    for limit, divisor, unit in ((1e6, 1e6, "M"), (1e3, 1e3, "k")):
        if value >= limit:
            return f"{value / divisor:g}{unit}"
    return f"{value:g}"


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten; the powers alone where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [t for t in ticks if low * 0.999 <= t <= high * 1.001]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The axes: what part of the plane is shown, and how high the picture is."""

    x: tuple[float, float]
    y: tuple[float, float]
    bottom: float

    @classmethod
    def around(cls, curves: Mapping[str, Curve]) -> _Frame:
        points = [p for curve in curves.values() for p in curve if p[0] > 0 and p[1] > 0]
        if not points:
            raise FlowclassError("nothing to plot")
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        x = (min(xs), max(xs)) if min(xs) < max(xs) else (xs[0] / 2, xs[0] * 2)
        return cls(x, (min(ys) / 1.3, max(ys) * 1.3), max(_HEIGHT, _TOP + 18 * len(curves)))

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0])
        up = math.log(y / self.y[0]) / math.log(self.y[1] / self.y[0])
        return _LEFT + across * (_RIGHT - _LEFT), self.bottom - up * (self.bottom - _TOP)

    def grid(self) -> Iterator[str]:
        for tick in _decades(*self.x):
            x, _ = self.place(tick, self.y[0])
            yield f'<path d="M{x:.1f} {_TOP}V{self.bottom:.1f}" stroke="#e5e5e5"/>'
            yield _text(x, self.bottom + 18, _number(tick), anchor="middle")
        for tick in _decades(*self.y):
            _, y = self.place(self.x[0], tick)
            yield f'<path d="M{_LEFT} {y:.1f}H{_RIGHT}" stroke="#e5e5e5"/>'
            yield _text(_LEFT - 8, y + 4, _number(tick), anchor="end")

    def curve(self, i: int, name: str, curve: Curve) -> Iterator[str]:
        stroke = f'stroke="{_COLOURS[i % len(_COLOURS)]}" stroke-width="2"'
        if i >= len(_COLOURS):
            stroke += ' stroke-dasharray="6 4"'
        spots = [self.place(x, y) for x, y in sorted(curve) if x > 0 and y > 0]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        yield f'<polyline points="{line}" fill="none" {stroke}/>'
        for x, y in spots:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[i % len(_COLOURS)]}"/>'
        row = _TOP + 10 + 18 * i
        yield f'<path d="M{_RIGHT + 14} {row - 4}h22" {stroke}/>'
        yield _text(_RIGHT + 42, row, name)


def svg(curves: Mapping[str, Curve], *, title: str, x_label: str, y_label: str) -> str:
    """An SVG picture of named curves, (x, y) both above 0. FlowclassError when there is no point to draw."""
    frame = _Frame.around(curves)
    width, height = _RIGHT + 60 + 7 * max(map(len, curves)), round(frame.bottom) + 50
    middle = (_TOP + frame.bottom) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(_LEFT, 22, title, extra=' font-size="15"'),
        _text((_LEFT + _RIGHT) / 2, height - 12, x_label, anchor="middle"),
        _text(18, middle, y_label, anchor="middle", extra=f' transform="rotate(-90 18 {middle:.1f})"'),
        *frame.grid(),
    ]
    for i, (name, curve) in enumerate(curves.items()):
        parts.extend(frame.curve(i, name, curve))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _png(curves: Mapping[str, Curve], title: str, x_label: str, y_label: str) -> bytes:
    try:
        matplotlib = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise FlowclassError(
            "a PNG plot needs matplotlib (pip install 'flowclass[plot]'); .svg needs nothing"
        ) from None
    figure = matplotlib.Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        xs, ys = zip(*sorted(curve), strict=True)
        axes.plot(xs, ys, "o-", label=name, color=_COLOURS[i % len(_COLOURS)])
    axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
    axes.grid(True, color="#e5e5e5")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()


def check_plot(path: str) -> None:
    """FlowclassError, before anything is measured, for a picture that could not be made."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".svg", ".png"):
        raise FlowclassError(f"{path}: a plot's name ends in .svg or .png")
    if ending == ".png" and importlib.util.find_spec("matplotlib") is None:
        _png({}, "", "", "")


def render(path: str, curves: Mapping[str, Curve], *, title: str, x_label: str, y_label: str) -> bytes:
    """The picture in the format that the path's ending names."""
    if path.lower().endswith(".png"):
        return _png(curves, title, x_label, y_label)
    return svg(curves, title=title, x_label=x_label, y_label=y_label).encode()
