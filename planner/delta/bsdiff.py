"""bsdiff streams as OSTree parts hold them, with covers chosen for what they cost after compression.

A stream is a row of triples (bytes to add to old, bytes to insert, bytes to move on in old), each three numbers of
eight bytes, little endian with a sign bit, followed by its differences and its inserted bytes, all uncompressed.

Three steps. Anchors say which alignments of old with new are worth trying: of libraries they are HDiffPatch's covers,
of text and of content too large for sorted suffixes they are matches of hashed eight-byte words. Costs of difference
bytes are learnt from HDiffPatch's covers. Then a shortest path over the bytes of new picks the covers.

Measured, bytes of lxml 4.9.3-4's largest library after xz (10.2 MB; preset 9 extreme) and core-seconds to diff:
bsdiff4 359,126 in 3.3 s, HDiffPatch's covers as they are 350,625 in 1.0 s, hashed anchors and the shortest path
325,451 in 1.6 s, HDiffPatch's anchors and the path 296,352 in 1.6 s. Of the 461 texts of Django 4.2.8-5.0, hashed
anchors and the path make 179,943 in 0.28 s, HDiffPatch's anchors 179,280 in 0.60 s.

Source: C. Percival, "Naive differences of executable code" (2003); HDiffPatch, libHDiffPatch/HPatch/patch.c (the
HDIFF13 container); libostree, bsdiff/bspatch.c (the interleaved stream).
"""

from __future__ import annotations

from typing import Any, cast

import hdiffpatch
import numpy as np
from numpy.typing import NDArray

from planner.compiled import kernels
from planner.delta import bsdiff_kernels
from planner.errors import BuildError

Content = bytes | memoryview
"""A file's content, held or mapped."""

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]

MAX_SUFFIX_BYTES = 128_000_000
"""old + new up to which suffixes are sorted, as in the stock generator: at the peak 7 bytes of memory for each byte of
old, measured."""

MAX_INPUT_BYTES = 2**30
"""old + new of one call. Beyond MAX_SUFFIX_BYTES 0.3 GB and three times new. What is larger is for `huge.py`."""

REACH_ANCHORS = 16
"""Anchors on either side whose shifts are tried: 32 takes 0.1 to 1.5 % off most libraries and adds 4 % to others,
for a third more seconds."""

_BIT = 1024
# Priors of a difference byte: unchanged, the first changed one, and those after it, in bits after xz.
_PRIOR_BITS = (0.03, 9.0, 6.0)
# What xz makes of a byte outside covers. Text repeats itself and is cheap; a library's code is not.
_TEXT_BYTE_BITS, _BINARY_BYTE_BITS = 2.25, 4.5
_LEAVE_BITS, _SWITCH_BITS = 8.0, 60.0
_SNIFFED_BYTES = 8192
# Of the common ends, what is left to the path: a switch pays for itself within so many bytes.
_LEARNT_ENDS_BYTES = 64
# Compared at once at most: comparing takes a byte of memory for each.
_MOST_COMPARED_BYTES = 1 << 24
# Differences looked at to learn costs; from more the costs come out the same.
_SAMPLE_BYTES = 1 << 21
# From here on HDiffPatch filters candidates: the same covers in 0.85 of the seconds, for a byte more per byte of old.
_FILTERED_BYTES = 1 << 18

# Shorter covers of HDiffPatch's are no anchors: they would fill the reach with shifts of no other use.
_LEAST_ANCHOR_BYTES = 24
# Hashed anchors: places of old that are indexed (4 bytes each), candidates per hash, least match, bytes looked ahead.
_INDEXED_PLACES = 1 << 26
_TRIES, _LEAST_MATCH_BYTES, _AHEAD_BYTES = 16, 10, 32


def diff(old: bytes, new: bytes, *, max_suffix_bytes: int = MAX_SUFFIX_BYTES, reach: int = REACH_ANCHORS) -> bytes:
    """The stream that makes `new` from `old`; empty for an empty `new`. Deterministic.

    At most 24 bytes for each cover longer than `new`; not compressed. Time is about linear: 0.15 core-seconds for
    each MB of a recompiled library, 0.04 of text.

    Raises:
        BuildError: old and new are larger than MAX_INPUT_BYTES.
    """
    if len(old) + len(new) > MAX_INPUT_BYTES:
        raise BuildError(
            "old and new are too large for a difference",
            input_bytes=len(old) + len(new),
            max_input_bytes=MAX_INPUT_BYTES,
        )
    if not new:
        return b""
    return write_stream(old, new, find_covers(old, new, max_suffix_bytes=max_suffix_bytes, reach=reach))


