"""Signatures of content, the loops: plain Python over arrays, compiled where content is large (`compiled.py`).

Content is cut where a hash of four bytes says so, so that equal stretches are cut alike wherever they stand. No step
leaves 63 bits, so that the plain and the compiled twin agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

LEAST_PIECE_BYTES = 4
MOST_PIECE_BYTES = 255
"""A longer stretch of text without a cut is cut all the same: what is new in a piece is counted in a byte."""

FACTOR = 0x1E3779B1
OTHER_FACTOR = 0x180668D3
TEXT_CUT = 1 << 29
BINARY_MARK = 1 << 26


def cut_text(content: Array, prints: Array, starts: Array, novelties: Array, last_seen: Array) -> int:
    """Fill a row for each piece: its fingerprint (1 to 2^32 - 1), its start, how many of its bytes were not foreseen.

    A byte is foreseen if it followed the same two bytes the last time. `last_seen` is 65,536 zeros (uint8); there is at
    most one piece for every four bytes, and one more. Returns their number.
    """
    count, start, novelty = 0, 0, 0
    window = np.int64(0)
    value = np.int64(0)
    for at in range(len(content)):
        byte = np.int64(content[at])
        context = window & 0xFFFF
        if last_seen[context] != byte:
            novelty += 1
            last_seen[context] = byte
        window = ((window << 8) | byte) & 0xFFFFFFFF
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
        piece_bytes = at + 1 - start
        is_cut = (window * FACTOR) & 0xFFFFFFFF < TEXT_CUT and piece_bytes >= LEAST_PIECE_BYTES
        if is_cut or piece_bytes == MOST_PIECE_BYTES or at + 1 == len(content):
            prints[count] = max(1, value ^ (value >> 15))
            starts[count] = start
            novelties[count] = novelty
            count += 1
            start, novelty = at + 1, 0
            value = np.int64(0)
    return count


def mark_binary(content: Array, prints: Array, starts: Array) -> int:
    """Fill a row for each place, one in 64, that its eight bytes mark: their hash (1 to 2^32 - 1), and the place.

    In recompiled code hardly any piece stays the same, but eight bytes often do. Runs of one byte are not marked.
    Returns the number of rows.
    """
    count = 0
    low = np.int64(0)
    high = np.int64(0)
    for at in range(len(content)):
        high = ((high << 8) | (low >> 24)) & 0xFFFFFFFF
        low = ((low << 8) | np.int64(content[at])) & 0xFFFFFFFF
        mixed = low * FACTOR + high * OTHER_FACTOR
        if mixed & 0xFFFFFFFF < BINARY_MARK and low != high and at >= 7 and count < len(prints):
            prints[count] = max(1, (mixed >> 26) & 0xFFFFFFFF)
            starts[count] = at - 7
            count += 1
    return count


def fill_table(prints: Array, table: Array, bits: int) -> None:
    """Put the numbers of pieces, from 1, into a table of 2^bits zeros (int32) by their fingerprints; of equals one."""
    mask = (1 << bits) - 1
    for i in range(len(prints)):
        slot = ((np.int64(prints[i]) * FACTOR) >> 11) & mask
        while table[slot] != 0 and prints[table[slot] - 1] != prints[i]:
            slot = (slot + 1) & mask
        table[slot] = i + 1


def match_pieces(old_prints: Array, table: Array, bits: int, new_prints: Array, matched: Array) -> None:
    """For each piece of new (int32) the number of an equal one of old, or -1."""
    mask = (1 << bits) - 1
    for i in range(len(new_prints)):
        slot = ((np.int64(new_prints[i]) * FACTOR) >> 11) & mask
        while table[slot] != 0 and old_prints[table[slot] - 1] != new_prints[i]:
            slot = (slot + 1) & mask
        matched[i] = table[slot] - 1


def count_lacked(matched: Array, novelties: Array) -> tuple[int, int, int]:
    """Of the pieces without a match: their number, runs of them, and their bytes not foreseen."""
    pieces, runs, novel_bytes = 0, 0, 0
    was_lacked = False
    for i in range(len(matched)):
        is_lacked = matched[i] < 0
        if is_lacked:
            pieces += 1
            if not was_lacked:
                runs += 1
            if len(novelties):
                novel_bytes += novelties[i]
        was_lacked = is_lacked
    return pieces, runs, novel_bytes
