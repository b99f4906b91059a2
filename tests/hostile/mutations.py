"""How a hostile server could change a file: blindly, byte by byte, or knowing the format, word by word."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_MOST_RANDOM_BYTES = 2000
_AS_IT_IS = 0.03
"""How often nothing is changed: what refuses everything has learnt nothing."""


def mutate(rng: random.Random, data: bytes) -> bytes:
    """The data after one to four blind changes; now and then as it is, or something random altogether."""
    if rng.random() < _AS_IT_IS:
        return data
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(_MOST_RANDOM_BYTES))
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_CHANGES)(rng, changed)
    return bytes(changed)


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_number(rng: random.Random, data: bytearray) -> None:
    size_bytes = rng.choice((1, 2, 4, 8))
    at = rng.randrange(len(data) + 1)
    number = rng.choice(_NUMBERS) % 256**size_bytes
    data[at : at + size_bytes] = number.to_bytes(size_bytes, rng.choice(("little", "big")))


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 2, 8, 64))]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def _repeat(rng: random.Random, data: bytearray) -> None:
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 8, 64, 256))
    to = rng.randrange(len(data) + 1)
    data[to:to] = data[at : at + length] * rng.choice((1, 2, 50))


_CHANGES: Sequence[Callable[[random.Random, bytearray], None]] = (
    _flip,
    _flip,
    _set_number,
    _cut,
    _remove,
    _insert,
    _repeat,
)


def mutate_words(rng: random.Random, text: str, words: Sequence[str]) -> str:
    """The text after changes of its lines and words, some of them to ones from `words`; now and then as it is."""
    if rng.random() < _AS_IT_IS:
        return text
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines.insert(rng.randrange(len(lines) + 1), lines[at])
            case 2:
                lines.insert(at, " ".join(rng.choices(words, k=rng.randrange(7))))
            case _:
                parts = lines[at].split(" ")
                parts[rng.randrange(len(parts))] = rng.choice(words)
                lines[at] = " ".join(parts)
    return "\n".join(lines)
