"""Imported where many processes are forked from: the compiled loops are loaded once, instead of in each of them."""

from __future__ import annotations

from planner.compiled import WORTH_COMPILING
from planner.delta.bsdiff import diff
from planner.delta.lzma2 import encode
from planner.delta.pairing import sketch

# On a new machine this compiles them. Once as a library, by sorted suffixes, once as a huge file, by hashed words.
_ONE, _OTHER = (bytes(numbers) * (WORTH_COMPILING // 100) for numbers in (range(256), range(255, -1, -1)))
diff(_ONE, _OTHER)
diff(_ONE, _OTHER, max_suffix_bytes=0)
sketch(_ONE)
encode(_ONE + bytes(WORTH_COMPILING), dictionary_bytes=1 << 16)
