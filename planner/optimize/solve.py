"""`solve`: the best plan that can be found for a problem, with a proven bound.

A portfolio behind one function. Local search and dual ascent close in on the optimum from both sides (`pursuit`); where
limits bind, they are priced (`limits`); what the gap does not exclude goes to HiGHS (`core`, `exact`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.errors import InfeasibleError, InputError
from planner.optimize.ascent import nearest_first, never, work_of
from planner.optimize.core import reduce_by_bound
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.exact import EXACT_GAP, SHADOW_UNITS, least_needed, solve_exactly
from planner.optimize.formulation import count_columns
from planner.optimize.limits import PricePair, PriceSearch, allowance_money, price_use
from planner.optimize.net import ONLY_FULL_PULL, lay_out
from planner.optimize.part_bound import LARGEST_SHARES
from planner.optimize.part_branch import close_in
from planner.optimize.plan import OPTIMAL_GAP, Plan, Status, relative_gap
from planner.optimize.problem import Problem
from planner.optimize.pursuit import Pursuit
from planner.optimize.reduce import Cohort, reduce_cohorts
from planner.optimize.rooted import RootedPlan, bound_rooted, is_rooted, search_closer, search_rooted
from planner.optimize.rooted_width import close_trees
from planner.optimize.routes import cheapest_within_bytes
from planner.optimize.search import Search
from planner.optimize.search_kernels import Routes
from planner.optimize.standing import BOUND_ROUNDING, Standing

LARGEST_EXACT_COLUMNS = 1_000_000
"""Above this the formulation alone needs gigabytes, so it is not handed over."""

_LARGEST_CORE_COLUMNS = 600_000
"""A core's limit: beside it stand the whole problem and the ascent's arrays."""

_FIRST_EXACT_COLUMNS = 15_000
"""Where no more than this is left after the first rounds, HiGHS needs about a second and is asked at once."""

_SMALL_WORK = 40_000
"""Edges over all cohorts up to which a problem with limits goes to HiGHS whole: its relaxation prices the limits."""

_TIME_TO_USE = 0.95
"""Part of the time limit after which nothing new is begun."""

_CYCLES_PER_CORE = 4
_CORE_GROWTH = 2.5
"""Cycles of ascent and search before HiGHS is asked, and how much more it is given the next time."""

_MOST_GAP_TO_CLIMB = 0.05
"""A gap above which more rounds of ascent are worth less than the whole relaxation."""

_MOST_CORE_COHORTS = 20_000
"""With more cohorts HiGHS is not asked: what one stream could still gain is far below the gap of them all."""

_MOST_PLAIN_PAIRS = 3_000
"""Pairs of a candidate and a part up to which HiGHS is asked as if there were no parts."""

_PARTS_GAP = 1e-4
"""Branching on shares goes no further: what is left is for the exact solver, where it fits."""

_MOST_REPRICED_STREAMS = 300
"""With so many streams, a choice of one plan each keeps the limits closely; with fewer, what is left goes to HiGHS."""

_FIRST_TREES = 0.2
"""Part of the time left after which what no cheaper plan can use is dropped; trees have half of it in all."""

_WIDTH_UNTIL, _LAST_STEPS = 0.85, 0.1
"""Part of that time after which commits are no longer eliminated, and what steps may take where the bound is there."""

_MOST_IDLE_CYCLES = 10
_LEAST_GAIN = 1e-3
"""Cycles, one after the other, that close less than this fraction of the gap, after which there are no more."""

_ROUNDS_PER_PRICE = 2
_MOST_PRICES = 12
"""Rounds of ascent at each price of the limits, and prices looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """When to stop, and where to begin. `clock` gives seconds from any origin; the package's edge passes a real one."""

    gap: float = 0.0
    time_limit_s: float = inf
    seed: int = 0
    start: Selection | None = None
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
    """One call of `solve`: the portfolio in order, until the gap is as asked or time is up."""

    def __init__(self, problem: Problem, options: Options) -> None:
        self.problem, self.options = problem, options
        self.started_s = options.clock()
        self.net = lay_out(problem)
        asked_gap = max(options.gap - 2 * BOUND_ROUNDING, EXACT_GAP)
        self.known = Standing(problem, self.net, asked_gap)
        self.given_limits = [name for name in SHADOW_UNITS if getattr(problem.limits, name) is not None]
        self.shadow_prices: dict[str, float] = dict.fromkeys(self.given_limits, 0.0)
        self.methods: list[str] = []
        self.first_routes: Routes | None = None

    def left_s(self) -> float:
        """Seconds left of the time limit, less what the last step may run over."""
        return self.options.time_limit_s * _TIME_TO_USE - (self.options.clock() - self.started_s)

    def is_time_up(self) -> bool:
        """Whether the time limit has passed."""
        return self.left_s() <= 0.0

    def plan(self) -> Plan:
        """Solve as far as time and size allow."""
        known = self.known
        if self.options.start is not None:
            known.keep_better(evaluate(self.problem, self.options.start))
        if self._has_many_parts():
            self._share_parts()
        else:
            self._pursue()
            if self.given_limits and not known.is_proven() and not self.is_time_up():
                self._price_limits()
        if not known.is_proven() and not self.is_time_up():
            self._ask_whole()
        best = known.settle()
        if not best.is_feasible:
            raise self._limit_error()
        bound = min(known.bound, best.cost.total)
        return Plan(
            evaluation=best,
            lower_bound=bound,
            status=self._status(relative_gap(best.cost.total, bound)),
            method=", ".join(dict.fromkeys(self.methods)),
            shadow_prices=self.shadow_prices,
            seed=self.options.seed,
            wall_s=self.options.clock() - self.started_s,
            duals=known.duals,
        )

    def _status(self, gap: float) -> Status:
        if gap <= OPTIMAL_GAP:
            return Status.OPTIMAL
        return Status.GAP_LIMIT if gap <= self.options.gap else Status.TIME_LIMIT

    def _pursue(self, prices: PricePair = (0.0, 0.0)) -> None:
        """Search and dual ascent at prices of the limits, until the gap is closed or all that it leaves was solved."""
        known = self.known
        pursuit = Pursuit(
            price_use(self.problem, prices),
            self.net,
            seed=self.options.seed,
            is_time_up=self.is_time_up,
            found=known.look,
        )
        # Of many streams, plans at prices break the limits: only what they prove is of use.
        moves = (
            pursuit.steps() if not any(prices) or len(self.net.cohorts.base) <= _MOST_CORE_COHORTS else pursuit.prove()
        )
        self.methods.append("local search, dual ascent")
        columns, cycles = _FIRST_EXACT_COLUMNS, 0
        for move in moves:
            if move == "laid":
                self._check_served(pursuit.search.routes)
                self.first_routes = pursuit.search.routes
            known.prove(pursuit.ascent, prices)
            if known.is_proven() or self.is_time_up():
                return
            if move == "started" and not any(prices) and known.cost() > pursuit.least_money * (1 + 1e-9):
                return  # limits bind
            cycles += move == "cycle"
            if cycles == _CYCLES_PER_CORE:
                if self._ask_core(pursuit, prices, columns) or columns >= _LARGEST_CORE_COLUMNS or known.is_proven():
                    return
                # Where shares prove little, the relaxation has to: facility location with few dear depots.
                growth = _CORE_GROWTH if known.gap() < _MOST_GAP_TO_CLIMB else inf
                columns, cycles = int(min(columns * growth, _LARGEST_CORE_COLUMNS)), 0

    def _has_many_parts(self) -> bool:
        """Whether parts are shared on a scale that the plain formulation is not made for, and shares still fit."""
        parts, cohorts = self.problem.parts, len(self.net.cohorts.base)
        pieces = len(parts) + len(self.net.candidate)
        return len(parts.candidate) > _MOST_PLAIN_PAIRS and 0 < cohorts * pieces <= LARGEST_SHARES

    def _share_parts(self) -> None:
        """Split parts between cohorts, and branch on what limits leave open."""
        known = self.known
        first = Search(
            self.problem, self.net, self.problem.candidate_money[self.net.candidate], self.problem.part_money
        )
        first.lay(nearest_first(self.net), never)
        known.look(first)
        self._check_served(first.routes)
        self.methods.append("shares of parts, branching")
        closed = close_in(
            self.problem,
            self.net,
            seed=self.options.seed,
            is_time_up=self.is_time_up,
            found=known.look,
            asked_gap=max(known.asked_gap, _PARTS_GAP),
        )
        proof = closed.proof
        prices = (proof.price_per_stored_byte, proof.price_per_cpu_s)
        known.keep_duals(proof.bound, proof.potentials, prices, proof.part_shares)
        known.raise_bound(min(closed.bound, known.cost()))
        self._note_prices(prices)

    def _check_served(self, routes: Routes) -> None:
        """Raise where a demand has neither a route nor a full pull; hops and bytes may be met apart, not together."""
        cohorts, demands = self.net.cohorts, self.problem.demands
        is_served = np.isfinite(cohorts.cap) | (routes.length >= 0)
        everything = np.ones(len(self.problem.candidates), dtype=bool)
        for cohort in np.flatnonzero(is_served & np.isinf(cohorts.cap)).tolist():
            demand = int(self.net.first_demand[cohort])
            if np.isfinite(demands.max_wire_bytes[demand]):
                is_served[cohort] = cheapest_within_bytes(self.problem, demand, everything) is not None
        is_stuck = (self.net.cohort_of == ONLY_FULL_PULL) & np.isinf(self.problem.full_pull_money)
        unserved = np.r_[self.net.first_demand[~is_served], np.flatnonzero(is_stuck)]
        if len(unserved):
            demand = int(unserved.min())
            raise InfeasibleError(
                "has no route within its limits and no full pull",
                path=f"demands[{demand}]",
                base=self.problem.commits[demands.base[demand]],
                target=self.problem.commits[demands.target[demand]],
            )

    def _ask_core(self, pursuit: Pursuit, prices: PricePair, most_columns: int) -> bool:
        """Hand what the gap leaves, or so much of it, over to HiGHS; whether that was all."""
        known, ascent = self.known, pursuit.ascent
        bound = ascent.value - allowance_money(prices, known.uses.allowed)
        slack = known.cost() - bound + 1e-9 * known.cost()
        if not slack < inf or len(self.net.cohorts.base) > _MOST_CORE_COHORTS:
            return False
        core = reduce_by_bound(self.problem, ascent, slack, most_columns, self.is_time_up)
        if core is None:
            return False
        self._solve(core.cohorts, most=inf if core.slack >= slack else bound + core.slack)
        return core.slack >= slack

    def _solve(self, cohorts: tuple[Cohort, ...], most: float = inf) -> None:
        """Let HiGHS decide over cohorts; plans outside them cost at least `most`, or as much as the best one known."""
        known = self.known
        best = known.settle()
        result = solve_exactly(
            self.problem,
            cohorts,
            best,
            gap=known.asked_gap,
            seconds_left=self.left_s,
            seed=self.options.seed,
        )
        self.methods.append("strong formulation, HiGHS")
        if result.found is not None:
            known.keep_better(result.found)
        if result.is_infeasible and not best.is_feasible and most == inf:
            raise self._limit_error()
        known.raise_bound(min(inf if result.is_infeasible else result.bound, known.cost(), most))
        self.shadow_prices.update(result.shadow_prices)

    def _price_limits(self) -> None:
        """Share what is allowed by prices; a small problem goes to HiGHS whole, whose relaxation has them."""
        if work_of(self.net).sum() <= _SMALL_WORK:
            self._solve(reduce_cohorts(self.problem))
            return
        if is_rooted(self.problem, self.net) and not self.net.edges.is_acyclic:
            self._search_trees()
            return
        self.methods.append("prices of the limits")
        prices = PriceSearch(
            self.problem, self.net, seed=self.options.seed, is_time_up=self.is_time_up, found=self.known.look
        )
        if self.first_routes is not None:
            prices.begin(self.first_routes, self.known.bound)
        prices.run(_ROUNDS_PER_PRICE, _MOST_PRICES, self.known.is_proven)
        if prices.ascent is not None:
            self.known.prove(prices.ascent, prices.prices)
            self._note_prices(prices.prices)
        if prices.streams > _MOST_REPRICED_STREAMS:
            self._refine(prices)
        if not self.known.is_proven() and not self.is_time_up():
            self._pursue(prices.prices)

    def _refine(self, prices: PriceSearch) -> None:
        """More of both sides at the prices found: of many streams, the best of each stream's plans make the plan."""
        known, cycle, idle = self.known, 0, 0
        while (
            prices.ascent is not None and idle < _MOST_IDLE_CYCLES and not known.is_proven() and not self.is_time_up()
        ):
            before = known.gap()
            prices.refine(cycle)
            known.prove(prices.ascent, prices.prices)
            idle = 0 if known.gap() < before * (1 - _LEAST_GAIN) else idle + 1
            cycle += 1

    def _search_trees(self) -> None:
        """Trees to one root within the limits (dataset versioning), and a bound at prices of the limits."""
        known, left_s, start, seed = self.known, self.left_s(), self.options.start, self.options.seed
        routes = start.routes if start is not None else None
        least_s = (1 - _FIRST_TREES) * left_s

        def is_up() -> bool:
            return self.left_s() <= least_s or self.is_time_up()

        found = search_rooted(self.problem, self.net, seed=seed, is_time_up=is_up, start=routes)
        self.methods.append("annealed trees, primal-dual steps")
        if found is None:
            return
        least_s = (1 - _WIDTH_UNTIL) * left_s
        found = self._close_in(found, is_up)
        if not known.is_proven():
            least_s = min(left_s / 2, self.left_s() / 2)
            found = search_closer(self.problem, self.net, found, seed=seed, is_time_up=is_up)
        known.keep_better(evaluate(self.problem, found.selection))
        # Where the bound is there already, this is for what a certificate shows, and short.
        least_s = self.left_s() - _LAST_STEPS * left_s if known.is_proven() else 0.0
        bound = bound_rooted(self.problem, self.net, known.cost(), found.prices, seed=seed, is_time_up=is_up)
        prices = (bound.price_per_stored_byte, bound.price_per_cpu_s)
        known.keep_duals(bound.bound, bound.potentials, prices)
        known.raise_bound(min(bound.branched_bound, known.cost()))
        self._note_prices(prices)

    def _close_in(self, found: RootedPlan, is_time_up: Callable[[], bool]) -> RootedPlan:
        """A bound, and maybe a better plan, where the graph is nearly a tree; the best plan known."""
        closed = close_trees(self.problem, self.net, found, gap=self.known.asked_gap, is_time_up=is_time_up)
        if closed is None:
            return found
        self.methods.append("elimination")
        self.known.keep_better(evaluate(self.problem, closed.plan.selection))
        self.known.raise_bound(min(closed.bound, self.known.cost()))
        return closed.plan

    def _note_prices(self, prices: PricePair) -> None:
        for name, price in zip(SHADOW_UNITS, prices, strict=True):
            if name in self.shadow_prices:
                self.shadow_prices[name] = price * SHADOW_UNITS[name]

    def _ask_whole(self) -> None:
        """Hand the whole problem to HiGHS where it fits."""
        if self.net.cohorts.base.size and work_of(self.net).sum() <= LARGEST_EXACT_COLUMNS:
            cohorts = reduce_cohorts(self.problem)
            if count_columns(self.problem, cohorts) <= LARGEST_EXACT_COLUMNS:
                self._solve(cohorts)

    def _limit_error(self) -> InfeasibleError:
        """Which limit cannot be met, how much is needed, how much is allowed."""
        limits = self.given_limits
        for name, message in (
            *((name, "cannot be met") for name in limits),
            *((name, "cannot be met together with the other limit") for name in limits[:1]),
        ):
            needed = None
            if not self.is_time_up() and work_of(self.net).sum() <= LARGEST_EXACT_COLUMNS:
                needed = least_needed(
                    self.problem, name, keep_other_limit=message != "cannot be met", time_limit_s=self.left_s()
                )
            allowed = getattr(self.problem.limits, name)
            if needed is None:
                break
            if needed > allowed:
                return InfeasibleError(message, path=f"limits.{name}", needed=needed, allowed=allowed)
        reason = self.known.settle().violations[0]
        return InfeasibleError("no feasible plan was found in the time allowed", reason=reason)
