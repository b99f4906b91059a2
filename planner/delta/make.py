"""A static delta from one commit of an OSTree repository to another, in the format that every stock client reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from planner.delta.encode import Effort, EncodedObject, encode_objects, order_objects, part_filters
from planner.delta.operations import Close, Open, Operation, Patch, ReadFrom, SpliceFile, SpliceMeta, write_operations
from planner.delta.pairing import Entry, pair_objects
from planner.delta.parts import Mode, Part, write_part
from planner.delta.paths import relative_path
from planner.delta.superblock import Fallback, PartHeader, Superblock, write_superblock
from planner.history.objects import ObjectSets, walk_files
from planner.history.ostree import OSTreeRepository
from planner.history.ostree_objects import CHECKSUM_BYTES, FileHeader, Xattrs
from planner.history.records import EMPTY, History, ObjectKind, ObjectName

MAX_PART_BYTES = 32 * 10**6
"""Payload of a part at most, before it is packed; the stock generator's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A delta's files: the superblock, and the parts in order (none where the superblock holds them)."""

    superblock: bytes
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a delta is to be like.

    `fallback_bytes`: objects of at least so many bytes that no difference makes smaller are left to be fetched on their
    own (None: none are, so the delta applies without its repository); `is_inline`: the superblock holds the parts;
    `budget_core_s` as in `encode_objects`.
    """

    effort: Effort = Effort.BALANCED
    max_part_bytes: int = MAX_PART_BYTES
    fallback_bytes: int | None = None
    is_inline: bool = False
    budget_core_s: float | None = None


def make_delta(
    repository: OSTreeRepository, objects: ObjectSets, base: str, target: str, settings: Settings | None = None
) -> Delta:
    """The delta from `base` (`EMPTY`: from nothing) to `target`; the same bytes every time.

    Raises:
        RepositoryError: an object is missing or corrupt.
    """
    settings = settings or Settings()
    missing = sorted(objects.missing(base, target) - {ObjectName(ObjectKind.COMMIT, target)})
    content = _Content(repository, objects.history, missing)
    carried, fallbacks = _sort_out(content, _encode_files(content, base, target, settings), settings)
    pieces: list[_Piece] = [*_metadata(repository, missing), *content.links(), *carried]
    made = [_Builder().add_all(group).finish() for group in _groups(pieces, settings.max_part_bytes)]
    files = tuple(write_part(part, part_filters(len(part.payload), settings.effort)) for part, _, _ in made)
    superblock = Superblock(
        base=base,
        target=target,
        # The stock tool takes the time of day; the commit's own makes the same delta the same bytes.
        timestamp=int(objects.history.commits[target].committed_at.timestamp()),
        commit=repository.read_object(ObjectName(ObjectKind.COMMIT, target)),
        parts=tuple(
            PartHeader(
                checksum=hashlib.sha256(data).hexdigest(),
                file_bytes=len(data),
                object_bytes=object_bytes,
                objects=names,
            )
            for data, (_, names, object_bytes) in zip(files, made, strict=True)
        ),
        fallbacks=fallbacks,
        inline=dict(enumerate(files)) if settings.is_inline else {},
    )
    data = write_superblock(superblock, f"{relative_path(base, target)}/")
    return Delta(superblock=data, parts=() if settings.is_inline else files)


# -- what goes in ----------------------------------------------------------------------------------------------------


class _Content:
    """Files of the repository: headers and sizes of the missing ones are kept, contents read when asked for."""

    def __init__(self, repository: OSTreeRepository, history: History, missing: Sequence[ObjectName]) -> None:
        self.repository, self.history = repository, history
        self.headers: dict[str, FileHeader] = {}
        self.sizes: dict[str, int] = {}
        for name in missing:
            if name.kind is ObjectKind.FILE:
                header, content = repository.read_file(name)
                self.headers[name.checksum], self.sizes[name.checksum] = header, len(content)

    def bytes_of(self, checksum: str) -> bytes:
        """A file's content; nothing for a link, so that no difference from one is ever smaller than the whole."""
        return self.repository.read_file(ObjectName(ObjectKind.FILE, checksum))[1]

    def links(self) -> Iterator[_Link]:
        """The missing links, by checksum."""
        for checksum, header in self.headers.items():
            if header.is_link:
                yield _Link(ObjectName(ObjectKind.FILE, checksum), header)

    def files(self, commit: str) -> dict[str, ObjectName]:
        """The files of a commit by path."""
        if commit == EMPTY:
            return {}
        tree = walk_files(self.history, self.history.commits[commit].tree)
        return {path: name for path, name in tree if name.kind is ObjectKind.FILE}

    def wanted(self, files: Mapping[str, ObjectName]) -> list[Entry]:
        """The missing regular files among these, with their sizes."""
        return [
            Entry(path=path, checksum=name.checksum, size_bytes=self.sizes[name.checksum])
            for path, name in files.items()
            if name.checksum in self.headers and not self.headers[name.checksum].is_link
        ]

    def entries(self, files: Mapping[str, ObjectName]) -> list[Entry]:
        """The files with their sizes."""
        return [
            Entry(path=path, checksum=name.checksum, size_bytes=self.repository.object_bytes(name))
            for path, name in files.items()
        ]


