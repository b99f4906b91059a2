"""Local search over routes, the loops: plain Python over arrays, compiled where a problem is large (`compiled.py`).

A cohort's route is a row of `State.route`, `length` edges long, `FULL_PULL` where it pulls in full. Money is marginal:
an edge that somebody uses costs the next cohort only its hops; the first user pays its fixed money and that of its
parts nobody uses yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from planner.optimize.ascent_kernels import pop_least, put_nearer
from planner.optimize.net import Cohorts, Edges

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

FULL_PULL = -1
NOT_KEPT = -2


class Fixed(NamedTuple):
    """Who uses what, and what a first user would pay: `users` and `open_money` by edge, parts by edge and back."""

    users: Array
    open_money: Array
    parts: Array
    part_start: Array
    part_users: Array
    part_money: Array
    edges_of: Array
    edges_start: Array


class Routes(NamedTuple):
    """Every cohort's edges in order, `route[k, : length[k]]`."""

    route: Array
    length: Array


class Desk(NamedTuple):
    """Room to work in, which cohorts moved, and the routes to go back to: `dirty[1 : 1 + dirty[0]]` are kept ones."""

    dist: Array
    via: Array
    way: Array
    members: Array
    at: Array
    stamp: Array
    moved: Array
    dirty: Array
    kept_route: Array
    kept_length: Array


def take(fixed: Fixed, e: int) -> None:
    """One more cohort uses edge `e`."""
    fixed.users[e] += 1
    if fixed.users[e] == 1:
        for i in range(fixed.part_start[e], fixed.part_start[e + 1]):
            p = fixed.parts[i]
            fixed.part_users[p] += 1
            if fixed.part_users[p] == 1:
                for j in range(fixed.edges_start[p], fixed.edges_start[p + 1]):
                    fixed.open_money[fixed.edges_of[j]] -= fixed.part_money[p]


def take_all(fixed: Fixed, hops: Array) -> None:
    """One more cohort on every edge listed, repeats included."""
    for e in hops:
        take(fixed, e)


def drop(fixed: Fixed, e: int) -> float:
    """One cohort less uses edge `e`; the fixed money that this saves."""
    fixed.users[e] -= 1
    if fixed.users[e] > 0:
        return 0.0
    for i in range(fixed.part_start[e], fixed.part_start[e + 1]):
        p = fixed.parts[i]
        fixed.part_users[p] -= 1
        if fixed.part_users[p] == 0:
            for j in range(fixed.edges_start[p], fixed.edges_start[p + 1]):
                fixed.open_money[fixed.edges_of[j]] += fixed.part_money[p]
    return float(fixed.open_money[e])


def marginal(edges: Edges, fixed: Fixed, e: int, clients: float) -> float:
    """What clients on edge `e` newly cost."""
    money = clients * edges.hop_money[e]
    return money if fixed.users[e] > 0 else money + fixed.open_money[e]


def find_way(
    edges: Edges, fixed: Fixed, desk: Desk, clients: float, base: int, target: int, low: int, high: int, hops: int,
    most: float,
) -> float:  # fmt: skip
    """The marginal money of the cheapest way, or `most` where none is cheaper; `read_way` has its edges."""
    first = base if edges.is_acyclic else low
    width = high - first + 1
    dist, via = desk.dist, desk.via
    dist[: (hops + 1) * width] = most
    dist[target - first] = 0.0
    if hops == 0 and not edges.is_acyclic:
        settle(edges, fixed, desk, clients, base, target, low, high)
        return float(dist[base - first])
    for h in range(min(hops, 1), hops + 1):
        row, below = h * width, max(h - 1, 0) * width
        for v in range(high, first - 1, -1):
            best, chosen = dist[below + v - first], via[below + v - first]
            # With all hops left clients are at their base, with fewer they have left it.
            if hops == 0 or (h == hops) == (v == base):
                for e in range(edges.start[v], edges.start[v + 1]):
                    w = edges.head[e]
                    if w <= high and dist[below + w - first] < best:
                        money = marginal(edges, fixed, e, clients) + dist[below + w - first]
                        if money < best:
                            best, chosen = money, e
            dist[row + v - first], via[row + v - first] = best, chosen
    return float(dist[hops * width + base - first])


def settle(edges: Edges, fixed: Fixed, desk: Desk, clients: float, base: int, target: int, low: int, high: int) -> None:
    """Dijkstra's search from the target, where edges point back and forth."""
    width = high - low + 1
    dist, via = desk.dist[:width], desk.via
    heap, place = np.empty(width, dtype=np.int64), np.full(width, -1)
    count = put_nearer(heap, place, dist, 0, target - low)
    while count > 0:
        w = pop_least(heap, place, dist, count)
        count -= 1
        if w == base - low:
            break
        for i in range(edges.in_start[w + low], edges.in_start[w + low + 1]):
            e = edges.in_edge[i]
            v = edges.tail[e] - low
            if v >= 0:
                money = marginal(edges, fixed, e, clients) + dist[w]
                if money < dist[v]:
                    dist[v] = money
                    via[v] = e
                    count = put_nearer(heap, place, dist, count, v)


