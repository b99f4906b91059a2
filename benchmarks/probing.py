"""What projections cost a plan, and how far probes of a part of all candidates make it good again.

python -m benchmarks.probing [--seeds N] [--commits N ...] [--spread FRACTION]

Every cell is the true cost of a plan above the proven optimum of the true weights, mean and worst over the seeds.
Projections are off by a median of `--spread` (90th percentile 2.4 times that), a good half of it shared by candidates
of the same target or the same base. The CPU of the probes stands apart: it counts in no plan's cost. The last columns
are its part spent and, of that, the part spent on candidates that the plan keeps, which it would have to build anyway.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.instances import one_stream
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.probing import Effort, choose_batch, probe_in_rounds
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.projection_errors import Measured, Outlook, Uncertainty, join_measured, nothing_measured
from planner.optimize.solve import Options, solve

BUDGETS = (0.02, 0.05, 0.1, 0.2)
MULTIPLIERS = (1.0, 100.0, 1000.0)
ROUNDS = 4
PLAN_GAP = 1e-3
TRUE_GAP = 2e-4
SHARED = 0.35
"""Part of the errors' variance that a target's candidates share, and a base's; not what the rule assumes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """True weights, their projections, and the least true cost."""

    truth: Problem
    projected: Problem
    uncertainty: Uncertainty
    bound: float

    def measure(self, probed: IntArray) -> Measured:
        """What building some candidates would show."""
        rows = self.truth.candidates
        return Measured(
            candidate=probed,
            wire_bytes=rows.wire_bytes[probed],
            stored_bytes=rows.stored_bytes[probed],
            server_cpu_s=rows.server_cpu_s[probed],
            probe_cpu_s=rows.server_cpu_s[probed],
        )

    def extra_fraction(self, selection: Selection) -> float:
        """True cost above the least."""
        return evaluate(self.truth, selection).cost.total / self.bound - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a way to probe reached: above the least cost, spent of building everything, and of that for the plan."""

    extra_fraction: float
    spent_fraction: float
    kept_fraction: float
    wall_s: float


def project(truth: Problem, spread: float, seed: int) -> World:
    """Projections of true weights, with intervals of very different widths that hold nine in ten errors."""
    rng, rows = np.random.default_rng(seed), truth.candidates
    deviation = spread / 0.6745 * np.exp(rng.normal(0.0, 0.4, len(rows)) - 0.08)
    wire_scores = scores(rng, truth)
    cpu_scores = 0.5 * wire_scores + np.sqrt(0.75) * scores(rng, truth)
    projected = replace(
        rows,
        wire_bytes=rows.wire_bytes * np.exp(-deviation * wire_scores),
        stored_bytes=rows.stored_bytes * np.exp(-deviation * wire_scores),
        server_cpu_s=rows.server_cpu_s * np.exp(-deviation * cpu_scores),
    )
    low, high = np.exp(-1.645 * deviation), np.exp(1.645 * deviation)
    return World(
        truth=truth,
        projected=truth.replace(candidates=projected),
        uncertainty=Uncertainty(
            wire_low_factor=low,
            wire_high_factor=high,
            cpu_low_factor=low,
            cpu_high_factor=high,
            probe_cpu_s=projected.server_cpu_s,
        ),
        bound=solve(truth, Options(gap=TRUE_GAP)).lower_bound,
    )


def scores(rng: np.random.Generator, problem: Problem) -> FloatArray:
    """Standard errors of all candidates, partly shared."""
    rows, commits = problem.candidates, len(problem.commits)
    shared = rng.standard_normal(commits)[rows.target] + rng.standard_normal(commits)[rows.base]
    found: FloatArray = np.sqrt(SHARED) * shared + np.sqrt(1 - 2 * SHARED) * rng.standard_normal(len(rows))
    return found


def by_rule(world: World, budget_cpu_s: float, seed: int) -> tuple[Selection, Measured]:
    """The project's own rule."""
    found = nothing_measured()

    def measure(probed: IntArray) -> Measured:
        nonlocal found
        new = world.measure(probed)
        found = join_measured(found, new)
        return new

    effort = Effort(budget_cpu_s=budget_cpu_s, rounds=ROUNDS, seed=seed)
    rounds = list(probe_in_rounds(world.projected, world.uncertainty, measure, effort, options=Options(gap=PLAN_GAP)))
    return rounds[-1].plan.selection, found


