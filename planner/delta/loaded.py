"""Imported where many processes are forked from: the compiled loops are loaded once, instead of in each of them."""

from __future__ import annotations

from planner.compiled import WORTH_COMPILING
from planner.delta.bsdiff import diff
from planner.delta.lzma2 import encode
from planner.delta.pairing import sketch


def load_loops() -> None:
    """Load the compiled loops that differences, sketches and packing need; on a new machine this compiles them."""
    one, other = (bytes(numbers) * (WORTH_COMPILING // 100) for numbers in (range(256), range(255, -1, -1)))
    # Once as a library, by sorted suffixes, and once as a huge file, by hashed words.
    diff(one, other)
    diff(one, other, max_suffix_bytes=0)
    sketch(one)
    encode(one + bytes(WORTH_COMPILING), dictionary_bytes=1 << 16)


load_loops()
