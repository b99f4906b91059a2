"""`solve`: the best plan that can be found for a problem, with a proven bound.

Reduce the cohorts, find a start by local search, then let HiGHS close the gap on the strong formulation.
Graphs too large to hand over whole keep the start and a bound from split fixed money.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.errors import InfeasibleError
from planner.optimize.bound import split_bound
from planner.optimize.evaluate import Evaluation, evaluate
from planner.optimize.formulation import Milp, column_values, count_columns, formulate
from planner.optimize.highs import Answer, solve_milp
from planner.optimize.local_search import find_start
from planner.optimize.plan import OPTIMAL_GAP, Plan, Status, relative_gap
from planner.optimize.problem import FloatArray, Limits, Prices, Problem
from planner.optimize.reduce import reduce_cohorts
from planner.optimize.routes import select
from planner.units import GB, S_PER_HOUR

LARGEST_EXACT_COLUMNS = 250_000
"""Above this HiGHS needs minutes for the first relaxation alone, so the formulation is not handed over."""

_EXACT_GAP = OPTIMAL_GAP / 10
"""Asked of HiGHS for an optimal plan: below the reported tolerance, so that rounding cannot cross it."""

_MOST_COVERS = 200
_SHADOW_UNITS = {"stored_bytes": GB, "server_cpu_s": S_PER_HOUR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """When to stop. `clock` gives seconds from any origin; the package's edge passes a real one."""

    gap: float = 0.0
    time_limit_s: float = inf
    seed: int = 0
    clock: Callable[[], float] = lambda: 0.0


def solve(problem: Problem, options: Options | None = None) -> Plan:
    """A feasible plan with a proven lower bound.

    The same problem, options and seed give the same plan, unless the time limit cut the run short.

    Raises:
        InfeasibleError: a demand cannot be served, or a limit cannot be met; the error names which,
            how much is needed and how much is allowed.
    """
    return _Run(problem, options or Options()).plan()