def write_stream(old: Content, new: Content, covers: Rows) -> bytes:
    """The stream that tells `new` by covers of `old`, and what they leave as inserted bytes."""
    old_array, new_array = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    stream = np.empty(len(new) + 24 * (len(covers) + 2), np.uint8)
    run: Any = kernels(bsdiff_kernels, len(new))
    used = run.write_stream(old_array, new_array, covers, stream)
    return stream[:used].tobytes()


def find_covers(
    old: Content, new: Content, *, max_suffix_bytes: int = MAX_SUFFIX_BYTES, reach: int = REACH_ANCHORS
) -> Rows:
    """Rows (start in old, start in new, length), int64, ordered and apart in new: what is told as differences."""
    old_array, new_array = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    head, tail = common_ends(old_array, new_array)
    if head + tail < len(new):
        # The path sees a little of both, or it would not know what going on with their shifts saves.
        head, tail = max(0, head - _LEARNT_ENDS_BYTES), max(0, tail - _LEARNT_ENDS_BYTES)
    middle = new_array[head : len(new) - tail]
    covers = _cover_middle(old, new, (head, tail), max_suffix_bytes, reach) if len(middle) and old else _no_rows()
    ends = [_row(0, 0, head), covers, _row(len(old) - tail, len(new) - tail, tail)]
    return _join(np.concatenate(ends))


def common_ends(old: Bytes, new: Bytes) -> tuple[int, int]:
    """How many bytes old and new share at their start, and how many of the rest at their end.

    >>> common_ends(np.frombuffer(b"abcXdef", np.uint8), np.frombuffer(b"abcYYef", np.uint8))
    (3, 2)
    """
    most = min(len(old), len(new))
    head = _equal_bytes(old[:most], new[:most])
    most -= head
    tail = _equal_bytes(old[len(old) - most :][::-1], new[len(new) - most :][::-1])
    return head, tail


def is_text(content: Content) -> bool:
    """Whether content looks like text: no zero byte near its start."""
    return 0 not in bytes(content[:_SNIFFED_BYTES])


def _cover_middle(old: Content, new: Content, ends: tuple[int, int], max_suffix_bytes: int, reach: int) -> Rows:
    # The whole of old stays a source: what moved may come from either side of the change.
    head, tail = ends
    middle = new[head : len(new) - tail]
    old_array, middle_array = np.frombuffer(old, np.uint8), np.frombuffer(middle, np.uint8)
    costs = prior_costs()
    has_text = is_text(new) and is_text(old)
    if len(old) + len(middle) <= max_suffix_bytes and not has_text:
        matched = _suffix_covers(bytes(old), bytes(middle))
        costs = learn_costs(old_array, middle_array, matched)
        matched = matched[matched[:, 2] >= _LEAST_ANCHOR_BYTES]
        anchors = np.stack((matched[:, 1], matched[:, 0] - matched[:, 1]), axis=1)
    else:
        anchors = _hashed_anchors(old_array, middle_array)
    # At the start stands the shift of what went before, at the end that of what follows.
    last = [max(0, len(middle) - _LEARNT_ENDS_BYTES), len(old) - tail - len(middle)]
    first_and_last = np.array([[0, head], last], np.int64)
    anchors = np.concatenate((first_and_last[:1], anchors, first_and_last[1:]))
    anchors = anchors[np.argsort(anchors[:, 0], kind="stable")]
    byte_bits = _TEXT_BYTE_BITS if has_text else _BINARY_BYTE_BITS
    prices = np.array([_to_cost(bits) for bits in (byte_bits, _LEAVE_BITS, _SWITCH_BITS)], np.int64)
    run = kernels(bsdiff_kernels, len(middle) * (2 * reach + 2))
    covers = cast("Rows", run.choose_covers(old_array, middle_array, anchors, costs, prices, reach))
    covers[:, 1] += head
    return covers


def prior_costs() -> NDArray[np.int64]:
    """Costs (2, 256) of a difference byte after an unchanged and after a changed one, in 1/1024 bit."""
    costs = np.empty((2, 256), np.int64)
    same, first, more = (_to_cost(bits) for bits in _PRIOR_BITS)
    costs[0], costs[1] = first, more
    costs[:, 0] = same
    return costs


