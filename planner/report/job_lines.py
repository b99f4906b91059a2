"""One line of JSON per attempt at a delta, as it goes to `jobs.jsonl` while the night runs."""

from __future__ import annotations

import json
from dataclasses import fields
from math import isfinite

from planner.report.night_record import JobRecord

_NAMES = tuple(field.name for field in fields(JobRecord))


def job_line(job: JobRecord) -> str:
    """One JSON object on one line, without the line's end; keys in the record's order, only those that are known.

    ASCII alone, so that whatever a name holds neither breaks the line nor the file's encoding.

    >>> made = JobRecord(
    ...     at="2026-01-01T02:00:00Z", run=7, step="build", base="a1", target="b2", codec="bsdiff", name="A -> B",
    ...     outcome="left", attempt=1, reason="the window has ended",
    ... )
    >>> job_line(made)[:71]
    '{"at":"2026-01-01T02:00:00Z","run":7,"step":"build","base":"a1","target'
    """
    known = {name: value for name in _NAMES if _is_known(value := getattr(job, name))}
    return json.dumps(known, separators=(",", ":"), allow_nan=False)


def _is_known(value: object) -> bool:
    """JSON has no word for what is no number; most readers refuse the line that has one."""
    return value is not None and (not isinstance(value, float) or isfinite(value))
