"""LZMA2, operations as ways between nodes: which are tried from a node, and what they cost.

Source: LZMA SDK (7-zip.org/sdk.html), the idea of its optimal parser; nothing of it is copied.
"""

from __future__ import annotations

from typing import Any

from planner.delta.lzma_kernels import LITERAL, after_literal, literal_base
from planner.delta.lzma_match_kernels import BACK, DISTANCE, LENGTH, LONGEST, count_same
from planner.delta.lzma_price_kernels import (
    IS_MATCH,
    IS_REP,
    IS_REP_0,
    IS_REP_0_LONG,
    IS_REP_1,
    IS_REP_2,
    price_bit,
    price_distance,
    price_literal,
    price_matched_literal,
)

COMPILE_OPTIONS = {"_nrt": False, "forceinline": True}
"""For `planner.compiled`: nothing here makes arrays, and counting who holds them takes half the time."""

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

DEAR = 1 << 30
"""The price of what was not reached."""

BEFORE, CODE, EXTRA, STATE, REP = 0, 1, 2, 3, 4
"""Columns of nodes: where from, by which operation, what followed it, and the state and the four distances there.

What followed is 0, or `literals << 16 | length` where the operation had that length (0: there was none), literals came
after it, and the rest was of the last distance.
"""

NODE_COLUMNS = 8

_MOST_LITERALS = 2
"""Between a match and its continuation."""

# Of literals and the length after them: what is dearer without them is not looked at.
_LEAST_LITERAL_PRICE = 700

OF_MATCH, OF_REP, CHEAPER = 0, 1, 2
"""Rows of lengths: prices of matches, and of repeated distances; from `CHEAPER` on, see `link_cheaper`."""


def reach(prices: Array, nodes: Array, to: int, price: int, before: int, code: int, extra: int) -> None:
    """Note a way to a node where it is cheaper than what is known."""
    if price < prices[to]:
        prices[to] = price
        nodes[to, BEFORE] = before
        nodes[to, CODE] = code
        nodes[to, EXTRA] = extra


def reach_cheaper(
    data: Array,
    at: int,
    here: int,
    length: int,
    price: int,
    code: int,
    row: int,
    lengths: Array,
    prices: Array,
    nodes: Array,
) -> None:
    """Reach places within the run before the end of an operation, where a shorter one has a cheaper length.

    The next operation then begins within the run: lengths that come often make up for it.
    """
    if at + length >= len(data) or data[at + length - 1] != 0:
        return
    least = 1 if row == OF_REP else 4
    length = int(lengths[CHEAPER + row, length])
    while length > least and data[at + length - 1] == 0 and data[at + length] == 0:
        reach(prices, nodes, here + length, price + int(lengths[row, length]), here, code, 0)
        length = int(lengths[CHEAPER + row, length])


def price_literal_at(data: Array, at: int, distance: int, state: int, lc: int, probs: Array, bits: Array) -> int:
    """The price of a literal at a place, with what says that it is one; `distance` is the last one less one."""
    base = literal_base(data, at, lc)
    price = price_bit(probs, IS_MATCH + state, 0, bits)
    if state >= 7:
        return price + price_matched_literal(probs, base, int(data[at]), int(data[at - distance - 1]), bits)
    return price + price_literal(probs, base, int(data[at]), bits)


def price_rep(probs: Array, state: int, code: int, bits: Array) -> int:
    """The price of naming one of the last four distances, once it is said that it is one."""
    if code == 0:
        return price_bit(probs, IS_REP_0 + state, 0, bits) + price_bit(probs, IS_REP_0_LONG + state, 1, bits)
    price = price_bit(probs, IS_REP_0 + state, 1, bits)
    if code == 1:
        return price + price_bit(probs, IS_REP_1 + state, 0, bits)
    return price + price_bit(probs, IS_REP_1 + state, 1, bits) + price_bit(probs, IS_REP_2 + state, code - 2, bits)


def reach_on(
    data: Array,
    marks: Array,
    at: int,
    here: int,
    length: int,
    distance: int,
    state: int,
    price: int,
    code: int,
    lengths: Array,
    probs: Array,
    bits: Array,
    lc: int,
    prices: Array,
    nodes: Array,
) -> int:
    """Go on after an operation with literals where content differs, and with its distance after; the farthest node."""
    end = len(data)
    place = at + length + 1
    literals = 1
    while literals < _MOST_LITERALS and place < end and data[place] != data[place - distance - 1]:
        literals += 1
        place += 1
    limit = min(LONGEST, end - place)
    if limit < 2:
        return 0
    more = count_same(marks, place, place - distance - 1, 0, limit)
    to = here + length + literals + more
    if more < 2 or price + literals * _LEAST_LITERAL_PRICE >= prices[to]:
        return 0
    for spot in range(place - literals, place):
        price += price_literal_at(data, spot, distance, state, lc, probs, bits)
        state = after_literal(state)
    price += price_bit(probs, IS_MATCH + state, 1, bits) + price_bit(probs, IS_REP + state, 1, bits)
    price += price_rep(probs, state, 0, bits) + int(lengths[OF_REP, more])
    reach(prices, nodes, to, price, here, code, literals << 16 | length)
    return to


