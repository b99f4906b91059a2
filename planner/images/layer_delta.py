"""Deltas of layers: one file that makes a layer's tar from the tars of other layers, and says which.

    deltaplan-layer/1 NEWLINE, a JSON object, NEWLINE, then three .xz files: steps, differences, new bytes

Sources are the layers that steps read, in order; an address counts bytes from the first one's start. No step reads
across the end of a source. Empty files are left out. Whatever is read is bounded before memory is taken, and the tar
that comes out is compared with its diff_id by whoever keeps it.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from planner.delta.blocks import Block, join_blocks
from planner.delta.bsdiff import Rows
from planner.delta.encode import Effort
from planner.delta.packing import packer
from planner.errors import BuildError, RepositoryError
from planner.images.documents import Count, check_digest
from planner.images.layers import Placed
from planner.images.layout import CHUNK_BYTES
from planner.images.matching import Sources, match_layer
from planner.images.steps import (
    COLUMNS,
    MAX_STEPS,
    added_chunks,
    find_steps,
    inserted_chunks,
    read_steps,
    write_steps,
)

_MAGIC = b"deltaplan-layer/1\n"
_MAX_HEADER_BYTES = 1 << 20
_MOST_SOURCES = 10_000
# Addresses stay far below what 64 bits hold, so that no sum of two comes round.
_MOST_SOURCE_BYTES = 2**50
# Packed at once: eleven times the dictionary of 8 MiB in memory, beside the content itself.
_BLOCK_BYTES = 1 << 26
# What a decoder may take: an .xz file of ours takes a ninth of it.
_MEMORY_BYTES = 1 << 27
_MOST_NUMBER_BYTES = 9


class Tar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer's tar: its digest and length."""

    diff_id: str
    layer_bytes: Count


class _Packed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    content_bytes: Count
    packed_bytes: Count


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    target: Tar
    sources: Annotated[tuple[Tar, ...], msgspec.Meta(max_length=_MOST_SOURCES)]
    step_count: Annotated[int, msgspec.Meta(ge=0, le=MAX_STEPS)]
    files: tuple[_Packed, _Packed, _Packed]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDelta:
    """A delta that was read: its ends, its steps, and two packed files, each with its content's length."""

    target: Tar
    sources: tuple[Tar, ...]
    where: str
    steps: Rows
    added: tuple[bytes, int]
    inserted: tuple[bytes, int]


def make_layer_delta(content: memoryview, placed: Sequence[Placed], target: Placed, sources: Sources) -> bytes:
    """The delta that makes `target` from the layers `placed`, all in the same content; the same bytes every time.

    `sources` has taken in the layers of `placed`.

    Raises:
        BuildError: the delta takes more steps than one may have.
    """
    new = content[target.at : target.end]
    rows = _split_at_ends(match_layer(sources, new), placed)
    steps = find_steps(rows, np.frombuffer(content, np.uint8), np.frombuffer(new, np.uint8))
    if len(steps) > MAX_STEPS:
        raise BuildError("takes too many steps", path=target.diff_id, steps=len(steps), max_steps=MAX_STEPS)
    old_array, new_array = np.frombuffer(content, np.uint8), np.frombuffer(new, np.uint8)
    streams = (added_chunks(steps, old_array, new_array), inserted_chunks(steps, new_array))
    used, moved = _use_only_read(steps, placed)
    files = [_pack([write_steps(moved)]), *map(_pack, streams)]
    header = _Header(
        target=Tar(diff_id=target.diff_id, layer_bytes=target.layer_bytes),
        sources=tuple(Tar(diff_id=one.diff_id, layer_bytes=one.layer_bytes) for one in used),
        step_count=len(moved),
        files=(_describe(files[0]), _describe(files[1]), _describe(files[2])),
    )
    return b"".join((_MAGIC, msgspec.json.encode(header), b"\n", *(data for data, _ in files)))


def _describe(file: tuple[bytes, int]) -> _Packed:
    return _Packed(content_bytes=file[1], packed_bytes=len(file[0]))


def _split_at_ends(rows: Rows, placed: Sequence[Placed]) -> Rows:
    """The same rows, none of them across the end of a layer."""
    for layer in placed:
        crosses = (rows[:, 0] < layer.end) & (rows[:, 0] + rows[:, 2] > layer.end)
        if crosses.any():
            behind = rows[crosses].copy()
            cut = layer.end - behind[:, 0]
            rows = rows.copy()
            rows[crosses, 2] = cut
            behind += np.stack((cut, cut, -cut), axis=1)
            rows = np.concatenate((rows, behind))
            rows = rows[np.argsort(rows[:, 1], kind="stable")]
    return rows


