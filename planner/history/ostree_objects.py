"""OSTree's objects as bytes: what a commit, a folder, a folder's attributes and a file say.

Pure: paths and reading are in `ostree.py`. Numbers inside the variants are big endian.

Source: libostree, `ostree-core.h` (OSTREE_COMMIT_GVARIANT_STRING and its neighbours), `ostree-core.c`.
"""

from __future__ import annotations

import hashlib
import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from planner.errors import RepositoryError
from planner.history.gvariant import GVariantError, parse, swap
from planner.history.gvariant_write import frame, serialise
from planner.history.records import Commit, ObjectKind, ObjectName, Tree

COMMIT_TYPE = "(a{sv}aya(say)sstayay)"
DIRTREE_TYPE = "(a(say)a(sayay))"
DIRMETA_TYPE = "(uuua(ayay))"
ZLIB_HEADER_TYPE = "(tuuuusa(ayay))"

MAX_METADATA_BYTES = 128 * 2**20
"""OSTree's own limit for commits and trees (OSTREE_MAX_METADATA_SIZE)."""

MAX_FILE_BYTES = 2**32
"""Larger files are not read as a whole."""

MAX_HEADER_BYTES = 10**6
"""The most that comes before a file's content: its owner, its link target and its extended attributes. Linux keeps
the last two below 64 KiB each; a larger claim is hostile."""

# The length of the header, big endian, and as many zero bytes, so that the header starts at a multiple of 8.
_PREFIX_BYTES = 8
CHECKSUM_BYTES = 32
"""A checksum inside an object or a delta."""

# What an archive repository compresses with unless its config says otherwise
# (`archive.zlib-level` in `man ostree.repo-config`).
_ZLIB_LEVEL = 6

Xattrs = tuple[tuple[bytes, bytes], ...]
"""Extended attributes by name; a name ends in NUL. The order is part of a file's checksum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What OSTree keeps about a file besides its content; `link_target` is empty unless it is a link."""

    uid: int
    gid: int
    mode: int
    link_target: str = ""
    xattrs: Xattrs = ()

    @property
    def is_link(self) -> bool:
        """Whether the file is a symbolic link."""
        return stat.S_ISLNK(self.mode)


# -- commits and folders ---------------------------------------------------------------------------------------------


def decode_commit(data: bytes, checksum: str, *, where: str = "") -> Commit:
    """The commit that an object describes; its date is in UTC.

    Raises:
        RepositoryError: the bytes are no commit; `where` is named.
    """
    metadata, parent, _, subject, _, timestamp, tree, tree_meta = _parse(COMMIT_TYPE, data, where)
    seconds = swap(timestamp, 8)
    try:
        committed_at = datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise RepositoryError("has an impossible date", path=where, got=seconds) from error
    return Commit(
        checksum=checksum,
        parent=read_checksum(parent, where) if parent else None,
        committed_at=committed_at,
        tree=read_checksum(tree, where),
        tree_meta=read_checksum(tree_meta, where),
        subject=subject,
        metadata=metadata,
    )