def _encode_files(content: _Content, base: str, target: str, settings: Settings) -> list[EncodedObject]:
    """The regular files that the base lacks, in the order in which they pack best.

    What both commits have at the same path is no source: releases seldom copy a file and change the copy, and sizes of
    all files cost more to read than that saves.
    """
    before, after = content.files(base), content.files(target)
    gone = {path: name for path, name in before.items() if after.get(path) != name}
    pairings = pair_objects(content.entries(gone), content.wanted(after), content.bytes_of, content.bytes_of)
    encoded = encode_objects(pairings, content.bytes_of, content.bytes_of, budget_core_s=settings.budget_core_s)
    return order_objects(list(encoded))


def _sort_out(
    content: _Content, encoded: Iterable[EncodedObject], settings: Settings
) -> tuple[list[_File], tuple[Fallback, ...]]:
    """The files that go into parts, and those that are fetched on their own."""
    least = inf if settings.fallback_bytes is None else settings.fallback_bytes
    pieces: list[_File] = []
    fallbacks: list[Fallback] = []
    for one in encoded:
        piece = _File(one, content.headers[one.checksum], content.sizes[one.checksum])
        if one.source is None and piece.size_bytes >= least:
            loose_bytes = content.repository.loose_bytes(piece.name)
            fallbacks.append(Fallback(name=piece.name, loose_bytes=loose_bytes, object_bytes=piece.size_bytes))
        else:
            pieces.append(piece)
    return pieces, tuple(fallbacks)


# -- pieces of a part ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Meta:
    """A folder or its attributes."""

    name: ObjectName
    data: bytes

    @property
    def payload_bytes(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class _Link:
    """A symbolic link."""

    name: ObjectName
    header: FileHeader

    @property
    def payload_bytes(self) -> int:
        return len(self.header.link_target.encode())


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file, whole or as a patch."""

    encoded: EncodedObject
    header: FileHeader
    size_bytes: int

    @property
    def name(self) -> ObjectName:
        return ObjectName(ObjectKind.FILE, self.encoded.checksum)

    @property
    def payload_bytes(self) -> int:
        return len(self.encoded.stream) + CHECKSUM_BYTES


_Piece = _Meta | _Link | _File


def _metadata(repository: OSTreeRepository, missing: Iterable[ObjectName]) -> Iterator[_Meta]:
    for name in missing:
        if name.kind is not ObjectKind.FILE:
            yield _Meta(name, repository.read_object(name))


def _groups(pieces: Sequence[_Piece], max_part_bytes: int) -> Iterator[list[_Piece]]:
    """Pieces in order, as many together as a part may hold; a larger one stands alone."""
    group: list[_Piece] = []
    used = 0
    for piece in pieces:
        if group and used + piece.payload_bytes > max_part_bytes:
            yield group
            group, used = [], 0
        group.append(piece)
        used += piece.payload_bytes
    if group:
        yield group


@dataclass(slots=True)
class _Builder:
    """A part under construction."""

    modes: dict[Mode, int] = field(default_factory=dict)
    xattrs: dict[Xattrs, int] = field(default_factory=dict)
    payload: bytearray = field(default_factory=bytearray)
    operations: list[Operation] = field(default_factory=list)
    names: list[ObjectName] = field(default_factory=list)
    object_bytes: int = 0

    def add_all(self, pieces: Iterable[_Piece]) -> _Builder:
        for piece in pieces:
            self.names.append(piece.name)
            match piece:
                case _Meta(_, data):
                    self.operations.append(SpliceMeta(len(data), self._put(data)))
                    self.object_bytes += len(data)
                case _Link(_, header):
                    self._splice(header, header.link_target.encode())
                case _File(encoded, header, _) if encoded.source is None:
                    self._splice(header, encoded.stream)
                case _File(encoded, header, size_bytes):
                    self._patch(encoded, header, size_bytes)
        return self

    def finish(self) -> tuple[Part, tuple[ObjectName, ...], int]:
        """The part, the objects that it makes, and their size in bytes."""
        part = Part(
            modes=tuple(self.modes),
            xattrs=tuple(self.xattrs),
            # A stock client refuses to write even nothing from a payload of nothing: an empty file alone in its part.
            payload=bytes(self.payload) or b"\0",
            operations=write_operations(self.operations),
        )
        return part, tuple(self.names), self.object_bytes

    def _put(self, data: bytes) -> int:
        at = len(self.payload)
        self.payload += data
        return at

    def _attributes(self, header: FileHeader) -> tuple[int, int]:
        """Places of a file's mode and extended attributes."""
        mode = self.modes.setdefault((header.uid, header.gid, header.mode), len(self.modes))
        return mode, self.xattrs.setdefault(header.xattrs, len(self.xattrs))

    def _splice(self, header: FileHeader, data: bytes) -> None:
        self.operations.append(SpliceFile(*self._attributes(header), len(data), self._put(data)))
        # As the stock tool counts: links are nothing.
        self.object_bytes += 0 if header.is_link else len(data)

    def _patch(self, encoded: EncodedObject, header: FileHeader, size_bytes: int) -> None:
        source_at = self._put(bytes.fromhex(encoded.source or ""))
        stream_at = self._put(encoded.stream)
        self.operations += [
            Open(*self._attributes(header), size_bytes),
            ReadFrom(source_at),
            Patch(stream_at, len(encoded.stream)),
            Close(),
        ]
        self.object_bytes += size_bytes
