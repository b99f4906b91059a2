"""Labels of partial trees to one root, the loops: combine, thin and complete them.

A label says what a set of edges does for at most four nodes (`Rows`): each waits to be supplied, for some clients that
lean on it, or is supplied, at a distance from the root or from another one of the nodes. Plain Python over arrays,
compiled where a problem is large (`compiled.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

WAITS, AT_ROOT = -1, -2
"""Values of `Rows.supply`; any other is the place of the node that supplies this one."""

MOST_NODES = 4
_KEYS = MOST_NODES + 2


class Rows(NamedTuple):
    """`supply` and `amount` have shape (labels, 4): clients of a node that waits, else money of one client's way.

    `used` (labels,) is what is taken of the limit, `money` what is spent but for clients of nodes that wait.
    """

    supply: Array
    amount: Array
    used: Array
    money: Array


class Grain(NamedTuple):
    """How alike labels are merged: bins per e-fold beyond a unit of clients and of money, 0 for equal ones only.

    `used` is the least difference in use that counts; 0 where use does not, below 0 where any does.
    """

    client_unit: float
    client_bins: float
    money_unit: float
    money_bins: float
    used: float


def bin_of(value: float, unit: float, bins: float) -> float:
    """The bin that a value is in."""
    return value if bins == 0.0 else np.floor(np.log1p(value / unit) * bins)


def find_slot(table: Array, keys: Array, key: Array) -> int:
    """Where a key is in a hash table, or would be; the table's length is a power of two."""
    h, last = 17, len(table) - 1
    for i in range(_KEYS):
        h = (h * 1_000_003 + int(key[i] * 16.0)) & 0x7FFFFFFF
    at = (h ^ (h >> 13)) & last
    while table[at] >= 0 and not is_same(keys, table[at], key):
        at = (at + 1) & last
    return at


def is_same(keys: Array, row: int, key: Array) -> bool:
    """Whether a row of keys is the key."""
    for i in range(_KEYS):
        if keys[row, i] != key[i]:
            return False
    return True


def grow(column: Array) -> Array:
    """The column with room for twice as many."""
    new = np.zeros((2 * len(column), *column.shape[1:]), dtype=column.dtype)
    new[: len(column)] = column
    return new


def merge_in(rows: Rows, places: Array, nodes: int, i: int, supply: Array, waiting: Array, money: Array) -> bool:
    """Add label `i` to the nodes' supplies, clients that wait, and money of ways; False where two supply one node."""
    for x in range(nodes):
        at, by = places[x], rows.supply[i, x]
        if by == WAITS:
            waiting[at] += rows.amount[i, x]
            continue
        if supply[at] != WAITS:
            return False
        supply[at] = AT_ROOT if by == AT_ROOT else places[by]
        money[at] = rows.amount[i, x]
    return True


def follow(supply: Array, money: Array, nodes: int, end: Array, way: Array) -> bool:
    """Where each node's supply comes from in the end, and over what money; False where it goes round."""
    for x in range(nodes):
        at, total, steps = x, 0.0, 0
        while at >= 0 and supply[at] != WAITS:
            total += money[at]
            at = supply[at]
            steps += 1
            if steps > nodes:
                return False
        end[x], way[x] = at, total
    return True


def settle(end: Array, way: Array, waiting: Array, nodes: int, place: Array) -> float:
    """Let clients lean on where supplies come from; what their ways cost, or below 0 where one can never be served.

    `place` is below 0 for nodes that are left behind.
    """
    money = 0.0
    for x in range(nodes):
        if end[x] == x:
            continue
        money += waiting[x] * way[x]
        if end[x] >= 0:
            waiting[end[x]] += waiting[x]
    for x in range(nodes):
        if place[x] < 0 and end[x] == x and waiting[x] > 0.0:
            return -1.0
    return money


