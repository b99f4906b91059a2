"""Annealed search over trees towards one root, within hard budgets: the driver of `rooted_kernels`.

The use of budgets is priced; prices are bisected by short runs that start from one another, and the long runs at
the prices found keep the cheapest tree that was seen within the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.compiled import kernels
from planner.optimize import rooted_kernels
from planner.optimize.arborescence import NO_EDGE, minimum_arborescence
from planner.optimize.evaluate import Route, Selection
from planner.optimize.net import ONLY_FULL_PULL, Net
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem
from planner.optimize.rooted_kernels import CPU, FIXED, HOPS, STORED, Graph, Pricing, Tree

PROPOSALS_PER_CALL = 100_000
"""Proposals between two looks at the clock: a few hundredths of a second."""

_PRICE_ROUNDS = 16
_OVER = 3.0
"""Use beyond a limit costs so many times its price: runs then stay near the limit at slightly wrong prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPrices:
    """Money per unit of what is limited."""

    per_byte: float = 0.0
    per_cpu_s: float = 0.0


class TreeSearch:
    """A tree under construction, and the best within the limits so far."""

    def __init__(self, problem: Problem, net: Net, *, seed: int) -> None:
        self.problem, self.net = problem, net
        self.random = np.random.default_rng(seed)
        self.graph, self.order = _graph(problem, net)
        self.kernels = kernels(rooted_kernels, len(self.graph.head) * len(self.graph.start))
        limits = problem.limits
        self.most_bytes = _within(limits.stored_bytes, self.graph.stored_bytes)
        self.most_cpu_s = _within(limits.server_cpu_s, self.graph.server_cpu_s)
        nodes, cohorts = len(self.graph.start) - 1, len(self.graph.base)
        self.tree, self.best = _empty_tree(nodes, cohorts), _empty_tree(nodes, cohorts)
        self.best.totals[HOPS] = np.inf

    def plant(self, parent: IntArray, rides: BoolArray) -> None:
        """Begin with a tree; it becomes the best where it is."""
        self.kernels.plant(self.graph, self.tree, parent, rides)
        if self.kernels.is_better(self.pricing(LimitPrices()), self.tree, self.best):
            self.kernels.remember(self.tree, self.best)

    def pricing(self, prices: LimitPrices, over: float = _OVER) -> Pricing:
        """The prices as the kernels take them; `over` times as much more for what is beyond the limits."""
        return Pricing(
            per_byte=prices.per_byte,
            per_cpu_s=prices.per_cpu_s,
            over_byte=over * prices.per_byte,
            over_cpu_s=over * prices.per_cpu_s,
            most_bytes=self.most_bytes,
            most_cpu_s=self.most_cpu_s,
        )

    def money(self, prices: LimitPrices) -> float:
        """What the tree costs at these prices."""
        totals = self.tree.totals
        return float(totals[HOPS] + totals[FIXED] + prices.per_byte * totals[STORED] + prices.per_cpu_s * totals[CPU])

    def fits(self) -> bool:
        """Whether the tree keeps the limits."""
        return bool(self.tree.totals[STORED] <= self.most_bytes and self.tree.totals[CPU] <= self.most_cpu_s)

    def anneal(self, pricing: Pricing, hot: float, cold: float, proposals: int, is_time_up: Callable[[], bool]) -> int:
        """One run from `hot` to `cold`, geometrically; how often the best was bettered."""
        found, done = 0, 0
        while done < proposals and not is_time_up():
            count = min(PROPOSALS_PER_CALL, proposals - done)
            ends = [hot * (cold / hot) ** (x / proposals) if hot > 0.0 else 0.0 for x in (done, done + count)]
            picks = self._picks(count)
            draws = self.random.standard_exponential(count)
            found += int(self.kernels.anneal(self.graph, self.tree, pricing, self.best, picks, draws, *ends))
            done += count
        return found

    def _picks(self, count: int) -> IntArray:
        """Edges, and cohorts beyond them where they may pull in full."""
        choices = len(self.graph.head)
        if np.isfinite(self.graph.cap).any():
            choices += len(self.graph.base)
        return self.random.integers(0, choices, count)

    def descend(self, pricing: Pricing, is_time_up: Callable[[], bool]) -> None:
        """Make moves that pay until there is none."""
        choices = np.arange(len(self.graph.head) + len(self.graph.base))
        while not is_time_up():
            before = self.tree.totals.copy()
            for first in range(0, len(choices), PROPOSALS_PER_CALL):
                picks = self.random.permutation(choices)[:PROPOSALS_PER_CALL] if first else choices[:PROPOSALS_PER_CALL]
                draws = np.zeros(len(picks))
                self.kernels.anneal(self.graph, self.tree, pricing, self.best, picks, draws, 0.0, 0.0)
            if np.array_equal(before, self.tree.totals):
                return

    def back_to_best(self) -> None:
        """Go on from the best tree within the limits, if there is one."""
        if np.isfinite(self.best.totals[HOPS]):
            self.kernels.plant(self.graph, self.tree, self.best.parent.copy(), self.best.rides.copy())

    def selection(self) -> Selection:
        """The best tree's routes; every cohort with a choice takes the cheaper one."""
        graph, net = self.graph, self.net
        routes: list[Route] = [None] * len(graph.base)
        step = -1 if net.is_mirrored else 1
        for row, k in enumerate(self.order.tolist()):
            if self.best.rides[row]:
                at, way = int(graph.base[row]), []
                while at != graph.root:
                    way.append(int(net.candidate[self.best.parent[at]]))
                    at = int(graph.head[self.best.parent[at]])
                routes[k] = tuple(way[::step])
        build = sorted({hop for route in routes if route is not None for hop in route})
        routes += [None, ()]
        place = np.where(net.cohort_of == ONLY_FULL_PULL, -2, np.where(net.cohort_of < 0, -1, net.cohort_of))
        by_demand = tuple(routes[k] for k in place.tolist())
        return Selection(build=tuple(build), routes=by_demand)

    def take_start(self, routes: tuple[Route, ...]) -> None:
        """Begin with the tree of the edges that routes use: every node keeps the edge nearest to the root."""
        step = -1 if self.net.is_mirrored else 1
        edge_of = {candidate: edge for edge, candidate in enumerate(self.net.candidate.tolist())}
        used = {edge_of[hop] for route in routes if route is not None for hop in route[::step]}
        edges = np.array(sorted(used), dtype=np.int64)
        parent = self.nearest(edges, self.graph.hop_money[edges])
        asked = [routes[demand] for demand in self.net.first_demand[self.order].tolist()]
        rides = np.array([route is not None for route in asked], dtype=bool)
        self.plant(parent, rides)

    def nearest(self, edges: IntArray, money: FloatArray) -> IntArray:
        """Each node's first edge on its cheapest way to the root over some edges."""
        from scipy.sparse import csr_array  # noqa: PLC0415 - takes 0.2 s, which most runs need not pay
        from scipy.sparse.csgraph import dijkstra  # noqa: PLC0415

        graph, nodes = self.graph, len(self.graph.start) - 1
        # The least of parallel edges comes last, and the last one is kept.
        order = np.argsort(-money, kind="stable")
        edges, money = edges[order], money[order]
        ends = zip(graph.tail[edges].tolist(), graph.head[edges].tolist(), strict=True)
        edge_of = dict(zip(ends, edges.tolist(), strict=True))
        kept = np.array(list(edge_of.values()), dtype=np.int64)
        # Zero is no edge to scipy.
        weight = graph.hop_money[kept] + 1e-12 * max(float(money.max(initial=0.0)), 1e-300)
        matrix = csr_array((weight, (graph.head[kept], graph.tail[kept])), shape=(nodes, nodes))
        before = dijkstra(matrix, indices=graph.root, return_predecessors=True)[1]
        parent = np.full(nodes, NO_EDGE)
        for v in np.flatnonzero(before >= 0).tolist():
            parent[v] = edge_of[v, int(before[v])]
        return parent

    def least_tree(self, weight: FloatArray) -> IntArray:
        """Each node's parent edge in the lightest tree that spans all nodes that reach the root."""
        graph = self.graph
        return minimum_arborescence(len(graph.start) - 1, graph.root, graph.head, graph.tail, weight)


