"""Curves over rule-set size, both axes logarithmic: SVG written by hand, or PNG where matplotlib is installed."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from xml.sax.saxutils import escape

from flowclass.errors import FlowclassError

__all__ = ["svg", "write_plot"]

Curve = Sequence[tuple[float, float]]

# colours that the colour-blind tell apart (Okabe and Ito, 2008)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 460, 70, 210, 40, 50


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


def svg(curves: Mapping[str, Curve], *, title: str, x_label: str, y_label: str) -> str:
    """An SVG picture of named curves, (x, y) both above 0. FlowclassError when there is no point to draw."""
    points = [p for curve in curves.values() for p in curve if p[0] > 0 and p[1] > 0]
    if not points:
        raise FlowclassError("nothing to plot")
    x_low, x_high = min(p[0] for p in points), max(p[0] for p in points)
    y_low, y_high = min(p[1] for p in points) / 1.3, max(p[1] for p in points) * 1.3
    x_low, x_high = (x_low / 2, x_high * 2) if x_low == x_high else (x_low, x_high)

    def place(x: float, y: float) -> tuple[float, float]:
        across = math.log(x / x_low) / math.log(x_high / x_low)
        up = math.log(y / y_low) / math.log(y_high / y_low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, title, extra=' font-size="15"'),
        _text((_LEFT + right) / 2, _HEIGHT - 12, x_label, anchor="middle"),
        _text(
            18,
            (_TOP + bottom) / 2,
            y_label,
            anchor="middle",
            extra=f' transform="rotate(-90 18 {(_TOP + bottom) / 2})"',
        ),
    ]
    for tick in _decades(x_low, x_high):
        x, _ = place(tick, y_low)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#e5e5e5"/>')
        parts.append(_text(x, bottom + 18, _number(tick), anchor="middle"))
    for tick in _decades(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#e5e5e5"/>')
        parts.append(_text(_LEFT - 8, y + 4, _number(tick), anchor="end"))
    for i, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        dash = ' stroke-dasharray="6 4"' if i >= len(_COLOURS) else ""
        spots = [place(x, y) for x, y in sorted(curve) if x > 0 and y > 0]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots)
        y = _TOP + 10 + 18 * i
        parts.append(f'<path d="M{right + 14} {y - 4}h22" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(_text(right + 42, y, name))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _png(curves: Mapping[str, Curve], path: str, title: str, x_label: str, y_label: str) -> None:
    try:
        matplotlib = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise FlowclassError(f"{path}: a PNG needs matplotlib (pip install matplotlib); .svg needs nothing") from None
    figure = matplotlib.Figure(figsize=(_WIDTH / 100, _HEIGHT / 100), layout="constrained")
    axes = figure.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        xs, ys = zip(*sorted(curve), strict=True)
        axes.plot(xs, ys, "o-", label=name, color=_COLOURS[i % len(_COLOURS)])
    axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
    axes.grid(True, color="#e5e5e5")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=150)


def write_plot(
    path: str | PathLike[str], curves: Mapping[str, Curve], *, title: str, x_label: str, y_label: str
) -> None:
    """Writes the picture that the name's ending asks for. FlowclassError for an ending other than .svg or .png."""
    name = str(path)
    if name.endswith(".png"):
        _png(curves, name, title, x_label, y_label)
    elif name.endswith(".svg"):
        with open(name, "w") as file:
            file.write(svg(curves, title=title, x_label=x_label, y_label=y_label))
    else:
        raise FlowclassError(f"{name}: a plot's name ends in .svg or .png")
