"""The tables of a night's page: the most telling rows, and how many more there are. `report.json` has them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from math import log

from planner.report.markup import Markup, element, joined
from planner.report.night_figures import Pair, format_clients
from planner.report.night_record import DeltaRecord, JobRecord
from planner.units import format_bytes

MOST_ROWS = 25
"""Rows of a table on the page, and sentences of a list."""

_MOST_REASONS = 6
_MOST_CHARS = 400
"""Of one text: a tool's last words can be long."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head, its cells' text, and whether they are numbers or long texts."""

    head: str
    look: str = ""


def table(label: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], total: int) -> Markup:
    """A table that scrolls inside of itself, by keyboard too, where the screen is narrower than it."""
    head = element("tr", *(element("th", column.head, scope="col", class_=column.look or None) for column in columns))
    body = [element("tr", *(_cell(column, text) for column, text in zip(columns, row, strict=True))) for row in rows]
    inside = element("table", element("thead", head), element("tbody", *body))
    scroll = element("div", inside, class_="scroll", tabindex=0, role="region", aria_label=label)
    return joined((scroll, more(total - len(body))))


def _cell(column: Column, text: str) -> Markup:
    return element("td", shorten(text), class_=column.look or None)


def more(count: int) -> Markup | None:
    """How many are not shown."""
    return element("p", f"and {count:,} more, in report.json", class_="soft") if count > 0 else None


def shorten(text: str) -> str:
    """A text that a person would read to its end."""
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1] + "…"


def delta_table(deltas: Sequence[DeltaRecord], label: str) -> Markup:
    """Deltas with what they weigh, whom they serve and why; the most used first, then the largest."""
    columns = Column("delta", "wide"), Column("bytes", "num"), Column("clients", "num"), Column("because", "wide")
    top = nsmallest(MOST_ROWS, deltas, key=lambda one: (-one.clients, -one.wire_bytes, one.name))
    rows = ((one.name, format_bytes(one.wire_bytes), format_clients(one.clients), one.reason) for one in top)
    return table(label, columns, rows, len(deltas))


def lost_table(jobs: Sequence[JobRecord], made_since: Callable[[JobRecord], bool], label: str) -> Markup:
    """Jobs that failed or were left, with the reasons; what was made later in the night is told as such."""
    columns = Column("delta", "wide"), Column("step"), Column("attempt", "num"), Column("reason", "wide")
    rows = (
        (job.name, job.step, str(job.attempt), job.reason + (" (made since)" if made_since(job) else ""))
        for job in jobs[:MOST_ROWS]
    )
    return table(label, columns, rows, len(jobs))


def reason_list(jobs: Sequence[JobRecord]) -> Markup:
    """The most common reasons with their counts. What follows a comma in a reason is of the one job."""
    reasons = Counter(job.reason.partition(",")[0] for job in jobs).most_common(_MOST_REASONS)
    return element("ul", *(element("li", shorten(reason), f": {count:,}") for reason, count in reasons))


def farthest_table(pairs: Sequence[tuple[JobRecord, Pair]], format_value: Callable[[float], str], label: str) -> Markup:
    """What came out farthest from what was projected, up or down."""
    columns = Column("delta", "wide"), Column("projected", "num"), Column("measured", "num"), Column("ratio", "num")
    top = nlargest(5, pairs, key=lambda one: abs(log(one[1][1] / one[1][0])))
    rows = (
        (job.name, format_value(projected), format_value(measured), f"{measured / projected:.2f}")
        for job, (projected, measured) in top
    )
    return table(label, columns, rows, 0)
