"""A recipe's part: the payload, and the operations that make the objects of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from planner.delta.blocks import Block, pack_block, wrap_block
from planner.delta.bsdiff import Content
from planner.delta.contents import Contents
from planner.delta.copies import Copies, copy_operations, read_copies
from planner.delta.difference_pool import DifferencePool
from planner.delta.encode import Effort, StreamKind, part_filters
from planner.delta.lzma2 import encode, is_sparse
from planner.delta.operations import Close, Open, Operation, Patch, ReadFrom, SpliceFile, SpliceMeta, write_operations
from planner.delta.parts import Mode, Part, write_part
from planner.delta.recipes import Piece, Recipe
from planner.history.ostree_objects import FileHeader, Xattrs
from planner.history.records import ObjectKind

_WHOLES = (StreamKind.WHOLE_TEXT, StreamKind.WHOLE_BINARY)
_COPIES = (StreamKind.COPIES,)
_STREAMS = (StreamKind.TEXT_DIFFERENCE, StreamKind.BINARY_DIFFERENCE)
"""The sections of a payload, each of which may be a block; the order is that of the kinds, and so of the pieces."""


def pack_recipe(recipe: Recipe, contents: Contents, pool: DifferencePool, effort: Effort) -> bytes:
    """The file of the part that makes a recipe's pieces; the same bytes every time.

    Raises:
        RepositoryError: an object is missing or corrupt, or a difference is no longer in the pool.
    """
    builder = PartBuilder()
    for piece in recipe.pieces:
        if piece.source is not None:
            builder.name_source(piece.source)
    plain, files = split_pieces(recipe.pieces, contents)
    for piece in plain:
        _add_plain(builder, piece, contents)
    cuts = [len(builder.payload)]
    for section in (_WHOLES, _COPIES, _STREAMS):
        for piece in files:
            if _kind(piece) in section:
                _add_file(builder, piece, contents, pool)
        cuts.append(len(builder.payload))
    # Wholes apart from differences, for later hops replace them; new bytes of copies apart from bsdiff streams only
    # where these are mostly zeros: otherwise they are packed alike, and best together.
    if not is_sparse(builder.payload[cuts[2] :]):
        del cuts[2]
    part = builder.finish()
    # The payload stands twice until here, and packing takes as much again.
    del builder
    return write_part(part, packer(effort), cuts=cuts)


def packer(effort: Effort) -> Callable[[bytes | memoryview], Block]:
    """How blocks of parts are packed: differences that are mostly zeros by our own encoder, all else by liblzma."""

    def pack(content: bytes | memoryview) -> Block:
        filters = part_filters(len(content), effort)
        if not is_sparse(content):
            return pack_block(content, filters)
        dictionary_bytes = filters[0]["dict_size"]
        return wrap_block(content, encode(content, dictionary_bytes=dictionary_bytes), dictionary_bytes)

    return pack


def split_pieces(pieces: Iterable[Piece], contents: Contents) -> tuple[list[Piece], list[Piece]]:
    """The folders, attributes and links, which later hops replace; and the regular files."""
    plain: list[Piece] = []
    files: list[Piece] = []
    for piece in pieces:
        is_file = piece.name.kind is ObjectKind.FILE and not contents.header(piece.name.checksum).is_link
        (files if is_file else plain).append(piece)
    return plain, files


def object_bytes(recipe: Recipe, contents: Contents) -> int:
    """The size of the objects that a recipe's part makes; links count nothing, as the stock tool counts."""
    return sum(
        contents.size_bytes(piece.name.checksum) if piece.name.kind is ObjectKind.FILE else piece.payload_bytes
        for piece in recipe.pieces
    )


@dataclass(slots=True)
class PartBuilder:
    """A part under construction."""

    modes: dict[Mode, int] = field(default_factory=dict)
    xattrs: dict[Xattrs, int] = field(default_factory=dict)
    payload: bytearray = field(default_factory=bytearray)
    sources: dict[str, int] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def splice_metadata(self, data: bytes) -> None:
        """Make a folder or its attributes."""
        self.operations.append(SpliceMeta(len(data), self.put(data)))

    def splice(self, header: FileHeader, data: Content) -> None:
        """Make a whole file, or a link of its target."""
        self.operations.append(SpliceFile(*self.attributes(header), len(data), self.put(data)))

    def patch(self, header: FileHeader, size_bytes: int, source: str, stream: bytes) -> None:
        """Make a file of another one's content by a bsdiff stream."""
        stream_at = self.put(stream)
        self.operations += [
            Open(*self.attributes(header), size_bytes),
            ReadFrom(self.name_source(source)),
            Patch(stream_at, len(stream)),
            Close(),
        ]

    def copy(self, header: FileHeader, size_bytes: int, source: str, copies: Copies) -> None:
        """Make a file of copies of another one's content and of new bytes."""
        literals_at = self.put(copies.literals)
        self.operations += [
            Open(*self.attributes(header), size_bytes),
            *copy_operations(copies, self.name_source(source), literals_at),
            Close(),
        ]

    def name_source(self, source: str) -> int:
        """The place of a source's checksum in the payload."""
        if source not in self.sources:
            self.sources[source] = self.put(bytes.fromhex(source))
        return self.sources[source]

    def put(self, data: Content) -> int:
        """Append to the payload; the place."""
        at = len(self.payload)
        self.payload += data
        return at

    def attributes(self, header: FileHeader) -> tuple[int, int]:
        """Places of a file's mode and extended attributes."""
        mode = self.modes.setdefault((header.uid, header.gid, header.mode), len(self.modes))
        return mode, self.xattrs.setdefault(header.xattrs, len(self.xattrs))

    def finish(self) -> Part:
        """The part."""
        return Part(
            modes=tuple(self.modes),
            xattrs=tuple(self.xattrs),
            # A stock client refuses to write even nothing from a payload of nothing: an empty file alone in its part.
            payload=bytes(self.payload) or b"\0",
            operations=write_operations(self.operations),
        )


def _add_plain(builder: PartBuilder, piece: Piece, contents: Contents) -> None:
    if piece.name.kind is not ObjectKind.FILE:
        builder.splice_metadata(contents.read_metadata(piece.name))
    else:
        header = contents.header(piece.name.checksum)
        builder.splice(header, header.link_target.encode())


def _add_file(builder: PartBuilder, piece: Piece, contents: Contents, pool: DifferencePool) -> None:
    checksum = piece.name.checksum
    header = contents.header(checksum)
    if piece.source is None:
        builder.splice(header, contents.read(checksum))
    else:
        stream = pool.read_stream(piece.source, checksum)
        if _kind(piece) is StreamKind.COPIES:
            builder.copy(header, contents.size_bytes(checksum), piece.source, read_copies(stream))
        else:
            builder.patch(header, contents.size_bytes(checksum), piece.source, stream)


def _kind(piece: Piece) -> StreamKind:
    """What the stream of a file's piece is: the second of what orders it (see `encode.packing_order`)."""
    return StreamKind(int(piece.order[1]))