class _Run:
    """One call of `solve`: what is known so far, and how much time is left."""

    def __init__(self, problem: Problem, options: Options) -> None:
        self.problem = problem
        self.options = options
        self.started_s = options.clock()
        self.cohorts = reduce_cohorts(problem)
        self.best = find_start(problem, self.cohorts, lambda: self.left_s() <= 0.0)
        self.bound = split_bound(problem, self.cohorts)
        self.shadow_prices = dict.fromkeys(self._given_limits(), 0.0)
        self.method = "local search, split bound"

    def left_s(self) -> float:
        """Seconds left of the time limit."""
        return self.options.time_limit_s - (self.options.clock() - self.started_s)

    def gap(self) -> float:
        """Relative gap of what is known."""
        return relative_gap(self.best.cost.total, self.bound)

    def plan(self) -> Plan:
        """Solve as far as time and size allow."""
        if not self._is_done() and count_columns(self.problem, self.cohorts) <= LARGEST_EXACT_COLUMNS:
            self._solve_exactly()
        if not self.best.is_feasible:
            raise self._limit_error(None, self.best)
        self.bound = min(self.bound, self.best.cost.total)
        return Plan(
            evaluation=self.best,
            lower_bound=self.bound,
            status=self._status(),
            method=self.method,
            shadow_prices=self.shadow_prices,
            seed=self.options.seed,
            wall_s=self.options.clock() - self.started_s,
        )

    def _given_limits(self) -> list[str]:
        return [name for name in _SHADOW_UNITS if getattr(self.problem.limits, name) is not None]

    def _is_done(self) -> bool:
        """Whether the start needs no solver: proven, and no limit whose shadow price is wanted."""
        is_proven = self.best.is_feasible and self.gap() <= max(self.options.gap, _EXACT_GAP)
        return is_proven and not self.shadow_prices

    def _status(self) -> Status:
        if self.gap() <= OPTIMAL_GAP:
            return Status.OPTIMAL
        return Status.GAP_LIMIT if self.gap() <= self.options.gap else Status.TIME_LIMIT

    def _solve_exactly(self) -> None:
        """Let HiGHS prove or improve what is known."""
        milp = formulate(self.problem, self.cohorts)
        reference_money = self.best.cost.total or 1.0
        if self.shadow_prices:
            self._price_limits(milp, reference_money)
        self.method = "strong formulation, HiGHS"
        for _ in range(_MOST_COVERS):
            if self.left_s() <= 0.0:
                return
            answer = solve_milp(
                milp,
                start=self._start(milp),
                reference_money=reference_money,
                gap=max(self.options.gap, _EXACT_GAP),
                time_limit_s=self.left_s(),
                seed=self.options.seed,
            )
            if answer.is_infeasible:
                raise self._limit_error(milp, self.best)
            self.bound = max(self.bound, answer.bound)
            found = self._found(milp, answer)
            if found is None or not found.breaks_limit:
                return
            milp = milp.with_cover(np.isin(milp.candidates, found.selection.build))

    def _start(self, milp: Milp) -> FloatArray | None:
        if not self.best.is_feasible:
            return None
        return column_values(self.problem, milp, self.cohorts, self.best.selection)

    def _found(self, milp: Milp, answer: Answer) -> Evaluation | None:
        """The answer's selection, judged; kept where it is the best so far."""
        if answer.values is None:
            return None
        is_open = np.zeros(len(self.problem.candidates), dtype=bool)
        is_open[milp.candidates[answer.values[: len(milp.candidates)] > 0.5]] = True
        found = evaluate(self.problem, select(self.problem, is_open))
        if found.is_feasible and (not self.best.is_feasible or found.cost.total < self.best.cost.total):
            self.best = found
        return found

    def _price_limits(self, milp: Milp, reference_money: float) -> None:
        """Shadow prices from the linear relaxation, which also gives a first bound."""
        answer = solve_milp(milp, reference_money=reference_money, time_limit_s=self.left_s(), relax=True)
        self.bound = max(self.bound, answer.bound)
        if answer.row_duals is None:
            return
        for name, row in milp.limit_rows.items():
            per_unit = -float(answer.row_duals[row]) / milp.limit_scale[name]
            self.shadow_prices[name] = max(per_unit * _SHADOW_UNITS[name], 0.0)

    def _limit_error(self, milp: Milp | None, best: Evaluation) -> InfeasibleError:
        """Which limit cannot be met, how much is needed, how much is allowed."""
        limits = self._given_limits()
        if milp is None or not limits:
            return InfeasibleError("no feasible plan was found within the time limit", reason=best.violations[0])
        needed = {name: self._least(name, others=False) for name in limits}
        for name in limits:
            allowed = getattr(self.problem.limits, name)
            if needed[name] > allowed:
                return InfeasibleError("cannot be met", path=f"limits.{name}", needed=needed[name], allowed=allowed)
        name = limits[0]
        return InfeasibleError(
            "cannot be met together with the other limit",
            path=f"limits.{name}",
            needed=self._least(name, others=True),
            allowed=getattr(self.problem.limits, name),
        )

    def _least(self, name: str, *, others: bool) -> float:
        """The least of a limited quantity that serves every demand, the other limit kept or dropped."""
        return least_needed(self.problem, name, keep_other_limit=others, time_limit_s=self.left_s())


def least_needed(problem: Problem, name: str, *, keep_other_limit: bool, time_limit_s: float = inf) -> float:
    """The least `stored_bytes` or `server_cpu_s` with which every demand can be served."""
    only_priced = _priced_by(problem, name, keep_other_limit=keep_other_limit)
    milp = formulate(only_priced, reduce_cohorts(only_priced))
    answer = solve_milp(milp, gap=_EXACT_GAP, reference_money=_largest(milp), time_limit_s=time_limit_s)
    if answer.values is None:
        return answer.bound
    is_open = np.zeros(len(problem.candidates), dtype=bool)
    is_open[milp.candidates[answer.values[: len(milp.candidates)] > 0.5]] = True
    found = evaluate(only_priced, select(only_priced, is_open))
    return found.stored_bytes if name == "stored_bytes" else found.server_cpu_s


def _priced_by(problem: Problem, name: str, *, keep_other_limit: bool) -> Problem:
    """The problem in which a unit of the named limit's quantity costs 1 and nothing else costs anything."""
    is_storage = name == "stored_bytes"
    prices = Prices(storage_per_gb=GB) if is_storage else Prices(server_cpu_per_hour=S_PER_HOUR)
    limits = dataclasses.replace(problem.limits, **{name: None}) if keep_other_limit else Limits()
    return problem.replace(prices=prices, limits=limits)


def _largest(milp: Milp) -> float:
    return float(milp.money.max(initial=0.0)) or 1.0
