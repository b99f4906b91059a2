"""Which projected candidates to probe (build and measure) before a plan is trusted, within a budget of core-seconds.

Problems are drawn that the true one may be, and the best plan of each is compared with the plan: an error that decides
between the two is worth knowing, any other is not. The plan is stable when no draw has a plan that is much better.

Source: value of information by simulation, Frazier 2018, A tutorial on Bayesian optimization, section 4.2; the
optimistic plan, Chen et al. 2014, Combinatorial pure exploration of multi-armed bandits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from planner.errors import InputError
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.plan import Plan
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.projection_errors import Measured, Outlook, Uncertainty, join_measured, nothing_measured
from planner.optimize.solve import Options, solve

_OPTIMISTIC_WEIGHT = 10.0
"""How much sooner a candidate of the optimistic plan is probed: a probe pays only where the candidate is then used."""

_ROUNDING = 1e-9
"""Fraction of a plan's cost below which money is nothing."""

Measure = Callable[[IntArray], Measured]
"""Builds some candidates, remembers what they weigh, and says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much probing is allowed, and when it is enough.

    `tolerance_fraction` of the plan's cost is what a draw's own plan may save before the plan counts as not stable.
    `keeps_probes`: a probe is kept as an artifact, so plans count its server CPU as paid.
    """

    budget_cpu_s: float
    rounds: int = 4
    draws: int = 12
    tolerance_fraction: float = 2e-3
    keeps_probes: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            InputError: the budget or the tolerance is negative or not a number, or there is no round or draw.
        """
        for name, least in (("budget_cpu_s", 0.0), ("tolerance_fraction", 0.0), ("rounds", 1), ("draws", 1)):
            if not getattr(self, name) >= least:
                raise InputError("is too small or not a number", path=name, got=getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Doubt:
    """What a plan's problem leaves open.

    `worth` is the money that hangs on each candidate's error, per core-second of its probe, and 0 where that decides
    nothing; shape (candidates,). `most_regret_fraction` is the largest part of the plan's cost that a draw's own plan
    saves, infinite where the plan breaks a limit in a draw.
    """

    worth: FloatArray
    most_regret_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """A plan, and the probes that led to it from the plan before: none for the plan from projections."""

    probed: IntArray
    spent_cpu_s: float
    problem: Problem
    plan: Plan
    most_regret_fraction: float
    is_stable: bool


def probe_in_rounds(
    projected: Problem,
    uncertainty: Uncertainty,
    measure: Measure,
    effort: Effort,
    *,
    measured: Measured | None = None,
    options: Options | None = None,
) -> Iterator[Round]:
    """The plan from projections, then one after each batch of probes; ends when stable or when the budget is used.

    Nothing is held that matters: stopped after any round and begun again with all that was `measured` so far (which
    counts nothing against the budget), it goes on from there. A batch's probes, each as dear as the high end of its
    interval, fit into what is left of the budget. `options` are of every single solve.

    Raises:
        InfeasibleError: as `solve`.
    """
    options = options or Options()
    outlook = Outlook(
        projected=projected,
        uncertainty=uncertainty,
        measured=measured or nothing_measured(),
        keeps_probes=effort.keeps_probes,
    )
    probed, spent_cpu_s = np.zeros(0, dtype=np.int64), 0.0
    for rounds_left in range(effort.rounds, -1, -1):
        problem = outlook.expected()
        plan = solve(problem, options)
        options = replace(options, start=plan.selection)
        doubt = weigh_doubt(outlook, problem, plan, effort, options)
        is_stable = doubt.most_regret_fraction <= effort.tolerance_fraction + _ROUNDING
        yield Round(
            probed=probed,
            spent_cpu_s=spent_cpu_s,
            problem=problem,
            plan=plan,
            most_regret_fraction=doubt.most_regret_fraction,
            is_stable=is_stable,
        )
        probed = choose_batch(doubt.worth, uncertainty, effort.budget_cpu_s - spent_cpu_s, rounds_left)
        if is_stable or not len(probed):
            return
        found = measure(probed)
        spent_cpu_s += float(found.probe_cpu_s.sum())
        outlook = replace(outlook, measured=join_measured(outlook.measured, found))


def choose_batch(worth: FloatArray, uncertainty: Uncertainty, left_cpu_s: float, rounds_left: int) -> IntArray:
    """The candidates to probe next, best first: for an even share of what is left, or one where a share is too little.

    Their projected probes fit into the share, and into all that is left even if each took the high end of its interval.
    Ties go to the lower index.
    """
    if rounds_left <= 0:
        return np.zeros(0, dtype=np.int64)
    cpu_s = uncertainty.probe_cpu_s
    most_cpu_s = cpu_s * uncertainty.cpu_high_factor
    order = np.argsort(-worth, kind="stable")
    order = order[(worth[order] > 0.0) & (most_cpu_s[order] <= left_cpu_s)]
    share_cpu_s = max(left_cpu_s / rounds_left, float(cpu_s[order[0]])) if len(order) else 0.0
    chosen, taken_cpu_s, most_taken_cpu_s = [], 0.0, 0.0
    for candidate, own, most in zip(order.tolist(), cpu_s[order].tolist(), most_cpu_s[order].tolist(), strict=True):
        if taken_cpu_s + own <= share_cpu_s and most_taken_cpu_s + most <= left_cpu_s:
            chosen.append(candidate)
            taken_cpu_s, most_taken_cpu_s = taken_cpu_s + own, most_taken_cpu_s + most
    return np.array(chosen, dtype=np.int64)


def weigh_doubt(outlook: Outlook, problem: Problem, plan: Plan, effort: Effort, options: Options) -> Doubt:
    """What draws say against a plan of `outlook.expected()`; the same draws for the same seed and measurements.

    A draw's plan is as good as the tolerance asks, and begins from the plan, so that it never costs more in its draw.
    Where no draw objects, as many are made again: a few draws say sooner that a plan is bad than that it is good.
    """
    quick = replace(options, gap=max(options.gap, effort.tolerance_fraction), start=plan.selection)
    rng = np.random.default_rng([effort.seed, len(outlook.measured.candidate)])
    money, most_regret = np.zeros(len(problem.candidates)), 0.0
    drawn_count = 0 if not outlook.is_known.all() else 2 * effort.draws
    while drawn_count < effort.draws or (drawn_count < 2 * effort.draws and most_regret <= effort.tolerance_fraction):
        drawn, drawn_count = outlook.draw(rng), drawn_count + 1
        standing = evaluate(drawn, plan.selection)
        errors = _error_money(problem, drawn, plan.selection)
        if standing.is_feasible:
            other = solve(drawn, quick).evaluation
            saved_money = standing.cost.total - other.cost.total
            most_regret = max(most_regret, saved_money / standing.cost.total if saved_money > 0.0 else 0.0)
            errors -= _error_money(problem, drawn, other.selection)
        else:
            most_regret = np.inf  # any of the plan's errors may be what breaks the limit
        money += np.abs(errors)
    worth = np.where(outlook.is_known, 0.0, money / drawn_count / np.maximum(outlook.uncertainty.probe_cpu_s, 1e-9))
    if worth.any():
        worth[list(solve(outlook.optimistic(), quick).build)] *= _OPTIMISTIC_WEIGHT
    return Doubt(worth=worth, most_regret_fraction=most_regret)


def _error_money(problem: Problem, drawn: Problem, selection: Selection) -> FloatArray:
    """What each chosen candidate costs more in the draw than in the problem, clients included; shape (candidates,)."""
    clients = np.zeros(len(problem.candidates))
    for demand, route in zip(problem.demands.clients.tolist(), selection.routes, strict=True):
        clients[list(route or ())] += demand
    is_chosen = np.zeros(len(clients), dtype=bool)
    is_chosen[list(selection.build)] = True
    fixed = np.where(is_chosen, drawn.candidate_money - problem.candidate_money, 0.0)
    return fixed + clients * (drawn.hop_money - problem.hop_money)
