"""What plans made from projected weights cost, by the true ones: before any probe, and after some.

python -m benchmarks.projections            # first: weights of real histories, built and projected
python -m benchmarks.projected_plans [--json]

For each history and each price of what the server keeps and builds: all pairs are candidates, clients are on all
releases and want the newest. The plan from cold projections, and from those that knew every release's delta from the
one before, is judged with the weights of the built deltas, as is the plan that knew these: `extra` is by how much it
costs more. Probing measures candidates until some of the core-seconds of building all of them are spent, learns from
them, and plans again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.instances import cloud_prices, head_demands
from benchmarks.projections import RESULTS_FILE, Scored, fit_prior
from planner.optimize.evaluate import evaluate
from planner.optimize.probing import Effort, probe_in_rounds
from planner.optimize.problem import BoolArray, Candidates, FloatArray, IntArray, Limits, Problem, no_parts
from planner.optimize.projection_errors import Measured, Uncertainty
from planner.optimize.solve import solve
from planner.project.quantities import DEVIATIONS, Quantity

PLANNED = (Quantity.WIRE_BYTES, Quantity.SERVER_CPU_S)
"""What plans here depend on."""

MULTIPLIERS = (1.0, 30.0, 1000.0)
BUDGETS = (0.0, 0.02, 0.05, 0.1)
SEEDS = 5


def main() -> None:
    """Plan, judge, and print by how much plans cost more than they need to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    arguments = parser.parse_args()
    kept = json.loads((arguments.cache / RESULTS_FILE).read_text())
    scored = {name: Scored(**value) for name, value in kept.items()}
    rows = []
    for name, one in scored.items():
        others = [other for key, other in scored.items() if key != name]
        for kind in ("cold", "learnt"):
            for multiplier in MULTIPLIERS:
                extras = [compare(one, others, kind, multiplier, seed) for seed in range(SEEDS)]
                rows.append((name, kind, multiplier, *np.mean(extras, axis=0).tolist()))
    if arguments.json:
        print(json.dumps(rows))
        return
    table = Table("history", "projections", "fixed x", *(f"extra, {budget:.0%}" for budget in BUDGETS))
    for name, kind, multiplier, *extras in rows:
        table.add_row(name, kind, f"{multiplier:g}", *(f"{extra:.2%}" for extra in extras))
    for kind in ("cold", "learnt"):
        means = np.mean([row[3:] for row in rows if row[1] == kind], axis=0)
        table.add_row("mean", kind, "", *(f"{extra:.2%}" for extra in means))
    Console().print(table)


def compare(one: Scored, others: list[Scored], kind: str, multiplier: float, seed: int) -> list[float]:
    """By which fraction plans cost more than with true weights, for each budget."""
    true = make_problem(one, multiplier, seed)
    best = evaluate(true, solve(true).selection).cost.total
    guess = Guess(one, others, is_learnt=kind == "learnt")
    return [judge(true, guess, budget) / best - 1 for budget in BUDGETS]


class Guess:
    """Weights as far as they are measured, and what that tells of the others."""

    def __init__(self, one: Scored, others: list[Scored], *, is_learnt: bool) -> None:
        self.true = {quantity: one.weights(quantity) for quantity in PLANNED}
        self.terms = one.terms(is_learnt=is_learnt)
        self.beliefs = {quantity: fit_prior(others, quantity) for quantity in PLANNED}
        self.first = np.array([is_learnt and newer - older == 1 for older, newer in one.pairs])

    def weights(self, is_measured: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Bytes and their relative errors, core-seconds and theirs."""
        found = []
        for quantity, belief in self.beliefs.items():
            terms, true, doubts = self.terms.of[quantity], self.true[quantity], self.terms.doubts_of(quantity)
            taught = belief.learn(terms[is_measured], true[is_measured], doubts[is_measured])
            projected, errors = taught.project(terms, doubts)
            found += [np.where(is_measured, true, projected), np.where(is_measured, 0.0, errors)]
        return found[0], found[1], found[2], found[3]


def make_problem(one: Scored, multiplier: float, seed: int) -> Problem:
    """All pairs with their true weights; a full pull takes half as much again as the largest delta."""
    pairs = np.array(one.pairs)
    wire_bytes = one.weights(Quantity.WIRE_BYTES)
    commits = int(pairs.max()) + 1
    demands = head_demands(np.random.default_rng(seed), commits, None)
    return Problem(
        commits=tuple(map(str, range(commits))),
        candidates=Candidates(
            base=pairs[:, 0],
            target=pairs[:, 1],
            wire_bytes=wire_bytes,
            stored_bytes=wire_bytes,
            server_cpu_s=one.weights(Quantity.SERVER_CPU_S),
            client_cpu_s=np.zeros(len(pairs)),
            built=np.zeros(len(pairs), dtype=bool),
        ),
        parts=no_parts(),
        demands=replace(demands, full_pull_bytes=np.full(len(demands), 1.5 * wire_bytes.max())),
        prices=cloud_prices(multiplier),
        limits=Limits(),
    )


def judge(true: Problem, guess: Guess, budget: float) -> float:
    """What the plan from a guess costs in truth, once some of it was replaced by measurements."""
    rows = true.candidates
    wire_bytes, errors, core_s, cpu_errors = guess.weights(guess.first)
    projected = with_weights(true, wire_bytes, core_s)
    uncertainty = Uncertainty(
        wire_low_factor=np.exp(-DEVIATIONS * errors),
        wire_high_factor=np.exp(DEVIATIONS * errors),
        cpu_low_factor=np.exp(-DEVIATIONS * cpu_errors),
        cpu_high_factor=np.exp(DEVIATIONS * cpu_errors),
        probe_cpu_s=core_s,
    )

    def measure(probes: IntArray) -> Measured:
        return Measured(
            candidate=probes,
            wire_bytes=rows.wire_bytes[probes],
            stored_bytes=rows.stored_bytes[probes],
            server_cpu_s=rows.server_cpu_s[probes],
            probe_cpu_s=rows.server_cpu_s[probes],
        )

    is_measured = guess.first.copy()
    for one in probe_in_rounds(projected, uncertainty, measure, Effort(budget_cpu_s=budget * rows.server_cpu_s.sum())):
        is_measured[one.probed] = True
    return evaluate(true, one.plan.selection).cost.total


def with_weights(true: Problem, wire_bytes: FloatArray, core_s: FloatArray) -> Problem:
    """The problem if these were the weights."""
    rows = replace(true.candidates, wire_bytes=wire_bytes, stored_bytes=wire_bytes, server_cpu_s=core_s)
    return replace(true, candidates=rows)


if __name__ == "__main__":
    main()
