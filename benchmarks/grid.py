"""Planning a grid: 30 base lines x 30 parts x 20 releases of both, devices in the field and from the factory.

python -m benchmarks.grid [--bases K] [--parts M] [--releases R] [--layers] [--json]

Commits, mixes and demand are those of a scenario with `source.kind = "grid"` (`planner/history/grid.py`); nothing is
built: weights follow a model in which a delta grows with the releases between its ends, levelling off, and what two
base lines do not have in common goes whole. The time is that of proposing candidates and of planning, together.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from math import exp

from rich.console import Console

from planner.demand.adoption import adoption_cohorts, factory_cohorts
from planner.demand.cohorts import Cohort
from planner.demand.layers import with_layers
from planner.history.grid import GridCommit, grid_commits
from planner.history.records import EMPTY, LAYERS_KEY, VERSION_KEY, Commit, History
from planner.optimize.assemble import assemble
from planner.optimize.problem import Prices
from planner.optimize.solve import Options, solve
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.rules import propose_pairs

COMMON_BYTES, OWN_BYTES, PART_BYTES = 300e6, 100e6, 60e6
"""What all bases have in common, what a base line has of its own, and a part."""

CHANGED_FRACTION, LEVEL_RELEASES = 0.12, 8.0
"""Of a line, the most that a delta takes, and after how many releases it has grown to nearly that."""

PRICES = Prices(storage_per_gb=0.82, server_cpu_per_hour=0.05, egress_per_gb=0.01)
RULES = ("direct", "parent", "window", "bare-base", "big-demand", "relays")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What was planned, and what it took."""

    commits: int
    cohorts: int
    candidates: int
    rows: int
    money: float
    gap: float
    direct_money: float
    propose_s: float
    plan_s: float
    peak_memory_bytes: int


def main() -> None:
    """Plan one grid, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", type=int, default=30)
    parser.add_argument("--parts", type=int, default=30)
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--layers", action="store_true", help="devices from the factory may keep layers apart")
    parser.add_argument("--most", type=int, default=40_000, help="candidates at most")
    parser.add_argument("--time-limit", type=float, default=45.0, help="seconds for the plan")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    arguments = parser.parse_args()
    found = plan_grid(arguments)
    if arguments.json:
        print(json.dumps(asdict(found)))
        return
    Console(width=110).print(
        f"{found.commits} commits, {found.cohorts} cohorts, {found.candidates} candidates ({found.rows} rows): "
        f"proposed in {found.propose_s:.1f} s, planned in {found.plan_s:.1f} s to {found.gap:.2%}, "
        f"{found.peak_memory_bytes / 1e9:.2f} GB; direct deltas for all cost {found.direct_money / found.money:.2f} x"
    )


def plan_grid(arguments: argparse.Namespace) -> Planned:
    """Make the grid, propose, weigh by the model, and plan."""
    commits = {one.name: one for one in grid_commits(arguments.bases, arguments.parts, arguments.releases)}
    history = make_history(commits)
    cohorts = (
        *adoption_cohorts(history, "device/*", clients=2000, half_life_releases=3.0),
        *factory_cohorts(
            history, ["device/*"], ["base/*"], clients=500, half_life_releases=6.0, layers=arguments.layers
        ),
    )
    started_s = time.perf_counter()
    ways = with_layers(history, cohorts)
    proposals, _ = propose_pairs(history, ways, RULES, most_candidates=arguments.most)
    proposed_s = time.perf_counter()
    model = Model(commits)
    weights = {Candidate(base=p.base, target=p.target, codec="model"): model.weigh(p.base, p.target) for p in proposals}
    full_pulls = {(one.base, one.target): model.full_pull_bytes(one.base, one.target) for one in ways}
    weighed_s = time.perf_counter()
    assembly = assemble(history, cohorts, weights, full_pulls, prices=PRICES)
    plan = solve(assembly.problem, Options(time_limit_s=arguments.time_limit, clock=time.monotonic))
    ended_s = time.perf_counter()
    return Planned(
        commits=len(commits),
        cohorts=len(cohorts),
        candidates=len(weights),
        rows=len(assembly.candidates),
        money=plan.cost.total,
        gap=plan.gap,
        direct_money=sum(direct_money(one, model) for one in cohorts),
        propose_s=proposed_s - started_s,
        plan_s=ended_s - weighed_s,
        peak_memory_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


def make_history(commits: Mapping[str, GridCommit]) -> History:
    """Commits without trees, named by themselves."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    heads: dict[str, str] = {}
    made = {}
    for name, one in commits.items():
        metadata = {VERSION_KEY: name} | ({LAYERS_KEY: " ".join(one.layers)} if one.layers else {})
        made[name] = Commit(
            checksum=name,
            parent=heads.get(one.ref),
            committed_at=start + timedelta(days=one.release),
            tree="",
            metadata=metadata,
        )
        heads[one.ref] = name
    return History(commits=made, trees={}, refs=heads)


@dataclass(frozen=True, slots=True)
class Model:
    """What deltas of a grid weigh."""

    commits: Mapping[str, GridCommit]

    def weigh(self, base: str, target: str) -> Weight:
        """A delta's weight: its bytes, and a core-second a megabyte of what changed."""
        wire_bytes = round(self._bytes(base, target, CHANGED_FRACTION))
        return Weight(
            wire_bytes=wire_bytes,
            stored_bytes=wire_bytes,
            server_cpu_s=wire_bytes / 1e6,
            client_cpu_s=0.0,
            peak_memory_bytes=0,
            status=WeightStatus.PROJECTED,
        )

    def full_pull_bytes(self, base: str, target: str) -> int:
        """The changed files whole, packed."""
        return round(self._bytes(base, target, 0.4))

    def _bytes(self, base: str, target: str, changed: float) -> float:
        before, after = (self._lines(name) for name in (base, target))
        total = 2000.0
        for line, release in after.items():
            size = PART_BYTES if line.startswith("S") else OWN_BYTES
            total += size * (changed * _grown(release - before[line]) if line in before else 0.35)
        ages = [
            max(release for line, release in of.items() if line.startswith("B"))
            for of in (before, after)
            if any(line.startswith("B") for line in of)
        ]
        if len(ages) == 2:
            total += COMMON_BYTES * changed * _grown(ages[1] - ages[0])
        elif any(line.startswith("B") for line in after):
            total += COMMON_BYTES * 0.35
        return total

    def _lines(self, name: str) -> dict[str, int]:
        """The release of each line that a commit has."""
        if name == EMPTY:
            return {}
        commit = self.commits[name]
        if commit.line:
            return {commit.line: commit.release}
        return {self.commits[layer].line: self.commits[layer].release for layer in commit.layers}


def _grown(releases: int) -> float:
    return 1.0 - exp(-abs(releases) / LEVEL_RELEASES)


def direct_money(cohort: Cohort, model: Model) -> float:
    """What a cohort's own delta costs, built, kept and sent; or its full pulls, where that is less."""
    weight = model.weigh(cohort.base, cohort.target)
    egress = cohort.clients * PRICES.egress_per_gb / 1e9
    fixed = weight.stored_bytes * PRICES.storage_per_gb / 1e9
    fixed += weight.server_cpu_s * PRICES.server_cpu_per_hour / 3600
    return min(fixed + egress * weight.wire_bytes, egress * model.full_pull_bytes(cohort.base, cohort.target))


if __name__ == "__main__":
    main()
