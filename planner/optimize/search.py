"""Local search: routes laid one by one at marginal money, then improved bundle by bundle.

What hops newly cost depends on what others use (`search_kernels`). Starts differ in what opening an edge seems to cost:
its fixed money, or what dual ascent left of it, or something between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from planner.compiled import at_once, kernels
from planner.optimize import search_kernels
from planner.optimize.ascent import STEPS_PER_CALL, halves, in_chunks, work_of
from planner.optimize.evaluate import Route, Selection
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.search_kernels import FULL_PULL, NOT_KEPT, Desk, Fixed, Routes

LONGEST_ROUTE = 1024
"""Hops that a route of the search may have where there are too many cohorts to leave room for any number."""

_ROUTE_ROOM = 20_000_000

_MOST_SWEEPS = 30
_NO_COHORTS = np.zeros(0, dtype=np.int64)


class Search:
    """Every cohort's route under construction."""

    def __init__(self, problem: Problem, net: Net, fixed_money: FloatArray, part_money: FloatArray) -> None:
        self.net = net
        self.parts = _parts_by_edge(problem, net)
        self.work = work_of(net)
        self.kernels = kernels(search_kernels, int(self.work.sum()))
        cohorts = net.cohorts
        width = cohorts.high - cohorts.low + 1
        longest = int(min(width.max(initial=1), max(LONGEST_ROUTE, _ROUTE_ROOM // max(len(width), 1))))
        self.routes = Routes(np.zeros((len(width), longest), dtype=np.int64), np.full(len(width), FULL_PULL))
        # What streams share is parts only.
        self.halves = ([] if len(problem.parts) else halves(net, self.work)) or [np.ones(len(width), dtype=bool)]
        self.desk = _desk(len(width), longest, int(width.max(initial=1)) * int(cohorts.max_hops.max(initial=0) + 1))
        self.desks = [self.desk, *(_own_room(self.desk) for _ in self.halves[1:])]
        self._price(fixed_money, part_money)
        self.clear()

    def _price(self, fixed_money: FloatArray, part_money: FloatArray) -> None:
        self.fixed_money, self.part_money = fixed_money, part_money
        self.closed_money = fixed_money + _needed_money(self.parts, part_money, len(fixed_money))
        self.tolerance = 1e-12 * max(1.0, float(self.closed_money.max(initial=0.0)))

    def reprice(self, fixed_money: FloatArray, part_money: FloatArray) -> None:
        """Keep the routes; opening edges and parts costs otherwise from now on."""
        self._price(fixed_money, part_money)
        self._count_anew()

    def money(self) -> float:
        """What the routes cost at the money they were laid at."""
        fixed = self.fixed_money[self.open_edges()].sum() + self.part_money[self.used_parts()].sum()
        return float(fixed) + self.client_money()

    def money_in(self, problem: Problem) -> float:
        """What the routes cost at the problem's own prices; the float sum."""
        candidates, parts = self.net.candidate[self.open_edges()], self.used_parts()
        return self.client_money() + float(problem.candidate_money[candidates].sum() + problem.part_money[parts].sum())

    def use_in(self, problem: Problem) -> FloatArray:
        """What the routes take of the limits, bytes stored and core-seconds; shape (2,), float sums."""
        candidates, parts = self.net.candidate[self.open_edges()], self.used_parts()
        use: FloatArray = problem.candidate_use(candidates).sum(axis=1) + problem.part_use(parts).sum(axis=1)
        return use

    def client_money(self) -> float:
        """What all clients' hops and full pulls cost."""
        cohorts, length = self.net.cohorts, self.routes.length
        clients = np.repeat(cohorts.clients, np.maximum(length, 0))
        forced = self.net.forced_money
        return forced + float(clients @ self.net.edges.hop_money[self.hops()] + cohorts.cap[length == FULL_PULL].sum())

    def clear(self) -> None:
        """Take every cohort off its route."""
        edge_parts, part_start, edges_of, edges_start = self.parts
        self.routes.length[:] = FULL_PULL
        self.fixed = Fixed(
            users=np.zeros(len(self.closed_money), dtype=np.int64),
            open_money=self.closed_money.copy(),
            parts=edge_parts,
            part_start=part_start,
            part_users=np.zeros(len(self.part_money), dtype=np.int64),
            part_money=self.part_money,
            edges_of=edges_of,
            edges_start=edges_start,
        )

    def lay(self, order: IntArray, is_time_up: Callable[[], bool], opening_money: FloatArray | None = None) -> None:
        """Lay all routes from nothing, in an order; `opening_money` is what opening an edge seems to cost meanwhile."""
        self.clear()
        fixed = self.fixed
        if opening_money is not None:  # parts are in it already
            fixed = fixed._replace(open_money=opening_money, part_start=np.zeros_like(fixed.part_start))
        orders = [order[is_mine[order]] for is_mine in self.halves]
        at_once([partial(self._insert, fixed, *mine, is_time_up) for mine in zip(orders, self.desks, strict=True)])
        if opening_money is not None:
            self._count_anew()

    def _insert(self, fixed: Fixed, order: IntArray, desk: Desk, is_time_up: Callable[[], bool]) -> None:
        for chunk in in_chunks(order, self.work):
            self.kernels.insert(self.net.edges, self.net.cohorts, fixed, self.routes, desk, chunk)
            if is_time_up():
                break

    def _count_anew(self) -> None:
        """Users and marginal money from the routes alone, as far as these are laid."""
        route, length = self.routes.route.copy(), self.routes.length.copy()
        self.clear()
        self.routes.route[:], self.routes.length[:] = route, length
        self.kernels.take_all(self.fixed, self.hops())

    def hops(self) -> IntArray:
        """Edges of all routes, cohort by cohort."""
        is_hop = np.arange(self.routes.route.shape[1]) < self.routes.length[:, None]
        hops: IntArray = self.routes.route[is_hop]
        return hops

    def follow(self, routes: list[tuple[int, ...] | None]) -> None:
        """Begin from given routes (edges per cohort; None: a full pull)."""
        self.clear()
        for cohort, route in enumerate(routes):
            if route is not None and len(route) <= self.routes.route.shape[1]:
                self.routes.route[cohort, : len(route)] = route
                self.routes.length[cohort] = len(route)
        self._count_anew()

    def descend(self, is_time_up: Callable[[], bool]) -> None:
        """Sweep over all nodes, to and fro, until nothing improves."""
        nodes = np.arange(len(self.net.edges.start) - 1)
        work = self._work_at_nodes()
        # Streams lie side by side: a half's positions begin where its lowest cohort's do.
        borders = [int(self.net.cohorts.low[is_mine].min()) for is_mine in self.halves[1:]]
        who = [np.flatnonzero(is_mine) for is_mine in self.halves]
        for sweep in range(_MOST_SWEEPS):
            self.desk.moved[:] = False
            ordered = nodes[:: 1 if sweep % 2 == 0 else -1]
            side = np.searchsorted(borders, ordered, side="right")
            sides = [ordered[side == half] for half in range(len(who))]
            saved = at_once(
                [partial(self._reroute, *mine, work, is_time_up) for mine in zip(sides, who, self.desks, strict=True)]
            )
            if is_time_up() or sum(saved) <= self.tolerance:
                return
            nodes = self._nodes_near(np.flatnonzero(self.desk.moved))

    def _reroute(
        self, nodes: IntArray, who: IntArray, desk: Desk, work: IntArray, is_time_up: Callable[[], bool]
    ) -> float:
        """One sweep over nodes that only the cohorts `who` pass; the money saved."""
        saved = 0.0
        for chunk in in_chunks(nodes, work):
            if is_time_up():
                break
            saved += self.kernels.reroute(
                self.net.edges, self.net.cohorts, self.fixed, self.routes, desk, chunk, who, self.tolerance
            )
        return saved

    def _nodes_near(self, moved: IntArray) -> IntArray:
        """All positions that routes of the moved cohorts may pass: only there can anything have become better."""
        cohorts, change = self.net.cohorts, np.zeros(len(self.net.edges.start) + 1, dtype=np.int64)
        stream = self.net.stream_of_cohort
        near = np.isin(stream, stream[moved])
        np.add.at(change, cohorts.low[near], 1)
        np.add.at(change, cohorts.high[near] + 1, -1)
        return np.flatnonzero(np.cumsum(change) > 0)

    def _work_at_nodes(self) -> IntArray:
        """About how many steps a sweep spends at each node: a search towards the targets."""
        start, cohorts = self.net.edges.start, self.net.cohorts
        reach = np.arange(len(start) - 1)
        np.maximum.at(reach, cohorts.low, cohorts.high)
        # Streams lie side by side: what an earlier one reaches ends before a later one begins.
        reach = np.maximum.accumulate(reach)
        hops = int(cohorts.max_hops.max(initial=0)) + 1
        work: IntArray = np.minimum((start[reach + 1] - start[:-1]) * hops + 1, STEPS_PER_CALL)
        return work

    def shake(self, picks: IntArray, random: np.random.Generator) -> float:
        """Lay the cohorts that pass picked nodes again, one node after the other, where that is no dearer."""
        cohorts, longest = len(self.routes.length), self.routes.route.shape[1]
        desk = self.desk._replace(
            dirty=np.zeros(cohorts + 1, dtype=np.int64), kept_route=np.zeros((cohorts, longest), dtype=np.int64)
        )
        keys = random.random((len(picks), cohorts))
        return float(
            self.kernels.shake(
                self.net.edges, self.net.cohorts, self.fixed, self.routes, desk, picks, keys, self.tolerance
            )
        )

    def open_edges(self) -> IntArray:
        """Edges that some route uses, ascending."""
        return np.flatnonzero(self.fixed.users)

    def used_parts(self) -> IntArray:
        """Parts that some route needs, ascending."""
        return np.flatnonzero(self.fixed.part_users)

    def selection(self) -> Selection:
        """The routes of every demand, and the candidates that they use."""
        net = self.net
        candidates = net.candidate[self.routes.route].tolist()
        lengths = self.routes.length.tolist()
        step = -1 if net.is_mirrored else 1
        ways: list[Route] = [
            None if length == FULL_PULL else tuple(row[:length][::step])
            for row, length in zip(candidates, lengths, strict=True)
        ]
        ways += [None, ()]  # at ONLY_FULL_PULL and -1, where there is nothing to decide
        routes = tuple(ways[cohort] for cohort in net.cohort_of.tolist())
        return Selection(build=tuple(np.sort(net.candidate[self.open_edges()]).tolist()), routes=routes)


def _desk(cohorts: int, longest: int, states: int) -> Desk:
    return Desk(
        dist=np.empty(states),
        via=np.zeros(states, dtype=np.int64),
        way=np.empty(longest, dtype=np.int64),
        members=np.empty(cohorts + 1, dtype=np.int64),
        at=np.empty(cohorts + 1, dtype=np.int64),
        stamp=np.zeros(cohorts, dtype=np.int64),
        moved=np.zeros(cohorts, dtype=np.bool_),
        dirty=_NO_COHORTS,
        kept_route=np.zeros((0, longest), dtype=np.int64),
        kept_length=np.full(cohorts, NOT_KEPT),
    )


def _own_room(desk: Desk) -> Desk:
    """A desk with room of its own; notes about cohorts are kept in common."""
    room = {name: np.zeros_like(getattr(desk, name)) for name in ("dist", "via", "way", "members", "at")}
    return desk._replace(**room)


def _parts_by_edge(problem: Problem, net: Net) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Parts of each edge and edges of each part, as index lists with their starts."""
    edge, part = net.part_pairs(problem)
    by_part = np.argsort(part, kind="stable")
    return (
        part,
        np.searchsorted(edge, np.arange(len(net.candidate) + 1)),
        edge[by_part],
        np.searchsorted(part[by_part], np.arange(len(problem.parts) + 1)),
    )


def _needed_money(parts: tuple[IntArray, ...], part_money: FloatArray, edges: int) -> FloatArray:
    """What all parts of each edge cost."""
    edge = np.repeat(np.arange(edges), np.diff(parts[1]))
    return np.bincount(edge, weights=part_money[parts[0]], minlength=edges).astype(np.float64)