def _within(limit: float | None, use: FloatArray) -> float:
    """The limit for sums that are updated a million times: whole numbers stay exact, others are off a little."""
    if limit is None:
        return float(np.inf)
    return float(limit if (use == np.floor(use)).all() else limit * (1 - 1e-12))


def plant_least(search: TreeSearch) -> bool:
    """Begin with the tree that uses least of what is limited, money deciding where nothing is; whether there is one."""
    graph = search.graph
    parent = search.least_tree(_scarceness(search.problem, search))
    is_served = (parent[graph.base] != NO_EDGE) | (graph.base == graph.root)
    is_forced = np.isinf(graph.cap)
    if (~is_served & is_forced).any():
        return False
    limits = search.problem.limits
    is_limited = limits.stored_bytes is not None or limits.server_cpu_s is not None
    search.plant(parent, is_forced if is_limited else is_served)
    return True


def _scarceness(problem: Problem, search: TreeSearch) -> FloatArray:
    """What an edge uses of the limits, as fractions; with a little money to decide between equals."""
    graph = search.graph
    use = np.zeros(len(graph.head))
    if problem.limits.stored_bytes is not None:
        use += graph.stored_bytes / max(problem.limits.stored_bytes, 1.0)
    if problem.limits.server_cpu_s is not None:
        use += graph.server_cpu_s / max(problem.limits.server_cpu_s, 1e-3)
    money = graph.fixed_money + graph.hop_money
    scale = 1e-9 if use.any() else 1.0
    scarce: FloatArray = use + scale * money / max(float(money.max(initial=0.0)), 1e-300)
    return scarce