def learn_costs(old: Bytes, new: Bytes, covers: Rows) -> NDArray[np.int64]:
    """Costs as `prior_costs`, halfway to the entropy of the differences that these covers make.

    Halfway, because covers that are still to be chosen better make less of what is dear.
    """
    if not len(covers):
        return prior_costs()
    every = 1 + int(covers[:, 2].sum()) // _SAMPLE_BYTES
    places = covers[::every]
    differences = np.concatenate([new[b : b + length] - old[a : a + length] for a, b, length in places])
    context = np.zeros(len(differences), np.int64)
    context[1:] = differences[:-1] != 0
    counts = np.bincount(context * 256 + differences, minlength=512).reshape(2, 256) + 0.3
    entropy_bits = -np.log2(counts / counts.sum(axis=1, keepdims=True))
    return cast("NDArray[np.int64]", (prior_costs() + np.round(entropy_bits * _BIT).astype(np.int64)) // 2)


def _suffix_covers(old: bytes, new: bytes) -> Rows:
    delta = hdiffpatch.diff(old, new, validate=False, big_cache_match=len(old) > _FILTERED_BYTES)
    try:
        covers = _read_covers(delta)
    except (IndexError, ValueError) as error:
        raise BuildError("HDiffPatch's container is not the one known here", cause=str(error)) from error
    ends_old, ends_new = covers[:, 0] + covers[:, 2], covers[:, 1] + covers[:, 2]
    is_sound = (covers >= 0).all() and (ends_old <= len(old)).all() and (ends_new <= len(new)).all()
    if not is_sound or (covers[1:, 1] < ends_new[:-1]).any():
        raise BuildError("HDiffPatch's covers do not fit the content", covers=len(covers))
    return covers[covers[:, 2] > 0]


def _read_covers(delta: bytes) -> Rows:
    """The covers in an uncompressed HDIFF13 container.

    After the name and its zero byte stand eleven numbers, the third of which is the number of covers; then, for each
    cover, the step in old from the end of the one before (with a sign bit), the step in new, and the length.
    """
    at = delta.index(b"\0") + 1
    if not delta.startswith(b"HDIFF13&"):
        raise ValueError("its name is not HDIFF13")
    header = []
    for _ in range(11):
        number, at = _read_number(delta, at, 0)
        header.append(number)
    rows = np.empty((header[2], 3), np.int64)
    old_end = new_end = 0
    for row in rows:
        is_back = delta[at] >= 128
        step, at = _read_number(delta, at, 1)
        gap, at = _read_number(delta, at, 0)
        length, at = _read_number(delta, at, 0)
        old_start, new_start = old_end + (-step if is_back else step), new_end + gap
        row[:] = old_start, new_start, length
        old_end, new_end = old_start + length, new_start + length
    return rows


def _read_number(data: bytes, at: int, tag_bits: int) -> tuple[int, int]:
    # Seven bits a byte, the highest first; the first byte holds the tag above its continuation bit.
    more = 1 << (7 - tag_bits)
    byte = data[at]
    number = byte & (more - 1)
    at += 1
    while byte & more:
        byte, more = data[at], 128
        number = number << 7 | byte & 127
        at += 1
    return number, at


def _hashed_anchors(old: Bytes, new: Bytes) -> Rows:
    if len(old) < 8 or len(new) < 8:
        return np.zeros((0, 2), np.int64)
    stride = -(-len(old) // _INDEXED_PLACES)
    bits = max(8, min(22, (len(old) // stride).bit_length()))
    run = kernels(bsdiff_kernels, len(old) + len(new))
    return cast("Rows", run.find_anchors(old, new, bits, stride, _TRIES, _LEAST_MATCH_BYTES, _AHEAD_BYTES))


def _equal_bytes(one: Bytes, other: Bytes) -> int:
    # In doubling steps, so that contents that differ early are not compared to their end.
    done, step = 0, 4096
    while done < len(one):
        differing = one[done : done + step] != other[done : done + step]
        if differing.any():
            return done + int(differing.argmax())
        done += step
        step = min(2 * step, _MOST_COMPARED_BYTES)
    return len(one)


def _join(covers: Rows) -> Rows:
    covers = covers[covers[:, 2] > 0]
    if len(covers) < 2:
        return covers
    goes_on = (covers[1:, :2] == covers[:-1, :2] + covers[:-1, 2:]).all(axis=1)
    starts = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    joined = covers[starts].copy()
    joined[:, 2] = np.add.reduceat(covers[:, 2], starts)
    return joined


def _row(old_start: int, new_start: int, length_bytes: int) -> Rows:
    return np.array([[old_start, new_start, length_bytes]], np.int64)


def _no_rows() -> Rows:
    return np.zeros((0, 3), np.int64)


def _to_cost(bits: float) -> int:
    return round(bits * _BIT)