def _use_only_read(steps: Rows, placed: Sequence[Placed]) -> tuple[list[Placed], Rows]:
    """The layers that steps read, and the steps with addresses that count only those."""
    moved, used, start = steps.copy(), [], 0
    reads = steps[:, 1] + steps[:, 2] > 0
    for layer in placed:
        inside = reads & (steps[:, 0] >= layer.at) & (steps[:, 0] < layer.end)
        if inside.any():
            moved[inside, 0] += start - layer.at
            used.append(layer)
            start += layer.layer_bytes
    # A step that reads nothing stays where the one before ended.
    ends = 0
    for k in range(len(moved)):
        if not reads[k]:
            moved[k, 0] = ends
        ends = int(moved[k, 0] + moved[k, 1] + moved[k, 2])
    return used, moved


def _pack(chunks: Iterable[bytes]) -> tuple[bytes, int]:
    """The .xz file of a content in chunks, and the content's length; no bytes for no content."""
    pack, blocks, waiting = packer(Effort.BALANCED), list[Block](), bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _BLOCK_BYTES:
            blocks.append(pack(bytes(waiting[:_BLOCK_BYTES])))
            del waiting[:_BLOCK_BYTES]
    if waiting:
        blocks.append(pack(bytes(waiting)))
    return (join_blocks(blocks) if blocks else b""), sum(block.content_bytes for block in blocks)


def read_layer_delta(data: bytes, where: str, *, max_layer_bytes: int) -> LayerDelta:
    """The delta in a file, with every number in it checked; its differences and new bytes are still packed.

    Raises:
        InputError: a digest in it is none.
        RepositoryError: it is malformed, damaged, or makes a longer tar than `max_layer_bytes`.
    """
    header, at = _read_header(data, where)
    files = []
    for one in header.files:
        files.append((data[at : at + one.packed_bytes], one.content_bytes))
        at += one.packed_bytes
    if at != len(data):
        raise RepositoryError("is no whole delta of a layer", path=where, got_bytes=len(data), expected_bytes=at)
    if header.target.layer_bytes > max_layer_bytes:
        raise RepositoryError(
            "makes a longer layer than allowed",
            path=where,
            claimed_bytes=header.target.layer_bytes,
            max_bytes=max_layer_bytes,
        )
    steps = _read_steps(files[0], header, where)
    return LayerDelta(
        target=header.target, sources=header.sources, where=where, steps=steps, added=files[1], inserted=files[2]
    )