def read_way(edges: Edges, desk: Desk, base: int, target: int, low: int, high: int, hops: int, room: int) -> int:
    """The edges of the way just found, into `desk.way`; how many, or -1 where they are more than `room`."""
    first = base if edges.is_acyclic else low
    width = high - first + 1
    at, left, count = base, hops, 0
    while at != target:
        if count == room:
            return -1
        while left > 1 and desk.dist[(left - 1) * width + at - first] == desk.dist[left * width + at - first]:
            left -= 1
        e = desk.via[left * width + at - first]
        desk.way[count] = e
        count += 1
        at = edges.head[e]
        left = max(left - 1, 0)
    return count


def insert(edges: Edges, cohorts: Cohorts, fixed: Fixed, routes: Routes, desk: Desk, order: Array) -> float:
    """Each cohort in `order` (which has no route) takes its cheapest way at marginal money; what all pay."""
    paid = 0.0
    for k in order:
        base, target, low, high = cohorts.base[k], cohorts.target[k], cohorts.low[k], cohorts.high[k]
        hops, clients, cap = cohorts.max_hops[k], cohorts.clients[k], cohorts.cap[k]
        money = find_way(edges, fixed, desk, clients, base, target, low, high, hops, cap)
        routes.length[k] = FULL_PULL
        if money < cap:
            routes.length[k] = read_way(edges, desk, base, target, low, high, hops, len(desk.way))
        for i in range(routes.length[k]):
            routes.route[k, i] = desk.way[i]
            take(fixed, desk.way[i])
        paid += money
    return paid


def reroute(
    edges: Edges, cohorts: Cohorts, fixed: Fixed, routes: Routes, desk: Desk, nodes: Array, who: Array,
    tolerance: float,
) -> float:  # fmt: skip
    """At each node, each bundle of cohorts that leave it by one edge for one target looks for a better way on.

    A cohort on its own at its base may pull in full as well. Only the cohorts `who` are looked at. Returns the money
    saved.
    """
    saved = 0.0
    starts, through = pass_through(edges, cohorts, routes, who)
    for v in nodes:
        for i in range(starts[v], starts[v + 1]):
            desk.stamp[through[i]] = 0
        for i in range(starts[v], starts[v + 1]):
            if desk.stamp[through[i]] == 0:
                count = bundle_at(edges, cohorts, routes, desk, v, through[i : starts[v + 1]])
                if count > 0:
                    saved += move_bundle(edges, cohorts, fixed, routes, desk, v, count, tolerance)
    return saved


def bundle_at(edges: Edges, cohorts: Cohorts, routes: Routes, desk: Desk, v: int, through: Array) -> int:
    """Cohorts that now leave `v` by the same edge for the same target as the first one that does; how many."""
    count, edge, goal = 0, NOT_KEPT, -1
    for k in through:
        if desk.stamp[k] == 1 or (count > 0 and cohorts.target[k] != goal):
            continue
        index, here, length = 0, cohorts.base[k], routes.length[k]
        while here != v and index < length:
            here = edges.head[routes.route[k, index]]
            index += 1
        is_alone = length == FULL_PULL and v == cohorts.base[k]
        if here != v or (index >= length and not is_alone):
            desk.stamp[k] = 1
            continue
        leaving = FULL_PULL if is_alone else routes.route[k, index]
        if count == 0:
            edge, goal = leaving, cohorts.target[k]
        elif leaving != edge or is_alone:
            continue
        desk.stamp[k] = 1
        desk.members[count], desk.at[count] = k, index
        count += 1
    return count


def move_bundle(
    edges: Edges, cohorts: Cohorts, fixed: Fixed, routes: Routes, desk: Desk, v: int, count: int, tolerance: float
) -> float:
    """Take the bundle's ways from `v` on away, and lay them anew together if that is cheaper; the money saved."""
    first = desk.members[0]
    paid, clients, hops, longest = 0.0, 0.0, cohorts.max_hops[first], 0
    for j in range(count):
        k = desk.members[j]
        clients += cohorts.clients[k]
        longest = max(longest, desk.at[j])
        if cohorts.max_hops[k] > 0:
            left = cohorts.max_hops[k] - desk.at[j]
            hops = left if hops == 0 else min(hops, left)
        paid += take_off(edges, cohorts, fixed, routes, k, desk.at[j])
    is_alone = count == 1 and cohorts.base[first] == v
    cap = cohorts.cap[first] if is_alone else np.inf
    target, low, high = cohorts.target[first], cohorts.low[first], cohorts.high[first]
    most = min(paid - tolerance, cap)
    money = find_way(edges, fixed, desk, clients, v, target, low, high, hops, most)
    found = -1
    if money < most:
        found = read_way(edges, desk, v, target, low, high, hops, len(desk.way) - longest)
    is_full = found < 0 and cap < paid - tolerance
    for j in range(count):
        k = desk.members[j]
        if found >= 0 or is_full:
            desk.moved[k] = True
            keep(routes, desk, k)
        if found >= 0:
            routes.length[k] = desk.at[j] + found
            routes.route[k, desk.at[j] : desk.at[j] + found] = desk.way[:found]
        elif is_full:
            routes.length[k] = FULL_PULL
        for i in range(desk.at[j], routes.length[k]):
            take(fixed, routes.route[k, i])
    if found >= 0:
        return paid - money
    return paid - cap if is_full else 0.0


