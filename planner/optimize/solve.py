"""`solve`: the best plan that can be found for a problem, with a proven bound.

Reduce the cohorts, find a start by local search, then let HiGHS close the gap on the strong formulation.
Graphs too large to hand over whole keep the start and a bound from dual ascent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.errors import InfeasibleError, InputError
from planner.optimize.bound import priced_bound, prove_bound
from planner.optimize.evaluate import Evaluation, evaluate
from planner.optimize.formulation import Milp, column_values, count_columns, find_covers, formulate
from planner.optimize.highs import solve_milp
from planner.optimize.local_search import find_start
from planner.optimize.plan import OPTIMAL_GAP, Plan, Status, relative_gap
from planner.optimize.problem import FloatArray, Limits, Prices, Problem
from planner.optimize.reduce import reduce_cohorts
from planner.optimize.routes import select
from planner.units import GB, S_PER_HOUR

LARGEST_EXACT_COLUMNS = 1_000_000
"""Above this the formulation alone needs gigabytes, so it is not handed over: the plan then has the status
`time_limit` whatever time is left. 300,000 columns of facility location take 7 s, 860,000 of dataset versioning
find good plans within minutes, but no bound."""

_EXACT_GAP = OPTIMAL_GAP / 10
"""Asked of HiGHS for an optimal plan: below the reported tolerance, so that rounding cannot cross it."""

_BOUND_ROUNDING = 1e-9
"""Fraction of a bound that is given away: more than sums and solver tolerances can err, far less than `OPTIMAL_GAP`.
Without it a bound may lie above the optimum by its last digits, and would not be proven."""

_MOST_COVERS = 200
_SHADOW_UNITS = {"stored_bytes": GB, "server_cpu_s": S_PER_HOUR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """When to stop. `clock` gives seconds from any origin; the package's edge passes a real one."""

    gap: float = 0.0
    time_limit_s: float = inf
    seed: int = 0
    clock: Callable[[], float] = lambda: 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            InputError: the gap or the time limit is negative or not a number.
        """
        for name in ("gap", "time_limit_s"):
            if not getattr(self, name) >= 0.0:
                raise InputError("is negative or not a number", path=name, got=getattr(self, name))


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
        self.asked_gap = max(options.gap - 2 * _BOUND_ROUNDING, _EXACT_GAP)
        self.best = find_start(problem, self.cohorts, self._is_half_time)
        self.bound = 0.0
        self._raise_bound(prove_bound(problem, self.cohorts, self._is_time_up))
        self.shadow_prices = dict.fromkeys(self._given_limits(), 0.0)
        self.method = "local search, dual ascent"

    def left_s(self) -> float:
        """Seconds left of the time limit."""
        return self.options.time_limit_s - self.spent_s()

    def spent_s(self) -> float:
        """Seconds since the run began."""
        return self.options.clock() - self.started_s

    def _is_half_time(self) -> bool:
        """Whether the search for a start has had its share: the rest is for the proof."""
        return self.spent_s() >= self.options.time_limit_s / 2

    def _is_time_up(self) -> bool:
        return self.spent_s() >= self.options.time_limit_s

    def gap(self) -> float:
        """Relative gap of what is known."""
        return relative_gap(self.best.cost.total, self.bound)

    def _raise_bound(self, proven: float) -> None:
        """Keep a bound that was proven, less what its arithmetic may err."""
        self.bound = max(self.bound, proven * (1 - _BOUND_ROUNDING))

    def plan(self) -> Plan:
        """Solve as far as time and size allow."""
        needs_solver = not self._is_proven() or bool(self.shadow_prices)
        if not self._is_proven() and self.shadow_prices and not self._is_time_up():
            self._raise_bound(priced_bound(self.problem, self.cohorts, self.best.cost.total, self._is_time_up))
        if needs_solver and not self._is_time_up() and self._fits_solver():
            self._solve_exactly()
        if not self.best.is_feasible:
            raise self._unproven_error()
        self.bound = min(self.bound, self.best.cost.total)
        return Plan(
            evaluation=self.best,
            lower_bound=self.bound,
            status=self._status(),
            method=self.method,
            shadow_prices=self.shadow_prices,
            seed=self.options.seed,
            wall_s=self.spent_s(),
        )

    def _given_limits(self) -> list[str]:
        return [name for name in _SHADOW_UNITS if getattr(self.problem.limits, name) is not None]

    def _is_proven(self) -> bool:
        """Whether the best plan is as close to the bound as was asked."""
        return self.best.is_feasible and self.gap() <= self.asked_gap

    def _fits_solver(self) -> bool:
        return count_columns(self.problem, self.cohorts) <= LARGEST_EXACT_COLUMNS

    def _status(self) -> Status:
        if self.gap() <= OPTIMAL_GAP:
            return Status.OPTIMAL
        return Status.GAP_LIMIT if self.gap() <= self.options.gap else Status.TIME_LIMIT

    def _solve_exactly(self) -> None:
        """Let HiGHS prove or improve what is known."""
        milp = formulate(self.problem, self.cohorts)
        reference_money = self.best.cost.total or _largest(milp)
        if self.shadow_prices:
            self._price_limits(milp, reference_money)
        self.method = "strong formulation, HiGHS"
        for _ in range(_MOST_COVERS):
            if self._is_proven() or self._is_time_up():
                return
            answer = solve_milp(
                milp,
                start=self._start(milp),
                reference_money=reference_money,
                gap=self.asked_gap,
                time_limit_s=self.left_s(),
                seed=self.options.seed,
            )
            if answer.is_infeasible and not self.best.is_feasible:
                raise self._limit_error()
            self._raise_bound(answer.bound)
            if answer.values is None:
                return
            self._keep_better(_found(self.problem, milp, answer.values))
            covers = find_covers(self.problem, milp, self.cohorts, answer.values)
            if not covers:
                return
            for cover in covers:
                milp = milp.with_cover(cover)

    def _start(self, milp: Milp) -> FloatArray | None:
        if not self.best.is_feasible:
            return None
        return column_values(self.problem, milp, self.cohorts, self.best.selection)

    def _keep_better(self, found: Evaluation) -> None:
        if found.is_feasible and (not self.best.is_feasible or found.cost.total < self.best.cost.total):
            self.best = found

    def _price_limits(self, milp: Milp, reference_money: float) -> None:
        """Shadow prices from the linear relaxation, which also gives a first bound."""
        answer = solve_milp(milp, reference_money=reference_money, time_limit_s=self.left_s(), relax=True)
        self._raise_bound(answer.bound)
        if answer.row_duals is None:
            return
        for name, row in milp.limit_rows.items():
            per_unit = -float(answer.row_duals[row]) / milp.limit_scale[name]
            self.shadow_prices[name] = max(per_unit * _SHADOW_UNITS[name], 0.0)

    def _unproven_error(self) -> InfeasibleError:
        """What the best selection found breaks, where nobody knows whether a better one exists."""
        return InfeasibleError("no feasible plan was found in the time allowed", reason=self.best.violations[0])

    def _limit_error(self) -> InfeasibleError:
        """Which limit cannot be met, how much is needed, how much is allowed."""
        limits = self._given_limits()
        for name, message in (
            *((name, "cannot be met") for name in limits),
            (limits[0], "cannot be met together with the other limit"),
        ):
            needed = least_needed(
                self.problem,
                name,
                keep_other_limit=message != "cannot be met",
                time_limit_s=self.left_s(),
            )
            allowed = getattr(self.problem.limits, name)
            if needed is None:
                return self._unproven_error()
            if needed > allowed:
                return InfeasibleError(message, path=f"limits.{name}", needed=needed, allowed=allowed)
        return self._unproven_error()


def _found(problem: Problem, milp: Milp, values: FloatArray) -> Evaluation:
    """The selection that column values stand for, with its clients on their cheapest routes, judged."""
    is_open = np.zeros(len(problem.candidates), dtype=bool)
    is_open[milp.candidates[values[: len(milp.candidates)] > 0.5]] = True
    return evaluate(problem, select(problem, is_open))


def least_needed(problem: Problem, name: str, *, keep_other_limit: bool, time_limit_s: float = inf) -> float | None:
    """The least `stored_bytes` or `server_cpu_s` with which every demand can be served; None: not known in time."""
    only_priced = _priced_by(problem, name, keep_other_limit=keep_other_limit)
    milp = formulate(only_priced, reduce_cohorts(only_priced))
    answer = solve_milp(milp, gap=_EXACT_GAP, reference_money=_largest(milp), time_limit_s=time_limit_s)
    if answer.values is None:
        return None
    found = _found(only_priced, milp, answer.values)
    return found.stored_bytes if name == "stored_bytes" else found.server_cpu_s


def _priced_by(problem: Problem, name: str, *, keep_other_limit: bool) -> Problem:
    """The problem in which a unit of the named limit's quantity costs 1 and nothing else costs anything."""
    is_storage = name == "stored_bytes"
    prices = Prices(storage_per_gb=GB) if is_storage else Prices(server_cpu_per_hour=S_PER_HOUR)
    limits = dataclasses.replace(problem.limits, **{name: None}) if keep_other_limit else Limits()
    return problem.replace(prices=prices, limits=limits)


def _largest(milp: Milp) -> float:
    return float(milp.money.max(initial=0.0)) or 1.0
