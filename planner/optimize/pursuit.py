"""Both sides of the gap at given money: routes from above, shares from below, each helping the other.

Dual ascent says which candidates look cheap to open; the search lays routes by that and improves them; the gap
between both says when to stop and what is left for the exact solver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from math import inf

import numpy as np

from planner.optimize.ascent import Ascent, nearest_first, never
from planner.optimize.net import Net
from planner.optimize.problem import BoolArray, FloatArray, Problem
from planner.optimize.search import Search

_THETAS = (0.0, 0.03, 0.1, 0.3, 0.6)
"""How much of its fixed money, beside what the ascent left of it, opening an edge seems to cost to a new start."""

_EDGES_PER_COMMIT = 15
"""Edges that the search looks at after the ascent has told cheap from dear; the others hardly ever enter a plan."""

CLIMBS_PER_START = 2

_MOST_IDLE_CLIMBS = 10
_LEAST_GAIN = 1e-7
"""Climbs that gain less than this fraction, one after the other, after which nothing is left to gain."""


def lay_anew(
    search: Search, left: FloatArray, cycle: int, random: np.random.Generator, is_time_up: Callable[[], bool]
) -> None:
    """Lay routes by what an ascent left of fixed money (edges of the search,), in another way every cycle."""
    theta = _THETAS[cycle % len(_THETAS)]
    seeming = (1 - theta) * left + (theta + 1e-9) * search.closed_money
    order = nearest_first(search.net) if cycle % 2 == 0 else random.permutation(len(search.net.cohorts.base))
    search.lay(order, is_time_up, seeming)


class Pursuit:
    """An ascent and a search over one net at the same money; `found` is called after every search.

    `steps` yields after every move, so that the caller can look at the gap and the clock. The ascent splits each part's
    money between the candidates that need it.
    """

    def __init__(
        self,
        problem: Problem,
        net: Net,
        *,
        seed: int,
        is_time_up: Callable[[], bool],
        found: Callable[[Search], None],
    ) -> None:
        self.problem, self.net = problem, net
        self.fixed_money, self.part_money = problem.candidate_money[net.candidate], problem.part_money
        self.is_time_up, self.found = is_time_up, found
        self.random = np.random.default_rng(seed)
        self.ascent = Ascent(net, problem.money_with_parts[net.candidate], seed=seed)
        self.least_money = inf
        self.used = np.zeros(len(net.candidate), dtype=bool)

    @cached_property
    def search(self) -> Search:
        """The search over all edges; made when it is asked for, as it takes room for every cohort's route."""
        return Search(self.problem, self.net, self.fixed_money, self.part_money)

    def steps(self) -> Iterator[str]:
        """One move after the other, without end: "laid", "started" several times, then "climbed", "cycle"."""
        everything = np.ones(len(self.net.candidate), dtype=bool)
        self.search.lay(nearest_first(self.net), never)
        self._note(self.search, everything)
        yield "laid"
        starts = self.ascent.start(self.is_time_up)
        next(starts)  # a first bound, before the search may spend what time is left
        yield "climbed"
        self._descend(self.search, everything)
        self._search_anew(0)
        yield "started"
        for _ in starts:
            self._search_anew(0)
            yield "started"
        cycle = 0
        while True:
            for _ in range(CLIMBS_PER_START):
                self.ascent.climb(self.is_time_up)
                yield "climbed"
            cycle += 1
            self._search_anew(cycle)
            yield "cycle"

    def prove(self) -> Iterator[str]:
        """The ascent's moves alone, until they gain next to nothing."""
        for _ in self.ascent.start(self.is_time_up):
            yield "started"
        idle = 0
        while not self.is_time_up() and idle < _MOST_IDLE_CLIMBS:
            before = self.ascent.value
            self.ascent.climb(self.is_time_up)
            idle = 0 if self.ascent.value > before + _LEAST_GAIN * abs(before) else idle + 1
            yield "climbed"

    def _search_anew(self, cycle: int) -> None:
        """Lay routes by what the ascent left of fixed money, over the edges that look cheapest by it."""
        is_core = self._core()
        net = self.net if is_core.all() else self.net.only(is_core)
        search = Search(self.problem, net, self.fixed_money[is_core], self.part_money)
        lay_anew(search, self.ascent.left[is_core], cycle, self.random, self.is_time_up)
        self._descend(search, is_core)

    def _core(self) -> BoolArray:
        most = _EDGES_PER_COMMIT * (len(self.net.edges.start) - 1)
        left = self.ascent.left
        if len(left) <= 2 * most:
            return np.ones(len(left), dtype=bool)
        is_core: BoolArray = self.used | (left <= np.partition(left, most)[most])
        return is_core

    def _descend(self, search: Search, is_core: BoolArray) -> None:
        search.descend(self.is_time_up)
        self._note(search, is_core)

    def _note(self, search: Search, is_core: BoolArray) -> None:
        """Report the routes, and remember what the cheapest ones use."""
        self.found(search)
        money = search.money()
        if money < self.least_money:
            self.least_money = money
            self.used[:] = False
            self.used[np.flatnonzero(is_core)[search.open_edges()]] = True
