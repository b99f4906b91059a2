"""Nights to look at: a good one, one that went wrong, a hostile one and a large one."""

from __future__ import annotations

from dataclasses import replace

from planner.report.night_record import DeltaRecord, JobRecord, NightRecord, PlanRecord, StepRecord

HOSTILE = "</style><script>alert(\"1\")</script><img src=x onerror='x'>&amp;\\\n\x00\u202e\ud800"
"""Ends elements and attributes, begins others, and holds what neither HTML nor UTF-8 may."""

_MB = 1_000_000


def step(name: str, wall_s: float, core_s: float, fault: str = "", exit_status: int = 0) -> StepRecord:
    return StepRecord(name=name, wall_s=wall_s, core_s=core_s, fault=fault, exit_status=exit_status)


def delta(number: int, change: str = "build", clients: float = 40.0) -> DeltaRecord:
    """The delta from one release to the next."""
    return DeltaRecord(
        base=f"{number:064x}",
        target=f"{number + 1:064x}",
        codec="hdiffpatch",
        name=f"os-{number} -> os-{number + 1} (hdiffpatch)",
        change=change,  # type: ignore[arg-type]
        wire_bytes=_MB * (number % 7 + 1),
        clients=clients,
        reason=f"{clients:,.0f} clients on 1 base go by it and download 38.0 MB less than in full",
    )


def job(number: int, outcome: str = "made", reason: str = "", step_name: str = "build") -> JobRecord:
    """An attempt at that delta."""
    is_made = outcome == "made"
    return JobRecord(
        at="2026-01-01T02:01:00Z",
        run=7,
        step=step_name,
        base=f"{number:064x}",
        target=f"{number + 1:064x}",
        codec="hdiffpatch",
        name=f"os-{number} -> os-{number + 1} (hdiffpatch)",
        outcome=outcome,  # type: ignore[arg-type]
        attempt=1,
        reason=reason,
        wire_bytes=_MB * (number % 7 + 1) if is_made else None,
        core_s=2.0 + number % 5 if is_made else None,
        wall_s=1.5,
        peak_memory_bytes=200 * _MB if is_made else None,
        projected_wire_bytes=_MB * (number % 5 + 1),
        projected_core_s=2.5,
    )


PLAN = PlanRecord(
    cost=0.0509,
    lower_bound=0.0505,
    gap=0.0079,
    method="branch and bound",
    stored_bytes=11.6 * _MB,
    server_cpu_s=20.4,
    clients=2315.0,
    clients_covered=2130.0,
    full_pull_bytes_per_client=41.0 * _MB,
    before_bytes_per_client=12.5 * _MB,
    after_bytes_per_client=3.2 * _MB,
)

STEPS = (
    step("tidy", 0.1, 0.1),
    step("import", 12.0, 9.0),
    step("weigh", 180.0, 340.0),
    step("plan", 8.0, 8.0),
    step("build", 95.0, 180.0),
    step("publish", 3.0, 1.0),
    step("retire", 0.4, 0.2),
    step("rehearse", 20.0, 11.0),
)

GOOD = NightRecord(
    scenario="nightly-os",
    run=7,
    started_at="2026-01-01T02:00:00Z",
    ended_at="2026-01-01T02:05:19Z",
    window_s=14_400.0,
    is_complete=True,
    steps=STEPS,
    jobs=tuple(job(number) for number in range(10)),
    deltas=(
        *(delta(number) for number in range(10)),
        *(delta(number, "keep", 12.0) for number in range(10, 14)),
        replace(delta(20, "retire", 0.0), reason="nobody wants its target any more"),
        replace(delta(21, "remove", 0.0), reason="nobody can be downloading it any more"),
    ),
    plan=PLAN,
    notes=(),
)

_SHORT_OF_TIME = "would take about 2 min 10 s, 1 min 05 s of the window are left"

BAD = replace(
    GOOD,
    is_complete=False,
    window_s=300.0,
    steps=(*STEPS[:4], step("build", 95.0, 180.0, "deltas could not be made: failed=1", 6), *STEPS[5:]),
    jobs=(
        *(job(number) for number in range(7)),
        job(7, "failed", "the tool was killed: signal=9"),
        job(8, "failed", "the disk is full"),
        job(8),
        *(job(number, "left", _SHORT_OF_TIME) for number in (9,)),
    ),
    notes=("run 6 was killed in the step build; what it had made is used", "the clock was set back by 1 h 00 min"),
)

NOTHING = NightRecord(
    scenario="nightly-os",
    run=1,
    started_at="2026-01-01T02:00:00Z",
    ended_at="2026-01-01T02:00:02Z",
    window_s=None,
    is_complete=False,
    steps=(step("import", 2.0, 1.0, "refs/heads: is not there", 4),),
    jobs=(),
    deltas=(),
    plan=None,
    notes=("there is no plan for tonight",),
)

HOSTILE_NIGHT = replace(
    BAD,
    scenario=HOSTILE,
    steps=(*STEPS, step(HOSTILE, 1.0, 1.0, HOSTILE, 1)),
    jobs=(replace(job(0), name=HOSTILE), replace(job(1, "failed", HOSTILE), name=HOSTILE)),
    deltas=(replace(delta(0), name=HOSTILE, reason=HOSTILE), replace(delta(1), name=HOSTILE, reason=HOSTILE)),
    plan=replace(PLAN, method=HOSTILE),
    notes=(HOSTILE,),
)


def large_night(jobs: int) -> NightRecord:
    """As many jobs as a distribution has in a bad night: most are made, and many fail, each in its own words."""
    kinds = ("made", "made", "made", "failed", "left")
    return replace(
        GOOD,
        is_complete=False,
        jobs=tuple(job(number, kinds[number % 5], f"reason {number}") for number in range(jobs)),
        deltas=tuple(delta(number, ("build", "keep", "retire")[number % 3]) for number in range(jobs)),
        notes=tuple(f"note {number}" for number in range(jobs // 100)),
    )
