"""A tree to one root and what it costs, the loops: grow, cut and weigh it.

Plain Python over arrays, compiled where a problem is large (`compiled.py`). Positions and edges are those of `Net`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

NO_EDGE = -1
HOPS, FIXED, STORED, CPU = 0, 1, 2, 3
"""Places in `Tree.totals`: money of clients, money of edges, stored bytes, server core-seconds."""


class Graph(NamedTuple):
    """Edges by tail (as `net.Edges`), what each costs and uses, and cohorts by node: at `v` `at[v]:at[v + 1]`.

    `reverse` is an edge from each edge's head to its tail, or `NO_EDGE`.
    """

    start: Array
    tail: Array
    head: Array
    reverse: Array
    hop_money: Array
    fixed_money: Array
    stored_bytes: Array
    server_cpu_s: Array
    at: Array
    base: Array
    clients: Array
    cap: Array
    root: int


class Pricing(NamedTuple):
    """Money per unit of what is limited: always, and on top for what exceeds the limit (infinite: no limit)."""

    per_byte: float
    per_cpu_s: float
    over_byte: float
    over_cpu_s: float
    most_bytes: float
    most_cpu_s: float


class Tree(NamedTuple):
    """The edge that each node leaves by, its children as linked lists, and what hangs on it; `rides` is by cohort.

    `chain` and `desk` are room to work in.
    """

    parent: Array
    first: Array
    after: Array
    before: Array
    children: Array
    users: Array
    weight: Array
    dist: Array
    rides: Array
    totals: Array
    chain: Array
    desk: Array


def plant(graph: Graph, tree: Tree, parent: Array, rides: Array) -> None:
    """Set up the tree of these parent edges and riding cohorts; every rider's way leads to the root."""
    tree.parent[:] = NO_EDGE
    tree.first[:], tree.after[:], tree.before[:] = -1, -1, -1
    for column in (tree.children, tree.users):
        column[:] = 0
    tree.weight[:], tree.dist[:], tree.totals[:] = 0.0, 0.0, 0.0
    tree.rides[:] = False
    for k in range(len(rides)):
        if not rides[k]:
            tree.totals[HOPS] += graph.cap[k]
    for k in range(len(rides)):
        if rides[k]:
            v = graph.base[k]
            while v != graph.root and tree.parent[v] == NO_EDGE:
                hang(graph, tree, v, parent[v])
                v = graph.head[parent[v]]
    spread(graph, tree, graph.root)
    for k in range(len(rides)):
        if rides[k]:
            board(graph, tree, k, 1)


def hang(graph: Graph, tree: Tree, v: int, e: int) -> None:
    """Let node `v` leave by edge `e`; weights and distances are not touched."""
    u = graph.head[e]
    tree.parent[v] = e
    tree.before[v], tree.after[v] = -1, tree.first[u]
    if tree.first[u] >= 0:
        tree.before[tree.first[u]] = v
    tree.first[u] = v
    tree.children[u] += 1
    tree.totals[FIXED] += graph.fixed_money[e]
    tree.totals[STORED] += graph.stored_bytes[e]
    tree.totals[CPU] += graph.server_cpu_s[e]


def unhang(graph: Graph, tree: Tree, v: int) -> None:
    """Take away the edge that `v` leaves by; weights and distances are not touched."""
    e = tree.parent[v]
    u = graph.head[e]
    if tree.before[v] >= 0:
        tree.after[tree.before[v]] = tree.after[v]
    else:
        tree.first[u] = tree.after[v]
    if tree.after[v] >= 0:
        tree.before[tree.after[v]] = tree.before[v]
    tree.parent[v] = NO_EDGE
    tree.children[u] -= 1
    tree.totals[FIXED] -= graph.fixed_money[e]
    tree.totals[STORED] -= graph.stored_bytes[e]
    tree.totals[CPU] -= graph.server_cpu_s[e]


def spread(graph: Graph, tree: Tree, top: int) -> None:
    """Distances to the root of everything above which `top` stands, from the distance of `top`."""
    v = tree.first[top]
    while v >= 0:
        tree.dist[v] = tree.dist[graph.head[tree.parent[v]]] + graph.hop_money[tree.parent[v]]
        if tree.first[v] >= 0:
            v = tree.first[v]
            continue
        while v != top and tree.after[v] < 0:
            v = graph.head[tree.parent[v]]
        if v == top:
            break
        v = tree.after[v]


def weigh(graph: Graph, tree: Tree, v: int, clients: float) -> None:
    """Add clients to `v` and all nodes on its way to the root."""
    while v != graph.root:
        tree.weight[v] += clients
        v = graph.head[tree.parent[v]]


def board(graph: Graph, tree: Tree, k: int, sign: int) -> None:
    """Let cohort `k`, whose base is in the tree, ride (1), or pull in full again (-1; the caller adds its cap)."""
    v = graph.base[k]
    tree.rides[k] = sign > 0
    tree.users[v] += sign
    tree.totals[HOPS] += sign * graph.clients[k] * tree.dist[v]
    weigh(graph, tree, v, sign * graph.clients[k])


def prune(graph: Graph, tree: Tree, v: int) -> None:
    """Take away `v` and what follows on its way as long as nobody needs it."""
    while v != graph.root and tree.children[v] == 0 and tree.users[v] == 0:
        u = graph.head[tree.parent[v]]
        unhang(graph, tree, v)
        tree.weight[v] = 0.0
        v = u


def is_above(graph: Graph, tree: Tree, u: int, v: int) -> bool:
    """Whether the way from `u` to the root passes `v`."""
    while u != graph.root:
        if u == v:
            return True
        u = graph.head[tree.parent[u]]
    return False


def is_in(graph: Graph, tree: Tree, v: int) -> bool:
    """Whether `v` is in the tree."""
    return bool(v == graph.root or tree.parent[v] != NO_EDGE)
