"""A part's file: how it is compressed, and inside the modes, extended attributes, payload and operations.

Source: libostree, `ostree-repo-static-delta-private.h` (OSTREE_STATIC_DELTA_PART_PAYLOAD_FORMAT_V0),
`ostree-repo-static-delta-core.c` (`_ostree_static_delta_part_open`).
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.delta.blocks import Block, join_blocks
from planner.errors import RepositoryError
from planner.history.gvariant import GVariantError, parse, swap
from planner.history.gvariant_write import serialise
from planner.history.ostree_objects import Xattrs

PAYLOAD_TYPE = "(a(uuu)aa(ayay)ayay)"

PLAIN, XZ = 0, ord("x")
"""The first byte of a part's file."""

MOST_PART_BYTES = 4 * 10**9
"""Parts that unpack to more are refused: one is held in memory."""

_XZ_MEMORY_BYTES = 100 * 2**20
"""What unpacking may take beside its result: a dictionary of 64 MiB (preset 9) and its surroundings."""

_PIECE_BYTES = 2**20

LEAST_BLOCK_BYTES = 2**17
"""Smaller stretches of a payload are no blocks of their own: those are larger, and packing anew is quick."""


Mode = tuple[int, int, int]
"""Owner, group and mode of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a part holds; `operations` are as in `operations.py`."""

    modes: tuple[Mode, ...]
    xattrs: tuple[Xattrs, ...]
    payload: bytes
    operations: bytes


def write_part(part: Part, pack: Callable[[bytes | memoryview], Block] | None, *, cuts: Sequence[int] = ()) -> bytes:
    """The bytes of a part's file, packed by `pack`; None: not packed.

    The payload is cut at these places, ascending: what is between two of them, or behind the last, is a block of its
    own unless it is small, which can then stand in other files as it is. The first block has the head, and the last one
    the tail with the operations.
    """
    head, tail = frame_payload(part.modes, part.xattrs, len(part.payload), part.operations)
    if pack is None:
        return b"".join((bytes([PLAIN]), head, part.payload, tail))
    end = len(part.payload)
    starts = [start for start, stop in pairwise([*cuts, end]) if stop - start >= LEAST_BLOCK_BYTES]
    if not starts:
        return bytes([XZ]) + join_blocks([pack(head + part.payload + tail)])
    # Not copied: a payload may be all the memory that there is to spare.
    payload = memoryview(part.payload)
    pieces: list[bytes | memoryview] = [head + part.payload[: starts[0]]]
    pieces += [payload[start:stop] for start, stop in pairwise([*starts, end])]
    return bytes([XZ]) + join_blocks([pack(piece) for piece in (*pieces, tail)])


def frame_payload(
    modes: Iterable[Mode], xattrs: Iterable[Xattrs], payload_bytes: int, operations: bytes
) -> tuple[bytes, bytes]:
    """What comes before a payload of so many bytes, and what behind: operations, and where the members before end."""
    first = serialise("a(uuu)", [tuple(swap(number, 4) for number in mode) for mode in modes])
    head = first + serialise("aa(ayay)", list(xattrs))
    ends = (len(first), len(head), len(head) + payload_bytes)
    body_bytes = ends[-1] + len(operations)
    size = next(size for size in (1, 2, 4, 8) if body_bytes + len(ends) * size < 1 << 8 * size)
    return head, operations + b"".join(end.to_bytes(size, "little") for end in reversed(ends))


def check_place(data: bytes, offset: int, size_bytes: int, where: str = "") -> None:
    """Refuse bytes that `data` does not have.

    Raises:
        RepositoryError: they begin or end beyond its end.
    """
    if offset > len(data) or size_bytes > len(data) - offset:
        raise RepositoryError("reads beyond an end", path=where, offset=offset, bytes=size_bytes, of_bytes=len(data))


def cut(data: bytes, offset: int, size_bytes: int, where: str = "") -> bytes:
    """Bytes that have to be there. Raises as `check_place`."""
    check_place(data, offset, size_bytes, where)
    return data[offset : offset + size_bytes]


def attributes_of(part: Part, mode: int, xattrs: int, where: str = "") -> tuple[Mode, Xattrs]:
    """The mode and the extended attributes that an operation names by their place.

    Raises:
        RepositoryError: the part does not hold them.
    """
    if mode >= len(part.modes) or xattrs >= len(part.xattrs):
        raise RepositoryError("names a mode or attributes that it does not hold", path=where, mode=mode, xattrs=xattrs)
    return part.modes[mode], part.xattrs[xattrs]


def read_part(data: bytes, *, most_bytes: int = MOST_PART_BYTES, where: str = "") -> Part:
    """What the bytes of a part's file say; never more than `most_bytes` is unpacked.

    Raises:
        RepositoryError: they are damaged, cut off, packed in an unknown way or too large.
    """
    if not data:
        raise RepositoryError("is an empty part", path=where)
    if data[0] not in (PLAIN, XZ):
        raise RepositoryError("is packed in an unknown way", path=where, got=data[0])
    inside = data[1:] if data[0] == PLAIN else unpack(data[1:], most_bytes, where)
    if len(inside) > most_bytes:
        raise RepositoryError("is too large", path=where, max_bytes=most_bytes)
    try:
        modes, xattrs, payload, operations = parse(PAYLOAD_TYPE, inside)
    except GVariantError as error:
        raise RepositoryError("is no part of a delta", path=where, reason=str(error)) from error
    return Part(
        modes=tuple((swap(uid, 4), swap(gid, 4), swap(mode, 4)) for uid, gid, mode in modes),
        xattrs=tuple(tuple(row) for row in xattrs),
        payload=payload,
        operations=operations,
    )


def unpack(data: bytes, most_bytes: int, where: str) -> bytes:
    """The content of an .xz file, at most so much of it, and nothing behind it.

    Raises:
        RepositoryError: it is damaged, cut off, too large, or needs too much memory to unpack.
    """
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    pieces: list[bytes] = []
    total = 0
    try:
        while not unpacker.eof and total <= most_bytes:
            if unpacker.needs_input and pieces:
                break
            piece = unpacker.decompress(b"" if pieces else data, min(_PIECE_BYTES, most_bytes + 1 - total))
            pieces.append(piece)
            total += len(piece)
    except lzma.LZMAError as error:
        raise RepositoryError("is damaged", path=where, reason=str(error)) from error
    if total > most_bytes:
        raise RepositoryError("unpacks to too much", path=where, max_bytes=most_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise RepositoryError("is cut off or followed by something else", path=where)
    return b"".join(pieces)
