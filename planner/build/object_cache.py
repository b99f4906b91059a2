"""Objects of a repository that is reached by a URL, checked as they come in and kept in a folder of this machine.

    <cache>/objects/ab/<62 hex>.<kind>    as in the repository at the URL
    <cache>/incoming/                     on their way

Nothing that the network says names a file: paths are made of checksums, and a file gets its name only once its content
has that checksum. The folder may be removed at any time; what is needed is fetched again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from planner.build.tools import run_tool
from planner.errors import InputError, RepositoryError
from planner.history import encoding, ostree_objects, store
from planner.history.files import full_disk_as_error, read_bounded, settle
from planner.history.large_files import check_chunks, inflate_chunks
from planner.history.ostree_objects import FileHeader
from planner.history.reading import DecodeCommit, DecodeTree
from planner.history.records import ObjectKind, ObjectName, is_checksum
from planner.history.store import Store

# One request brings most objects whole; the pieces of a larger one are bounded by its size at the URL.
_PIECE_BYTES = 16 * 2**20
# Requests at a time, each of which is waited for: 8 pieces are 130 MB.
_REQUESTS = 8
_MOST_OBJECTS = 10**7
_MAX_SIGNATURES_BYTES = 10**7
_TOOL_TIMEOUT_S = 60.0


class RepositoryKind(StrEnum):
    """What a repository at a URL is."""

    STORE = "store"
    OSTREE = "ostree"


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """The cache, in `folder`, of the repository at `url`."""

    folder: Path
    url: str
    kind: RepositoryKind

    def make_repository(self, commits: Iterable[str], into: Path) -> None:
        """A repository in a new folder that holds these commits and nothing else, as links to what is kept here.

        Raises:
            InputError: the URL is of no known kind, or the library for it is not installed.
            RepositoryError: an object is missing at the URL, or corrupt there.
            SpaceError: the disk is full.
            ToolError: a program is missing.
        """
        wanted = list(commits)
        with full_disk_as_error(self.folder):
            (self.folder / "incoming").mkdir(parents=True, exist_ok=True)
            source = _Source.open(self.url, self.kind)
            with self._locked():
                names = self._fetch(source, wanted)
        _create(self.kind, into)
        for name in names:
            place = into / _locate(name, self.kind)
            place.parent.mkdir(exist_ok=True)
            os.link(self.folder / _locate(name, self.kind), place)
        for commit in wanted:
            if self.kind is RepositoryKind.STORE:
                (into / "refs" / commit).write_text(f"{commit}\n")
            elif signatures := source.fetch_signatures(commit):
                # Not kept here: they may be added to, and have no checksum. Who verifies commits verifies them.
                (into / f"{_locate(ObjectName(ObjectKind.COMMIT, commit), self.kind)}meta").write_bytes(signatures)

    def _fetch(self, source: _Source, commits: Iterable[str]) -> list[ObjectName]:
        """Bring in what is lacking of these commits; all that they are made of."""
        form = _FORMS[self.kind]
        found: dict[ObjectName, None] = {}
        trees: list[str] = []
        for checksum in commits:
            commit = form.decode_commit(self._read(source, ObjectName(ObjectKind.COMMIT, checksum)), checksum)
            trees.append(commit.tree)
            found[ObjectName(ObjectKind.COMMIT, checksum)] = None
            if commit.tree_meta is not None:
                found[ObjectName(ObjectKind.META, commit.tree_meta)] = None
        while trees:
            name = ObjectName(ObjectKind.TREE, trees.pop())
            if name in found:
                continue
            found[name] = None
            if len(found) > _MOST_OBJECTS:
                raise RepositoryError("has more objects than is allowed", path=self.url)
            tree = form.decode_tree(self._read(source, name), where=_locate(name, self.kind))
            trees.extend(tree.dirs.values())
            found.update({ObjectName(ObjectKind.FILE, file): None for file in tree.files.values()})
            found.update({ObjectName(ObjectKind.META, meta): None for meta in tree.metas})
        lacking = [name for name in found if not (self.folder / _locate(name, self.kind)).exists()]
        with ThreadPoolExecutor(_REQUESTS) as threads:
            list(threads.map(partial(self._bring, source), lacking))
        return list(found)

    def _read(self, source: _Source, name: ObjectName) -> bytes:
        """A commit or a tree, as the repository writes it inside."""
        path = self.folder / _locate(name, self.kind)
        if not path.exists():
            self._bring(source, name)
        packed = read_bounded(path, _FORMS[self.kind].most_bytes(name.kind))
        if self.kind is RepositoryKind.STORE:
            return store.unpack(packed, store.MAX_METADATA_BYTES)
        return packed

    def _bring(self, source: _Source, name: ObjectName) -> None:
        """Fetch an object, check it, and give it its name."""
        staged = self.folder / "incoming" / secrets.token_hex(8)
        place = self.folder / _locate(name, self.kind)
        try:
            with staged.open("xb") as file:
                for piece in source.fetch(name):
                    file.write(piece)
            _FORMS[self.kind].check(name, staged, _locate(name, self.kind))
            place.parent.mkdir(parents=True, exist_ok=True)
            # What a crash leaves half-written is found by whoever reads it, and may be removed with the whole folder.
            settle(staged, place, sync=False)
        finally:
            staged.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time, of all workers of this machine: two would fetch the same."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


# -- the URL -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """The repository at a URL."""

    files: Any
    root: str
    kind: RepositoryKind

    @classmethod
    def open(cls, url: str, kind: RepositoryKind) -> _Source:
        try:
            files, root = import_module("fsspec.core").url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            hint = "cannot be opened; for s3: pip install 'delta-planner[s3]'"
            raise InputError(hint, path="executor.repository_url", got=url, reason=str(error)) from error
        return cls(files, root.rstrip("/"), kind)

    def fetch(self, name: ObjectName) -> Iterator[bytes]:
        """An object's file in pieces, of bounded size."""
        where = _locate(name, self.kind)
        path, most_bytes = f"{self.root}/{where}", _FORMS[self.kind].most_bytes(name.kind)
        try:
            piece = self._read_piece(path, 0, _PIECE_BYTES)
            yield piece
            if len(piece) < _PIECE_BYTES:
                return
            file_bytes = self.files.info(path)["size"]
            if file_bytes > most_bytes:
                raise RepositoryError("is larger than allowed", path=where, max_bytes=most_bytes)
            for start in range(_PIECE_BYTES, file_bytes, _PIECE_BYTES):
                yield self._read_piece(path, start, min(start + _PIECE_BYTES, file_bytes))
        except FileNotFoundError as error:
            raise RepositoryError("is missing at the URL", path=where) from error
        except OSError as error:
            raise RepositoryError("cannot be fetched", path=where, reason=str(error)) from error

    def fetch_signatures(self, commit: str) -> bytes:
        """What is kept beside a commit, which the stock tool puts into deltas; empty where there is nothing."""
        path = f"{self.root}/{_locate(ObjectName(ObjectKind.COMMIT, commit), self.kind)}meta"
        try:
            data: bytes = self.files.cat_file(path, start=0, end=_MAX_SIGNATURES_BYTES)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RepositoryError("cannot be fetched", path=path, reason=str(error)) from error
        if len(data) >= _MAX_SIGNATURES_BYTES:
            raise RepositoryError("is larger than allowed", path=path, max_bytes=_MAX_SIGNATURES_BYTES)
        return data

    def _read_piece(self, path: str, start: int, end: int) -> bytes:
        piece: bytes = self.files.cat_file(path, start=start, end=end)
        if len(piece) > end - start:
            raise RepositoryError("the server does not send pieces", path=path)
        return piece


