"""LZMA2, choosing operations: the cheapest way through a window of content, at the prices of the moment.

Places are nodes; an operation leads from one to a later one. Only the beginnings of tokens and the ends of matches are
ever reached, so that runs of zeros cost nothing to cross.

Source: LZMA SDK (7-zip.org/sdk.html), the idea of its optimal parser; nothing of it is copied.
"""

from __future__ import annotations

from typing import Any

from planner.delta.lzma_kernels import LITERAL, after_literal
from planner.delta.lzma_match_kernels import DISTANCE, LENGTH, LONGEST, ZEROS, count_same
from planner.delta.lzma_price_kernels import IS_MATCH, IS_REP, price_bit, price_distance
from planner.delta.lzma_reach_kernels import (
    BEFORE,
    CODE,
    DEAR,
    EXTRA,
    OF_MATCH,
    REP,
    STATE,
    reach,
    try_literal,
    try_matches,
    try_reps,
)

COMPILE_OPTIONS = {"_nrt": False, "forceinline": True}
"""For `planner.compiled`: nothing here makes arrays, and counting who holds them takes half the time."""

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

# A longer look tells two repeated distances apart that both match the longest that can be said at once.
_FAR_LOOK_BYTES = 2048


def settle_node(nodes: Array, here: int) -> None:
    """Work out the state and the distances at a node from where it was reached from."""
    before = int(nodes[here, BEFORE])
    code = int(nodes[here, CODE])
    extra = int(nodes[here, EXTRA])
    state = int(nodes[before, STATE])
    for place in range(4):
        nodes[here, REP + place] = nodes[before, REP + place]
    length = here - before if extra == 0 else extra & 0xFFFF
    if code == LITERAL:
        if extra == 0:
            state = after_literal(state)
    elif code >= 4:
        for place in range(3, 0, -1):
            nodes[here, REP + place] = nodes[before, REP + place - 1]
        nodes[here, REP] = code - 4
        state = 7 if state < 7 else 10
    else:
        for place in range(code, 0, -1):
            nodes[here, REP + place] = nodes[before, REP + place - 1]
        nodes[here, REP] = nodes[before, REP + code]
        state = 11 if state >= 7 else 9 if length == 1 else 8
    if extra != 0:
        for _ in range(extra >> 16):
            state = after_literal(state)
        state = 8 if state < 7 else 11
    nodes[here, STATE] = state


def least_ahead(prices: Array, here: int, last: int) -> int:
    """The least price of the nodes after one, as far as a last one."""
    ahead = prices[here + 1 : last + 1]
    least = DEAR
    for place in range(len(ahead)):
        least = min(least, int(ahead[place]))
    return least


def measure_reps(data: Array, marks: Array, at: int, here: int, nodes: Array, sames: Array) -> int:
    """Fill in how far each of the last four distances matches; which to take at once, or -1."""
    end = len(data)
    limit = min(LONGEST, end - at)
    best, best_length = -1, 0
    for code in range(4):
        distance = int(nodes[here, REP + code])
        sames[code] = 0
        if distance >= at or data[at - distance - 1] != data[at]:
            continue
        same = count_same(marks, at, at - distance - 1, 0, limit)
        sames[code] = same
        if same < LONGEST:
            continue
        if best >= 0:
            more = min(_FAR_LOOK_BYTES, end - at)
            same = count_same(marks, at, at - distance - 1, same, more)
            other = int(nodes[here, REP + best])
            best_length = count_same(marks, at, at - other - 1, best_length, more)
        if same > best_length:
            best, best_length = code, same
    return best


def begin_path(now: Array, prices: Array, nodes: Array) -> None:
    """Set the node where a path begins."""
    prices[0] = 0
    for place in range(5):
        nodes[0, STATE + place] = now[place]


def forget_prices(prices: Array, here: int, far: int) -> None:
    """Make ready for the next path."""
    for place in range(here, far + 1):
        prices[place] = DEAR


def try_zeros(
    here: int, zeros: int, match_price: int, lengths: Array, nears: Array, prices: Array, nodes: Array
) -> int:
    """Reach the end of a run by the zero before it; which node that is."""
    cost = match_price + int(lengths[OF_MATCH, zeros]) + int(nears[min(zeros - 2, 3), 0])
    reach(prices, nodes, here + zeros, cost, here, 4, 0)
    return here + zeros


def is_overtaken(prices: Array, here: int, far: int) -> bool:
    """Whether what is near after a node is reached as cheaply: it is worth more."""
    return here > 0 and least_ahead(prices, here, min(far, here + LONGEST)) <= prices[here]


def price_match(probs: Array, state: int, bits: Array) -> int:
    """The price of saying that an operation is a match of a distance of its own."""
    return price_bit(probs, IS_MATCH + state, 1, bits) + price_bit(probs, IS_REP + state, 0, bits)


