"""The bytes of a store's objects. Equal objects have equal bytes, so a checksum stands for the content.

    file      `file 644`, `file 755` or `link`, a newline, then the content or the link's target
    dirtree   {"dirs":{name:checksum},"files":{name:checksum}}
    commit    {"committed_at":"2024-01-10T00:00:00Z","metadata":{},"parent":null,"subject":"","tree":checksum}

Trees and commits are JSON with sorted keys, no spaces, UTF-8 as it is and no newline at the end. Unlike OSTree
there are no owners, extended attributes or folder modes, hence no dirmeta objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, TypeVar

import msgspec

from planner.errors import InputError, RepositoryError
from planner.history.records import Commit, ObjectName, Tree, is_checksum

MetadataValue = str | int | bool | list[str] | None
"""What a commit's metadata may hold; its keys are text."""

# The longest name that Linux file systems take, in bytes of UTF-8; a longer one could not be checked out.
_MAX_NAME_BYTES = 255

# A ref is a file below the repository, whose own path needs some of the 4,096 bytes that Linux allows.
_MAX_REF = 1000

_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")


class FileKind(Enum):
    """What a file object makes; the values are its header."""

    PLAIN = b"file 644"
    EXECUTABLE = b"file 755"
    LINK = b"link"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileObject:
    """A file: its kind, and its content (of a link: the target's bytes)."""

    kind: FileKind = FileKind.PLAIN
    content: bytes


class _TreeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dirs: dict[str, str]
    files: dict[str, str]


class _CommitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    committed_at: Annotated[datetime, msgspec.Meta(tz=True)]
    metadata: dict[str, MetadataValue]
    parent: str | None
    subject: str
    tree: str


_Body = TypeVar("_Body", _TreeBody, _CommitBody)


def is_safe_name(name: str) -> bool:
    r"""Whether `name` can only mean an entry of the folder that it is in.

    >>> [is_safe_name(name) for name in ("a", "...", ".x", "", ".", "..", "a/b", "/", "a\0")]
    [True, True, True, False, False, False, False, False, False]
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    try:
        return len(name.encode()) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return False


def is_ref_name(text: str) -> bool:
    """Whether `text` can name a ref: words separated by '/', none starting with a dot or longer than a file name.

    >>> [is_ref_name(text) for text in ("main", "os/x86_64/stable", "", "/main", "a//b", "a/../b", ".tmp")]
    [True, True, False, False, False, False, False]
    """
    return (
        _REF.fullmatch(text) is not None and max(map(len, text.split("/"))) <= _MAX_NAME_BYTES and len(text) <= _MAX_REF
    )


def relative_path(name: ObjectName) -> str:
    """Where an object is, from the store's folder.

    Raises:
        RepositoryError: the checksum is not one (it could lead anywhere).
    """
    if not is_checksum(name.checksum):
        raise RepositoryError("is not the name of an object", got=str(name))
    return f"objects/{name.checksum[:2]}/{name.checksum[2:]}.{name.kind.value}"


def encode_file(file: FileObject) -> bytes:
    r"""A file object's bytes.

    >>> encode_file(FileObject(content=b"hello"))
    b'file 644\nhello'
    """
    return b"%b\n%b" % (file.kind.value, file.content)


def decode_file(data: bytes, *, where: str = "") -> FileObject:
    """The file that an object makes; `where` is named in the error.

    Raises:
        RepositoryError: the bytes are not a file object.
    """
    header, _, content = data.partition(b"\n")
    try:
        kind = FileKind(header)
    except ValueError as error:
        raise RepositoryError("is not a file object", path=where, header=header[:40]) from error
    if kind is FileKind.LINK and (not content or b"\0" in content):
        raise RepositoryError("is a link with an impossible target", path=where, got=content[:40])
    return FileObject(kind=kind, content=content)


def encode_tree(tree: Tree) -> bytes:
    """A tree object's bytes; names are expected to be checked (`is_safe_name`).

    >>> encode_tree(Tree(files={"b": "22", "a": "11"}, dirs={}))
    b'{"dirs":{},"files":{"a":"11","b":"22"}}'
    """
    return msgspec.json.encode(_TreeBody(dirs=dict(tree.dirs), files=dict(tree.files)), order="sorted")


def decode_tree(data: bytes, *, where: str = "") -> Tree:
    """The tree that an object describes. Names and checksums are left to the reader, which knows them all.

    Raises:
        RepositoryError: the bytes are not a tree object, or a name is both a file and a folder.
    """
    body = _decode(data, _TreeBody, where)
    if not body.files.keys().isdisjoint(body.dirs):
        both = min(body.files.keys() & body.dirs)
        raise RepositoryError("has a name that is both a file and a folder", path=where, name=both)
    return Tree(files=body.files, dirs=body.dirs)


def encode_commit(
    tree: str, *, committed_at: datetime, parent: str | None, subject: str, metadata: Mapping[str, object]
) -> bytes:
    """A commit object's bytes; the date is kept in UTC and in whole seconds, as OSTree does.

    Raises:
        InputError: the date has no time zone, or the metadata holds other than `MetadataValue`.
    """
    if committed_at.tzinfo is None:
        raise InputError("has no time zone", path="committed_at", got=str(committed_at))
    try:
        kept = msgspec.convert(dict(metadata), dict[str, MetadataValue], strict=True)
        moment = committed_at.astimezone(UTC).replace(microsecond=0)
        body = _CommitBody(committed_at=moment, metadata=kept, parent=parent, subject=subject, tree=tree)
        return msgspec.json.encode(body, order="sorted")
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise InputError("cannot be kept in a commit", subject=subject, cause=str(error)) from error


def decode_commit(data: bytes, checksum: str, *, where: str = "") -> Commit:
    """The commit that an object describes.

    Raises:
        RepositoryError: the bytes are not a commit object.
    """
    body = _decode(data, _CommitBody, where)
    for field, value in (("tree", body.tree), ("parent", body.parent)):
        if value is not None and not is_checksum(value):
            raise RepositoryError("does not hold a checksum", path=f"{where}:{field}", got=value)
    return Commit(
        checksum=checksum,
        parent=body.parent,
        committed_at=_in_utc(body.committed_at, where),
        tree=body.tree,
        subject=body.subject,
        metadata=body.metadata,
    )


def _in_utc(moment: datetime, where: str) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise RepositoryError("is out of range", path=f"{where}:committed_at", got=str(moment)) from error


def _decode(data: bytes, kind: type[_Body], where: str) -> _Body:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        noun = "tree" if kind is _TreeBody else "commit"
        raise RepositoryError(f"is not a {noun} object", path=where, cause=str(error)) from error