def _read_header(data: bytes, where: str) -> tuple[_Header, int]:
    end = data.find(b"\n", len(_MAGIC), len(_MAGIC) + _MAX_HEADER_BYTES)
    if not data.startswith(_MAGIC) or end < 0:
        raise RepositoryError("is no delta of a layer", path=where)
    try:
        header = msgspec.json.decode(data[len(_MAGIC) : end], type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RepositoryError("has a header that cannot be read", path=where, cause=str(error)) from error
    for tar in (header.target, *header.sources):
        check_digest(tar.diff_id, f"{where}: diff_id")
    return header, end + 1


def _read_steps(packed: tuple[bytes, int], header: _Header, where: str) -> Rows:
    """The steps, each of which reads within one source, and which together make the target."""
    if packed[1] > header.step_count * COLUMNS * _MOST_NUMBER_BYTES:
        raise RepositoryError("has another number of steps than it says", path=where)
    file = _PackedFile(*packed, where)
    steps = read_steps(b"".join(file.take(packed[1])), header.step_count, where)
    file.finish()
    made = steps[:, 1:]
    # Compared one by one first: sums of hostile numbers could come round to anything.
    is_sound = not (made > header.target.layer_bytes).any() and int(made.sum()) == header.target.layer_bytes
    sums = (int(made[:, 1].sum()), int(made[:, 2].sum()))
    if not is_sound or sums != (header.files[1].content_bytes, header.files[2].content_bytes):
        raise RepositoryError("has steps that do not make its layer", path=where)
    if sum(tar.layer_bytes for tar in header.sources) > _MOST_SOURCE_BYTES:
        raise RepositoryError("reads more than any base has", path=where, max_bytes=_MOST_SOURCE_BYTES)
    ends = np.cumsum([0, *(tar.layer_bytes for tar in header.sources)])
    lengths = made[:, 0] + made[:, 1]
    source = np.clip(np.searchsorted(ends, steps[:, 0], side="right"), 1, len(ends) - 1) if len(ends) > 1 else 0
    reads = lengths > 0
    within = (steps[:, 0] >= 0) & (steps[:, 0] <= ends[-1]) & (steps[:, 0] + lengths <= ends[source])
    if not within[reads].all():
        raise RepositoryError("has a step that reads outside of its sources", path=where)
    return steps


def rebuild_chunks(delta: LayerDelta, content: memoryview, placed: Mapping[str, Placed]) -> Iterator[bytes]:
    """The target's tar in chunks, from sources placed in a content.

    Raises:
        RepositoryError: the delta is damaged, or a source is missing or of another length.
    """
    starts, shifts = _place_sources(delta, placed)
    added, inserted = _PackedFile(*delta.added, delta.where), _PackedFile(*delta.inserted, delta.where)
    waiting = bytearray()
    for address, copied_bytes, added_bytes, inserted_bytes in delta.steps.tolist():
        at = address + (shifts[int(np.searchsorted(starts, address, side="right")) - 1] if len(shifts) else 0)
        for start in range(at, at + copied_bytes, CHUNK_BYTES):
            waiting += content[start : min(start + CHUNK_BYTES, at + copied_bytes)]
            yield from _ready(waiting)
        at += copied_bytes
        for piece in added.take(added_bytes):
            old = np.frombuffer(content[at : at + len(piece)], np.uint8)
            waiting += (old + np.frombuffer(piece, np.uint8)).tobytes()
            at += len(piece)
            yield from _ready(waiting)
        for piece in inserted.take(inserted_bytes):
            waiting += piece
            yield from _ready(waiting)
    yield bytes(waiting)
    added.finish()
    inserted.finish()


def _ready(waiting: bytearray) -> Iterator[bytes]:
    """What waits, once it is worth handing on."""
    if len(waiting) >= CHUNK_BYTES:
        yield bytes(waiting)
        waiting.clear()


def _place_sources(delta: LayerDelta, placed: Mapping[str, Placed]) -> tuple[list[int], list[int]]:
    """Where each source starts in the delta's addresses, and how far from there it is placed."""
    starts, shifts, at = [], [], 0
    for tar in delta.sources:
        layer = placed.get(tar.diff_id)
        if layer is None or layer.layer_bytes != tar.layer_bytes:
            raise RepositoryError("reads a layer that the base does not have", path=delta.where, diff_id=tar.diff_id)
        starts.append(at)
        shifts.append(layer.at - at)
        at += tar.layer_bytes
    return starts, shifts


class _PackedFile:
    """An .xz file from which just as much is taken as is asked for."""

    def __init__(self, packed: bytes, content_bytes: int, where: str) -> None:
        self._where, self._packed, self._at = where, memoryview(packed), 0
        self._left_bytes = content_bytes
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)

    def take(self, content_bytes: int) -> Iterator[bytes]:
        """The next so many bytes in pieces.

        Raises:
            RepositoryError: the file is damaged or shorter.
        """
        self._left_bytes -= content_bytes
        while content_bytes:
            piece = self._next(min(content_bytes, CHUNK_BYTES))
            if not piece:
                raise RepositoryError("is damaged: a packed file ends too early", path=self._where)
            content_bytes -= len(piece)
            yield piece

    def finish(self) -> None:
        """Look whether the file ends here.

        Raises:
            RepositoryError: it does not, or its checksum is wrong.
        """
        is_read = self._at == len(self._packed) and not len(self._packed)
        if self._left_bytes or not (is_read or (not self._next(1) and self._decoder.eof and self._is_used_up)):
            raise RepositoryError("is damaged: a packed file goes on", path=self._where)

    @property
    def _is_used_up(self) -> bool:
        return self._at == len(self._packed) and not self._decoder.unused_data

    def _next(self, most_bytes: int) -> bytes:
        try:
            while not self._decoder.eof:
                packed = b""
                if self._decoder.needs_input:
                    packed = bytes(self._packed[self._at : self._at + CHUNK_BYTES])
                    self._at += len(packed)
                    if not packed:
                        return b""
                if piece := self._decoder.decompress(packed, most_bytes):
                    return piece
        except (lzma.LZMAError, EOFError) as error:
            raise RepositoryError("is damaged: a packed file", path=self._where, cause=str(error)) from error
        return b""
