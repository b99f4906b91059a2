"""LZMA2, the stream: windows of operations, written into chunks.

Source: The .xz File Format 1.2.1, section 5.3.1 (LZMA2), and liblzma's lzma2_decoder.c for the chunks' control bytes.
"""

from __future__ import annotations

from typing import Any

from planner.delta.lzma_kernels import HELD_COUNT, OUT_AT, shift_low, start_coder, write_operation
from planner.delta.lzma_match_kernels import find_matches
from planner.delta.lzma_path_kernels import find_path
from planner.delta.lzma_price_kernels import (
    MATCH_LENGTHS,
    REP_LENGTHS,
    link_cheaper,
    refresh_distances,
    refresh_lengths,
)
from planner.delta.lzma_reach_kernels import CHEAPER, OF_MATCH, OF_REP

COMPILE_OPTIONS = {"_nrt": False}
"""For `planner.compiled`: nothing here makes arrays, and counting who holds them takes half the time."""

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

CHUNK_BYTES = 1 << 21
"""Of content that a packed chunk holds at most."""
PACKED_BYTES = 1 << 16
"""That a chunk takes at most without its header."""

# No operation takes more: 9 bits of a literal, or some 20 and 26 plain ones of a match, at most 6 each.
_OPERATION_BYTES = 32

# Prices change little over as many operations.
_REFRESH_OPERATIONS = 48


def write_chunk(
    data: Array, at: int, last: int, out: Array, header_at: int, begin: int, reset: int, lc: int, coder: Array
) -> tuple[int, bool]:
    """End a chunk of content from `at` to before `last`; where the next goes, and whether it shrank.

    `reset` is what the decoder must forget: 0 nothing, 1 its state, 2 that and its settings, 3 all.
    """
    for _ in range(5):
        shift_low(coder, out)
    packed = int(coder[OUT_AT]) - begin
    content = last - at
    if packed >= content:
        out[header_at] = 1 if reset == 3 else 2
        out[header_at + 1], out[header_at + 2] = (content - 1) >> 8, (content - 1) & 0xFF
        for place in range(content):
            out[header_at + 3 + place] = data[at + place]
        return header_at + 3 + content, False
    out[header_at] = 0x80 | reset << 5 | (content - 1) >> 16
    out[header_at + 1], out[header_at + 2] = ((content - 1) >> 8) & 0xFF, (content - 1) & 0xFF
    out[header_at + 3], out[header_at + 4] = (packed - 1) >> 8, (packed - 1) & 0xFF
    if reset >= 2:
        out[header_at + 5] = lc
    return int(coder[OUT_AT]), True


def keep_rows(found: Array, starts: Array, first: int, last: int) -> None:
    """Move the matches of tokens from `first` to before `last` to the beginning."""
    moved = int(starts[first])
    for row in range(moved, int(starts[last])):
        for column in range(3):
            found[row - moved, column] = found[row, column]
    for token in range(first, last + 1):
        starts[token - first] = int(starts[token]) - moved


def refresh_prices(
    probs: Array, lengths: Array, slots: Array, nears: Array, aligns: Array, slot_of: Array, bits: Array
) -> None:
    """Bring the prices up to the probabilities."""
    refresh_lengths(probs, MATCH_LENGTHS, lengths[OF_MATCH], bits)
    refresh_lengths(probs, REP_LENGTHS, lengths[OF_REP], bits)
    link_cheaper(lengths[OF_MATCH], lengths[CHEAPER + OF_MATCH])
    link_cheaper(lengths[OF_REP], lengths[CHEAPER + OF_REP])
    refresh_distances(probs, slots, nears, aligns, slot_of, bits)


def write_stream(
    data: Array,
    marks: Array,
    tokens: Array,
    tree: Array,
    heads: Array,
    near: Array,
    found: Array,
    starts: Array,
    dictionary_bytes: int,
    depth: int,
    tries: int,
    lc: int,
    window: int,
    probs: Array,
    now: Array,
    coder: Array,
    lengths: Array,
    slots: Array,
    nears: Array,
    aligns: Array,
    slot_of: Array,
    bits: Array,
    prices: Array,
    nodes: Array,
    sames: Array,
    path: Array,
    out: Array,
) -> int:
    """Pack data; how many bytes of `out` it took."""
    end = len(data)
    token_count = len(tokens) - 1
    room = len(starts) - 1
    first_token = token_end = token = 0
    starts[0] = 0
    reset = 3
    at = chunk_at = header_at = 0
    begin = 6
    start_coder(coder, begin)
    age = _REFRESH_OPERATIONS
    while at < end:
        while tokens[token] < at:
            token += 1
        if token_end < token_count and token_end - token < window + 600:
            # An operation may have led past the last token that is known.
            kept = token_end - min(token, token_end)
            keep_rows(found, starts, token_end - kept - first_token, token_end - first_token)
            first_token = token_end - kept
            last = min(token_count, first_token + room)
            token_end = find_matches(
                marks, tokens, token_end, last, tree, heads, near, found, starts[kept:], dictionary_bytes, depth, tries
            )
        if age >= _REFRESH_OPERATIONS:
            refresh_prices(probs, lengths, slots, nears, aligns, slot_of, bits)
            age = 0
        count = find_path(
            *(data, marks, tokens, token, token_end, at, found, starts, first_token, now),
            *(probs, lengths, slots, nears, aligns, slot_of, bits, lc, window, prices, nodes, sames, path),
        )
        age += count
        while count > 0:
            count -= 1
            code, length = int(path[count, 0]), int(path[count, 1])
            packed = coder[OUT_AT] + coder[HELD_COUNT] + 4 - begin
            if packed > PACKED_BYTES - _OPERATION_BYTES or at + length - chunk_at > CHUNK_BYTES:
                header_at, shrank = write_chunk(data, chunk_at, at, out, header_at, begin, reset, lc, coder)
                chunk_at = at
                if shrank:
                    reset = 0
                else:
                    reset = 1 if reset < 2 else 2
                    probs[:] = 1024
                    now[:] = 0
                    age = _REFRESH_OPERATIONS
                begin = header_at + (6 if reset >= 2 else 5)
                start_coder(coder, begin)
                if not shrank:
                    break
            write_operation(coder, out, probs, data, at, code, length, now, lc, slot_of)
            at += length
    if end > chunk_at:
        header_at, _ = write_chunk(data, chunk_at, end, out, header_at, begin, reset, lc, coder)
    out[header_at] = 0
    return header_at + 1