# -- the two kinds of repository -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of repository writes its objects."""

    decode_commit: DecodeCommit
    decode_tree: DecodeTree
    check: Callable[[ObjectName, Path, str], None]
    """Raises RepositoryError where a file is not the object of this name."""
    most_file_bytes: int
    most_metadata_bytes: int

    def most_bytes(self, kind: ObjectKind) -> int:
        """What an object's file may take."""
        return self.most_file_bytes if kind is ObjectKind.FILE else self.most_metadata_bytes


def _check_store_object(name: ObjectName, file: Path, where: str) -> None:
    limit_bytes = store.MAX_OBJECT_BYTES if name.kind is ObjectKind.FILE else store.MAX_METADATA_BYTES
    data = store.unpack(read_bounded(file, 2 * limit_bytes), limit_bytes)
    if hashlib.sha256(data).hexdigest() != name.checksum:
        raise RepositoryError("is corrupt: its content does not have its checksum", path=where)


def _check_ostree_object(name: ObjectName, file: Path, where: str) -> None:
    if name.kind is not ObjectKind.FILE:
        ostree_objects.check_metadata(name, read_bounded(file, ostree_objects.MAX_METADATA_BYTES), where)
        return
    with file.open("rb") as stream:
        head = stream.read(ostree_objects.MAX_HEADER_BYTES)
        header, content_bytes = ostree_objects.unpack_header(head, where)
        stream.seek(ostree_objects.head_bytes(head))
        _check_content(header, inflate_chunks(stream, content_bytes, where), name.checksum, where)


def _check_content(header: FileHeader, chunks: Iterator[bytes], checksum: str, where: str) -> None:
    for _ in check_chunks(header, iter(()) if header.is_link else chunks, checksum, where):
        pass


_FORMS = {
    RepositoryKind.STORE: _Form(
        encoding.decode_commit,
        encoding.decode_tree,
        _check_store_object,
        2 * store.MAX_OBJECT_BYTES,
        2 * store.MAX_METADATA_BYTES,
    ),
    RepositoryKind.OSTREE: _Form(
        ostree_objects.decode_commit,
        ostree_objects.decode_tree,
        _check_ostree_object,
        ostree_objects.MAX_FILE_BYTES + ostree_objects.MAX_HEADER_BYTES,
        ostree_objects.MAX_METADATA_BYTES,
    ),
}


def _locate(name: ObjectName, kind: RepositoryKind) -> str:
    if not is_checksum(name.checksum):
        raise RepositoryError("is not the name of an object", got=str(name))
    ending = "filez" if (name.kind, kind) == (ObjectKind.FILE, RepositoryKind.OSTREE) else name.kind.value
    return f"objects/{name.checksum[:2]}/{name.checksum[2:]}.{ending}"


def _create(kind: RepositoryKind, folder: Path) -> None:
    if kind is RepositoryKind.STORE:
        Store.create(folder)
    else:
        run_tool(["ostree", "init", f"--repo={folder}", "--mode=archive"], timeout_s=_TOOL_TIMEOUT_S)