def price_longest(distance: int, lengths: Array, slots: Array, nears: Array, aligns: Array, slot_of: Array) -> int:
    """The price of the longest match, once it is said that it is one."""
    return int(lengths[OF_MATCH, LONGEST]) + price_distance(distance, 3, slots, nears, aligns, slot_of)


def find_path(
    data: Array,
    marks: Array,
    tokens: Array,
    token: int,
    token_end: int,
    at: int,
    found: Array,
    starts: Array,
    first_token: int,
    now: Array,
    probs: Array,
    lengths: Array,
    slots: Array,
    nears: Array,
    aligns: Array,
    slot_of: Array,
    bits: Array,
    lc: int,
    window: int,
    prices: Array,
    nodes: Array,
    sames: Array,
    path: Array,
) -> int:
    """Fill `path` with rows (code, length), the last operation first; how many they are.

    Matches of tokens from `first_token` to before `token_end` are known, `token` is the first from `at` on.
    """
    here = far = 0
    last_code = -1
    begin_path(now, prices, nodes)
    while True:
        while prices[here] == DEAR:
            here += 1
        spot = at + here
        is_end = here > 0 and (here == far or here >= window)
        if not is_end and is_overtaken(prices, here, far):
            prices[here] = DEAR
            continue
        if here > 0:
            settle_node(nodes, here)
        if is_end:
            break
        while tokens[token] < spot:
            token += 1
        is_token = tokens[token] == spot
        following = token + 1 if is_token else token
        if following >= token_end and token_end < len(tokens) - 1 and here > 0:
            break
        zeros = max(int(marks[spot]) - ZEROS, 0)
        begin = int(starts[min(token, token_end) - first_token])
        last = int(starts[token - first_token + 1]) if is_token and token < token_end else begin
        was_zero = spot > 0 and data[spot - 1] == 0
        # What is the longest that can be said goes at once: what comes before it is settled.
        match_price = int(prices[here]) + price_match(probs, int(nodes[here, STATE]), bits)
        last_code = measure_reps(data, marks, spot, here, nodes, sames)
        if last_code < 0 and zeros >= LONGEST and was_zero:
            last_code = 4
        if last_code < 0 and last > begin and found[last - 1, LENGTH] == LONGEST:
            distance = int(found[last - 1, DISTANCE])
            cost = match_price + price_longest(distance, lengths, slots, nears, aligns, slot_of)
            # Not where another match leads farther for less: it may well go on with what this one holds.
            if least_ahead(prices, here, far) >= cost:
                last_code = distance + 4
        if last_code >= 0:
            break
        if not was_zero or zeros < 3:
            far = try_literal(data, marks, spot, here, far, lengths, probs, bits, lc, prices, nodes)
        far = try_reps(data, marks, tokens, following, spot, here, far, sames, lengths, probs, bits, lc, prices, nodes)
        if was_zero and zeros > max(1, int(sames[0]), int(sames[1]), int(sames[2]), int(sames[3])):
            far = max(far, try_zeros(here, zeros, match_price, lengths, nears, prices, nodes))
        least = max(1, int(sames[0]))
        if last > begin:
            far = try_matches(
                *(data, marks, tokens, following, spot, here, far, found[begin:last], 0, least),
                *(lengths, slots, nears, aligns, slot_of, probs, bits, lc, prices, nodes),
            )
        if 0 < zeros < LONGEST - 1 and following < token_end:
            begin, last = int(starts[following - first_token]), int(starts[following - first_token + 1])
            far = try_matches(
                *(data, marks, tokens, following, spot, here, far, found[begin:last], zeros, least),
                *(lengths, slots, nears, aligns, slot_of, probs, bits, lc, prices, nodes),
            )
        prices[here] = DEAR
    forget_prices(prices, here, far)
    return trace_path(nodes, here, last_code, path)


def trace_path(nodes: Array, here: int, last_code: int, path: Array) -> int:
    """Fill `path` from a node back, the longest operation after it (if `last_code` is one) first; see `find_path`."""
    count = 0
    if last_code >= 0:
        path[0, 0], path[0, 1] = last_code, LONGEST
        count = 1
    while here > 0:
        before, code, extra = int(nodes[here, BEFORE]), int(nodes[here, CODE]), int(nodes[here, EXTRA])
        literals, length = extra >> 16, extra & 0xFFFF
        if extra == 0:
            length = here - before
        else:
            path[count, 0], path[count, 1] = 0, here - before - length - literals
            for place in range(1, literals + 1):
                path[count + place, 0], path[count + place, 1] = LITERAL, 1
            count += literals + 1
        if length > 0:
            path[count, 0], path[count, 1] = code, length
            count += 1
        here = before
    return count
