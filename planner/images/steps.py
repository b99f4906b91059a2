"""A layer's tar told as steps over the bytes of other layers, and steps as packed columns of numbers.

A step is (address, copied, added, inserted): so many bytes that are the same as from the address on, so many that
follow there and are told as differences, so many that are told as they are. In a delta an address is told from where
the step before ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from planner.delta.bsdiff import Rows
from planner.errors import RepositoryError

Bytes = NDArray[np.uint8]

COLUMNS = 4
"""Of a step."""

MAX_STEPS = 1 << 24
"""Of one delta: half a gigabyte of memory. A layer with 4 GB of recompiled programs takes about as many."""

# Equal bytes between two differing ones from which on they are copied: fewer are as well zeros among the differences.
_LEAST_COPIED_BYTES = 4096
# Where a row differs is looked up for so many bytes at once, in pieces that bound memory.
_GRAIN_BYTES = 64
_PIECE_BYTES = 1 << 24


def find_steps(rows: Rows, old: Bytes, new: Bytes) -> Rows:
    """The steps (n, 4), int64, that make `new` by rows (start in old, start in new, length), ordered and apart."""
    steps: list[tuple[int, int, int, int]] = []
    first = int(rows[0, 1]) if len(rows) else len(new)
    if first:
        steps.append((0, 0, 0, first))
    ends = [*rows[1:, 1].tolist(), len(new)][: len(rows)]
    for (old_at, new_at, length_bytes), end in zip(rows.tolist(), ends, strict=True):
        at = old_at
        for copied, added in _split_row(old[old_at : old_at + length_bytes], new[new_at : new_at + length_bytes]):
            steps.append((at, copied, added, 0))
            at += copied + added
        address, copied, added, _ = steps[-1]
        steps[-1] = (address, copied, added, end - new_at - length_bytes)
    return np.array(steps, np.int64).reshape(-1, COLUMNS)


def _split_row(old: Bytes, new: Bytes) -> list[tuple[int, int]]:
    """Pairs (bytes that are the same, bytes with differences), which make up the row."""
    grains = np.concatenate([_differing_grains(old, new, at) for at in range(0, len(new), _PIECE_BYTES)])
    if not len(grains):
        return [(len(new), 0)]
    breaks = np.flatnonzero(np.diff(grains) * _GRAIN_BYTES > _LEAST_COPIED_BYTES)
    starts = grains[np.concatenate(([0], breaks + 1))] * _GRAIN_BYTES
    ends = np.minimum((grains[np.concatenate((breaks, [len(grains) - 1]))] + 1) * _GRAIN_BYTES, len(new))
    pairs, done = [], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        pairs.append((start - done, end - start))
        done = end
    return pairs + ([(len(new) - done, 0)] if done < len(new) else [])


def _differing_grains(old: Bytes, new: Bytes, at: int) -> NDArray[np.int64]:
    differing = old[at : at + _PIECE_BYTES] != new[at : at + _PIECE_BYTES]
    padded = np.zeros(-(-len(differing) // _GRAIN_BYTES) * _GRAIN_BYTES, np.bool_)
    padded[: len(differing)] = differing
    return np.flatnonzero(padded.reshape(-1, _GRAIN_BYTES).any(axis=1)) + at // _GRAIN_BYTES


def added_chunks(steps: Rows, old: Bytes, new: Bytes) -> Iterator[bytes]:
    """The differences of all steps."""
    at = 0
    for address, copied, added, inserted in steps.tolist():
        at += copied
        for start in range(0, added, _PIECE_BYTES):
            end = min(start + _PIECE_BYTES, added)
            first = address + copied
            yield (new[at + start : at + end] - old[first + start : first + end]).tobytes()
        at += added + inserted


def inserted_chunks(steps: Rows, new: Bytes) -> Iterator[bytes]:
    """What all steps tell as it is."""
    at = 0
    for _, copied, added, inserted in steps.tolist():
        at += copied + added
        for start in range(0, inserted, _PIECE_BYTES):
            yield new[at + start : at + min(start + _PIECE_BYTES, inserted)].tobytes()
        at += inserted


def write_steps(steps: Rows) -> bytes:
    """The columns, one after the other, as numbers of seven bits a byte."""
    ends = np.concatenate(([0], (steps[:, 0] + steps[:, 1] + steps[:, 2])[:-1]))[: len(steps)]
    moved = steps[:, 0] - ends
    columns = [np.where(moved < 0, -2 * moved - 1, 2 * moved), *(steps[:, k] for k in range(1, COLUMNS))]
    return write_numbers(np.concatenate(columns))


def read_steps(data: bytes, count: int, where: str) -> Rows:
    """The steps in the bytes of `write_steps`; no step's numbers are negative but its address may be anything.

    Raises:
        RepositoryError: the data does not hold so many steps.
    """
    columns = read_numbers(data, count * COLUMNS, where).reshape(COLUMNS, count)
    moved = np.where(columns[0] % 2 == 1, -(columns[0] // 2) - 1, columns[0] // 2)
    lengths = columns[1] + columns[2]
    ends = np.cumsum(moved + lengths)
    return np.stack((ends - lengths, columns[1], columns[2], columns[3]), axis=1)


def write_numbers(numbers: NDArray[np.int64]) -> bytes:
    """LEB128 numbers as `planner.delta.numbers` writes one, none of them negative.

    >>> write_numbers(np.array([300, 5])).hex(" ")
    'ac 02 05'
    """
    lengths = np.ones(len(numbers), np.int64)
    for k in range(1, 9):
        lengths += numbers >= 1 << 7 * k
    ends = np.cumsum(lengths)
    written = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for k in range(int(lengths.max()) if len(numbers) else 0):
        has = lengths > k
        more = np.where(lengths[has] > k + 1, 0x80, 0)
        written[(ends - lengths)[has] + k] = numbers[has] >> 7 * k & 0x7F | more
    return written.tobytes()


def read_numbers(data: bytes, count: int, where: str) -> NDArray[np.int64]:
    """So many numbers, which take all of the data.

    Raises:
        RepositoryError: they do not, or one has more than 63 bits.
    """
    held = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(held < 0x80)
    if len(ends) != count or (count and ends[-1] != len(held) - 1) or (not count and len(held)):
        raise RepositoryError("has another number of steps than it says", path=where)
    starts = np.concatenate(([0], ends[:-1] + 1)).astype(np.int64)[:count]
    lengths = ends - starts + 1
    if count and lengths.max() > 9:
        raise RepositoryError("has a number of more than 63 bits", path=where)
    numbers = np.zeros(count, np.int64)
    for k in range(int(lengths.max()) if count else 0):
        has = lengths > k
        numbers[has] |= (held[starts[has] + k].astype(np.int64) & 0x7F) << 7 * k
    return numbers
