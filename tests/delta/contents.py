"""Contents by seed: pairs of an old and a new one, from unrelated to equal, and the shapes that break matchers."""

from __future__ import annotations

import random
from collections.abc import Iterator

WORDS = [b"import ", b"def ", b"return ", b"self", b".", b"(", b")", b":\n    ", b"name", b"value", b" = ", b"0", b"\n"]


def draw_text(rng: random.Random, words: int) -> bytes:
    """Something like source code: no zero bytes, much repetition."""
    return b"".join(rng.choice(WORDS) + b"%x" % rng.randrange(1 << rng.randrange(1, 20)) for _ in range(words))


def draw_binary(rng: random.Random, length_bytes: int) -> bytes:
    """Something like a library: random bytes, zero runs and a table of numbers."""
    out = bytearray()
    while len(out) < length_bytes:
        kind = rng.randrange(3)
        if kind == 0:
            out += rng.randbytes(rng.randrange(1, 200))
        elif kind == 1:
            out += bytes(rng.randrange(1, 300))
        else:
            start = rng.randrange(1 << 16)
            out += b"".join((start + 8 * k).to_bytes(4, "little") for k in range(rng.randrange(40)))
    return bytes(out[:length_bytes])


def edit(rng: random.Random, content: bytes) -> bytes:
    """A few edits: inserted, deleted, moved and repeated pieces, changed bytes, shifted numbers."""
    out = bytearray(content)
    for _ in range(rng.randrange(1, 8)):
        at, length = rng.randrange(len(out) + 1), rng.randrange(1, 120)
        piece = bytes(out[at : at + length])
        match rng.randrange(6):
            case 0:
                out[at:at] = rng.randbytes(length)
            case 1:
                del out[at : at + length]
            case 2:
                del out[at : at + length]
                to = rng.randrange(len(out) + 1)
                out[to:to] = piece
            case 3:
                out[at:at] = piece * rng.randrange(1, 4)
            case 4:
                for k in range(at, len(out), rng.randrange(1, 60)):
                    out[k] = (out[k] + 7) & 255
            case _:
                out[at : at + length] = bytes((byte + 1) & 255 for byte in piece)
    return bytes(out)


def draw_pair(rng: random.Random, largest_bytes: int = 600) -> tuple[bytes, bytes]:
    """An old and a new content, related most of the time."""
    length = rng.randrange(largest_bytes)
    old = draw_text(rng, length // 8) if rng.randrange(2) else draw_binary(rng, length)
    match rng.randrange(8):
        case 0:
            return old, rng.randbytes(rng.randrange(largest_bytes))
        case 1:
            return edit(rng, old), old
        case 2:
            return old + draw_binary(rng, 5 * length), edit(rng, old)
        case _:
            return old, edit(rng, old)


def adversarial_pairs() -> Iterator[tuple[str, bytes, bytes]]:
    """Pairs with a name each."""
    rng = random.Random(5)
    noise = rng.randbytes(400)
    yield "both empty", b"", b""
    yield "old empty", b"", noise
    yield "new empty", noise, b""
    yield "equal", noise, noise
    yield "one byte", b"a", b"b"
    yield "unrelated", noise, rng.randbytes(300)
    yield "all zero", bytes(500), bytes(700)
    yield "zero to one", bytes(500), b"\1" * 500
    yield "periodic", b"ab" * 300, b"ba" * 280 + b"c" + b"ab" * 40
    yield "reversed", noise, noise[::-1]
    yield "halves swapped", noise, noise[200:] + noise[:200]
    yield "old repeated", noise, noise * 3
    yield "much larger old", draw_binary(rng, 20_000) + noise + draw_binary(rng, 20_000), noise
    yield "much larger new", noise, draw_binary(rng, 5_000) + noise
    yield "prefix of new", noise, noise + b"more"
    yield "suffix of new", noise, b"more" + noise
    yield "new is a prefix", noise, noise[:17]
    yield "new is a suffix", noise, noise[-17:]
    yield "overlapping ends", b"aaaa" * 9, b"aaaa" * 7
    yield "wrapping bytes", b"\xff\x00" * 200, b"\x00\xff" * 200
