"""What planning ahead saves over several nights, and what it takes: one release a night, each night planned in turn.

Releases change by drawn amounts; a delta over several of them weighs the forecast's norm of these, times a drawn factor
that no forecast knows. A share of the clients updates in each period. Money is what the nights really cost: storage of
what is kept, core-seconds of what is made (twice if it was dropped in between), and what was sent.

python -m benchmarks.horizon [--nights NIGHTS] [--seeds SEEDS]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from rich.console import Console
from rich.table import Table

from planner.demand.cohorts import Cohort
from planner.history.records import Commit, History
from planner.optimize.ahead import solve_ahead
from planner.optimize.assemble import assemble
from planner.optimize.forecast import forecast
from planner.optimize.problem import Prices
from planner.optimize.solve import Options
from planner.weigh.candidates import Candidate, Weight, WeightStatus

_CLIENTS = 400.0
_BEFORE = 5
"""Releases before the first night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Money of all nights, by what it paid for; seconds that the optimizer took."""

    storage: float
    server_cpu: float
    egress: float
    wall_s: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.storage + self.server_cpu + self.egress


def main() -> None:
    """Print one row per horizon, share of clients that update in a period, and prices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("share, core-hour, GB kept", "ahead", "money", "storage", "CPU", "egress", "saved", "s a night")
    for share, per_hour, per_gb in ((0.7, 60.0, 8.0), (0.3, 60.0, 8.0), (0.3, 180.0, 8.0), (0.3, 180.0, 30.0)):
        first = 0.0
        for releases in (0, 1, 3):
            done = [
                replay(
                    seed=seed,
                    nights=arguments.nights,
                    releases=releases,
                    share=share,
                    cpu_per_hour=per_hour,
                    storage_per_gb=per_gb,
                )
                for seed in range(arguments.seeds)
            ]
            money = sum(one.total for one in done)
            first = first or money
            parts = [sum(getattr(one, name) for one in done) for name in ("storage", "server_cpu", "egress")]
            wall_s = sum(one.wall_s for one in done) / (len(done) * arguments.nights)
            table.add_row(
                f"{share:g}, {per_hour:g}, {per_gb:g}",
                str(releases),
                f"{money:.2f}",
                *(f"{part:.2f}" for part in parts),
                f"{1 - money / first:.1%}",
                f"{wall_s:.2f}",
            )
    Console().print(table)


def replay(
    *,
    seed: int,
    nights: int,
    releases: int,
    share: float = 0.7,
    cpu_per_hour: float = 60.0,
    storage_per_gb: float = 8.0,
) -> Replayed:
    """Some nights, each planned with so many coming releases."""
    commits = [f"{number:064x}" for number in range(1, _BEFORE + nights + 1)]
    weighed = _weigh(np.random.Generator(np.random.PCG64(seed)), commits)
    prices = Prices(storage_per_gb=storage_per_gb, server_cpu_per_hour=cpu_per_hour, egress_per_gb=1.0)
    behind = dict.fromkeys(commits[:_BEFORE], _CLIENTS / _BEFORE)
    kept: set[Candidate] = set()
    storage = server_cpu = egress = wall_s = 0.0
    for night in range(nights):
        line = commits[: _BEFORE + night + 1]
        head, history = line[-1], _history(line)
        cohorts = [Cohort(base=b, target=head, clients=share * n, ref="main") for b, n in behind.items() if n > 0.5]
        known = {one: weight for one, weight in weighed.items() if one.target in line}
        pulls = {(base, head): round(3.0 * weighed[_delta(base, head)].wire_bytes) for base in line[:-1]}
        assembly = assemble(history, cohorts, known, pulls, built=kept, prices=prices)
        began_s = time.perf_counter()
        coming = forecast(history, cohorts, known, pulls, releases=releases, updating_share=share)
        plan = solve_ahead(assembly, coming, Options(gap=1e-3, time_limit_s=20.0, clock=time.perf_counter))
        wall_s += time.perf_counter() - began_s
        storage, server_cpu = storage + plan.cost.storage, server_cpu + plan.cost.server_cpu
        egress += plan.cost.egress
        kept = set(assembly.candidates_of(plan.build))
        updated = sum(share * n for n in behind.values())
        behind = {base: (1 - share) * n for base, n in behind.items()} | {head: updated}
    return Replayed(storage=storage, server_cpu=server_cpu, egress=egress, wall_s=wall_s)


def _delta(base: str, target: str) -> Candidate:
    return Candidate(base=base, target=target, codec="x")


def _history(line: list[str]) -> History:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    commits = {
        name: Commit(
            checksum=name,
            parent=line[number - 1] if number else None,
            committed_at=start + timedelta(days=number),
            tree="0" * 64,
        )
        for number, name in enumerate(line)
    }
    return History(commits=commits, trees={}, refs={"main": line[-1]})


def _weigh(rng: np.random.Generator, commits: list[str]) -> dict[Candidate, Weight]:
    """Every older commit to every newer one: 1 to 5 MB a step."""
    steps = rng.lognormal(np.log(2e6), 0.5, len(commits))
    found = {}
    for newer in range(len(commits)):
        for older in range(newer):
            wire_bytes = float((steps[older + 1 : newer + 1] ** 3).sum() ** (1 / 3) * rng.uniform(0.95, 1.2))
            found[_delta(commits[older], commits[newer])] = Weight(
                wire_bytes=round(wire_bytes),
                stored_bytes=round(wire_bytes),
                server_cpu_s=wire_bytes / 5e5,
                client_cpu_s=0.0,
                peak_memory_bytes=0,
                status=WeightStatus.MEASURED,
            )
    return found


if __name__ == "__main__":
    main()
