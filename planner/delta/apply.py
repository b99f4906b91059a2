"""What a client makes of a part: the operations run, every object checked against its checksum.

Source: libostree, `ostree-repo-static-delta-processing.c`.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from planner.delta.bspatch import apply_patch
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
from planner.delta.parts import Part, attributes_of, cut
from planner.errors import RepositoryError
from planner.history.ostree_objects import CHECKSUM_BYTES, MAX_FILE_BYTES, FileHeader, file_checksum
from planner.history.records import ObjectKind, ObjectName

ReadFile = Callable[[str], bytes]
"""The content of a file object that the client has, by checksum; raises RepositoryError where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeObject:
    """An object that a part makes: a file with its header (content empty for links), or another object's bytes."""

    name: ObjectName
    content: bytes
    header: FileHeader | None = None


@dataclass(slots=True)
class _Desk:
    """The file under construction and the read source."""

    header: FileHeader | None = None
    size_bytes: int = 0
    made_bytes: int = 0
    pieces: list[bytes] = field(default_factory=list)
    source: bytes | None = None


def apply_part(
    part: Part,
    objects: Sequence[ObjectName],
    read_file: ReadFile,
    *,
    most_bytes: int = MAX_FILE_BYTES,
    where: str = "",
) -> Iterator[MadeObject]:
    """The objects that a part makes, in its order, each checked; `most_bytes` bounds all of them together.

    `read_file` is asked for objects that the client had before, and for ones that this part made: a part may patch what
    it has just made.

    Raises:
        RepositoryError: an operation is impossible, or what it makes has another checksum.
    """
    desk, left, made = _Desk(), most_bytes, 0
    for operation in read_operations(
        part.operations, [name.kind is not ObjectKind.FILE for name in objects], where=where
    ):
        found = _run(operation, part, desk, read_file, left, where)
        if found is None:
            continue
        header, content = found
        left -= len(content)
        yield _checked(objects[made], header, content, where)
        made += 1
    if made != len(objects) or desk.header is not None:
        raise RepositoryError("makes fewer objects than its header lists", path=where, got=made, listed=len(objects))


def _run(
    operation: Operation, part: Part, desk: _Desk, read_file: ReadFile, left: int, where: str
) -> tuple[FileHeader | None, bytes] | None:
    """One operation; the header and content of the object that it completes."""
    match operation:
        case SpliceMeta(size_bytes, offset):
            _expect(desk.header is None, "makes an object within a file", where)
            desk.source = None
            return None, cut(part.payload, offset, _bounded(size_bytes, left, where), where)
        case SpliceFile(mode, xattrs, size_bytes, offset):
            _expect(desk.header is None, "makes an object within a file", where)
            desk.source = None
            content = cut(part.payload, offset, _bounded(size_bytes, left, where), where)
            return _header(part, mode, xattrs, content, where), content
        case Open(mode, xattrs, size_bytes):
            _expect(desk.header is None, "opens a file within a file", where)
            desk.header = _header(part, mode, xattrs, b"", where)
            _expect(not desk.header.is_link, "makes a link of pieces", where)
            desk.size_bytes, desk.made_bytes, desk.pieces = _bounded(size_bytes, left, where), 0, []
        case ReadFrom(offset):
            desk.source = read_file(cut(part.payload, offset, CHECKSUM_BYTES, where).hex())
        case ReadNothing():
            desk.source = None
        case Write(size_bytes, offset):
            _append(desk, cut(part.payload if desk.source is None else desk.source, offset, size_bytes, where), where)
        case Patch(offset, size_bytes):
            _expect(desk.source is not None, "patches nothing", where)
            patch = cut(part.payload, offset, size_bytes, where)
            _append(desk, apply_patch(desk.source or b"", patch, desk.size_bytes, where=where), where)
        case Close():
            return _close(desk, where)
    return None


def _append(desk: _Desk, piece: bytes, where: str) -> None:
    _expect(desk.header is not None, "writes to no file", where)
    desk.made_bytes += len(piece)
    _expect(desk.made_bytes <= desk.size_bytes, "writes more than the file's size", where)
    desk.pieces.append(piece)


def _close(desk: _Desk, where: str) -> tuple[FileHeader, bytes]:
    header = desk.header
    if header is None or desk.made_bytes != desk.size_bytes:
        raise RepositoryError("closes a file that is not complete", path=where)
    content = b"".join(desk.pieces)
    desk.header, desk.source, desk.pieces = None, None, []
    return header, content


def _header(part: Part, mode: int, xattrs: int, link_target: bytes, where: str) -> FileHeader:
    (uid, gid, bits), held = attributes_of(part, mode, xattrs, where)
    is_link = stat.S_ISLNK(bits)
    _expect(is_link or stat.S_ISREG(bits), "makes neither a file nor a link", where)
    try:
        target = link_target.decode() if is_link else ""
    except UnicodeDecodeError as error:
        raise RepositoryError("makes a link whose target is not UTF-8", path=where) from error
    return FileHeader(uid=uid, gid=gid, mode=bits, link_target=target, xattrs=held)


def _checked(name: ObjectName, header: FileHeader | None, content: bytes, where: str) -> MadeObject:
    if header is None:
        checksum = hashlib.sha256(content).hexdigest()
    else:
        content = b"" if header.is_link else content
        checksum = file_checksum(header, content)
    if checksum != name.checksum:
        raise RepositoryError("makes an object with another checksum", path=where, expected=str(name), got=checksum)
    return MadeObject(name=name, content=content, header=header)


def _bounded(size_bytes: int, left: int, where: str) -> int:
    if size_bytes > left:
        raise RepositoryError("makes too much", path=where, bytes=size_bytes, left_bytes=left)
    return size_bytes


def _expect(is_true: bool, reason: str, where: str) -> None:
    if not is_true:
        raise RepositoryError(reason, path=where)
