"""Annealed tree search, the loops: plain Python over arrays, compiled where a problem is large (`compiled.py`).

Where all routes end at one root and nothing but money and budgets counts, an optimal plan is a tree of edges towards
the root. Changing one node's way on changes the money of the clients in its subtree by the same amount each, so a
move is judged from the subtree's clients and two distances, without looking at routes.

Source: local moves of Bhattacherjee et al. 2015, section 4; annealing and nodes that are left out are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.optimize.rooted_tree_kernels import (
    CPU,
    FIXED,
    HOPS,
    NO_EDGE,
    STORED,
    Graph,
    Pricing,
    Tree,
    board,
    hang,
    is_above,
    is_in,
    plant,
    prune,
    spread,
    unhang,
    weigh,
)

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

__all__ = ["CPU", "FIXED", "HOPS", "NO_EDGE", "STORED", "Graph", "Pricing", "Tree", "anneal", "plant"]


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
