"""A night as OpenMetrics text, for a textfile collector or a scrape.

All are gauges: each tells of the last night alone, and the next night's file replaces it. A counter would have to go on
from night to night. None has a time stamp, which a textfile collector refuses: how old the figures are is in
`deltaplan_last_run_end_time_seconds`.

Source: OpenMetrics 1.0, https://github.com/prometheus/OpenMetrics. The escapes and types used here are also those of
the older Prometheus text format, to which the lines `UNIT` and `EOF` are comments.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from math import inf, isnan
from typing import get_args

from planner.report.night_figures import byte_pairs, core_pairs, duration_s, lacking_jobs, left_s, median_ratio
from planner.report.night_record import DeltaChange, JobOutcome, NightRecord, PlanRecord

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""For who serves the text, instead of leaving it to a collector."""

_PREFIX = "deltaplan_"
_CHANGES: tuple[str, ...] = get_args(DeltaChange)
_OUTCOMES: tuple[str, ...] = get_args(JobOutcome)

Sample = tuple[dict[str, str], float | None]
"""Labels beside the scenario's, and the value; None: there is nothing to tell, and no line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric: its name without the prefix, the unit that the name ends with, what it says, and its samples."""

    name: str
    unit: str = ""
    about: str
    samples: tuple[Sample, ...]


def format_openmetrics(record: NightRecord) -> str:
    r"""The record's figures as OpenMetrics 1.0 text; what the night could not tell has no line.

    >>> night = NightRecord(
    ...     scenario="os", run=1, started_at="2026-01-01T02:00:00Z", ended_at="2026-01-01T02:10:00Z", window_s=None,
    ...     is_complete=False, steps=(), jobs=(), deltas=(), plan=None, notes=(),
    ... )
    >>> print("\n".join(format_openmetrics(night).splitlines()[:4]))
    # TYPE deltaplan_last_run_start_time_seconds gauge
    # UNIT deltaplan_last_run_start_time_seconds seconds
    # HELP deltaplan_last_run_start_time_seconds When the last night began, in Unix time.
    deltaplan_last_run_start_time_seconds{scenario="os"} 1767232800
    """
    families = [*_run(record), *_steps(record), *_deltas(record), *_ratios(record), *_plan(record.plan)]
    lines = [line for family in families for line in _family_lines(family, record.scenario)]
    return "\n".join([*lines, "# EOF", ""])


# -- the figures -------------------------------------------------------------------------------------------------


def _run(record: NightRecord) -> Iterator[Family]:
    yield _one("last_run_start_time_seconds", "When the last night began, in Unix time.", _unix_s(record.started_at))
    yield _one("last_run_end_time_seconds", "When the last night ended, in Unix time.", _unix_s(record.ended_at))
    yield _one("last_run_duration_seconds", "What the last night's steps took.", duration_s(record))
    yield _one("last_run_number", "The last night's number in its work folder.", record.run)
    yield _one("last_run_exit_status", "0 where no step ended early, else as documented.", record.exit_status)
    yield _one("last_run_complete", "1 where all that the plan chose is published.", float(record.is_complete))
    yield _one("last_run_notes", "Notes of the last night that a person should read.", len(record.notes))
    yield _one("window_seconds", "What the night was allowed to take.", record.window_s)
    yield _one("window_left_seconds", "What it did not need of that.", left_s(record))


def _steps(record: NightRecord) -> Iterator[Family]:
    wall_s: defaultdict[str, float] = defaultdict(float)
    core_s: defaultdict[str, float] = defaultdict(float)
    faults: Counter[str] = Counter()
    for step in record.steps:
        wall_s[step.name] += step.wall_s
        core_s[step.name] += step.core_s
        faults[step.name] = max(faults[step.name], step.exit_status if step.fault else 0)
    yield _by("step_duration_seconds", "What a step took.", "step", wall_s.items())
    yield _by("step_core_seconds", "Core-seconds of a step and its jobs.", "step", core_s.items())
    yield _by("step_exit_status", "0 where the step ended well, else as documented.", "step", faults.items())


