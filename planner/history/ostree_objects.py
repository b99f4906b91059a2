"""OSTree's objects as bytes: what a commit, a folder, a folder's attributes and a file say.

Pure: paths and reading are in `ostree.py`. Numbers inside the variants are big endian.

Source: libostree, `ostree-core.h` (OSTREE_COMMIT_GVARIANT_STRING and its neighbours), `ostree-core.c`.
"""

from __future__ import annotations

import hashlib
import stat
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from planner.errors import RepositoryError
from planner.history.gvariant import GVariantError, parse, swap
from planner.history.records import Commit, ObjectKind, ObjectName, Tree

COMMIT_TYPE = "(a{sv}aya(say)sstayay)"
DIRTREE_TYPE = "(a(say)a(sayay))"
DIRMETA_TYPE = "(uuua(ayay))"
FILE_HEADER_TYPE = "(uuuusa(ayay))"
ZLIB_HEADER_TYPE = "(tuuuusa(ayay))"

MAX_METADATA_BYTES = 128 * 2**20
"""OSTree's own limit for commits and trees (OSTREE_MAX_METADATA_SIZE)."""

MAX_FILE_BYTES = 4 * 2**30
"""Larger files are not read: one object's content is held in memory."""

_HEADER_PREFIX_BYTES = 8
_MAX_HEADER_BYTES = 2**20  # a symlink's target and extended attributes; Linux keeps both below 64 KiB each
_CHECKSUM_BYTES = 32
_BITS_OF_FORMAT = stat.S_IFMT(0xFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What OSTree keeps about a file besides its content."""

    uid: int
    gid: int
    mode: int
    link_target: str
    xattrs: tuple[tuple[bytes, bytes], ...]


def decode_commit(data: bytes, checksum: str, *, where: str = "") -> Commit:
    """A commit object.

    Raises:
        RepositoryError: the bytes are no commit; `where` is named.
    """
    metadata, parent, _, subject, _, timestamp, tree, tree_meta = _parse(COMMIT_TYPE, data, where)
    try:
        committed_at = datetime.fromtimestamp(swap(timestamp, 8), tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise RepositoryError("has an impossible date", path=where, got=swap(timestamp, 8)) from error
    return Commit(
        checksum=checksum,
        parent=_checksum(parent, where) if parent else None,
        committed_at=committed_at,
        tree=_checksum(tree, where),
        tree_meta=_checksum(tree_meta, where),
        subject=subject,
        metadata=metadata,
    )


def decode_tree(data: bytes, *, where: str = "") -> Tree:
    """A dirtree object; whether its names are safe is the reader's to check.

    Raises:
        RepositoryError: the bytes are no dirtree, or a name is there twice.
    """
    files, dirs = _parse(DIRTREE_TYPE, data, where)
    tree = Tree(
        files={name: _checksum(checksum, where) for name, checksum in files},
        dirs={name: _checksum(checksum, where) for name, checksum, _ in dirs},
        metas=frozenset(_checksum(meta, where) for _, _, meta in dirs),
    )
    if len({*tree.files, *tree.dirs}) != len(files) + len(dirs):
        raise RepositoryError("has a name twice", path=where)
    return tree


def check_metadata(name: ObjectName, data: bytes, where: str) -> None:
    """Check a commit, dirtree or dirmeta object against its checksum (and a dirmeta against its type).

    Raises:
        RepositoryError: it is corrupt.
    """
    if hashlib.sha256(data).hexdigest() != name.checksum:
        raise RepositoryError("is corrupt: its content does not have its checksum", path=where)
    if name.kind is ObjectKind.META:
        _parse(DIRMETA_TYPE, data, where)


def unpack_file(data: bytes, where: str) -> tuple[FileHeader, bytes]:
    """A `.filez` object: the file's header and content (nothing for a link).

    Raises:
        RepositoryError: it is malformed, or holds more or less than it says.
    """
    size, header, rest = _split_header(data, where)
    if size > MAX_FILE_BYTES:
        raise RepositoryError("is too large", path=where, claimed_bytes=size, max_bytes=MAX_FILE_BYTES)
    if not stat.S_ISREG(header.mode):
        return header, b""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(rest, size + 1)
    except zlib.error as error:
        raise RepositoryError("is corrupt", path=where, reason=str(error)) from error
    if len(content) != size:
        raise RepositoryError("is corrupt: it has another size than it says", path=where, claimed_bytes=size)
    return header, content


def unpacked_bytes(data: bytes, where: str) -> int:
    """The content's size that the first bytes of a `.filez` object tell."""
    return _split_header(data, where)[0]


def _split_header(data: bytes, where: str) -> tuple[int, FileHeader, bytes]:
    header_bytes = int.from_bytes(data[:4], "big")
    if header_bytes > min(_MAX_HEADER_BYTES, len(data) - _HEADER_PREFIX_BYTES):
        raise RepositoryError("is corrupt: it is cut off in its header", path=where)
    end = _HEADER_PREFIX_BYTES + header_bytes
    size, uid, gid, mode, _, target, xattrs = _parse(ZLIB_HEADER_TYPE, data[_HEADER_PREFIX_BYTES:end], where)
    header = FileHeader(
        uid=swap(uid, 4),
        gid=swap(gid, 4),
        mode=swap(mode, 4),
        link_target=target,
        xattrs=tuple(xattrs),
    )
    return swap(size, 8), header, data[end:]


def decode_user_metadata(data: bytes, where: str) -> tuple[int, int, int, tuple[tuple[bytes, bytes], ...]]:
    """The owner, group, mode and extended attributes that bare-user repositories keep in `user.ostreemeta`."""
    uid, gid, mode, xattrs = _parse(DIRMETA_TYPE, data, where)
    return swap(uid, 4), swap(gid, 4), swap(mode, 4), tuple(xattrs)


def file_checksum(header: FileHeader, content: bytes) -> str:
    """The name of a file object: sha256 over its framed header and its content.

    Source: libostree, `ostree-core.c`, `ostree_checksum_file_from_input`.
    """
    variant = _serialise_header(header)
    digest = hashlib.sha256(len(variant).to_bytes(4, "big") + bytes(4) + variant)
    digest.update(content)
    return digest.hexdigest()


def _serialise_header(header: FileHeader) -> bytes:
    """The `(uuuusa(ayay))` of a file; only the string's end needs an offset in the outer tuple."""
    fixed = b"".join(number.to_bytes(4, "big") for number in (header.uid, header.gid, header.mode, 0))
    target = header.link_target.encode() + b"\0"
    pairs = [_frame([name, value], ends=1) for name, value in header.xattrs]
    body = fixed + target
    return _with_offsets(body + _frame(pairs, ends=len(pairs)), [len(body)])


def _frame(pieces: list[bytes], *, ends: int) -> bytes:
    """Pieces one after another, then the ends of the first `ends` of them (as an array, or a tuple of two)."""
    places, at = [], 0
    for piece in pieces:
        at += len(piece)
        places.append(at)
    return _with_offsets(b"".join(pieces), places[:ends])


def _with_offsets(body: bytes, places: list[int]) -> bytes:
    for width in (1, 2, 4, 8):
        total = len(body) + width * len(places)
        if total < 256**width:
            return body + b"".join(place.to_bytes(width, "little") for place in places)
    raise AssertionError("8 bytes hold every size")


def _parse(type_string: str, data: bytes, where: str) -> Any:
    try:
        return parse(type_string, data)
    except GVariantError as error:
        raise RepositoryError("is corrupt", path=where, reason=str(error)) from error


def _checksum(data: bytes, where: str) -> str:
    if len(data) != _CHECKSUM_BYTES:
        raise RepositoryError("holds a checksum of the wrong size", path=where, got_bytes=len(data))
    return data.hex()