def take_off(edges: Edges, cohorts: Cohorts, fixed: Fixed, routes: Routes, k: int, at: int) -> float:
    """Take a cohort off its route from index `at` on; the money that this saves."""
    paid = 0.0
    if routes.length[k] == FULL_PULL:
        paid = cohorts.cap[k]
    for i in range(at, routes.length[k]):
        e = routes.route[k, i]
        paid += cohorts.clients[k] * edges.hop_money[e] + drop(fixed, e)
    return paid


def pass_through(edges: Edges, cohorts: Cohorts, routes: Routes, who: Array) -> tuple[Array, Array]:
    """Which of `who` pass each node but their target: those at `v` are `through[starts[v]:starts[v + 1]]`."""
    nodes = len(edges.start) - 1
    starts = np.zeros(nodes + 1, dtype=np.int64)
    for k in who:
        starts[cohorts.base[k] + 1] += 1
        for i in range(routes.length[k] - 1):
            starts[edges.head[routes.route[k, i]] + 1] += 1
    for v in range(nodes):
        starts[v + 1] += starts[v]
    through = np.empty(starts[nodes], dtype=np.int64)
    cursor = starts[:nodes].copy()
    for k in who:
        v = cohorts.base[k]
        through[cursor[v]] = k
        cursor[v] += 1
        for i in range(routes.length[k] - 1):
            v = edges.head[routes.route[k, i]]
            through[cursor[v]] = k
            cursor[v] += 1
    return starts, through


def keep(routes: Routes, desk: Desk, k: int) -> None:
    """Remember a cohort's route before its first change, where somebody may want to go back."""
    if len(desk.dirty) == 0 or desk.kept_length[k] != NOT_KEPT:
        return
    desk.kept_length[k] = routes.length[k]
    for i in range(routes.length[k]):
        desk.kept_route[k, i] = routes.route[k, i]
    desk.dirty[0] += 1
    desk.dirty[desk.dirty[0]] = k


def shake(
    edges: Edges,
    cohorts: Cohorts,
    fixed: Fixed,
    routes: Routes,
    desk: Desk,
    picks: Array,
    keys: Array,
    tolerance: float,
) -> float:
    """Per picked node: lay the cohorts that pass it again one by one, improve around them, keep what is no dearer.

    `keys` (picks, cohorts) are the random keys of the orders. Returns the money saved over all picks.
    """
    saved = 0.0
    touched, everyone = np.zeros(len(edges.start) - 1, dtype=np.bool_), np.arange(len(cohorts.base))
    for pick in range(len(picks)):
        starts, through = pass_through(edges, cohorts, routes, everyone)
        moved = through[starts[picks[pick]] : starts[picks[pick] + 1]]
        paid = 0.0
        for k in moved:
            keep(routes, desk, k)
            paid += take_off(edges, cohorts, fixed, routes, k, 0)
        money = insert(edges, cohorts, fixed, routes, desk, moved[np.argsort(keys[pick, : len(moved)])])
        touched[:] = False
        for k in moved:
            touched[cohorts.base[k]] = True
            for i in range(routes.length[k] - 1):
                touched[edges.head[routes.route[k, i]]] = True
        money -= reroute(edges, cohorts, fixed, routes, desk, np.flatnonzero(touched), everyone, tolerance)
        if money <= paid:
            saved += paid - money
        else:
            go_back(fixed, routes, desk)
        for j in range(1, desk.dirty[0] + 1):
            desk.kept_length[desk.dirty[j]] = NOT_KEPT
        desk.dirty[0] = 0
    return saved


def go_back(fixed: Fixed, routes: Routes, desk: Desk) -> None:
    """Put every changed cohort on its kept route again."""
    for j in range(1, desk.dirty[0] + 1):
        k = desk.dirty[j]
        for i in range(routes.length[k]):
            drop(fixed, routes.route[k, i])
    for j in range(1, desk.dirty[0] + 1):
        k = desk.dirty[j]
        routes.length[k] = desk.kept_length[k]
        for i in range(desk.kept_length[k]):
            routes.route[k, i] = desk.kept_route[k, i]
            take(fixed, routes.route[k, i])
