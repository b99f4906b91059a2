"""A plan for tonight that minds the nights to come."""

from __future__ import annotations

from dataclasses import replace

from planner.optimize.assemble import Assembly
from planner.optimize.evaluate import Evaluation, evaluate
from planner.optimize.forecast import Forecast
from planner.optimize.horizon import Ahead, extend, fit
from planner.optimize.plan import OPTIMAL_GAP, Plan, Status, relative_gap
from planner.optimize.solve import Options, solve

_SHARE_OF_TONIGHT = 0.25
"""Of the time limit: the problem without the future is much smaller, and only its bound is needed."""


def solve_ahead(assembly: Assembly, forecast: Forecast, options: Options) -> Plan:
    """Tonight's part of the best plan for all periods; where the forecast is empty, what `solve` gives.

    The bound is that of tonight's problem alone: the gap holds what the future is worth, too. Where what all periods
    together chose breaks tonight's limits, tonight's plan is made without the future.
    """
    ahead = extend(assembly, forecast)
    if ahead.problem is assembly.problem:
        return solve(assembly.problem, options)
    alone = solve(assembly.problem, replace(options, time_limit_s=_SHARE_OF_TONIGHT * options.time_limit_s))
    left_s = (1 - _SHARE_OF_TONIGHT) * options.time_limit_s
    whole = solve(ahead.problem, replace(options, start=None, time_limit_s=left_s))
    judged = _judge(ahead, whole)
    if judged is None:
        return alone
    gap = relative_gap(judged.cost.total, alone.lower_bound)
    is_cut = Status.TIME_LIMIT in (alone.status, whole.status)
    status = Status.OPTIMAL if gap <= OPTIMAL_GAP else Status.TIME_LIMIT if is_cut else Status.GAP_LIMIT
    return replace(
        alone,
        evaluation=judged,
        status=status,
        method=f"{whole.method} over {len(forecast.cohorts) + 1} periods",
        wall_s=alone.wall_s + whole.wall_s,
    )


def _judge(ahead: Ahead, whole: Plan) -> Evaluation | None:
    """Tonight's part, with what is kept for later if there is room for it; None where neither is allowed."""
    problem = ahead.assembly.problem
    for selection in (ahead.tonight(whole.selection), fit(ahead, whole.selection)):
        judged = evaluate(problem, selection)
        if judged.is_feasible:
            return judged
    return None
