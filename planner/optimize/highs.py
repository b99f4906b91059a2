"""The one adapter to the HiGHS solver: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import highspy
import numpy as np

from planner.optimize.formulation import Milp
from planner.optimize.problem import FloatArray

_OBJECTIVE_REFERENCE = 1e4
"""The objective is scaled so that the expected optimum is about this: HiGHS's tolerances are absolute."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What HiGHS proved: `values` is None where it found no solution, `bound` holds in any case."""

    is_infeasible: bool
    is_finished: bool
    values: FloatArray | None
    bound: float
    row_duals: FloatArray | None


def solve_milp(
    milp: Milp,
    *,
    start: FloatArray | None = None,
    reference_money: float = 1.0,
    gap: float = 0.0,
    time_limit_s: float = inf,
    seed: int = 0,
    relax: bool = False,
) -> Answer:
    """Solve the formulation, or its linear relaxation (`relax`), whose `row_duals` are prices of the rows.

    `reference_money` is the rough size of the optimum; it only scales numbers. Deterministic for a seed
    unless the time limit cuts the run short.
    """
    scale = _OBJECTIVE_REFERENCE / reference_money if reference_money > 0 else 1.0
    solver = _configured(gap, time_limit_s, seed)
    solver.passModel(_model(milp, scale, relax=relax))
    if start is not None and not relax:
        solution = highspy.HighsSolution()
        solution.col_value = start.tolist()
        solver.setSolution(solution)
    solver.run()
    return _answer(solver, scale, relax=relax)


def _configured(gap: float, time_limit_s: float, seed: int) -> highspy.Highs:
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("random_seed", seed % (2**31 - 1))
    solver.setOptionValue("mip_rel_gap", gap)
    solver.setOptionValue("mip_abs_gap", 0.0)
    solver.setOptionValue("mip_feasibility_tolerance", 1e-9)
    if isfinite(time_limit_s):
        solver.setOptionValue("time_limit", max(time_limit_s, 0.0))
    return solver


def _model(milp: Milp, scale: float, *, relax: bool) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(milp.money), len(milp.row_low)
    lp.col_cost_ = milp.money * scale
    lp.col_lower_, lp.col_upper_ = np.zeros(len(milp.money)), milp.upper
    lp.row_lower_, lp.row_upper_ = milp.row_low, milp.row_high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = lp.num_col_, lp.num_row_
    lp.a_matrix_.start_ = milp.starts.astype(np.int32)
    lp.a_matrix_.index_ = milp.columns.astype(np.int32)
    lp.a_matrix_.value_ = milp.values
    if not relax:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[is_integral] for is_integral in milp.is_integral.tolist()]
    return lp


def _answer(solver: highspy.Highs, scale: float, *, relax: bool) -> Answer:
    status, info = solver.getModelStatus(), solver.getInfo()
    solution = solver.getSolution()
    has_values = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    is_finished = status == highspy.HighsModelStatus.kOptimal
    bound = (info.objective_function_value if is_finished else -inf) if relax else info.mip_dual_bound
    return Answer(
        is_infeasible=status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible),
        is_finished=is_finished,
        values=np.array(solution.col_value) if has_values else None,
        bound=bound / scale if isfinite(bound) else -inf,
        row_duals=np.array(solution.row_dual) / scale if relax and is_finished else None,
    )
