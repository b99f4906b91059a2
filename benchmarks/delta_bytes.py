"""Where a delta's bytes go, and what a format without OSTree's obligations would take for the same trees."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import hdiffpatch

from benchmarks.native_deltas import DeltaFiles
from planner.delta.apply import apply_part
from planner.delta.contents import CommitContents
from planner.delta.encode import Effort, part_filters
from planner.delta.operations import Patch, ReadFrom, SpliceFile, SpliceMeta, read_operations
from planner.delta.parts import Part, read_part
from planner.delta.superblock import PartHeader, read_superblock
from planner.history.ostree_objects import CHECKSUM_BYTES
from planner.history.records import ObjectKind, ObjectName

WHOLE_TREE = "hdiffpatch lzma2 level 9, window 27, distinct contents by path behind a manifest"
"""How `whole_tree_bytes` is made: to be changed with it, since results are kept under it."""

_WINDOW_LOG = 27
_OBJECT_BYTES = 1 + CHECKSUM_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaBytes:
    """A delta's bytes by what they are for; what is inside parts as xz makes it alone, the rest by subtraction.

    `objects`: the superblock's list of what parts make; `commit`: the commit in it; `headers`: all else in it;
    `folders`: dirtrees and dirmetas; `checksums`: of sources; `operations`; `wholes`: files without a source;
    `differences`: bsdiff streams, with what the parts' framing takes.
    """

    objects: int
    commit: int
    headers: int
    folders: int
    checksums: int
    operations: int
    wholes: int
    differences: int


def count_bytes(delta: DeltaFiles) -> DeltaBytes:
    """Where a delta's bytes go.

    Raises:
        RepositoryError: a file is damaged.
    """
    data = delta.superblock.read_bytes()
    superblock = read_superblock(data)
    objects_bytes = sum(_OBJECT_BYTES * len(part.objects) for part in superblock.parts)
    inside: Counter[str] = Counter()
    for header, path in zip(superblock.parts, delta.parts, strict=True):
        inside.update(_count_part(header, path.read_bytes()))
    return DeltaBytes(
        objects=objects_bytes,
        commit=len(superblock.commit),
        headers=len(data) - objects_bytes - len(superblock.commit),
        **{name: inside[name] for name in ("folders", "checksums", "operations", "wholes", "differences")},
    )


def _count_part(header: PartHeader, data: bytes) -> dict[str, int]:
    part = read_part(data)
    folders, wholes, sources = bytearray(), bytearray(), set[int]()
    for operation in read_operations(part.operations, [name.kind is not ObjectKind.FILE for name in header.objects]):
        match operation:
            case SpliceMeta():
                folders += _payload(part, operation)
            case SpliceFile():
                wholes += _payload(part, operation)
            case ReadFrom():
                sources.add(operation.offset)
            case _:
                pass
    counted = {
        "folders": _packed_bytes(folders),
        "checksums": CHECKSUM_BYTES * len(sources),
        "operations": _packed_bytes(part.operations),
        "wholes": _packed_bytes(wholes),
    }
    return {**counted, "differences": len(data) - sum(counted.values())}


def _payload(part: Part, operation: SpliceMeta | SpliceFile | Patch) -> bytes:
    return part.payload[operation.offset : operation.offset + operation.size_bytes]


def _packed_bytes(content: bytes | bytearray) -> int:
    if not content:
        return 0
    filters = part_filters(len(content), Effort.BALANCED)
    return len(lzma.compress(bytes(content), lzma.FORMAT_RAW, filters=filters))


def whole_tree_bytes(contents: CommitContents, base: str, target: str) -> int:
    """The size of HDiffPatch's difference between two whole trees, as small as it goes; no OSTree client reads it.

    A tree is a manifest (mode, size and path of each file; where the content stood before, instead of the size) and
    the distinct contents in the same order.
    """
    config = hdiffpatch.Lzma2Config(level=9, window=_WINDOW_LOG)
    old, new = _flatten(contents, base), _flatten(contents, target)
    return len(hdiffpatch.diff(old, new, compression=config, validate=False, big_cache_match=True))


def _flatten(contents: CommitContents, commit: str) -> bytes:
    lines: list[str] = []
    pieces: list[bytes] = []
    first_path: dict[str, str] = {}
    for path, checksum in sorted(contents.files(commit).items()):
        header = contents.header(checksum)
        content = header.link_target.encode() if header.is_link else contents.read(checksum)
        repeated = first_path.get(checksum)
        lines.append(f"{header.mode:o} {len(content) if repeated is None else '=' + repeated} {path}\n")
        if repeated is None:
            first_path[checksum] = path
            pieces.append(content)
    return b"".join(("".join(lines).encode(), *pieces))


def check(delta: DeltaFiles, contents: CommitContents, target: str) -> None:
    """Apply a delta with what a client on its base has.

    Raises:
        AssertionError: it is for another pair, or does not make all that the base lacks.
        RepositoryError: it reads an object that the client does not have, or makes a wrong one.
    """
    superblock = read_superblock(delta.superblock.read_bytes())
    assert (superblock.base, superblock.target) == (delta.base, target)
    has = {*contents.objects.of_commit(delta.base), ObjectName(ObjectKind.COMMIT, target)}

    def read(checksum: str) -> bytes:
        assert ObjectName(ObjectKind.FILE, checksum) in has, "reads what the client lacks"
        return contents.read(checksum)

    for header, path in zip(superblock.parts, delta.parts, strict=True):
        for one in apply_part(read_part(path.read_bytes()), header.objects, read):
            has.add(one.name)
    assert has >= contents.objects.of_commit(target)


def stored_bytes(deltas: Iterable[DeltaFiles]) -> tuple[int, int]:
    """What deltas take on disk with links counted once, and what they would take without links."""
    stats = [path.stat() for delta in deltas for path in (delta.superblock, *delta.parts)]
    distinct = {(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}
    return sum(distinct.values()), sum(stat.st_size for stat in stats)
