"""Patches as OSTree keeps them: bsdiff's three streams interleaved, uncompressed, behind no header.

A patch is a row of steps: three numbers of 8 bytes (how many bytes to add to the old file's, how many to insert, where
to go on in the old file, relative), then the bytes to add, then those to insert.

Source: Percival 2003, "Naive differences of executable code"; libostree's bsdiff submodule, `bspatch.c`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from planner.errors import RepositoryError

STEP_BYTES = 24
_SIGN = 1 << 63


def write_step(added: bytes, inserted: bytes, seek: int) -> bytes:
    """One step of a patch."""
    return b"".join((_pack(len(added)), _pack(len(inserted)), _pack(seek), added, inserted))


def write_patch(steps: Iterable[tuple[bytes, bytes, int]]) -> bytes:
    """A patch of steps (bytes to add, bytes to insert, where to go on)."""
    return b"".join(write_step(*step) for step in steps)


def apply_patch(old: bytes, patch: bytes, new_bytes: int, *, where: str = "") -> bytes:
    """The new file of so many bytes.

    Bytes to add that lie outside of the old file are added to nothing, as stock clients do.

    Raises:
        RepositoryError: the patch is damaged, or makes a file of another size.
    """
    source, pieces = np.frombuffer(old, dtype=np.uint8), []
    at, made = 0, 0
    for added, inserted, seek in _steps(patch, new_bytes, where):
        piece = added.copy()
        low, high = max(at, 0), min(at + len(added), len(source))
        if low < high:
            piece[low - at : high - at] += source[low:high]
        pieces += [piece, inserted]
        made += len(added) + len(inserted)
        at += len(added) + seek
    if made != new_bytes:
        raise RepositoryError("makes a file of another size", path=where, got_bytes=made, expected_bytes=new_bytes)
    return b"".join(piece.tobytes() for piece in pieces)


def _steps(patch: bytes, new_bytes: int, where: str) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """The steps, until the new file is complete; what comes behind is not looked at, as stock clients do.

    bsdiff writes steps that make nothing, long runs of them in periodic data; each takes its bytes of the patch.
    """
    data, at, made = np.frombuffer(patch, dtype=np.uint8), 0, 0
    while made < new_bytes:
        if at + STEP_BYTES > len(patch):
            raise RepositoryError("is a patch that ends too early", path=where)
        added, inserted, seek = (_unpack(patch[at + place : at + place + 8]) for place in (0, 8, 16))
        at += STEP_BYTES
        if added < 0 or inserted < 0 or added + inserted > min(new_bytes - made, len(patch) - at):
            raise RepositoryError("is a patch with an impossible step", path=where, added=added, inserted=inserted)
        yield data[at : at + added], data[at + added : at + added + inserted], seek
        at += added + inserted
        made += added + inserted


def _pack(number: int) -> bytes:
    """Sign and magnitude, little endian."""
    return (abs(number) | (_SIGN if number < 0 else 0)).to_bytes(8, "little")


def _unpack(data: bytes) -> int:
    number = int.from_bytes(data, "little")
    return -(number & ~_SIGN) if number & _SIGN else number
