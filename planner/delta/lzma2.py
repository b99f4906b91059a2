"""An LZMA2 encoder for bsdiff streams: runs of zeros between short islands of other bytes.

liblzma visits every byte of a run, in its trees and in choosing operations; this one visits its beginning. What it
makes any decoder of the format reads. Content without runs of zeros liblzma packs as small and in less time.

Source: LZMA specification (I. Pavlov, lzma-specification.txt of the LZMA SDK); The .xz File Format 1.2.1, 5.3.1.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from planner.compiled import kernels
from planner.delta import lzma_match_kernels, lzma_stream_kernels
from planner.delta.lzma_match_kernels import HEAD_BITS, LONGEST, NEAR_BITS, TREE_COLUMNS
from planner.delta.lzma_price_kernels import BIT_PRICE, LITERALS
from planner.delta.lzma_reach_kernels import DEAR, NODE_COLUMNS

Content = bytes | bytearray | memoryview

SPARSE_FRACTION = 1 / 16
"""Of bytes that are not zero: with a tenth of them liblzma takes as many core-seconds and makes as few bytes."""

# Operations are chosen at once for as many bytes, at prices learnt from those before.
_WINDOW_BYTES = 1 << 13

# Matches are looked for ahead of that for as many tokens: they take some 12 bytes each, and some 3 for each token.
_SEGMENT_TOKENS = 1 << 16
_ROWS_PER_TOKEN = 12


def is_sparse(data: Content) -> bool:
    """Whether data is mostly zeros, so that `encode` is the better choice.

    >>> is_sparse(bytes(100) + b"island"), is_sparse(b"all land")
    (True, False)
    """
    return int(np.count_nonzero(np.frombuffer(data, np.uint8))) <= len(data) * SPARSE_FRACTION


def encode(data: Content, *, dictionary_bytes: int, depth: int = 32, tries: int = 16, lc: int = 3) -> bytes:
    """A raw LZMA2 stream of data; the same bytes every time.

    No match is from farther back than `dictionary_bytes`, which a decoder's dictionary must hold. A search ends after
    `depth` nodes of a tree, and after `tries` islands before. Memory: 3 bytes for each byte of data, and 20 for each
    byte that is not zero and each run of zeros.

    >>> import lzma
    >>> packed = encode(bytes(1000) + b"island", dictionary_bytes=4096)
    >>> filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    >>> lzma.decompress(packed, lzma.FORMAT_RAW, filters=filters) == bytes(1000) + b"island"
    True
    """
    content = np.frombuffer(data, np.uint8)
    match: Any = kernels(lzma_match_kernels, len(content))
    run: Any = kernels(lzma_stream_kernels, len(content))
    marks = np.empty(len(content), np.uint16)
    count = int(match.mark_zeros(content, marks))
    tokens = np.empty(count + 1, np.int32)
    match.place_tokens(content, tokens)
    segment = min(count, _SEGMENT_TOKENS)
    rows = segment * _ROWS_PER_TOKEN + min(count, 2 * _WINDOW_BYTES) * 4 + depth + tries + 4
    # A window, the longest operation from its last node on, and what may follow that one at once.
    reached = _WINDOW_BYTES + 3 * LONGEST
    out = np.empty(len(content) + len(content) // 1024 + (1 << 17), np.uint8)
    used = run.write_stream(
        *(content, marks, tokens),
        np.empty((count, TREE_COLUMNS), np.int32),
        np.full(1 << HEAD_BITS, -1, np.int32),
        np.full((2, 1 << NEAR_BITS), -1, np.int32),
        np.empty((rows, 3), np.int32),
        np.zeros(segment + 1, np.int64),
        *(dictionary_bytes, depth, tries, lc, _WINDOW_BYTES),
        np.full(LITERALS + (768 << lc), 1024, np.uint16),
        np.zeros(5, np.int64),
        np.zeros(5, np.int64),
        np.zeros((4, LONGEST + 1), np.int32),
        np.zeros((4, 64), np.int32),
        np.zeros((4, 128), np.int32),
        np.zeros(16, np.int32),
        *(_slots(), _bit_prices()),
        np.full(reached, DEAR, np.int32),
        np.zeros((reached, NODE_COLUMNS), np.int32),
        np.zeros(4, np.int64),
        np.zeros((reached, 2), np.int32),
        out,
    )
    return out[:used].tobytes()


@cache
def _slots() -> npt.NDArray[np.uint8]:
    """The slots of distances less one below 2048: how many bits they have, and the second highest of them."""
    slots = np.zeros(2048, np.uint8)
    for distance in range(1, 2048):
        width = distance.bit_length() - 1
        slots[distance] = distance if distance < 4 else 2 * width + (distance >> (width - 1) & 1)
    return slots


@cache
def _bit_prices() -> npt.NDArray[np.int32]:
    """The prices of a bit, by its probability in 2048ths over 8."""
    return np.array([round(-math.log2((8 * eighth + 4) / 2048) * BIT_PRICE) for eighth in range(256)], np.int32)
