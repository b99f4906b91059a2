"""The pictures on a night's page, as SVG inside of it: bars, the steps in time, and projected against measured.

Bars are drawn in percent of their width, so that their labels stay text of the page and keep their size on a phone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from planner.report.markup import Markup, element, joined
from planner.report.night_figures import Pair
from planner.report.night_record import StepRecord
from planner.units import format_bytes, format_duration

_LEAST_PERCENT = 0.4
"""Of the width: a bar that is shorter could not be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: what it is, its value as text, and its share of the longest, from 0 to 1."""

    label: str
    text: str
    share: float
    look: str = "main"


def bars(rows: Iterable[Bar]) -> Markup:
    """Bars below each other, each with its label and value in text."""
    return element("div", *(_row(bar.label, bar.text, _span(0.0, bar.share, bar.look)) for bar in rows), class_="rows")


def timeline(steps: Sequence[StepRecord], window_s: float | None) -> Markup:
    """Each step where it was in the night, one below the other, on one scale; the window's end as a line."""
    total_s = sum(step.wall_s for step in steps)
    scale_s = max(total_s, 1e-9)
    rows, began_s = [], 0.0
    for step in steps:
        marks = _span(began_s / scale_s, step.wall_s / scale_s, "warm" if step.fault else "main")
        if window_s is not None and window_s < total_s:
            marks = joined((marks, _line_at(window_s / scale_s)))
        text = f"{format_duration(step.wall_s)} · {format_duration(step.core_s)} CPU"
        rows.append(_row(f"✖ {step.name}, ended early" if step.fault else step.name, text, marks))
        began_s += step.wall_s
    return element("div", *rows, class_="rows")


def _row(label: str, text: str, marks: Markup) -> Markup:
    rail = element("rect", class_="rail", width="100%", height="100%", rx=3)
    picture = element("svg", rail, marks, aria_hidden="true")
    return element("div", element("span", label), element("span", text, class_="num"), picture, class_="row")


def _span(begin: float, share: float, look: str) -> Markup:
    width = min(max(100 * share, _LEAST_PERCENT if share > 0 else 0.0), 100.0)
    left = min(100 * begin, 100.0 - width)
    return element("rect", class_=look, x=f"{left:.2f}%", width=f"{width:.2f}%", height="100%", rx=3)


def _line_at(share: float) -> Markup:
    return element("rect", class_="warm", x=f"{100 * share:.2f}%", width=2, height="100%")


# -- projected against measured ----------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 340, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 12, 44
_CELL = 5
"""Pixels: pairs that would be drawn on top of each other are one dot, so that 10^5 jobs stay a small page."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Powers of ten, the same on both axes, so that what is as expected lies on the diagonal."""

    low: int
    high: int

    def share(self, value: float) -> float:
        return (log10(value) - self.low) / (self.high - self.low)

    def x(self, value: float) -> float:
        return _LEFT + self.share(value) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - self.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def scatter(pairs: Sequence[Pair], title: str, *, is_bytes: bool) -> Markup:
    """Projected and measured values on two logarithmic axes with their units; `pairs` holds at least one."""
    values = [value for pair in pairs for value in pair]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    scale = _Scale(low, max(high, low + 1))
    frame = element(
        "rect",
        class_="frame",
        x=_LEFT,
        y=_TOP,
        width=_WIDTH - _LEFT - _RIGHT,
        height=_HEIGHT - _TOP - _BOTTOM,
    )
    ends = 10.0**scale.low, 10.0**scale.high
    even = element(
        "line", class_="even", x1=scale.x(ends[0]), y1=scale.y(ends[0]), x2=scale.x(ends[1]), y2=scale.y(ends[1])
    )
    picture = element(
        "svg",
        *_axes(scale, is_bytes=is_bytes),
        frame,
        even,
        *_dots(pairs, scale),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title}, measured against projected",
    )
    return element("figure", element("h3", title), picture)


def _dots(pairs: Sequence[Pair], scale: _Scale) -> Iterable[Markup]:
    cells = Counter((round(scale.x(one) / _CELL), round(scale.y(other) / _CELL)) for one, other in pairs)
    for (column, row), count in sorted(cells.items()):
        radius = 2.5 + min(log10(count), 2.5)
        yield element("circle", class_="dot", cx=column * _CELL, cy=row * _CELL, r=f"{radius:.1f}")


def _axes(scale: _Scale, *, is_bytes: bool) -> Iterable[Markup]:
    every = max(1, ceil((scale.high - scale.low) / 5))
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for power in range(scale.low, scale.high + 1, every):
        value = 10.0**power
        x, y, text = scale.x(value), scale.y(value), _tick(value, is_bytes=is_bytes)
        yield element("line", class_="grid", x1=x, y1=_TOP, x2=x, y2=bottom)
        yield element("line", class_="grid", x1=_LEFT, y1=y, x2=right, y2=y)
        yield element("text", text, x=x, y=bottom + 15, text_anchor="middle")
        yield element("text", text, x=_LEFT - 5, y=y + 4, text_anchor="end")
    yield element("text", "projected →", x=right, y=_HEIGHT - 8, text_anchor="end")
    yield element("text", "measured →", transform=f"translate(11 {bottom}) rotate(-90)")


def _tick(value: float, *, is_bytes: bool) -> str:
    """A power of ten with its unit.

    >>> [_tick(1e5, is_bytes=True), _tick(1e7, is_bytes=True), _tick(0.1, is_bytes=False), _tick(1000, is_bytes=False)]
    ['100 kB', '10 MB', '100 ms', '1000 s']
    """
    if is_bytes:
        return format_bytes(value).replace(".00", "").replace(".0", "")
    return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
