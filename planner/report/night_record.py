"""What one night did, for people and programs: the record behind the report page, the metrics and the job lines.

Times of day are UTC in ISO 8601; every other quantity carries its unit in its name. Money is of the planning period.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

JobOutcome = Literal["made", "failed", "left"]
"""`made` and proven; `failed`: tried, for a reason; `left`: not started tonight, for a reason."""

DeltaChange = Literal["build", "keep", "retire", "unlink", "remove"]
"""`build` and `keep` are the plan's; `retire`: no route names it any more; `unlink`, `remove`: it is on its way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One attempt at one delta, or why none was made; `projected_*` is what was expected of it before.

    `wall_s` is the job's own; `core_s` and `peak_memory_bytes` are measured, None where nothing was made.
    """

    at: str
    run: int
    step: str
    base: str
    target: str
    codec: str
    name: str
    outcome: JobOutcome
    attempt: int
    reason: str = ""
    wire_bytes: int | None = None
    core_s: float | None = None
    wall_s: float | None = None
    peak_memory_bytes: int | None = None
    projected_wire_bytes: int | None = None
    projected_core_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of the night; `fault` is the error that ended it early, and empty where it ended well."""

    name: str
    wall_s: float
    core_s: float
    fault: str = ""
    exit_status: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRecord:
    """A delta that the night built, kept, retired, unlinked or removed, and why."""

    base: str
    target: str
    codec: str
    name: str
    change: DeltaChange
    wire_bytes: int
    clients: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """The plan that was carried out. `clients_covered` have a route of deltas, or are on their target already.

    Mean bytes per client: without any delta, by the routes served before tonight, and by those served now.
    """

    cost: float
    lower_bound: float
    gap: float
    method: str
    stored_bytes: float
    server_cpu_s: float
    clients: float
    clients_covered: float
    full_pull_bytes_per_client: float
    before_bytes_per_client: float
    after_bytes_per_client: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NightRecord:
    """One night. `is_complete`: all that the plan chose is published; else `jobs` say what was left, and why."""

    scenario: str
    run: int
    started_at: str
    ended_at: str
    window_s: float | None
    is_complete: bool
    steps: tuple[StepRecord, ...]
    jobs: tuple[JobRecord, ...]
    deltas: tuple[DeltaRecord, ...]
    plan: PlanRecord | None
    notes: tuple[str, ...]
    """What a person should know: a run before that was killed, a clock that jumped, a disk below its mark."""

    @property
    def faults(self) -> tuple[StepRecord, ...]:
        """Steps that ended early."""
        return tuple(step for step in self.steps if step.fault)

    @property
    def exit_status(self) -> int:
        """The first fault's; 0 where all went well, or only the window ended."""
        return next((step.exit_status for step in self.faults), 0)


def night_document(record: NightRecord) -> dict[str, Any]:
    """`report.json`: plain values, with `exit_status`."""
    return {**asdict(record), "exit_status": record.exit_status}
