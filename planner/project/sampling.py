"""A difference tried on some windows of a new content: what a lacked piece costs, where only bytes side by side tell.

In a recompiled library nearly every piece is new, and nearly every byte is foreseen by an old one: no signature sees
that. Windows are taken where pieces are lacked, evenly over all lacked pieces; each is diffed against the stretches of
old that its pieces match and that its neighbours lead to; what they take packed, over the pieces lacked in them, is the
density.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.delta.bsdiff import Content, find_covers, write_stream
from planner.project.signature import Lack, Signature

WINDOW_BYTES = 1 << 15
SAMPLED_FRACTION = 0.02
"""Of a new content, at least a window; 0.02 are 2.5 ms a MB."""

_LEAST_WINDOWS = 1
# Of old, on either side of where a window seems to come from, and of a single piece of it.
_MARGIN_BYTES, _PIECE_MARGIN_BYTES = 1 << 13, 1 << 10
_MOST_OLD_BYTES = 4 * WINDOW_BYTES
# Around a window, pieces whose matches say where it comes from.
_VOTING_BYTES = 1 << 16
_VOTE_BYTES = 1024
_REACH = 4
# The fastest that still sees repetition as the packing of parts does.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 0, "pb": 0, "dict_size": 1 << 20}]

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What windows took: their bytes, the pieces lacked in them, and the packed bytes of their differences."""

    sampled_bytes: int
    pieces: int
    packed_bytes: int


def sample_difference(old: Content, new: Content, signatures: tuple[Signature, Signature], lack: Lack) -> Sample:
    """The difference of some of new's windows from old; `signatures` are old's and new's."""
    starts_old, starts = (signature.starts.astype(np.int64) for signature in signatures)
    lacked = lack.matched < 0
    streams, pieces, sampled_bytes = [], 0, 0
    for start in _choose_windows(starts, lacked, len(new)):
        end = min(len(new), start + WINDOW_BYTES)
        first, last = np.searchsorted(starts, (start, end))
        pieces += int(lacked[first:last].sum())
        sampled_bytes += end - start
        matched = lack.matched[first:last]
        shift = _find_shift(starts, starts_old, lack.matched, (start, end), len(old) / len(new))
        ranges = _ranges(starts_old[matched[matched >= 0]], start + shift, end + shift, len(old))
        source = b"".join(old[low:high] for low, high in ranges)
        covers = find_covers(source, new[start:end], max_suffix_bytes=0, reach=_REACH)
        streams.append(write_stream(source, new[start:end], covers))
    packed = lzma.compress(b"".join(streams), format=lzma.FORMAT_RAW, filters=_FILTERS)
    return Sample(sampled_bytes=sampled_bytes, pieces=pieces, packed_bytes=len(packed))


def _choose_windows(starts: Places, lacked: NDArray[np.bool_], new_bytes: int) -> list[int]:
    """Starts of windows, apart, evenly over the lacked pieces; the whole content where it is small."""
    windows = max(_LEAST_WINDOWS, -(-int(new_bytes * SAMPLED_FRACTION) // WINDOW_BYTES))
    if new_bytes <= 1.5 * windows * WINDOW_BYTES:
        return list(range(0, new_bytes, WINDOW_BYTES))
    total = np.cumsum(lacked)
    wanted = (np.arange(windows) + 0.5) / windows * total[-1]
    chosen: list[int] = []
    for piece in np.searchsorted(total, wanted):
        start = min(max(0, int(starts[piece]) - WINDOW_BYTES // 2), new_bytes - WINDOW_BYTES)
        if chosen and start < chosen[-1] + WINDOW_BYTES:
            start = chosen[-1] + WINDOW_BYTES
        if start + WINDOW_BYTES <= new_bytes:
            chosen.append(start)
    return chosen


def _find_shift(
    starts: Places, starts_old: Places, matched: NDArray[np.int32], window: tuple[int, int], scale: float
) -> int:
    """How much further on in old a window stands: what most matches around it say, else by the contents' sizes."""
    first, last = np.searchsorted(starts, (window[0] - _VOTING_BYTES, window[1] + _VOTING_BYTES))
    near = matched[first:last]
    is_match = near >= 0
    if not is_match.any():
        return int(window[0] * (scale - 1))
    shifts = (starts_old[near[is_match]] - starts[first:last][is_match]) // _VOTE_BYTES
    votes, counts = np.unique(shifts, return_counts=True)
    return int(votes[counts.argmax()]) * _VOTE_BYTES


def _ranges(places: Places, start: int, end: int, old_bytes: int) -> list[tuple[int, int]]:
    """Ordered stretches of old, apart: around `start` to `end`, and around the places that pieces match."""
    lows = np.concatenate(([start - _MARGIN_BYTES], places - _PIECE_MARGIN_BYTES))
    highs = np.concatenate(([end + _MARGIN_BYTES], places + _PIECE_MARGIN_BYTES))
    order = np.argsort(lows, kind="stable")
    lows, highs = np.clip(lows[order], 0, old_bytes), np.maximum.accumulate(np.clip(highs[order], 0, old_bytes))
    is_new = np.concatenate(([True], lows[1:] > highs[:-1]))
    firsts = np.flatnonzero(is_new)
    lasts = np.concatenate((firsts[1:], [len(lows)])) - 1
    return [(int(low), int(high)) for low, high in zip(lows[firsts], highs[lasts], strict=True) if low < high]
