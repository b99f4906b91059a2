"""Blocks of one content in another, the loops: plain Python over arrays, compiled where content is large.

The hash of a block is a polynomial in its bytes, so that it moves on by one byte in two steps. No step leaves 63 bits.

Source: A. Tridgell, P. Mackerras, "The rsync algorithm" (1996).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

HASH_BITS = 38
HASH_MASK = (1 << HASH_BITS) - 1
FACTOR = 0x9E3779
# Slots looked at before a block is taken for unknown: the table is at most half full.
MOST_PROBES = 16


def hash_block(content: Array, at: int, block_bytes: int) -> Any:
    """The hash of the block from `at` on."""
    value = np.int64(0)
    for i in range(at, at + block_bytes):
        value = (value * FACTOR + np.int64(content[i])) & HASH_MASK
    return value


def leading_power(block_bytes: int) -> Any:
    """What the first byte of a block is multiplied by."""
    value = np.int64(1)
    for _ in range(block_bytes - 1):
        value = (value * FACTOR) & HASH_MASK
    return value


def index_blocks(old: Array, block_bytes: int, bits: int) -> tuple[Array, Array]:
    """Hashes and numbers of the blocks of old in a table of 2^bits slots, -1 where one is free; of equals the first."""
    hashes = np.full(1 << bits, -1, np.int64)
    blocks = np.full(1 << bits, -1, np.int64)
    for k in range(len(old) // block_bytes):
        value = hash_block(old, k * block_bytes, block_bytes)
        slot = value >> (HASH_BITS - bits)
        for _ in range(MOST_PROBES):
            if hashes[slot] == -1:
                hashes[slot] = value
                blocks[slot] = k
                break
            if hashes[slot] == value:
                break
            slot = (slot + 1) & ((1 << bits) - 1)
    return hashes, blocks


def find_block(hashes: Array, blocks: Array, bits: int, value: Any) -> int:
    """The number of the block with a hash, or -1."""
    slot = value >> (HASH_BITS - bits)
    for _ in range(MOST_PROBES):
        if hashes[slot] == value:
            return int(blocks[slot])
        if hashes[slot] == -1:
            return -1
        slot = (slot + 1) & ((1 << bits) - 1)
    return -1


def equal_bytes(old: Array, new: Array, old_at: int, new_at: int) -> int:
    """How many bytes from two places on are the same."""
    limit = min(len(old) - old_at, len(new) - new_at)
    length = 0
    while length < limit and old[old_at + length] == new[new_at + length]:
        length += 1
    return length


def match_blocks(old: Array, new: Array, block_bytes: int, bits: int) -> Array:
    """Rows (start in old, start in new, length) of what is the same for a block at least, ordered and apart in new.

    Where several places would do, the one that goes on with the match before is taken.
    """
    hashes, blocks = index_blocks(old, block_bytes, bits)
    power = leading_power(block_bytes)
    rows = np.zeros((64, 3), np.int64)
    count, at, end, shift = 0, 0, 0, 0
    value = hash_block(new, 0, block_bytes) if len(new) >= block_bytes else np.int64(0)
    while at + block_bytes <= len(new):
        length, place = 0, 0
        k = find_block(hashes, blocks, bits, value)
        if k >= 0:
            if 0 <= at + shift < len(old):
                place = at + shift
                length = equal_bytes(old, new, place, at)
            if length < block_bytes:
                place = k * block_bytes
                length = equal_bytes(old, new, place, at)
        if length < block_bytes:
            if at + block_bytes < len(new):
                value = (value - np.int64(new[at]) * power) & HASH_MASK
                value = (value * FACTOR + np.int64(new[at + block_bytes])) & HASH_MASK
            at += 1
            continue
        back = 0
        while at - back > end and place > back and old[place - back - 1] == new[at - back - 1]:
            back += 1
        if count == len(rows):
            rows = np.concatenate((rows, np.zeros_like(rows)))
        rows[count, 0], rows[count, 1], rows[count, 2] = place - back, at - back, length + back
        count += 1
        shift = place - at
        at += length
        end = at
        if at + block_bytes <= len(new):
            value = hash_block(new, at, block_bytes)
    return rows[:count]
