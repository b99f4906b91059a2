"""Composed deltas: the operations of several hops in one part, which every stock client applies in one pull.

Nothing is compared and no object of the base is read. What later hops and the target do not need is left out, and what
hops packed already stays as it is where most of it is needed. One part, because parts are applied in no order.

Source: libostree, `ostree-repo-static-delta-processing.c`: each object is in the repository once its file is closed, so
a later operation of the same part may read from it.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from planner.delta.blocks import Block, is_of_blocks, join_blocks, split_blocks
from planner.delta.encode import Effort
from planner.delta.operations import (
    Close,
    Open,
    Operation,
    Patch,
    ReadFrom,
    ReadNothing,
    SpliceFile,
    SpliceMeta,
    Write,
    read_operations,
)
from planner.delta.packing import PartBuilder, packer
from planner.delta.parts import LEAST_BLOCK_BYTES, PLAIN, XZ, Part, frame_payload, read_part, unpack
from planner.delta.superblock import Superblock
from planner.errors import BuildError
from planner.history.ostree_objects import CHECKSUM_BYTES, FileHeader
from planner.history.records import ObjectKind, ObjectName

# A block of which less than this is needed is packed anew.
_LEAST_NEEDED_FRACTION = 0.75
# What a byte of a difference takes when packed, in bytes of a whole object: most of it is zeros.
_DIFFERENCE_FRACTION = 1 / 16


@dataclass(frozen=True, slots=True)
class Hop:
    """A delta that is built: what its superblock says, and its parts' files (inline ones among them) in order."""

    superblock: Superblock
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """The one part of a composed delta: its file, the objects that it makes in order, and their size."""

    data: bytes
    objects: tuple[ObjectName, ...]
    object_bytes: int


_Placed = SpliceMeta | SpliceFile | Patch | Write


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation of a part; `placed` is the same where it takes bytes of the part's payload."""

    operation: Operation
    placed: _Placed | None


