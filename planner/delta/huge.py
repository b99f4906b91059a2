"""Covers of contents too large to hold in memory: blocks of old are found in new, then what is between is searched.

Both contents are mapped files. Memory is 24 bytes for each block of old, and a window of old and a piece of new at a
time; the seconds are those of reading, where most of new is in old.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from planner.compiled import kernels
from planner.delta import block_kernels
from planner.delta.bsdiff import Content, Rows, find_covers
from planner.delta.pairing import share_words

BLOCK_BYTES = 1024
"""Of old, what is looked for in new: whatever is the same for two blocks is found, wherever it stands."""

PIECE_BYTES = 1 << 24
"""Of new between two blocks that were found, searched at once."""

# Between blocks there may be as much more in old as was taken out.
_WINDOW_BYTES = 2 * PIECE_BYTES
# A shorter piece is searched for without a look at its sketch.
_SKETCHED_BYTES = 1 << 16
# Less between two covers is as well repeated.
_LEAST_GAP_BYTES = 64


def find_huge_covers(
    old: Content, new: Content, *, block_bytes: int = BLOCK_BYTES, piece_bytes: int = PIECE_BYTES
) -> Rows:
    """Rows (start in old, start in new, length), int64, ordered and apart in new, as `find_covers` gives them."""
    if not old or not new:
        return np.zeros((0, 3), np.int64)
    bits = max(8, (2 * len(old) // block_bytes).bit_length())
    run = kernels(block_kernels, len(old) + len(new))
    matched = cast("Any", run).match_blocks(
        np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8), block_bytes, bits
    )
    found = [matched]
    for start, end, first, last in _gaps(matched, len(old), len(new), piece_bytes):
        window, piece = old[first:last], new[start:end]
        # Searching in vain takes a microsecond a byte, a sketch 5 nanoseconds.
        if len(piece) > _SKETCHED_BYTES and not share_words(window, piece):
            continue
        rows = find_covers(window, piece, max_suffix_bytes=0)
        rows[:, 0] += first
        rows[:, 1] += start
        found.append(rows)
    covers = np.concatenate(found)
    return cast("Rows", covers[np.argsort(covers[:, 1], kind="stable")])


def _gaps(covers: Rows, old_bytes: int, new_bytes: int, piece_bytes: int) -> Iterator[tuple[int, int, int, int]]:
    """Pieces (start, end) of new that covers leave, each with the window (first, last) of old to look in.

    The window is around where old would go on if nothing had been added or taken out.
    """
    ends_old = np.concatenate(([0], covers[:, 0] + covers[:, 2]))
    ends_new = np.concatenate(([0], covers[:, 1] + covers[:, 2]))
    starts_new = np.concatenate((covers[:, 1], [new_bytes]))
    for k in np.flatnonzero(starts_new - ends_new >= _LEAST_GAP_BYTES).tolist():
        gap_end = int(starts_new[k])
        for start in range(int(ends_new[k]), gap_end, piece_bytes):
            end = min(gap_end, start + piece_bytes)
            margin = max(4 * (end - start), BLOCK_BYTES)
            middle = int(ends_old[k]) + start - int(ends_new[k])
            first = min(max(0, middle - min(margin, _WINDOW_BYTES)), old_bytes)
            last = min(old_bytes, middle + (end - start) + min(margin, _WINDOW_BYTES))
            if first < last:
                yield start, end, first, last
