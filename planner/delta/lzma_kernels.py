"""LZMA2, writing: the range coder, symbols, and chunks.

`coder` is int64: low, range, the byte held back, how many bytes are held back, where the next byte goes.

Source: LZMA specification (I. Pavlov, lzma-specification.txt of the LZMA SDK); The .xz File Format 1.2.1, 5.3.1.
"""

from __future__ import annotations

from typing import Any

from planner.delta.lzma_price_kernels import (
    ALIGNS,
    IS_MATCH,
    IS_REP,
    IS_REP_0,
    IS_REP_0_LONG,
    IS_REP_1,
    IS_REP_2,
    LITERALS,
    MATCH_LENGTHS,
    REP_LENGTHS,
    SLOTS,
    SPECIALS,
    find_slot,
)

COMPILE_OPTIONS = {"_nrt": False}
"""For `planner.compiled`: nothing here makes arrays, and counting who holds them takes half the time."""

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

LOW, RANGE, HELD, HELD_COUNT, OUT_AT = 0, 1, 2, 3, 4

LITERAL = -1
"""The code of an operation that is a literal; 0..3 are of the last four distances, from 4 on of others (less one)."""


def start_coder(coder: Array, at: int) -> None:
    """Begin to write at a place."""
    coder[LOW], coder[RANGE], coder[HELD], coder[HELD_COUNT], coder[OUT_AT] = 0, 0xFFFFFFFF, 0, 1, at


def shift_low(coder: Array, out: Array) -> None:
    """Write what no carry can change any more."""
    low = coder[LOW]
    if low < 0xFF000000 or low > 0xFFFFFFFF:
        carry = low >> 32
        at = coder[OUT_AT]
        byte = coder[HELD]
        for _ in range(coder[HELD_COUNT]):
            out[at] = (byte + carry) & 0xFF
            byte = 0xFF
            at += 1
        coder[OUT_AT] = at
        coder[HELD] = (low >> 24) & 0xFF
        coder[HELD_COUNT] = 0
    coder[HELD_COUNT] += 1
    coder[LOW] = (low & 0x00FFFFFF) << 8


def write_bit(coder: Array, out: Array, probs: Array, at: int, bit: int) -> None:
    """Code a bit by its probability, which learns from it."""
    prob = int(probs[at])
    bound = (coder[RANGE] >> 11) * prob
    if bit:
        coder[LOW] += bound
        coder[RANGE] -= bound
        probs[at] = prob - (prob >> 5)
    else:
        coder[RANGE] = bound
        probs[at] = prob + ((2048 - prob) >> 5)
    if coder[RANGE] < 1 << 24:
        coder[RANGE] <<= 8
        shift_low(coder, out)


def write_tree(coder: Array, out: Array, probs: Array, base: int, width: int, symbol: int) -> None:
    """Code a symbol of `width` bits, the highest first."""
    node = 1
    for place in range(width - 1, -1, -1):
        bit = (symbol >> place) & 1
        write_bit(coder, out, probs, base + node, bit)
        node = (node << 1) | bit


def write_reverse_tree(coder: Array, out: Array, probs: Array, base: int, width: int, symbol: int) -> None:
    """Code a symbol of `width` bits, the lowest first."""
    node = 1
    for place in range(width):
        bit = (symbol >> place) & 1
        write_bit(coder, out, probs, base + node, bit)
        node = (node << 1) | bit


def write_length(coder: Array, out: Array, probs: Array, base: int, length: int) -> None:
    """Code a length of 2 to 273."""
    if length < 10:
        write_bit(coder, out, probs, base, 0)
        write_tree(coder, out, probs, base + 2, 3, length - 2)
    elif length < 18:
        write_bit(coder, out, probs, base, 1)
        write_bit(coder, out, probs, base + 1, 0)
        write_tree(coder, out, probs, base + 10, 3, length - 10)
    else:
        write_bit(coder, out, probs, base, 1)
        write_bit(coder, out, probs, base + 1, 1)
        write_tree(coder, out, probs, base + 18, 8, length - 18)


