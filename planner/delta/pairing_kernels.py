"""Sketches of content, the loops: plain Python over arrays, compiled where content is large (`compiled.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""


def sketch_content(content: Array, buckets: Array) -> None:
    """Lower each bucket to the least hash of the eight-byte words that fall into it; `len(buckets)` is a power of 2.

    A run of one byte is one word however long: padding makes no two files alike. No step leaves 63 bits.
    """
    low = np.int64(0)
    high = np.int64(0)
    mask = len(buckets) - 1
    for at in range(len(content)):
        high = ((high << 8) | (low >> 24)) & 0xFFFFFFFF
        low = ((low << 8) | np.int64(content[at])) & 0xFFFFFFFF
        if at < 7 or low == high:
            continue
        mixed = low * 506952113 + high * 403043957
        mixed = (mixed & 0xFFFFFFFFFF) ^ (mixed >> 23)
        bucket = (mixed >> 7) & mask
        value = ((mixed & 0xFFFFFFFF) * 506952113) >> 20
        buckets[bucket] = min(buckets[bucket], value)