def find_prices(problem: Problem, search: TreeSearch, is_time_up: Callable[[], bool]) -> LimitPrices:
    """Prices at which short runs use about what is allowed: each goes up or down, ever less once it has turned."""
    limits = problem.limits
    most = (limits.stored_bytes, limits.server_cpu_s)
    money = float(search.money(LimitPrices()))
    price = [0.0 if limit is None else 0.1 * money / max(limit, 1e-3) for limit in most]
    if not any(price):
        return LimitPrices()
    step, last = [np.log(4.0)] * 2, [0, 0]
    proposals = 60 * len(search.graph.head) + 200
    for _ in range(_PRICE_ROUNDS):
        if is_time_up():
            break
        prices = LimitPrices(per_byte=price[0], per_cpu_s=price[1])
        heat = 0.3 * dearest(search, prices)
        search.anneal(search.pricing(prices, 0.0), heat, 0.003 * heat, proposals, is_time_up)
        for place, total in enumerate((STORED, CPU)):
            limit = most[place]
            if limit is None:
                continue
            sign = 1 if search.tree.totals[total] > limit else -1
            if sign == -last[place]:
                step[place] *= 0.6
            last[place] = sign
            price[place] *= float(np.exp(sign * step[place]))
    return LimitPrices(per_byte=price[0], per_cpu_s=price[1])


def dearest(search: TreeSearch, prices: LimitPrices) -> float:
    """What the dearest edge of the tree costs with the prices of limits; temperatures are fractions of it."""
    graph, parent = search.graph, search.tree.parent
    used = parent[parent >= 0]
    money = graph.fixed_money + prices.per_byte * graph.stored_bytes + prices.per_cpu_s * graph.server_cpu_s
    return float(money[used].max(initial=0.0)) or 1.0


def _graph(problem: Problem, net: Net) -> tuple[Graph, IntArray]:
    """The kernels' graph, and each of its cohorts' index in the net."""
    edges, cohorts = net.edges, net.cohorts
    stored_bytes, server_cpu_s = problem.candidate_use(net.candidate)
    order = np.argsort(cohorts.base, kind="stable")
    graph = Graph(
        start=edges.start,
        tail=edges.tail,
        head=edges.head,
        reverse=_reverse(net),
        hop_money=edges.hop_money,
        fixed_money=problem.candidate_money[net.candidate],
        stored_bytes=stored_bytes,
        server_cpu_s=server_cpu_s,
        at=np.searchsorted(cohorts.base[order], np.arange(len(edges.start))),
        base=cohorts.base[order],
        clients=cohorts.clients[order],
        cap=cohorts.cap[order],
        root=int(cohorts.target[0]),
    )
    return graph, order


def _reverse(net: Net) -> IntArray:
    """For each edge the cheapest one back, `NO_EDGE` where there is none."""
    edges, nodes = net.edges, len(net.edges.start)
    if edges.is_acyclic:
        return np.full(len(edges.head), NO_EDGE)
    there, back = edges.tail * nodes + edges.head, edges.head * nodes + edges.tail
    order = np.lexsort((edges.hop_money, there))
    found = np.minimum(np.searchsorted(there[order], back), max(len(order) - 1, 0))
    return np.where(there[order][found] == back, order[found], NO_EDGE)


def _empty_tree(nodes: int, cohorts: int) -> Tree:
    return Tree(
        parent=np.full(nodes, NO_EDGE),
        first=np.full(nodes, NO_EDGE),
        after=np.full(nodes, NO_EDGE),
        before=np.full(nodes, NO_EDGE),
        children=np.zeros(nodes, dtype=np.int64),
        users=np.zeros(nodes, dtype=np.int64),
        weight=np.zeros(nodes),
        dist=np.zeros(nodes),
        rides=np.zeros(cohorts, dtype=np.bool_),
        totals=np.zeros(4),
        chain=np.full(nodes, NO_EDGE),
        desk=np.full(nodes, NO_EDGE),
    )