def by_worth(
    world: World, budget_cpu_s: float, seed: int, *, chosen_only: bool, learns: bool
) -> tuple[Selection, Measured]:
    """Probe anything, or only what the plan chose, in as many rounds; neighbours of probes stay as projected or not."""
    found, candidates = nothing_measured(), len(world.truth.candidates)
    worth = np.random.default_rng(seed).random(candidates)
    for rounds_left in range(ROUNDS, -1, -1):
        outlook = Outlook(projected=world.projected, uncertainty=world.uncertainty, measured=found)
        problem = outlook.expected() if learns else with_measured(world.projected, found)
        plan = solve(problem, Options(gap=PLAN_GAP))
        is_offered = np.isin(np.arange(candidates), plan.build) | (not chosen_only)
        left_cpu_s = budget_cpu_s - float(found.probe_cpu_s.sum())
        probed = choose_batch(worth * is_offered * ~outlook.is_known, world.uncertainty, left_cpu_s, rounds_left)
        if not len(probed):
            break
        found = join_measured(found, world.measure(probed))
    return plan.selection, found


def with_measured(problem: Problem, found: Measured) -> Problem:
    """Measured weights in place of projections."""
    names = ("wire_bytes", "stored_bytes", "server_cpu_s")
    columns = {name: getattr(problem.candidates, name).copy() for name in names}
    for name, column in columns.items():
        column[found.candidate] = getattr(found, name)
    return problem.replace(candidates=replace(problem.candidates, **columns))


Way = Callable[[World, float, int], tuple[Selection, Measured]]
WAYS: dict[str, Way] = {
    "random": partial(by_worth, chosen_only=False, learns=False),
    "the plan's": partial(by_worth, chosen_only=True, learns=False),
    "the plan's, learning": partial(by_worth, chosen_only=True, learns=True),
    "the rule": by_rule,
}


def try_way(world: World, way: Way, budget_fraction: float, seed: int) -> Outcome:
    """One way to probe, with so much of the CPU of building everything."""
    whole_cpu_s = float(world.truth.candidates.server_cpu_s.sum())
    started_s = time.perf_counter()
    selection, found = way(world, budget_fraction * whole_cpu_s, seed)
    wall_s = time.perf_counter() - started_s
    spent_cpu_s = float(found.probe_cpu_s.sum())
    kept_cpu_s = float(found.probe_cpu_s[np.isin(found.candidate, selection.build)].sum())
    return Outcome(
        extra_fraction=world.extra_fraction(selection),
        spent_fraction=spent_cpu_s / whole_cpu_s,
        kept_fraction=kept_cpu_s / spent_cpu_s if spent_cpu_s else 0.0,
        wall_s=wall_s,
    )


def add_rows(table: Table, name: str, worlds: list[World]) -> None:
    """The rows of one kind of instance."""
    unprobed = [try_way(world, WAYS["the plan's"], 0.0, 0).extra_fraction for world in worlds]
    for label, way in WAYS.items():
        cells, last = [], []
        for budget in BUDGETS:
            last = [try_way(world, way, budget, seed) for seed, world in enumerate(worlds)]
            extras = [one.extra_fraction for one in last]
            cells.append(f"{np.mean(extras):.2%} ({max(extras):.2%})")
        table.add_row(
            name,
            label,
            f"{np.mean(unprobed):.2%} ({max(unprobed):.2%})",
            *cells,
            f"{np.mean([one.spent_fraction for one in last]):.1%}",
            f"{np.mean([one.kept_fraction for one in last]):.0%}",
            f"{np.mean([one.wall_s for one in last]):.1f}",
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--commits", type=int, nargs="+", default=[12, 24, 60])
    parser.add_argument("--window", type=int, help="candidates reach back so many commits; all pairs otherwise")
    parser.add_argument("--spread", type=float, default=0.08, help="median relative error of the projections")
    arguments = parser.parse_args()
    table = Table(title=f"True cost above the optimum, mean (worst of {arguments.seeds}), after probing")
    for column in ("commits", "probed", "nothing", *(f"{b:.0%}" for b in BUDGETS), "spent", "kept", "s"):
        table.add_column(column, justify="left" if column == "probed" else "right")
    for commits in arguments.commits:
        for times in MULTIPLIERS:
            make = partial(one_stream, commits, fixed_multiplier=times, window=arguments.window)
            worlds = [project(make(seed=seed), arguments.spread, 100 + seed) for seed in range(arguments.seeds)]
            add_rows(table, f"{commits} x{times:.0f}", worlds)
            print(f"{commits} x{times:.0f} done", file=sys.stderr, flush=True)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
