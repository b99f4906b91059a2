"""Branch and bound by shares: where limits leave a gap, decide single candidates until it is small.

With limits the relaxation mixes plans that use less than allowed with plans that use more; few decisions tell them
apart: whether a candidate is kept, and whether a cohort pulls in full. Each node takes one more of them, and the ascent
bounds it from its parent's shares; the bound of all is the least among nodes still open.

Source: Land and Doig 1960; the bound is that of `part_bound`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf

import numpy as np

from planner.optimize.net import Net
from planner.optimize.part_bound import Begin, PartAscent, PartBound
from planner.optimize.part_search import PartPursuit
from planner.optimize.problem import Problem
from planner.optimize.search import Search

_STEPS_PER_LOOK = 30
_LOOKS_PER_NODE = 5
"""Steps of the ascent at a node, in portions after each of which it may be cut off."""

_MOST_NODES = 5_000
_MOST_HELD = 50_000_000
"""Weights held by open nodes, in numbers: what is beyond begins from the root's."""


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    refused: frozenset[int]
    taken: frozenset[int]
    decision: int
    begin: Begin


class Branching:
    """Open nodes by their bounds. `bound` holds for every plan that keeps the limits."""

    def __init__(self, root_ascent: PartAscent) -> None:
        ascent = PartAscent(root_ascent.problem, root_ascent.net)
        ascent.average[:] = root_ascent.average
        ascent.best_toll = root_ascent.best_toll.copy()
        self.ascent = ascent
        self.number = count()
        root = (root_ascent.best_weights.copy(), root_ascent.best_toll.copy())
        self.root = root
        self.bound = root_ascent.best_value
        self.closed_bound = inf
        self.nodes = 0
        self.open: list[tuple[float, int, _Node]] = []
        self._push(frozenset(), frozenset(), root, root_ascent.best_value)

    def is_finished(self) -> bool:
        """Whether nothing is left to decide."""
        return not self.open or self.nodes >= _MOST_NODES

    def branch(self, cost: float, asked_gap: float, is_time_up: Callable[[], bool]) -> None:
        """Take one more decision in the node of the least bound; `cost` is that of the best plan known."""
        if self.is_finished():
            return
        value, _, node = self.open[0]
        enough = cost * (1 - asked_gap)
        if node.decision < 0 or value >= enough:  # the relaxation decides by itself here, or nothing better is left
            heapq.heappop(self.open)
            self.closed_bound = min(self.closed_bound, value)
        else:
            children = []
            for refused, taken in (
                (node.refused | {node.decision}, node.taken),
                (node.refused, node.taken | {node.decision}),
            ):
                self.ascent.decide(refused, taken, node.begin)
                self._climb(cost, enough, is_time_up)
                if is_time_up():
                    return
                begin = (self.ascent.best_weights.copy(), self.ascent.best_toll.copy())
                bound = max(self.ascent.best_value, value)
                children.append((refused, taken, begin, bound, self._undecided(refused, taken)))
            heapq.heappop(self.open)
            for refused, taken, begin, bound, edge in children:
                self._push(refused, taken, begin, bound, edge)
            self.nodes += 2
        self.bound = min(self.closed_bound, self.open[0][0] if self.open else inf)

    def _climb(self, cost: float, enough: float, is_time_up: Callable[[], bool]) -> None:
        for _ in range(_LOOKS_PER_NODE):
            self.ascent.climb(_STEPS_PER_LOOK, cost, is_time_up)
            if self.ascent.best_value >= enough or self.ascent.is_stalled or is_time_up():
                return

    def _push(
        self,
        refused: frozenset[int],
        taken: frozenset[int],
        begin: Begin,
        value: float,
        edge: int | None = None,
    ) -> None:
        if len(self.open) * begin[0].size > _MOST_HELD:
            begin = self.root
        chosen = self._undecided(refused, taken) if edge is None else edge
        heapq.heappush(self.open, (value, next(self.number), _Node(refused, taken, chosen, begin)))

    def _undecided(self, refused: frozenset[int], taken: frozenset[int]) -> int:
        """The decision with the most money in doubt, -1 where none is left."""
        inclined = self.ascent.inclination()
        doubt = np.minimum(inclined, 1.0 - inclined) * self.ascent.weight_of_decisions()
        doubt[list(refused | taken)] = -1.0
        if not len(doubt):
            return -1
        if doubt.max() <= 0.0:  # all seem sure: one that is taken
            doubt = np.where(doubt < 0.0, -1.0, inclined)
        return int(doubt.argmax()) if doubt.max() > 0.0 else -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Closed:
    """What is known at the end: `bound` holds by branching, `proof` is the root's, with a bound of its own.

    `cost` is the best plan's among those that keep the limits, infinite where none was found.
    """

    cost: float
    bound: float
    proof: PartBound


def close_in(
    problem: Problem,
    net: Net,
    *,
    seed: int,
    is_time_up: Callable[[], bool],
    found: Callable[[Search], None] = lambda _: None,
    asked_gap: float = 0.0,
) -> Closed:
    """Search, ascent and branching until the gap is as asked, nothing is left to decide, or time is up.

    `found` is called after every search with its routes, as in `Pursuit`.
    """
    pursuit = PartPursuit(problem, net, seed=seed, is_time_up=is_time_up, found=found)
    moves = pursuit.steps()
    for _ in moves:
        if is_time_up() or pursuit.ascent.is_stalled or pursuit.gap() <= asked_gap:
            break
    proof = pursuit.ascent.proof()
    bound = proof.bound
    if pursuit.gap() > asked_gap and not is_time_up():
        branching = Branching(pursuit.ascent)
        while not (
            is_time_up() or branching.is_finished() or pursuit.cost - branching.bound <= asked_gap * pursuit.cost
        ):
            branching.branch(pursuit.cost, asked_gap, is_time_up)
            next(moves)
        bound = max(bound, min(branching.bound, pursuit.cost))
    return Closed(cost=pursuit.cost, bound=bound, proof=proof)
