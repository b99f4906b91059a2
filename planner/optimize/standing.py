"""What a run knows: the best plan so far, the bound proven so far, and the dual solution behind it."""

from __future__ import annotations

from math import inf

from planner.optimize.ascent import Ascent
from planner.optimize.duals import Duals
from planner.optimize.evaluate import Evaluation, Selection, evaluate
from planner.optimize.limits import PricePair, Uses, allowance_money
from planner.optimize.net import Net
from planner.optimize.plan import relative_gap
from planner.optimize.problem import FloatArray, Problem
from planner.optimize.routes import keep_within_bytes
from planner.optimize.search import Search

BOUND_ROUNDING = 1e-9
"""Fraction of a bound that is given away: more than sums and solver tolerances can err, far less than `OPTIMAL_GAP`.
Without it a bound may lie above the optimum by its last digits, and would not be proven."""

_MOST_JUDGED_COHORTS = 50_000
"""With more cohorts, plans found on the way are compared by their float sums, and only the last one is judged."""


class Standing:
    """The best plan, the bound and the duals, which only ever improve."""

    def __init__(self, problem: Problem, net: Net, asked_gap: float) -> None:
        self.problem, self.net, self.asked_gap = problem, net, asked_gap
        self.uses = Uses.of(problem, net)
        self.best: Evaluation | None = None
        self.waiting: tuple[float, Selection] | None = None
        self.bound = 0.0
        self.duals: Duals | None = None

    def cost(self) -> float:
        """What the best plan costs; infinite where none is feasible."""
        if self.waiting is not None:
            return self.waiting[0]
        return self.best.cost.total if self.best is not None and self.best.is_feasible else inf

    def gap(self) -> float:
        """Relative gap of what is known; 1 where no plan is."""
        return relative_gap(self.cost(), self.bound) if self.cost() < inf else 1.0

    def is_proven(self) -> bool:
        """Whether the best plan is as close to the bound as was asked."""
        return self.cost() < inf and self.gap() <= self.asked_gap

    def raise_bound(self, proven: float) -> bool:
        """Keep a bound that was proven, less what its arithmetic may err; whether it is the best so far."""
        is_better = proven * (1 - BOUND_ROUNDING) > self.bound
        if is_better:
            self.bound = proven * (1 - BOUND_ROUNDING)
        return is_better

    def prove(self, ascent: Ascent, prices: PricePair) -> None:
        """Keep what an ascent proves at prices of the limits, and its potentials with it."""
        allowance = allowance_money(prices, self.uses.allowed)
        proven = ascent.value * (1 - BOUND_ROUNDING) - allowance * (1 + BOUND_ROUNDING)
        if proven * (1 - BOUND_ROUNDING) > self.bound or self.duals is None:
            self.keep_duals(proven, ascent.potentials.copy(), prices)

    def keep_duals(
        self, proven: float, potentials: FloatArray, prices: PricePair, part_shares: FloatArray | None = None
    ) -> None:
        """Keep a bound and the potentials that prove it, where it is the best so far."""
        if self.raise_bound(proven) or self.duals is None:
            self.duals = Duals(
                net=self.net,
                potentials=potentials,
                money_per_stored_byte=prices[0],
                money_per_cpu_s=prices[1],
                part_shares=part_shares,
            )

    def keep_better(self, found: Evaluation) -> None:
        """Keep a plan where it is the first, the first feasible one, or cheaper."""
        if self.best is None or (found.is_feasible and found.cost.total < self.cost()):
            self.best, self.waiting = found, None

    def look(self, search: Search) -> None:
        """Judge a search's routes where their sums say that they may be better."""
        money = search.money_in(self.problem)
        # Float sums may err by their last digits; `evaluate` has the last word.
        may_fit = bool((search.use_in(self.problem) <= self.uses.allowed * (1 + 1e-12)).all())
        if self.best is not None and (money >= self.cost() or not may_fit):
            return
        if len(self.net.cohorts.base) > _MOST_JUDGED_COHORTS and may_fit:
            self.waiting = (money, search.selection())
        else:
            self.keep_better(evaluate(self.problem, keep_within_bytes(self.problem, search.selection())))

    def settle(self) -> Evaluation:
        """The best plan, judged; full pulls for everybody where none was looked at."""
        if self.waiting is not None:
            found = evaluate(self.problem, keep_within_bytes(self.problem, self.waiting[1]))
            self.waiting = None
            if self.best is None or found.is_feasible:
                self.best = found
        if self.best is None:
            routes = tuple(() if cohort == -1 else None for cohort in self.net.cohort_of.tolist())
            self.best = evaluate(self.problem, Selection(build=(), routes=routes))
        return self.best
