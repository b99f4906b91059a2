"""What a person reads on a terminal about a night, beside its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from planner.report.night_record import DeltaRecord, NightRecord
from planner.report.tables import plain_table
from planner.units import format_bytes

_MOST_REASONS = 5
_MOST_ROWS = 40
"""Rows of a table on a terminal; `--json` has them all."""


def delta_table(deltas: Sequence[DeltaRecord]) -> RenderableType:
    """What is built, kept and retired, and why."""
    if not deltas:
        return Text("no delta is served, and none would be")
    table = plain_table("Deltas")
    table.add_column("", no_wrap=True)
    table.add_column("delta", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("because", overflow="fold")
    for one in deltas[:_MOST_ROWS]:
        table.add_row(one.change, one.name, format_bytes(one.wire_bytes), one.reason)
    rest = [Text(f"and {len(deltas) - _MOST_ROWS} more")] if len(deltas) > _MOST_ROWS else []
    return Group(table, *rest)


def night_lines(record: NightRecord) -> Iterator[str]:
    """Bytes per client before and after, what left use, what was not made and why, faults and notes."""
    if record.plan is not None:
        before, after = record.plan.before_bytes_per_client, record.plan.after_bytes_per_client
        yield f"bytes per client: {format_bytes(before)} before, {format_bytes(after)} now"
    changes = Counter(str(delta.change) for delta in record.deltas)
    words = {"retire": "retired", "unlink": "unlinked", "remove": "removed"}
    gone = [f"{changes[change]} {word}" for change, word in words.items() if changes[change]]
    if gone:
        yield "deltas out of use: " + ", ".join(gone)
    for outcome, word in (("failed", "failed"), ("left", "were left for another night")):
        some = [job for job in record.jobs if job.outcome == outcome]
        reasons = Counter(job.reason.partition(",")[0] for job in some)
        for reason, count in reasons.most_common(_MOST_REASONS):
            yield f"{count} deltas {word}: {reason}"
    for step in record.faults:
        yield f"{step.name} ended early: {step.fault}"
    yield from record.notes