def try_literal(
    data: Array,
    marks: Array,
    at: int,
    here: int,
    far: int,
    lengths: Array,
    probs: Array,
    bits: Array,
    lc: int,
    prices: Array,
    nodes: Array,
) -> int:
    """Reach the next node by a literal or by one byte of the last distance, and what follows; the farthest node."""
    price, state, distance = int(prices[here]), int(nodes[here, STATE]), int(nodes[here, REP])
    cost = price + price_literal_at(data, at, distance, state, lc, probs, bits)
    reach(prices, nodes, here + 1, cost, here, LITERAL, 0)
    far = max(far, here + 1)
    if distance >= at:
        return far
    if data[at - distance - 1] != data[at]:
        to = reach_on(
            data, marks, at, here, 0, distance, state, price, LITERAL, lengths, probs, bits, lc, prices, nodes
        )
        return max(far, to)
    cost = price + price_bit(probs, IS_MATCH + state, 1, bits) + price_bit(probs, IS_REP + state, 1, bits)
    cost += price_bit(probs, IS_REP_0 + state, 0, bits) + price_bit(probs, IS_REP_0_LONG + state, 0, bits)
    reach(prices, nodes, here + 1, cost, here, 0, 0)
    return far


def try_reps(
    data: Array,
    marks: Array,
    tokens: Array,
    following: int,
    at: int,
    here: int,
    far: int,
    sames: Array,
    lengths: Array,
    probs: Array,
    bits: Array,
    lc: int,
    prices: Array,
    nodes: Array,
) -> int:
    """Reach nodes by the last four distances; the farthest node."""
    state = int(nodes[here, STATE])
    price = int(prices[here])
    price += price_bit(probs, IS_MATCH + state, 1, bits) + price_bit(probs, IS_REP + state, 1, bits)
    longest = 1
    for code in range(4):
        same = int(sames[code])
        if same < 2:
            continue
        cost = price + price_rep(probs, state, code, bits)
        if same > longest:
            longest = same
            ahead = following
            while tokens[ahead] < at + same:
                length = int(tokens[ahead]) - at
                if length > 1:
                    reach(prices, nodes, here + length, cost + int(lengths[OF_REP, length]), here, code, 0)
                    reach_cheaper(data, at, here, length, cost, code, OF_REP, lengths, prices, nodes)
                ahead += 1
            reach_cheaper(data, at, here, same, cost, code, OF_REP, lengths, prices, nodes)
        cost += int(lengths[OF_REP, same])
        reach(prices, nodes, here + same, cost, here, code, 0)
        after = 8 if state < 7 else 11
        distance = int(nodes[here, REP + code])
        to = reach_on(data, marks, at, here, same, distance, after, cost, code, lengths, probs, bits, lc, prices, nodes)
        far = max(far, here + same, to)
    return far


def try_matches(
    data: Array,
    marks: Array,
    tokens: Array,
    following: int,
    at: int,
    here: int,
    far: int,
    rows: Array,
    lead: int,
    least: int,
    lengths: Array,
    slots: Array,
    nears: Array,
    aligns: Array,
    slot_of: Array,
    probs: Array,
    bits: Array,
    lc: int,
    prices: Array,
    nodes: Array,
) -> int:
    """Reach nodes by the matches `rows` of the token that begins after `lead` zeros; the farthest node.

    Only lengths above `least` are looked at.
    """
    state = int(nodes[here, STATE])
    after = 7 if state < 7 else 10
    price = int(prices[here])
    price += price_bit(probs, IS_MATCH + state, 1, bits) + price_bit(probs, IS_REP + state, 0, bits)
    limit = min(LONGEST, len(data) - at)
    ahead = following
    for row in range(len(rows)):
        if lead > 0 and rows[row, BACK] < lead:
            continue
        same = min(int(rows[row, LENGTH]) + lead, limit)
        if same <= least:
            continue
        distance = int(rows[row, DISTANCE])
        cost = price + price_distance(distance, min(same - 2, 3), slots, nears, aligns, slot_of)
        while tokens[ahead] <= at + least:
            ahead += 1
        least = same
        while tokens[ahead] < at + same:
            length = int(tokens[ahead]) - at
            if length >= 5:
                reach(prices, nodes, here + length, cost + int(lengths[OF_MATCH, length]), here, distance + 4, 0)
                reach_cheaper(data, at, here, length, cost, distance + 4, OF_MATCH, lengths, prices, nodes)
            else:
                total = price + price_distance(distance, length - 2, slots, nears, aligns, slot_of)
                reach(prices, nodes, here + length, total + int(lengths[OF_MATCH, length]), here, distance + 4, 0)
            ahead += 1
        reach_cheaper(data, at, here, same, cost, distance + 4, OF_MATCH, lengths, prices, nodes)
        cost += int(lengths[OF_MATCH, same])
        reach(prices, nodes, here + same, cost, here, distance + 4, 0)
        to = reach_on(
            *(data, marks, at, here, same, distance, after, cost, distance + 4),
            *(lengths, probs, bits, lc, prices, nodes),
        )
        far = max(far, here + same, to)
    return far
