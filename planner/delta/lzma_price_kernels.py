"""LZMA2, what symbols cost: prices in 1/256 bit under the probabilities of the moment.

Source: LZMA specification (I. Pavlov, lzma-specification.txt of the LZMA SDK), "The main loop of decoder".
"""

from __future__ import annotations

from typing import Any

COMPILE_OPTIONS = {"_nrt": False}
"""For `planner.compiled`: nothing here makes arrays, and counting who holds them takes half the time."""

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

# The places of the probabilities in their one array; by position bits (pb) and literal position bits (lp) of 0.
IS_MATCH, IS_REP, IS_REP_0, IS_REP_1, IS_REP_2, IS_REP_0_LONG = 0, 12, 24, 36, 48, 60
SLOTS = 72
SPECIALS = SLOTS + 4 * 64
ALIGNS = SPECIALS + 116
MATCH_LENGTHS = ALIGNS + 16
REP_LENGTHS = MATCH_LENGTHS + 274
LITERALS = REP_LENGTHS + 274

BIT_PRICE = 256
"""The price of a bit that is as likely 0 as 1."""


# Shorter matches that save less than this are not worth to be looked at.
_MARGIN = BIT_PRICE // 4


def price_bit(probs: Array, at: int, bit: int, bits: Array) -> int:
    """The price of a bit."""
    prob = int(probs[at])
    return int(bits[(2048 - prob if bit else prob) >> 3])


def price_tree(probs: Array, base: int, width: int, symbol: int, bits: Array) -> int:
    """The price of a symbol of `width` bits, the highest first."""
    price = 0
    node = symbol | (1 << width)
    while node > 1:
        price += price_bit(probs, base + (node >> 1), node & 1, bits)
        node >>= 1
    return price


def price_reverse_tree(probs: Array, base: int, width: int, symbol: int, bits: Array) -> int:
    """The price of a symbol of `width` bits, the lowest first."""
    price, node = 0, 1
    for place in range(width):
        bit = (symbol >> place) & 1
        price += price_bit(probs, base + node, bit, bits)
        node = (node << 1) | bit
    return price


def price_literal(probs: Array, base: int, byte: int, bits: Array) -> int:
    """The price of a byte after a byte that was a literal too."""
    price = 0
    node = byte | 256
    while node > 1:
        price += price_bit(probs, base + (node >> 1), node & 1, bits)
        node >>= 1
    return price


def price_matched_literal(probs: Array, base: int, byte: int, other: int, bits: Array) -> int:
    """The price of a byte after a match, where the match would have gone on with `other`."""
    price = 0
    node = 1
    same = 256
    for place in range(7, -1, -1):
        bit = (byte >> place) & 1
        guess = (other >> place) & 1
        price += price_bit(probs, base + (((1 + guess) << 8) if same else 0) + node, bit, bits)
        node = (node << 1) | bit
        if bit != guess:
            same = 0
    return price


def fill_tree_prices(probs: Array, base: int, width: int, prices: Array, extra: int, bits: Array) -> None:
    """The prices of all symbols of `width` bits."""
    for symbol in range(1 << width):
        prices[symbol] = extra + price_tree(probs, base, width, symbol, bits)


def refresh_lengths(probs: Array, base: int, prices: Array, bits: Array) -> None:
    """Fill `prices[2:274]`, by length."""
    short = price_bit(probs, base, 0, bits)
    longer = price_bit(probs, base, 1, bits)
    middle = longer + price_bit(probs, base + 1, 0, bits)
    fill_tree_prices(probs, base + 2, 3, prices[2:10], short, bits)
    fill_tree_prices(probs, base + 10, 3, prices[10:18], middle, bits)
    fill_high_prices(probs, base + 18, prices[18:274], longer + price_bit(probs, base + 1, 1, bits), bits)


def link_cheaper(prices: Array, cheaper: Array) -> None:
    """For each length, the longest shorter one that is cheaper by more than a margin, else 0."""
    for length in range(2, 274):
        price = prices[length] - _MARGIN
        other = length - 1
        while other >= 2 and prices[other] >= price:
            other -= 1
        cheaper[length] = other if other >= 2 else 0


def fill_high_prices(probs: Array, base: int, prices: Array, extra: int, bits: Array) -> None:
    """The prices of 256 symbols, the upper half of whose bits are worked out once for sixteen symbols."""
    for upper in range(16):
        shared = extra + price_tree(probs, base, 4, upper, bits)
        for lower in range(16):
            price = shared
            node = (16 | upper) << 4 | lower
            for _ in range(4):
                price += price_bit(probs, base + (node >> 1), node & 1, bits)
                node >>= 1
            prices[(upper << 4) | lower] = price


def refresh_distances(probs: Array, slots: Array, nears: Array, aligns: Array, slot_of: Array, bits: Array) -> None:
    """Fill the prices of slots, of distances below 128, and of the lowest four bits of others; by kind of length."""
    for kind in range(4):
        fill_tree_prices(probs, SLOTS + 64 * kind, 6, slots[kind], 0, bits)
        for distance in range(4):
            nears[kind, distance] = slots[kind, distance]
    for distance in range(4, 128):
        slot = int(slot_of[distance])
        width = (slot >> 1) - 1
        base = (2 | (slot & 1)) << width
        price = price_reverse_tree(probs, SPECIALS + base - slot, width, distance - base, bits)
        for kind in range(4):
            nears[kind, distance] = slots[kind, slot] + price
    for kind in range(4):
        for slot in range(14, 64):
            slots[kind, slot] += ((slot >> 1) - 5) * BIT_PRICE
    for symbol in range(16):
        aligns[symbol] = price_reverse_tree(probs, ALIGNS, 4, symbol, bits)


def find_slot(distance: int, slot_of: Array) -> int:
    """The slot of a distance less one; `slot_of` tells those below 2048."""
    if distance < 1 << 11:
        return int(slot_of[distance])
    if distance < 1 << 21:
        return int(slot_of[distance >> 10]) + 20
    return int(slot_of[distance >> 20]) + 40


def price_distance(distance: int, kind: int, slots: Array, nears: Array, aligns: Array, slot_of: Array) -> int:
    """The price of a distance less one, after a length of `kind` (length - 2, at most 3)."""
    if distance < 128:
        return int(nears[kind, distance])
    return int(slots[kind, find_slot(distance, slot_of)]) + int(aligns[distance & 15])