@dataclass(frozen=True, slots=True)
class _Making:
    """The steps that make one object, the objects that they read, and the object's size (of a link: 0)."""

    name: ObjectName
    steps: tuple[_Step, ...]
    sources: frozenset[str]
    object_bytes: int

    def packed_bytes(self, block_at: int) -> float:
        """About what it takes of a packed part behind a place of the payload."""
        return sum(
            one.size_bytes * (_DIFFERENCE_FRACTION if isinstance(one, Patch) else 1.0)
            for one in (step.placed for step in self.steps)
            if one is not None and one.offset >= block_at
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """A hop's part: what it makes, and its payload's second block with the place where it begins (None: one block).

    Where there is a second block, its content is not unpacked: `part` has zeros there.
    """

    data: bytes
    part: Part
    makings: tuple[_Making, ...]
    block: Block | None
    block_at: int


def compose(
    hops: Sequence[Hop],
    held: Collection[ObjectName],
    wanted: Collection[ObjectName],
    effort: Effort = Effort.BALANCED,
) -> Composed:
    """One part that makes all of `wanted` for a client that has `held`, by the hops in order.

    Raises:
        BuildError: the hops do not follow each other, or one leaves an object that is needed to be fetched on its own.
        RepositoryError: a hop's part is damaged.
    """
    _check_order(hops)
    sources = [
        _read_source(data, header.objects)
        for hop in hops
        for header, data in zip(hop.superblock.parts, hop.parts, strict=True)
    ]
    needed = _find_needed([source.makings for source in sources], held, wanted)
    kept = [
        source.block if _needs_most(source, makings) else None for source, makings in zip(sources, needed, strict=True)
    ]
    desk = _Desk(small_at=sum(block.content_bytes for block in kept if block))
    for source, makings, block in zip(sources, needed, kept, strict=True):
        desk.take(source, makings, block)
    return desk.finish(effort)


def _check_order(hops: Sequence[Hop]) -> None:
    for one, following in pairwise(hops):
        if one.superblock.target != following.superblock.base:
            raise BuildError(
                "hops do not follow each other", target=one.superblock.target, base=following.superblock.base
            )


def _read_source(data: bytes, objects: Sequence[ObjectName]) -> _Source:
    blocks = split_blocks(data[1:]) if is_of_blocks(data[1:]) else []
    has_own_block = len(blocks) == 3 and blocks[1].content_bytes >= LEAST_BLOCK_BYTES
    part = _read_hollow(blocks) if has_own_block else read_part(data)
    payload_bytes = len(part.payload)
    return _Source(
        data=data,
        part=part,
        makings=tuple(_split_makings(part, objects)),
        block=blocks[1] if has_own_block else None,
        block_at=payload_bytes - blocks[1].content_bytes if has_own_block else payload_bytes,
    )


def _read_hollow(blocks: Sequence[Block]) -> Part:
    """A part of three blocks with zeros in place of the second."""
    head, tail = (unpack(join_blocks([block]), block.content_bytes, "") for block in (blocks[0], blocks[2]))
    return read_part(b"".join((bytes([PLAIN]), head, bytes(blocks[1].content_bytes), tail)))


def _split_makings(part: Part, objects: Sequence[ObjectName]) -> Iterator[_Making]:
    """The steps object by object."""
    is_meta = [name.kind is not ObjectKind.FILE for name in objects]
    names = iter(objects)
    steps: list[_Step] = []
    sources: set[str] = set()
    has_source, size_bytes = False, 0
    for operation in read_operations(part.operations, is_meta):
        placed: _Placed | None = None
        match operation:
            case ReadFrom(offset):
                has_source = True
                sources.add(part.payload[offset : offset + CHECKSUM_BYTES].hex())
            case ReadNothing():
                has_source = False
            case Write():
                placed = None if has_source else operation
            case Open():
                size_bytes = operation.size_bytes
            case Patch():
                placed = operation
            case SpliceMeta():
                placed, size_bytes = operation, operation.size_bytes
            case SpliceFile():
                is_link = stat.S_ISLNK(part.modes[operation.mode][2])
                placed, size_bytes = operation, 0 if is_link else operation.size_bytes
        steps.append(_Step(operation, placed))
        if isinstance(operation, SpliceFile | SpliceMeta | Close):
            yield _Making(next(names), tuple(steps), frozenset(sources), size_bytes)
            steps, sources, has_source = [], set(), False


def _find_needed(
    sources: Sequence[Sequence[_Making]], held: Collection[ObjectName], wanted: Collection[ObjectName]
) -> list[list[_Making]]:
    """What is needed of each part: for the target, or for what is needed later; each object is made once."""
    made: set[ObjectName] = set(held)
    first: list[list[_Making]] = []
    for makings in sources:
        first.append([making for making in makings if making.name not in made])
        made.update(making.name for making in makings)
    # The superblock holds the commit.
    needed = {name for name in wanted if name.kind is not ObjectKind.COMMIT}
    kept: list[list[_Making]] = []
    for makings in reversed(first):
        kept.append([making for making in makings if making.name in needed])
        needed.difference_update(making.name for making in kept[-1])
        reads = {ObjectName(ObjectKind.FILE, source) for making in kept[-1] for source in making.sources}
        needed |= reads - set(held)
    if needed:
        raise BuildError("hops leave an object to be fetched on its own", object=str(min(needed, key=str)))
    return kept[::-1]


@dataclass(slots=True)
class _Desk:
    """The composed part under construction: blocks that stay as they are, and behind them small pieces."""

    small_at: int
    builder: PartBuilder = field(default_factory=PartBuilder)
    blocks: list[Block] = field(default_factory=list)
    block_bytes: int = 0
    made: list[_Making] = field(default_factory=list)

    def take(self, source: _Source, makings: Sequence[_Making], block: Block | None) -> None:
        """Add what is needed of one part, whose second block stays as it is or (None) is taken to pieces."""
        part = source.part if block or not source.block else read_part(source.data)
        block_at = source.block_at if block else len(part.payload)
        for making in makings:
            self.builder.operations += [self._move(step, part, block_at) for step in making.steps]
        if block:
            self.blocks.append(block)
            self.block_bytes += block.content_bytes
        self.made += makings

    def _move(self, step: _Step, part: Part, block_at: int) -> Operation:
        """An operation with its places in this part."""
        if step.placed is not None:
            placed = replace(step.placed, offset=self._place(step.placed, part, block_at))
            return self._attribute(placed, part) if isinstance(placed, SpliceFile) else placed
        if isinstance(step.operation, ReadFrom):
            at = step.operation.offset
            return ReadFrom(self.small_at + self.builder.name_source(part.payload[at : at + CHECKSUM_BYTES].hex()))
        return self._attribute(step.operation, part) if isinstance(step.operation, Open) else step.operation

    def _place(self, placed: _Placed, part: Part, block_at: int) -> int:
        if placed.offset >= block_at and placed.size_bytes:
            return placed.offset - block_at + self.block_bytes
        return self.small_at + self.builder.put(part.payload[placed.offset : placed.offset + placed.size_bytes])

    def _attribute(self, operation: SpliceFile | Open, part: Part) -> Operation:
        """An operation with its places of mode and extended attributes in this part."""
        uid, gid, mode = part.modes[operation.mode]
        header = FileHeader(uid=uid, gid=gid, mode=mode, xattrs=part.xattrs[operation.xattrs])
        mode_at, xattrs_at = self.builder.attributes(header)
        return replace(operation, mode=mode_at, xattrs=xattrs_at)

    def finish(self, effort: Effort) -> Composed:
        """The part."""
        part, pack = self.builder.finish(), packer(effort)
        head, tail = frame_payload(part.modes, part.xattrs, self.small_at + len(part.payload), part.operations)
        last = part.payload + tail
        blocks = [pack(head), *self.blocks, pack(last)] if self.blocks else [pack(head + last)]
        return Composed(
            data=bytes([XZ]) + join_blocks(blocks),
            objects=tuple(making.name for making in self.made),
            object_bytes=sum(making.object_bytes for making in self.made),
        )


def _needs_most(source: _Source, makings: Sequence[_Making]) -> bool:
    """Whether a part has a second block that may stay as it is."""
    all_bytes, needed_bytes = (
        sum(making.packed_bytes(source.block_at) for making in of) for of in (source.makings, makings)
    )
    return source.block is not None and needed_bytes > 0 and needed_bytes >= _LEAST_NEEDED_FRACTION * all_bytes
