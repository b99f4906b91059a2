"""Composed deltas: the operations of several hops in one part, which every stock client applies in one pull.

Nothing is compared and no object of the base is read. What later hops and the target do not need is left out, and what
hops packed already stays as it is where most of it is needed. One part, because parts are applied in no order.

Source: libostree, `ostree-repo-static-delta-processing.c`: each object is in the repository once its file is closed, so
a later operation of the same part may read from it.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

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
from planner.delta.parts import PLAIN, XZ, Part, attributes_of, check_place, cut, frame_payload, read_part, unpack
from planner.delta.superblock import Superblock
from planner.errors import BuildError
from planner.history.ostree_objects import CHECKSUM_BYTES, FileHeader
from planner.history.records import ObjectKind, ObjectName

# A block of which less than this is needed is packed anew.
_LEAST_NEEDED_FRACTION = 0.75


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

    def bytes_in(self, block: _PayloadBlock) -> int:
        """What it takes of a block, before packing."""
        return sum(
            step.placed.size_bytes
            for step in self.steps
            if step.placed is not None and block.start <= step.placed.offset < block.end
        )


@dataclass(frozen=True, slots=True)
class _PayloadBlock:
    """A packed stretch of a part's payload."""

    start: int
    end: int
    block: Block


@dataclass(frozen=True, slots=True)
class _Source:
    """A hop's part: what it makes, and the stretches of its payload that are blocks of their own.

    These are not unpacked: `part` has zeros there.
    """

    part: Part
    makings: tuple[_Making, ...]
    blocks: tuple[_PayloadBlock, ...]

    def payload_without(self, kept: Collection[_PayloadBlock]) -> bytes:
        """The payload with all blocks but those that are kept unpacked."""
        payload = bytearray(self.part.payload)
        for one in self.blocks:
            if one not in kept:
                payload[one.start : one.end] = _unpack_block(one.block)
        return bytes(payload)


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
        [one for one in source.blocks if _is_kept(one, source.makings, makings)]
        for source, makings in zip(sources, needed, strict=True)
    ]
    desk = _Desk(small_at=sum(one.block.content_bytes for of_source in kept for one in of_source))
    for source, makings, of_source in zip(sources, needed, kept, strict=True):
        desk.take(source, makings, of_source)
    return desk.finish(effort)


def _check_order(hops: Sequence[Hop]) -> None:
    for one, following in pairwise(hops):
        if one.superblock.target != following.superblock.base:
            raise BuildError(
                "hops do not follow each other", target=one.superblock.target, base=following.superblock.base
            )


def _read_source(data: bytes, objects: Sequence[ObjectName]) -> _Source:
    blocks = split_blocks(data[1:]) if is_of_blocks(data[1:]) else []
    if len(blocks) < 3:
        part = read_part(data)
        return _Source(part, tuple(_split_makings(part, objects)), ())
    head, tail = _unpack_block(blocks[0]), _unpack_block(blocks[-1])
    middle_bytes = sum(block.content_bytes for block in blocks[1:-1])
    part = read_part(b"".join((bytes([PLAIN]), head, bytes(middle_bytes), tail)))
    before, _ = frame_payload(part.modes, part.xattrs, 0, b"")
    places = list(accumulate((block.content_bytes for block in blocks[1:-1]), initial=len(head) - len(before)))
    middle = zip(places, places[1:], blocks[1:-1], strict=False)
    return _Source(part, tuple(_split_makings(part, objects)), tuple(_PayloadBlock(*one) for one in middle))


def _unpack_block(block: Block) -> bytes:
    return unpack(join_blocks([block]), block.content_bytes, "")


def _split_makings(part: Part, objects: Sequence[ObjectName]) -> Iterator[_Making]:
    """The steps object by object."""
    is_meta = [name.kind is not ObjectKind.FILE for name in objects]
    names = iter(objects)
    steps: list[_Step] = []
    sources: set[str] = set()
    has_source, size_bytes = False, 0
    for operation in read_operations(part.operations, is_meta):
        if isinstance(operation, SpliceFile | Open):
            attributes_of(part, operation.mode, operation.xattrs)
        if isinstance(operation, ReadFrom):
            sources.add(cut(part.payload, operation.offset, CHECKSUM_BYTES).hex())
        if isinstance(operation, ReadFrom | ReadNothing):
            has_source = isinstance(operation, ReadFrom)
        elif isinstance(operation, SpliceMeta | SpliceFile | Open):
            size_bytes = _object_bytes(operation, part)
        steps.append(_Step(operation, _find_placed(operation, part, has_source=has_source)))
        if isinstance(operation, SpliceFile | SpliceMeta | Close):
            yield _Making(next(names), tuple(steps), frozenset(sources), size_bytes)
            steps, sources, has_source = [], set(), False


def _find_placed(operation: Operation, part: Part, *, has_source: bool) -> _Placed | None:
    """The operation, if it takes bytes of the payload: with a source, writing takes those of the source."""
    if isinstance(operation, SpliceMeta | SpliceFile | Patch) or (isinstance(operation, Write) and not has_source):
        check_place(part.payload, operation.offset, operation.size_bytes)
        return operation
    return None


def _object_bytes(operation: SpliceMeta | SpliceFile | Open, part: Part) -> int:
    is_link = isinstance(operation, SpliceFile) and stat.S_ISLNK(part.modes[operation.mode][2])
    return 0 if is_link else operation.size_bytes


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

    def take(self, source: _Source, makings: Sequence[_Making], kept: Sequence[_PayloadBlock]) -> None:
        """Add what is needed of one part; `kept` blocks stay as they are, the others are taken to pieces."""
        part = replace(source.part, payload=source.payload_without(kept))
        places = {}
        for one in kept:
            places[one] = self.block_bytes
            self.blocks.append(one.block)
            self.block_bytes += one.block.content_bytes
        for making in makings:
            self.builder.operations += [self._move(step, part, places) for step in making.steps]
        self.made += makings

    def _move(self, step: _Step, part: Part, places: Mapping[_PayloadBlock, int]) -> Operation:
        """An operation with its places in this part."""
        if step.placed is not None:
            placed = replace(step.placed, offset=self._place(step.placed, part, places))
            return self._attribute(placed, part) if isinstance(placed, SpliceFile) else placed
        if isinstance(step.operation, ReadFrom):
            at = step.operation.offset
            return ReadFrom(self.small_at + self.builder.name_source(cut(part.payload, at, CHECKSUM_BYTES).hex()))
        return self._attribute(step.operation, part) if isinstance(step.operation, Open) else step.operation

    def _place(self, placed: _Placed, part: Part, places: Mapping[_PayloadBlock, int]) -> int:
        for one, place in places.items():
            if one.start <= placed.offset < one.end:
                return placed.offset - one.start + place
        return self.small_at + self.builder.put(cut(part.payload, placed.offset, placed.size_bytes))

    def _attribute(self, operation: SpliceFile | Open, part: Part) -> Operation:
        """An operation with its places of mode and extended attributes in this part."""
        (uid, gid, mode), xattrs = attributes_of(part, operation.mode, operation.xattrs)
        header = FileHeader(uid=uid, gid=gid, mode=mode, xattrs=xattrs)
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


def _is_kept(block: _PayloadBlock, all_makings: Sequence[_Making], needed: Sequence[_Making]) -> bool:
    """Whether enough of a block is needed to leave it as it is."""
    all_bytes, needed_bytes = (sum(making.bytes_in(block) for making in of) for of in (all_makings, needed))
    return needed_bytes > 0 and needed_bytes >= _LEAST_NEEDED_FRACTION * all_bytes
