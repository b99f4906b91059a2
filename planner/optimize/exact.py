"""The exact solver at work: HiGHS on the strong formulation of what is left to decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from planner.optimize.evaluate import Evaluation, evaluate
from planner.optimize.formulation import Milp, column_values, find_covers, formulate, used_candidates
from planner.optimize.highs import solve_milp
from planner.optimize.part_formulation import formulate_with_parts
from planner.optimize.plan import OPTIMAL_GAP
from planner.optimize.problem import FloatArray, Limits, Prices, Problem
from planner.optimize.reduce import Cohort, reduce_cohorts
from planner.optimize.routes import select
from planner.units import GB, S_PER_HOUR

EXACT_GAP = OPTIMAL_GAP / 10
"""Asked of HiGHS for an optimal plan: below the reported tolerance, so that rounding cannot cross it."""

SHADOW_UNITS = {"stored_bytes": GB, "server_cpu_s": S_PER_HOUR}
"""Limits, and the unit that their shadow prices are per."""

_MOST_COVERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactResult:
    """The cheapest feasible plan found, a bound for all plans over the same cohorts, and what limits are worth.

    `is_infeasible`: there is no plan over these cohorts at all.
    """

    found: Evaluation | None
    bound: float
    shadow_prices: Mapping[str, float] = field(default_factory=dict)
    is_infeasible: bool = False


def solve_exactly(
    problem: Problem,
    cohorts: tuple[Cohort, ...],
    best: Evaluation,
    *,
    gap: float,
    seconds_left: Callable[[], float],
    seed: int,
) -> ExactResult:
    """Solve the formulation over reduced cohorts, starting from `best` where it is feasible.

    A solution that keeps a limit only within the solver's tolerance is cut off and the rest solved again.
    """
    milp = (formulate_with_parts if len(problem.parts) else formulate)(problem, cohorts)
    money = best.cost.total or largest_money(milp)
    result = _relaxed(milp, money, seconds_left())
    for _ in range(_MOST_COVERS):
        if seconds_left() <= 0.0:
            break
        answer = solve_milp(
            milp,
            start=_start(problem, milp, cohorts, best),
            reference_money=money,
            gap=gap,
            time_limit_s=seconds_left(),
            seed=seed,
        )
        if answer.is_infeasible:
            return dataclasses.replace(result, is_infeasible=True)
        result = dataclasses.replace(result, bound=max(result.bound, answer.bound))
        if answer.values is None:
            break
        result = _with_found(result, found_in(problem, milp, answer.values))
        covers = find_covers(problem, milp, cohorts, answer.values)
        if not covers:
            break
        for cover in covers:
            milp = milp.with_cover(cover)
    return result


def _start(problem: Problem, milp: Milp, cohorts: tuple[Cohort, ...], best: Evaluation) -> FloatArray | None:
    """The best plan as column values, where it is one over these cohorts."""
    if not best.is_feasible:
        return None
    values = column_values(problem, milp, cohorts, best.selection)
    for cohort, block in zip(cohorts, milp.cohorts, strict=True):
        route = best.selection.routes[cohort.demands[0]]
        if route is not None and values[block.first : block.full_pull].sum() != len(route):
            return None
    return values


def _relaxed(milp: Milp, money: float, seconds_left: float) -> ExactResult:
    """Shadow prices from the linear relaxation, which also gives a first bound; nothing where no limit is given."""
    if not milp.limit_rows:
        return ExactResult(found=None, bound=-inf)
    answer = solve_milp(milp, reference_money=money, time_limit_s=seconds_left, relax=True)
    if answer.row_duals is None:
        return ExactResult(found=None, bound=answer.bound)
    prices = {
        name: max(-float(answer.row_duals[row]) / milp.limit_scale[name] * SHADOW_UNITS[name], 0.0)
        for name, row in milp.limit_rows.items()
    }
    return ExactResult(found=None, bound=answer.bound, shadow_prices=prices)


def _with_found(result: ExactResult, found: Evaluation) -> ExactResult:
    if not found.is_feasible or (result.found is not None and result.found.cost.total <= found.cost.total):
        return result
    return dataclasses.replace(result, found=found)


def found_in(problem: Problem, milp: Milp, values: FloatArray) -> Evaluation:
    """The selection that column values stand for, with its clients on their cheapest routes, judged."""
    is_open = np.zeros(len(problem.candidates), dtype=bool)
    is_open[used_candidates(milp, values)] = True
    return evaluate(problem, select(problem, is_open))


def least_needed(problem: Problem, name: str, *, keep_other_limit: bool, time_limit_s: float = inf) -> float | None:
    """The least `stored_bytes` or `server_cpu_s` with which every demand can be served; None: not known in time."""
    only_priced = _priced_by(problem, name, keep_other_limit=keep_other_limit)
    milp = formulate(only_priced, reduce_cohorts(only_priced))
    answer = solve_milp(milp, gap=EXACT_GAP, reference_money=largest_money(milp), time_limit_s=time_limit_s)
    if answer.values is None:
        return None
    found = found_in(only_priced, milp, answer.values)
    return found.stored_bytes if name == "stored_bytes" else found.server_cpu_s


def _priced_by(problem: Problem, name: str, *, keep_other_limit: bool) -> Problem:
    """The problem in which a unit of the named limit's quantity costs 1 and nothing else costs anything."""
    is_storage = name == "stored_bytes"
    prices = Prices(storage_per_gb=GB) if is_storage else Prices(server_cpu_per_hour=S_PER_HOUR)
    limits = dataclasses.replace(problem.limits, **{name: None}) if keep_other_limit else Limits()
    return problem.replace(prices=prices, limits=limits)


def largest_money(milp: Milp) -> float:
    """The largest objective coefficient, to scale by where no plan is known; 1 where all are 0."""
    return float(milp.money.max(initial=0.0)) or 1.0