def _deltas(record: NightRecord) -> Iterator[Family]:
    counts = Counter(str(delta.change) for delta in record.deltas)
    bytes_by_change: Counter[str] = Counter()
    for delta in record.deltas:
        bytes_by_change[delta.change] += delta.wire_bytes
    changes = ((change, counts[change]) for change in _CHANGES)
    yield _by("deltas", "Deltas that the plan builds or keeps, or that are on their way out.", "change", changes)
    sizes = ((change, bytes_by_change[change]) for change in _CHANGES)
    yield _by("delta_size_bytes", "Bytes of these deltas, all together.", "change", sizes)
    outcomes = Counter((job.step, str(job.outcome)) for job in record.jobs)
    # A series that comes and goes makes an alert on it flap: the step that publishes always has its three.
    steps = sorted({job.step for job in record.jobs} | {"build"})
    jobs: tuple[Sample, ...] = tuple(
        ({"step": step, "outcome": name}, outcomes[step, name]) for step in steps for name in _OUTCOMES
    )
    yield Family(name="jobs", about="Attempts at deltas, by what became of them.", samples=jobs)
    yield _one("deltas_lacking", "Deltas that the plan chose and that could not be made.", len(lacking_jobs(record)))
    built = sum(job.wire_bytes or 0 for job in record.jobs if job.outcome == "made")
    yield _one("built_bytes", "Bytes of all deltas that were made, for measuring too.", built)


def _ratios(record: NightRecord) -> Iterator[Family]:
    about = "Measured by projected {} of a job, at the median of those that have both."
    sizes, seconds = median_ratio(byte_pairs(record.jobs)), median_ratio(core_pairs(record.jobs))
    yield _one("size_projection_ratio", about.format("bytes"), sizes)
    yield _one("core_time_projection_ratio", about.format("core-seconds"), seconds)


def _plan(plan: PlanRecord | None) -> Iterator[Family]:
    if plan is None:
        return
    yield _one("plan_cost", "What the plan costs per planning period, in the scenario's money.", plan.cost)
    yield _one("plan_lower_bound", "No plan costs less than this, as proven.", plan.lower_bound)
    yield _one("plan_gap_ratio", "The proven gap between both, by the plan's cost.", plan.gap)
    yield _one("plan_stored_bytes", "Bytes that the plan's deltas take on the server.", plan.stored_bytes)
    yield _one("plan_core_seconds", "Core-seconds to build what the plan chose.", plan.server_cpu_s)
    yield _one("clients", "Clients that ask for something.", plan.clients)
    covered = "Clients that have a route of deltas, or are on their target."
    yield _one("clients_covered", covered, plan.clients_covered)
    ways: tuple[tuple[str, float], ...] = (
        ("full_pull", plan.full_pull_bytes_per_client),
        ("before", plan.before_bytes_per_client),
        ("after", plan.after_bytes_per_client),
    )
    yield _by("client_download_bytes", "Mean bytes per client: without deltas, before and after.", "routes", ways)


# -- the text ----------------------------------------------------------------------------------------------------

_UNITS = ("seconds", "bytes", "ratio")


def _one(name: str, about: str, value: float | None) -> Family:
    return Family(name=name, unit=_unit_of(name), about=about, samples=(({}, value),))


def _by(name: str, about: str, label: str, values: Iterable[tuple[str, float | None]]) -> Family:
    samples = tuple(({label: key}, value) for key, value in values)
    return Family(name=name, unit=_unit_of(name), about=about, samples=samples)


def _unit_of(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in _UNITS else ""


def _family_lines(family: Family, scenario: str) -> Iterator[str]:
    known = [(labels, value) for labels, value in family.samples if value is not None]
    if not known:
        return
    name = _PREFIX + family.name
    yield f"# TYPE {name} gauge"
    if family.unit:
        yield f"# UNIT {name} {family.unit}"
    yield f"# HELP {name} {escape(family.about)}"
    for labels, value in known:
        pairs = ",".join(f'{key}="{escape(text)}"' for key, text in {"scenario": scenario, **labels}.items())
        yield f"{name}{{{pairs}}} {format_value(value)}"


def escape(text: str) -> str:
    r"""A label's value or a help text: backslash, quote and line feed are escaped, and it is valid UTF-8.

    >>> print(escape('a"b\\c') + escape("\n"))
    a\"b\\c\n
    """
    valid = text.encode(errors="replace").decode()
    return valid.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def format_value(value: float) -> str:
    """A number as the format writes it; whole numbers without a fraction.

    >>> [format_value(value) for value in (3.0, 0.25, float("inf"), float("nan"))]
    ['3', '0.25', '+Inf', 'NaN']
    """
    if isnan(value):
        return "NaN"
    if abs(value) == inf:
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _unix_s(at: str) -> float | None:
    """Unix time of a time of day; None of what is none, which is no reason to lose the other figures."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None
