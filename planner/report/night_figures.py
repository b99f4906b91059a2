"""What follows from a night's record: the figures that the page and the metrics share, each computed in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import floor
from statistics import median

from planner.report.night_record import DeltaRecord, JobRecord, NightRecord, PlanRecord
from planner.units import format_bytes

Pair = tuple[float, float]
"""What was projected of a job, and what was measured; both are greater than zero."""


def duration_s(record: NightRecord) -> float:
    """Seconds that the steps took, by the clock that does not jump when the time of day is set."""
    return sum(step.wall_s for step in record.steps)


def left_s(record: NightRecord) -> float | None:
    """Seconds of the window that were not needed; None where there was no window."""
    return None if record.window_s is None else max(record.window_s - duration_s(record), 0.0)


def chosen_deltas(record: NightRecord) -> tuple[DeltaRecord, ...]:
    """What the plan wants clients to find: what was there before, and what was to be built."""
    return tuple(one for one in record.deltas if one.change in ("build", "keep"))


def lacking_jobs(record: NightRecord) -> tuple[JobRecord, ...]:
    """The last word on each chosen delta that was not made; one that was made on a second attempt is no such."""
    chosen = {(one.base, one.target, one.codec) for one in record.deltas if one.change == "build"}
    last = {(job.base, job.target, job.codec): job for job in record.jobs}
    return tuple(job for pair, job in last.items() if pair in chosen and job.outcome != "made")


def byte_pairs(jobs: Iterable[JobRecord]) -> Iterator[tuple[JobRecord, Pair]]:
    """Projected and measured bytes of the jobs that have both."""
    return _pairs(jobs, lambda job: job.projected_wire_bytes, lambda job: job.wire_bytes)


def core_pairs(jobs: Iterable[JobRecord]) -> Iterator[tuple[JobRecord, Pair]]:
    """Projected and measured core-seconds of the jobs that have both."""
    return _pairs(jobs, lambda job: job.projected_core_s, lambda job: job.core_s)


def _pairs(
    jobs: Iterable[JobRecord],
    projected: Callable[[JobRecord], float | None],
    measured: Callable[[JobRecord], float | None],
) -> Iterator[tuple[JobRecord, Pair]]:
    for job in jobs:
        pair = projected(job) or 0.0, measured(job) or 0.0
        if job.outcome == "made" and min(pair) > 0:
            yield job, pair


def median_ratio(pairs: Iterable[tuple[JobRecord, Pair]]) -> float | None:
    """Measured by projected, at the median; None of nothing. 1.1: what was made is 10 % larger than was expected."""
    ratios = [measured / projected for _, (projected, measured) in pairs]
    return median(ratios) if ratios else None


def format_share(part: float, whole: float) -> str:
    """A share that is not rounded up to all or down to nothing.

    >>> [format_share(*pair) for pair in ((0, 9), (1, 10_000), (923, 1000), (9999, 10_000), (9, 9), (0, 0))]
    ['0 %', 'under 1 %', '92 %', '99 %', '100 %', '0 %']
    """
    if part <= 0 or whole <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    percent = 100 * part / whole
    return "under 1 %" if percent < 1 else f"{floor(percent)} %"


def format_clients(clients: float) -> str:
    """A number of clients; demand that is a forecast may be a fraction.

    >>> [format_clients(count) for count in (0.25, 1, 1234.4)]
    ['0.25', '1', '1,234']
    """
    return f"{clients:,.0f}" if clients >= 10 or clients == int(clients) else f"{clients:.2g}"


def verdict(record: NightRecord) -> str:
    """The night in one sentence: what is published, whom it serves, and what they download."""
    parts = [_published(record)]
    if record.plan is not None:
        plan = record.plan
        parts.append(f"{format_share(plan.clients_covered, plan.clients)} of clients need no full pull")
        parts.append(_bytes_sentence(plan))
    return "; ".join(parts) + "."


def _published(record: NightRecord) -> str:
    faults = _and_more([step.name for step in record.faults])
    ended = f" ({faults} ended early)" if faults else ""
    if record.plan is None:
        return f"There is no plan for tonight, and clients find what they found before{ended}"
    chosen, lacking = len(chosen_deltas(record)), lacking_jobs(record)
    if record.is_complete:
        return _all_published(chosen) + ended
    outcomes = Counter(str(job.outcome) for job in lacking)
    words = [f"{outcomes[name]:,} {word}" for name, word in _LACKING.items() if outcomes[name]]
    if not words:
        return f"Not all of {_count(chosen)} could be published{ended}"
    return f"{chosen - len(lacking):,} of {_count(chosen)} are made, {' and '.join(words)}{ended}"


_LACKING = {"failed": "failed", "left": "left for another night"}


def _all_published(chosen: int) -> str:
    if not chosen:
        return "No delta pays for itself, and none is published"
    if chosen == 1:
        return "The one chosen delta is published"
    return f"All {_count(chosen)} are published"


def _count(chosen: int) -> str:
    return f"{chosen:,} chosen delta{'s' if chosen != 1 else ''}"


def _bytes_sentence(plan: PlanRecord) -> str:
    before, after = format_bytes(plan.before_bytes_per_client), format_bytes(plan.after_bytes_per_client)
    return f"bytes per client: {before}, as before" if before == after else f"bytes per client: {before} → {after}"


def _and_more(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