def combine(
    left: Rows, left_places: Array, right: Rows, right_places: Array, nodes: int, place: Array, grain: Grain,
    most_used: float, most_money: float,
) -> tuple[Rows, Array, Array]:  # fmt: skip
    """All pairs of labels of two tables that go together, and each one's two origins.

    `left_places` and `right_places` say which of the `nodes` the tables' nodes are, `place` which they become: below 0
    they are left behind. Where labels are alike (`Grain`), the least of each of their columns makes one label: nothing
    that they stand for costs less than it. Its origins are those of the cheapest.
    """
    room, count = 64, 0
    table, keys = np.full(4 * room, -1), np.zeros((room, _KEYS))
    supplies, amounts = np.full((room, MOST_NODES), WAITS, dtype=np.int8), np.zeros((room, MOST_NODES))
    used, moneys, cheapest = np.zeros(room), np.zeros(room), np.zeros(room)
    origin = np.zeros((room, 2), dtype=np.int32)
    supply, end = np.zeros(MOST_NODES, dtype=np.int64), np.zeros(MOST_NODES, dtype=np.int64)
    waiting, money, way = np.zeros(MOST_NODES), np.zeros(MOST_NODES), np.zeros(MOST_NODES)
    new_supply, new_amount, key = np.zeros(MOST_NODES, dtype=np.int8), np.zeros(MOST_NODES), np.zeros(_KEYS)
    for i in range(len(left.used)):
        for j in range(len(right.used)):
            total, use = left.money[i] + right.money[j], left.used[i] + right.used[j]
            if use > most_used or total > most_money:
                continue
            supply[:], waiting[:], money[:] = WAITS, 0.0, 0.0
            if not merge_in(left, left_places, len(left_places), i, supply, waiting, money):
                continue
            if not merge_in(right, right_places, len(right_places), j, supply, waiting, money):
                continue
            if not follow(supply, money, nodes, end, way):
                continue
            more = settle(end, way, waiting, nodes, place)
            total += more
            if more < 0.0 or total > most_money:
                continue
            if not rename(end, way, waiting, nodes, place, new_supply, new_amount):
                continue
            make_key(new_supply, new_amount, use, grain, key)
            at = find_slot(table, keys, key)
            row = table[at]
            if row < 0:
                if count == room:
                    room *= 2
                    supplies, amounts, origin = grow(supplies), grow(amounts), grow(origin)
                    used, moneys, cheapest, keys = grow(used), grow(moneys), grow(cheapest), grow(keys)
                    table = np.full(4 * room, -1)
                    for r in range(count):
                        table[find_slot(table, keys, keys[r])] = r
                    at = find_slot(table, keys, key)
                row, table[at] = count, count
                keys[row, :], supplies[row, :], amounts[row, :] = key, new_supply, new_amount
                used[row], moneys[row], cheapest[row] = use, total, np.inf
                count += 1
            if total < cheapest[row]:
                cheapest[row], origin[row, 0], origin[row, 1] = total, i, j
            for x in range(MOST_NODES):
                amounts[row, x] = min(amounts[row, x], new_amount[x])
            used[row], moneys[row] = min(used[row], use), min(moneys[row], total)
    rows = Rows(supplies[:count].copy(), amounts[:count].copy(), used[:count].copy(), moneys[:count].copy())
    return rows, origin[:count, 0].copy(), origin[:count, 1].copy()


def rename(end: Array, way: Array, waiting: Array, nodes: int, place: Array, supply: Array, amount: Array) -> bool:
    """The label over the nodes that stay; False where one leans on a node that is left behind without supply."""
    supply[:], amount[:] = WAITS, 0.0
    for x in range(nodes):
        at = place[x]
        if at < 0:
            continue
        if end[x] == x:
            amount[at] = waiting[x]
        elif end[x] == AT_ROOT:
            supply[at], amount[at] = AT_ROOT, way[x]
        elif place[end[x]] < 0:
            return False
        else:
            supply[at], amount[at] = place[end[x]], way[x]
    return True


def make_key(supply: Array, amount: Array, use: float, grain: Grain, key: Array) -> None:
    """What labels have in common that are merged."""
    pattern = 0
    for x in range(MOST_NODES):
        pattern = pattern * 8 + int(supply[x]) + 2
        if supply[x] == WAITS:
            key[x] = bin_of(amount[x], grain.client_unit, grain.client_bins)
        else:
            key[x] = bin_of(amount[x], grain.money_unit, grain.money_bins)
    key[MOST_NODES] = pattern
    key[MOST_NODES + 1] = 0.0 if grain.used == 0.0 else use if grain.used < 0.0 else np.floor(use / grain.used)


def find_best(rows: Rows, order: Array, nodes: int, most: int) -> Array:
    """Which labels none of the `most` cheapest of a kind undercuts in everything; `order` is by kind, then money."""
    is_best = np.ones(len(order), dtype=np.bool_)
    best, count, first = np.zeros(len(order), dtype=np.int64), 0, 0
    for i in range(len(order)):
        this = order[i]
        for x in range(nodes):
            if rows.supply[order[first], x] != rows.supply[this, x]:
                first, count = i, 0
                break
        for j in range(min(count, most)):
            if undercuts(rows, best[j], this, nodes):
                is_best[this] = False
                break
        if is_best[this]:
            best[count] = this
            count += 1
    return is_best


def undercuts(rows: Rows, one: int, other: int, nodes: int) -> bool:
    """Whether a label of the same kind and no more money is as good in all else."""
    if rows.used[one] > rows.used[other]:
        return False
    for x in range(nodes):
        if rows.amount[one, x] > rows.amount[other, x]:
            return False
    return True


def complete(rows: Rows, outside: Rows, nodes: int, price: float, most: float) -> Array:
    """The least that each label costs with what it uses priced, completed by a label of all other edges.

    `outside` is by money, its use priced in; what exceeds `most` counts as infinite. Shape (labels,).
    """
    least = np.full(len(rows.used), np.inf)
    supply, money = np.zeros(MOST_NODES, dtype=np.int64), np.zeros(MOST_NODES)
    waiting, way = np.zeros(MOST_NODES), np.zeros(MOST_NODES)
    end = np.zeros(MOST_NODES, dtype=np.int64)
    places, behind = np.arange(nodes), np.full(MOST_NODES, -1)
    for i in range(len(rows.used)):
        own = rows.money[i] + price * rows.used[i]
        for j in range(len(outside.used)):
            total = own + outside.money[j]
            if total >= least[i] or total > most:
                break
            supply[:], waiting[:], money[:] = WAITS, 0.0, 0.0
            if not merge_in(rows, places, nodes, i, supply, waiting, money):
                continue
            if not merge_in(outside, places, nodes, j, supply, waiting, money):
                continue
            if not follow(supply, money, nodes, end, way):
                continue
            more = settle(end, way, waiting, nodes, behind)
            if more >= 0.0 and total + more <= most:
                least[i] = min(least[i], total + more)
    return least
