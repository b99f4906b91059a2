"""Both sides of the gap where candidates share parts: shares from below, routes from above, each helping the other.

The ascent's averages say which pieces the linear relaxation keeps; laying routes as if these were cheap finds better
plans than the fixed money alone does. The best plan's cost sets the ascent's steps. Where limits are given, routes are
laid at the ascent's prices, raised until what is laid fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

import numpy as np

from planner.optimize.ascent import nearest_first, never
from planner.optimize.limits import Uses
from planner.optimize.net import Net
from planner.optimize.part_bound import PartAscent, PartBound
from planner.optimize.problem import FloatArray, Problem
from planner.optimize.search import Search

_STEPS_PER_START = 40
"""Steps of the ascent between two starts of the search."""

_TRUSTS = (0.9, 0.0, 0.99, 0.5, 1.0)
"""How much cheaper pieces seem that the relaxation keeps entirely, one start after the other."""

_SHAKES = 8

_VARIATIONS = 30
_VARIATION_PRICES = (0.0, 0.3, 0.6, 0.9, 1.0, 1.1, 1.3)
"""Small changes per start where there are limits, and the prices they are tried at, in the ascent's."""

_RAISE, _LOWER, _RAISE_FIRST = 1.06, 0.97, 1.4
_LEAST_TOLL = 1e-3
"""Where limits are broken and not priced yet, what a whole limit costs, in fractions of the plan's money."""


class PartPursuit:
    """An ascent and a search over one net with shared parts.

    `found` is called after every search, with the search at the money it was laid at. `cost` is the best plan's among
    those that keep the limits (byte limits of routes are not looked at here), and `best_routes` its edges by cohort.
    """

    def __init__(
        self,
        problem: Problem,
        net: Net,
        *,
        seed: int,
        is_time_up: Callable[[], bool],
        found: Callable[[Search], None] = lambda _: None,
    ) -> None:
        self.problem, self.net = problem, net
        self.is_time_up, self.found = is_time_up, found
        self.random = np.random.default_rng(seed)
        self.uses = Uses.of(problem, net)
        self.money = problem.candidate_money[net.candidate], problem.part_money
        self.search = Search(problem, net, *self.money)
        self.ascent = PartAscent(problem, net)
        self.raised = 1.0
        self.cost = inf
        self.best_routes: list[tuple[int, ...] | None] = []

    def gap(self) -> float:
        """Relative gap between both sides; 1 where no plan is known."""
        if not self.best_routes:
            return 1.0
        return (self.cost - self.ascent.best_value) / self.cost if self.cost > 0.0 else 0.0

    def steps(self) -> Iterator[str]:
        """One move after the other, without end: "laid" first, then "cycle"."""
        self.search.lay(nearest_first(self.net), never)
        self._improve(self.money)
        yield "laid"
        cycle = 0
        while True:
            known = self.cost if self.best_routes else inf
            self.ascent.climb(_STEPS_PER_START, known, self.is_time_up)
            if not self.is_time_up():
                self._start(cycle)
            if self.ascent.is_limited.any():
                self.vary()
            cycle += 1
            yield "cycle"

    def _start(self, cycle: int) -> None:
        """Lay routes at the ascent's prices, cheaper where the relaxation goes, and improve them at the real ones."""
        fixed, part_fixed = self._priced()
        trust = _TRUSTS[cycle % len(_TRUSTS)]
        kept = np.minimum(self.ascent.average.max(axis=0, initial=0.0), 1.0)
        pieces, edges = self.ascent.pieces, len(fixed)
        kept_part = np.where(pieces.of_part >= 0, kept[pieces.of_part], 0.0) if len(part_fixed) else part_fixed
        shown = 1.0 - trust * kept[len(pieces) - edges :], 1.0 - trust * kept_part
        self.search.reprice(fixed * shown[0], part_fixed * shown[1])
        order = nearest_first(self.net)
        if cycle % 3 == 1:
            order = self.random.permutation(len(order))
        elif cycle % 3 == 2 and self.best_routes:
            order = np.zeros(0, dtype=np.int64)  # the best plan once more, at other prices
        if len(order):
            self.search.lay(order, self.is_time_up)
        else:
            self.search.follow(self.best_routes)
        self.search.descend(self.is_time_up)
        self._improve((fixed, part_fixed))

    def vary(self) -> None:
        """Change the best plan a little at prices below and above the ascent's; keep what fits and is cheaper."""
        nodes = np.unique(self.net.edges.tail)
        if not len(nodes):
            return
        prices = self.ascent.prices(self.ascent.best_toll)
        for _ in range(_VARIATIONS):
            if self.is_time_up() or not self.best_routes:
                return
            raised = prices * self.random.choice(_VARIATION_PRICES)
            self.search.reprice(self.money[0] + raised @ self.uses.edges, self.money[1] + raised @ self.uses.parts)
            self.search.follow(self.best_routes)
            self.search.shake(self.random.choice(nodes, 1 + self.random.integers(3)), self.random)
            self._look()

    def _priced(self) -> tuple[FloatArray, FloatArray]:
        """Fixed money of edges and parts with their use of the limits priced on top, as far as needed to fit."""
        plain = float(self.search.client_money()) + float(self.money[0].max(initial=0.0))
        least = np.where(self.ascent.is_limited & (self.raised > 1.0), _LEAST_TOLL * plain, 0.0)
        prices = self.ascent.prices(np.maximum(self.ascent.best_toll, least)) * self.raised
        return self.money[0] + prices @ self.uses.edges, self.money[1] + prices @ self.uses.parts

    def _improve(self, money: tuple[FloatArray, FloatArray]) -> None:
        """Descend at given money, look at the plan, shake it and look again."""
        self.search.reprice(*money)
        self.search.descend(self.is_time_up)
        self._adjust(self._look())
        nodes = np.unique(self.net.edges.tail)
        if len(nodes) and not self.is_time_up():
            self.search.shake(self.random.choice(nodes, _SHAKES), self.random)
            self.search.descend(self.is_time_up)
            self._adjust(self._look())

    def _adjust(self, fits: bool) -> None:
        """Raise or lower the prices that routes are laid at."""
        if self.ascent.is_limited.any():
            self.raised *= _LOWER if fits else _RAISE if self.best_routes else _RAISE_FIRST

    def _look(self) -> bool:
        """Keep the routes where they are the best that fit; whether they do."""
        self.found(self.search)
        fits = bool((self.search.use_in(self.problem) <= self.uses.allowed).all())
        cost = self.search.money_in(self.problem)
        if fits and cost < self.cost:
            self.cost = cost
            routes, lengths = self.search.routes.route.tolist(), self.search.routes.length.tolist()
            self.best_routes = [None if n < 0 else tuple(row[:n]) for row, n in zip(routes, lengths, strict=True)]
        return fits


def bound_with_parts(problem: Problem, net: Net, *, seed: int, is_time_up: Callable[[], bool]) -> PartBound:
    """The best bound until time is up or steps have become too short to matter."""
    pursuit = PartPursuit(problem, net, seed=seed, is_time_up=is_time_up)
    for _ in pursuit.steps():
        if is_time_up() or pursuit.ascent.is_stalled:
            break
    return pursuit.ascent.proof()
