"""Annealed tree search, the loops: plain Python over arrays, compiled where a problem is large (`compiled.py`).

Where all routes end at one root and nothing but money and budgets counts, an optimal plan is a tree of edges towards
the root. Changing one node's way on changes the money of the clients in its subtree by the same amount each, so a
move is judged from the subtree's clients and two distances, without looking at routes.

Source: local moves of Bhattacherjee et al. 2015, section 4; annealing and nodes that are left out are ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

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


def find_onward(graph: Graph, tree: Tree, pricing: Pricing, u: int, v: int, clients: float) -> int:
    """The best edge by which a node `u` outside the tree joins it without passing `v`, or `NO_EDGE`."""
    best, found = np.inf, NO_EDGE
    for e in range(graph.start[u], graph.start[u + 1]):
        w = graph.head[e]
        if not is_in(graph, tree, w) or w == v:
            continue
        money = clients * (graph.hop_money[e] + tree.dist[w]) + graph.fixed_money[e]
        money += pricing.per_byte * graph.stored_bytes[e] + pricing.per_cpu_s * graph.server_cpu_s[e]
        if money < best and not is_above(graph, tree, w, v):
            best, found = money, e
    return found


def spare(graph: Graph, tree: Tree, change: Array, v: int, stop: int) -> None:
    """Count in `change` the edges that nobody needs once `v` has left its way, up to node `stop`."""
    while v != graph.root:
        e = tree.parent[v]
        count(graph, change, e, -1.0)
        v = graph.head[e]
        if v == stop or tree.users[v] > 0 or tree.children[v] > 1:
            return


def count(graph: Graph, change: Array, e: int, sign: float) -> None:
    """Add what an edge costs and uses to `change`."""
    change[FIXED] += sign * graph.fixed_money[e]
    change[STORED] += sign * graph.stored_bytes[e]
    change[CPU] += sign * graph.server_cpu_s[e]


def judge(pricing: Pricing, totals: Array, change: Array) -> float:
    """What a change costs at these prices."""
    money = change[HOPS] + change[FIXED] + pricing.per_byte * change[STORED] + pricing.per_cpu_s * change[CPU]
    if pricing.most_bytes < np.inf:
        over = max(totals[STORED] - pricing.most_bytes, 0.0)
        money += pricing.over_byte * (max(totals[STORED] + change[STORED] - pricing.most_bytes, 0.0) - over)
    if pricing.most_cpu_s < np.inf:
        over = max(totals[CPU] - pricing.most_cpu_s, 0.0)
        money += pricing.over_cpu_s * (max(totals[CPU] + change[CPU] - pricing.most_cpu_s, 0.0) - over)
    return float(money)


def swap(graph: Graph, tree: Tree, pricing: Pricing, change: Array, e: int, most: float) -> bool:
    """Let the tail of edge `e`, a node of the tree, leave by it if that costs less than `most`.

    The nodes next on its old way may turn round and follow it, as many as are best.
    """
    v, u = graph.tail[e], graph.head[e]
    if not is_in(graph, tree, u):
        return swap_outside(graph, tree, pricing, change, e, most)
    if is_above(graph, tree, u, v):
        return False
    turned = -1
    ahead = np.zeros(4)
    dist = tree.dist[u] + graph.hop_money[e]
    ahead[HOPS] = tree.weight[v] * (dist - tree.dist[v])
    count(graph, ahead, e, 1.0)
    at, length = v, 0
    while True:
        tree.chain[length] = at
        up = tree.parent[at]
        count(graph, ahead, up, -1.0)
        over = graph.head[up]
        money = judge(pricing, tree.totals, ahead)
        # Where somebody needs the node above, nothing more is spared.
        if over != u and over != graph.root and tree.users[over] == 0 and tree.children[over] == 1:
            change[:] = ahead
            spare(graph, tree, change, over, u)
            money = judge(pricing, tree.totals, change)
        if money < most:
            most, turned = money, length
        back = graph.reverse[up]
        if over == graph.root or back == NO_EDGE or is_above(graph, tree, u, over):
            break
        dist += graph.hop_money[back]
        ahead[HOPS] += (tree.weight[over] - tree.weight[at]) * (dist - tree.dist[over])
        count(graph, ahead, back, 1.0)
        at = over
        length += 1
    if turned < 0:
        return False
    turn(graph, tree, e, turned)
    return True


def turn(graph: Graph, tree: Tree, e: int, turned: int) -> None:
    """Let the tail of `e` leave by it, and the next `turned` nodes of its old way (`tree.chain`) follow it."""
    v, u, top = graph.tail[e], graph.head[e], tree.chain[turned]
    old, clients = graph.head[tree.parent[top]], tree.weight[top]
    weigh(graph, tree, old, -clients)
    below = 0.0
    for i in range(turned + 1):
        at = tree.chain[i]
        up = tree.parent[at]
        tree.desk[i] = graph.reverse[up]
        own = tree.weight[at]
        tree.totals[HOPS] -= (own - below) * tree.dist[at]
        unhang(graph, tree, at)
        tree.weight[at] = clients - below
        below = own
    hang(graph, tree, v, e)
    for i in range(1, turned + 1):
        hang(graph, tree, tree.chain[i], tree.desk[i - 1])
    before = tree.dist[v]
    tree.dist[v] = tree.dist[u] + graph.hop_money[e]
    tree.totals[HOPS] += turned_money(graph, tree, turned)
    weigh(graph, tree, u, clients)
    tree.desk[0] = NO_EDGE
    if before != tree.dist[v] or turned > 0:
        spread(graph, tree, v)
    prune(graph, tree, old)
    prune(graph, tree, top)


def turned_money(graph: Graph, tree: Tree, turned: int) -> float:
    """What the clients of the chain's nodes (and of what hangs on them) pay at the chain's new distances."""
    money, dist = 0.0, tree.dist[tree.chain[0]]
    for i in range(turned + 1):
        at = tree.chain[i]
        if i > 0:
            dist += graph.hop_money[tree.parent[at]]
        follower = tree.weight[tree.chain[i + 1]] if i < turned else 0.0
        money += (tree.weight[at] - follower) * dist
    return money


def swap_outside(graph: Graph, tree: Tree, pricing: Pricing, change: Array, e: int, most: float) -> bool:
    """As `swap`, to a node outside the tree, which joins it by its best edge."""
    v, u = graph.tail[e], graph.head[e]
    clients = tree.weight[v]
    onward = find_onward(graph, tree, pricing, u, v, clients)
    if onward == NO_EDGE:
        return False
    stop = graph.head[onward]
    dist = tree.dist[stop] + graph.hop_money[onward]
    change[:] = 0.0
    change[HOPS] = clients * (dist + graph.hop_money[e] - tree.dist[v])
    count(graph, change, e, 1.0)
    count(graph, change, onward, 1.0)
    spare(graph, tree, change, v, stop)
    if judge(pricing, tree.totals, change) >= most:
        return False
    old = graph.head[tree.parent[v]]
    weigh(graph, tree, old, -clients)
    unhang(graph, tree, v)
    hang(graph, tree, u, onward)
    tree.dist[u], tree.weight[u] = dist, 0.0
    hang(graph, tree, v, e)
    tree.dist[v] = dist + graph.hop_money[e]
    weigh(graph, tree, u, clients)
    spread(graph, tree, v)
    tree.totals[HOPS] += change[HOPS]
    prune(graph, tree, old)
    return True


def join(graph: Graph, tree: Tree, pricing: Pricing, change: Array, e: int, most: float) -> bool:
    """Let cohorts at the tail of `e`, a node outside the tree, ride by it if that costs less than `most`."""
    v, u = graph.tail[e], graph.head[e]
    onward = NO_EDGE
    if not is_in(graph, tree, u):
        clients = 0.0
        for k in range(graph.at[v], graph.at[v + 1]):
            clients += graph.clients[k]
        onward = find_onward(graph, tree, pricing, u, v, clients)
        if onward == NO_EDGE:
            return False
    beyond = tree.dist[u]
    if onward != NO_EDGE:
        beyond = tree.dist[graph.head[onward]] + graph.hop_money[onward]
    dist = beyond + graph.hop_money[e]
    change[:] = 0.0
    for k in range(graph.at[v], graph.at[v + 1]):
        change[HOPS] += min(graph.clients[k] * dist - graph.cap[k], 0.0)
    if change[HOPS] == 0.0:
        return False
    count(graph, change, e, 1.0)
    if onward != NO_EDGE:
        count(graph, change, onward, 1.0)
    if judge(pricing, tree.totals, change) >= most:
        return False
    if onward != NO_EDGE:
        hang(graph, tree, u, onward)
        tree.dist[u], tree.weight[u] = beyond, 0.0
    hang(graph, tree, v, e)
    tree.dist[v], tree.weight[v] = dist, 0.0
    for k in range(graph.at[v], graph.at[v + 1]):
        if graph.clients[k] * dist < graph.cap[k]:
            tree.totals[HOPS] -= graph.cap[k]
            board(graph, tree, k, 1)
    return True


def flip(graph: Graph, tree: Tree, pricing: Pricing, change: Array, k: int, most: float) -> bool:
    """Let cohort `k` ride if it pulls in full and its base is in the tree, or the other way, if that costs less."""
    v = graph.base[k]
    if graph.cap[k] == np.inf or not is_in(graph, tree, v):
        return False
    change[:] = 0.0
    change[HOPS] = graph.clients[k] * tree.dist[v] - graph.cap[k]
    if tree.rides[k]:
        change[HOPS] = -change[HOPS]
        if tree.children[v] == 0 and tree.users[v] == 1:
            spare(graph, tree, change, v, graph.root)
    if judge(pricing, tree.totals, change) >= most:
        return False
    sign = -1 if tree.rides[k] else 1
    tree.totals[HOPS] -= sign * graph.cap[k]
    board(graph, tree, k, sign)
    prune(graph, tree, v)
    return True


def anneal(
    graph: Graph, tree: Tree, pricing: Pricing, best: Tree, picks: Array, draws: Array, hot: float, cold: float
) -> int:
    """Propose the picked edges (below the number of edges) and cohorts (above); how often the best was bettered.

    A move is made where it costs less than its draw (exponential with mean 1) times a temperature that falls from
    `hot` to `cold`. `best` is the cheapest tree within the limits at the edges' own money; its total is infinite
    where there was none.
    """
    change = np.zeros(4)
    edges, found = len(graph.head), 0
    for i in range(len(picks)):
        most = draws[i] * (hot + (cold - hot) * i / len(picks)) - 1e-12 * abs(tree.totals[HOPS])
        pick = picks[i]
        if pick >= edges:
            is_made = flip(graph, tree, pricing, change, pick - edges, most)
        elif tree.parent[graph.tail[pick]] == pick:
            continue
        elif tree.parent[graph.tail[pick]] != NO_EDGE:
            is_made = swap(graph, tree, pricing, change, pick, most)
        else:
            is_made = graph.tail[pick] != graph.root and join(graph, tree, pricing, change, pick, most)
        if is_made and is_better(pricing, tree, best):
            remember(tree, best)
            found += 1
    return found


def is_better(pricing: Pricing, tree: Tree, best: Tree) -> bool:
    """Whether the tree keeps the limits and is cheaper than the best at the edges' own money."""
    totals = tree.totals
    if totals[STORED] > pricing.most_bytes or totals[CPU] > pricing.most_cpu_s:
        return False
    money, least = totals[HOPS] + totals[FIXED], best.totals[HOPS] + best.totals[FIXED]
    return bool(money < least - 1e-12 * abs(least)) if least < np.inf else True


def remember(tree: Tree, best: Tree) -> None:
    """Copy what a plan needs of the tree."""
    best.parent[:] = tree.parent
    best.rides[:] = tree.rides
    best.totals[:] = tree.totals