def decode_tree(data: bytes, *, where: str = "") -> Tree:
    """The folder that a dirtree object describes; whether its names are safe is the reader's to check.

    Raises:
        RepositoryError: the bytes are no dirtree, or a name is there twice.
    """
    files, dirs = _parse(DIRTREE_TYPE, data, where)
    tree = Tree(
        files={name: read_checksum(checksum, where) for name, checksum in files},
        dirs={name: read_checksum(checksum, where) for name, checksum, _ in dirs},
        metas=frozenset(read_checksum(meta, where) for _, _, meta in dirs),
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


# -- files -----------------------------------------------------------------------------------------------------------


def unpack_file(data: bytes, where: str) -> tuple[FileHeader, bytes]:
    """The header and the content (nothing for a link) of a `.filez` object.

    Never more is decompressed than the header claims, and one byte.

    Raises:
        RepositoryError: it is malformed, of a kind that OSTree does not keep, or holds more or less than it says.
    """
    content_bytes, header, packed = _split_header(data, where)
    if header.is_link:
        return header, b""
    if content_bytes > MAX_FILE_BYTES:
        raise RepositoryError("is too large", path=where, claimed_bytes=content_bytes, max_bytes=MAX_FILE_BYTES)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(packed, content_bytes + 1)
    except zlib.error as error:
        raise RepositoryError("is corrupt", path=where, reason=str(error)) from error
    if len(content) != content_bytes or not inflate.eof:
        raise RepositoryError("is corrupt: it has another size than it says", path=where, claimed_bytes=content_bytes)
    return header, content


def unpack_header(head: bytes, where: str) -> tuple[FileHeader, int]:
    """The header and the size of the content (of a link: none) that the start of a `.filez` object tells.

    Raises:
        RepositoryError: it is malformed, or the header is longer than `head`.
    """
    content_bytes, header, _ = _split_header(head, where)
    return header, 0 if header.is_link else content_bytes


def head_bytes(prefix: bytes) -> int:
    """How many bytes come before the packed content, from the first four of a `.filez` object."""
    return _PREFIX_BYTES + int.from_bytes(prefix[:4], "big")


def packed_bytes(header: FileHeader, chunks: Iterable[bytes]) -> int:
    """The size of the `.filez` object that an archive repository would keep for a file with this content."""
    before = _PREFIX_BYTES + len(_serialise_header(header, numbers=b"\0" * 8))
    if header.is_link:
        return before
    deflate = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return before + sum(len(deflate.compress(chunk)) for chunk in chunks) + len(deflate.flush())


def decode_user_metadata(data: bytes, where: str) -> tuple[int, int, int, Xattrs]:
    """The owner, group, mode and extended attributes that bare-user repositories keep in `user.ostreemeta`.

    Raises:
        RepositoryError: it is malformed.
    """
    uid, gid, mode, xattrs = _parse(DIRMETA_TYPE, data, where)
    return swap(uid, 4), swap(gid, 4), swap(mode, 4), tuple(xattrs)


def file_checksum(header: FileHeader, content: bytes) -> str:
    """The name of a file object: sha256 over its framed header and its content.

    Source: libostree, `ostree-core.c`, `ostree_checksum_file_from_input`.
    """
    digest = start_checksum(header)
    digest.update(content)
    return digest.hexdigest()


def start_checksum(header: FileHeader) -> hashlib._Hash:
    """`file_checksum` before the content."""
    variant = _serialise_header(header)
    return hashlib.sha256(len(variant).to_bytes(4, "big") + bytes(4) + variant)


def _split_header(data: bytes, where: str) -> tuple[int, FileHeader, bytes]:
    end = head_bytes(data)
    if end > min(MAX_HEADER_BYTES, len(data)) or any(data[4:_PREFIX_BYTES]):
        raise RepositoryError("is corrupt: its header is cut off", path=where)
    fields = _parse(ZLIB_HEADER_TYPE, data[_PREFIX_BYTES:end], where)
    content_bytes, uid, gid, mode, _, target, xattrs = fields
    header = FileHeader(
        uid=swap(uid, 4), gid=swap(gid, 4), mode=swap(mode, 4), link_target=target, xattrs=tuple(xattrs)
    )
    if not (stat.S_ISREG(header.mode) or header.is_link):
        raise RepositoryError("is neither a regular file nor a link", path=where, mode=oct(header.mode))
    return swap(content_bytes, 8), header, data[end:]


# -- writing a header, for its checksum ------------------------------------------------------------------------------


def _serialise_header(header: FileHeader, numbers: bytes = b"") -> bytes:
    """The `(uuuusa(ayay))` of a file, or with 8 bytes of size as `numbers` the `(tuuuusa(ayay))` of an archive."""
    owner = b"".join(number.to_bytes(4, "big") for number in (header.uid, header.gid, header.mode, 0))
    body = numbers + owner + header.link_target.encode() + b"\0"
    return frame(body + serialise("a(ayay)", header.xattrs), [len(body)])


def _parse(type_string: str, data: bytes, where: str) -> Any:
    try:
        return parse(type_string, data)
    except GVariantError as error:
        raise RepositoryError("is corrupt", path=where, reason=str(error)) from error


def read_checksum(data: bytes, where: str) -> str:
    """A checksum in hex digits from its bytes.

    Raises:
        RepositoryError: they are not 32.
    """
    if len(data) != CHECKSUM_BYTES:
        raise RepositoryError("holds a checksum of the wrong size", path=where, got_bytes=len(data))
    return data.hex()