def write_distance(coder: Array, out: Array, probs: Array, kind: int, distance: int, slot_of: Array) -> None:
    """Code a distance less one, after a length of `kind` (length - 2, at most 3)."""
    slot = find_slot(distance, slot_of)
    write_tree(coder, out, probs, SLOTS + 64 * kind, 6, slot)
    if slot < 4:
        return
    width = (slot >> 1) - 1
    base = (2 | (slot & 1)) << width
    rest = distance - base
    if slot < 14:
        write_reverse_tree(coder, out, probs, SPECIALS + base - slot, width, rest)
        return
    for place in range(width - 1, 3, -1):
        coder[RANGE] >>= 1
        if (rest >> place) & 1:
            coder[LOW] += coder[RANGE]
        if coder[RANGE] < 1 << 24:
            coder[RANGE] <<= 8
            shift_low(coder, out)
    write_reverse_tree(coder, out, probs, ALIGNS, 4, rest & 15)


def write_literal(coder: Array, out: Array, probs: Array, base: int, byte: int, other: int) -> None:
    """Code a byte; after a match, `other` is what the match would have gone on with, else it is negative."""
    node = 1
    for place in range(7, -1, -1):
        bit = (byte >> place) & 1
        if other >= 0:
            guess = (other >> place) & 1
            write_bit(coder, out, probs, base + ((1 + guess) << 8) + node, bit)
            if bit != guess:
                other = -1
        else:
            write_bit(coder, out, probs, base + node, bit)
        node = (node << 1) | bit


def literal_base(data: Array, at: int, lc: int) -> int:
    """Where the probabilities of the literal at a place begin."""
    return LITERALS + 768 * (int(data[at - 1]) >> (8 - lc)) if at > 0 else LITERALS


def after_literal(state: int) -> int:
    """The state after a literal."""
    if state < 4:
        return 0
    return state - 3 if state < 10 else state - 6


def write_operation(
    coder: Array,
    out: Array,
    probs: Array,
    data: Array,
    at: int,
    code: int,
    length: int,
    now: Array,
    lc: int,
    slot_of: Array,
) -> None:
    """Code an operation; `now` is the state and the last four distances less one, and follows it."""
    state = int(now[0])
    if code == LITERAL:
        write_bit(coder, out, probs, IS_MATCH + state, 0)
        other = int(data[at - now[1] - 1]) if state >= 7 else -1
        write_literal(coder, out, probs, literal_base(data, at, lc), int(data[at]), other)
        now[0] = after_literal(state)
        return
    write_bit(coder, out, probs, IS_MATCH + state, 1)
    if code >= 4:
        write_bit(coder, out, probs, IS_REP + state, 0)
        write_length(coder, out, probs, MATCH_LENGTHS, length)
        write_distance(coder, out, probs, min(length - 2, 3), code - 4, slot_of)
        now[4], now[3], now[2], now[1] = now[3], now[2], now[1], code - 4
        now[0] = 7 if state < 7 else 10
        return
    write_bit(coder, out, probs, IS_REP + state, 1)
    if code == 0:
        write_bit(coder, out, probs, IS_REP_0 + state, 0)
        write_bit(coder, out, probs, IS_REP_0_LONG + state, 1 if length > 1 else 0)
        if length == 1:
            now[0] = 9 if state < 7 else 11
            return
    else:
        write_bit(coder, out, probs, IS_REP_0 + state, 1)
        write_bit(coder, out, probs, IS_REP_1 + state, 1 if code > 1 else 0)
        if code > 1:
            write_bit(coder, out, probs, IS_REP_2 + state, code - 2)
        distance = now[code + 1]
        for place in range(code, 0, -1):
            now[place + 1] = now[place]
        now[1] = distance
    write_length(coder, out, probs, REP_LENGTHS, length)
    now[0] = 8 if state < 7 else 11
