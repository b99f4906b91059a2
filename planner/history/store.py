"""The embedded store: a content-addressed repository in a plain folder, for places without OSTree.

    config                                        `deltaplan-store/1`
    objects/ab/<62 hex>.{commit,dirtree,file}     one zstd frame each, named by the sha256 of its content
    refs/<name>                                   the ref's commit
    staging/                                      objects on their way in; empty between runs

An object has its name only once it is on the disk; trees and files get theirs before commits, and refs are
written last. So after a crash at any moment, what a ref reaches is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import zstandard

from planner.errors import InputError, RepositoryError
from planner.history.encoding import (
    FileKind,
    FileObject,
    decode_commit,
    decode_file,
    encode_commit,
    is_ref_name,
    relative_path,
)
from planner.history.files import (
    assembled_folder,
    full_disk_as_error,
    read_bounded,
    remove_files,
    settle,
    stage,
    sync_directory,
    write_atomically,
)
from planner.history.reading import HistoryReader, Listing, reach_objects
from planner.history.records import Commit, History, ObjectKind, ObjectName, is_checksum
from planner.history.remembered_trees import recall_trees

FORMAT = b"deltaplan-store/1\n"

# zstd's level is part of what a loose object costs a client: change it and projected full pulls change with it.
# On 138 MB of installed Python packages, level 9 has 0.7 % more bytes than level 12 at 40 % of its time, and 5 % fewer
# than the zlib level 6 of OSTree's archive objects.
LEVEL = 9

# An object is held in memory whole, twice while it is written. A frame that claims more is refused unread.
MAX_OBJECT_BYTES = 2**30

# Trees and commits become many small values in memory, some ten times their bytes. OSTree's own limit.
MAX_METADATA_BYTES = 128 * 2**20

_FILE_NAME = re.compile(r"([0-9a-f]{62})\.(commit|dirtree|file)")
_WRITE_ORDER = (ObjectKind.FILE, ObjectKind.TREE, ObjectKind.COMMIT)


class Store:
    """A store that exists; one process writes at a time, any number may read.

    Args:
        path: the store's folder.
        max_object_bytes: larger objects are neither written nor read.
        level: zstd's level for objects written here; a client that serves nobody can take 1.
        is_durable: False for a store that can be made again: objects are not brought to the disk one by one.

    Raises:
        RepositoryError: the folder is no store of this format.
    """

    def __init__(
        self, path: Path, *, max_object_bytes: int = MAX_OBJECT_BYTES, level: int = LEVEL, is_durable: bool = True
    ) -> None:
        self._path = Path(path)
        self._level = level
        self._is_durable = is_durable
        self._max_object_bytes = max_object_bytes
        self._staged: dict[ObjectName, Path] = {}
        self._is_batching = False
        if _read_config(self._path / "config") != FORMAT:
            raise RepositoryError("is not a store", path=str(path), expected=FORMAT.decode().strip())

    @classmethod
    def open(cls, path: Path) -> Store:
        """The store at `path`; RepositoryError if there is none."""
        return cls(path)

    @classmethod
    def create(cls, path: Path) -> Store:
        """A new, empty store in a new or empty folder.

        Raises:
            InputError: something is there already.
            SpaceError: the disk is full.
        """
        with assembled_folder(Path(path)) as folder:
            for name in ("objects", "refs", "staging"):
                (folder / name).mkdir()
            write_atomically(folder / "config", FORMAT)
        sync_directory(Path(path).parent)
        return cls(path)

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._path

    def read_history(self) -> History:
        """Every commit that a ref reaches, with its trees; a parent that is absent is the history's end.

        Commits and trees are verified as they are read, each once, and trees that were remembered no more. Files are
        only looked for, in one listing.

        Raises:
            RepositoryError: an object is missing or corrupt; the error names it and who needs it.
        """
        listing = self.list_objects()
        return HistoryReader(self.read_object, listing, known=recall_trees(self._path, listing)).read(self.read_refs())

    def read_refs(self) -> dict[str, str]:
        """The commit of each ref, by the ref's name in order.

        Raises:
            RepositoryError: a ref's file holds something else than a checksum.
        """
        folder = self._path / "refs"
        names = (
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
        )
        return {name: self._read_ref(name) for name in sorted(names) if is_ref_name(name)}

    def _read_ref(self, name: str) -> str:
        try:
            checksum = read_bounded(self._path / "refs" / name, 80).decode("ascii").rstrip("\n")
        except (OSError, InputError, UnicodeDecodeError) as error:
            raise RepositoryError("cannot be read", path=f"refs/{name}", cause=str(error)) from error
        if not is_checksum(checksum):
            raise RepositoryError("does not hold a commit's checksum", path=f"refs/{name}", got=checksum)
        return checksum

    def read_object(self, name: ObjectName, *, needed_by: str = "") -> bytes:
        """The object's bytes, checked against its checksum; `needed_by` is named in the error.

        Raises:
            RepositoryError: it is missing, corrupt or too large.
        """
        max_bytes = self._limit(name.kind)
        try:
            data = unpack(read_bounded(self._locate(name), 2 * max_bytes), max_bytes)
        except FileNotFoundError as error:
            raise _object_error("is missing", name, needed_by) from error
        except (OSError, InputError, RepositoryError) as error:
            raise _object_error("is corrupt", name, needed_by, cause=str(error)) from error
        if hashlib.sha256(data).hexdigest() != name.checksum:
            raise _object_error("is corrupt: its content does not have its checksum", name, needed_by)
        return data

    def read_file(self, checksum: str) -> FileObject:
        """A file object, decoded.

        Raises:
            RepositoryError: it is missing or corrupt.
        """
        name = ObjectName(ObjectKind.FILE, checksum)
        return decode_file(self.read_object(name), where=relative_path(name))

    def read_commit(self, checksum: str) -> Commit:
        """A commit object, decoded.

        Raises:
            RepositoryError: it is missing or corrupt.
        """
        return decode_commit(self.read_object(ObjectName(ObjectKind.COMMIT, checksum)), checksum)

    def loose_bytes(self, name: ObjectName) -> int:
        """What a client downloads to get this one object: its compressed file.

        Raises:
            RepositoryError: it is missing.
        """
        try:
            return os.stat(self._staged.get(name) or f"{self._path}/{relative_path(name)}").st_size  # noqa: PTH116 - as in `list_objects`
        except OSError as error:
            raise _object_error("is missing", name) from error

    def has(self, name: ObjectName) -> bool:
        """Whether the object is here, without checking it."""
        return name in self._staged or self._locate(name).exists()

    def list_objects(self) -> Listing:
        """The checksums that are here, by kind, each mapped to itself. Files with other names are passed over."""
        listing: Listing = {kind: {} for kind in _WRITE_ORDER}
        for folder in sorted((self._path / "objects").iterdir()):
            for entry in os.listdir(folder):  # noqa: PTH208 - a Path for each of 10^5 names takes most of the time
                if found := _FILE_NAME.fullmatch(entry):
                    checksum = folder.name + found[1]
                    listing[ObjectKind(found[2])][checksum] = checksum
        return listing

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Inside, objects are written cheaply; they get their names together, synced, when the block ends well.

        If it does not end well, none of them is kept, except what `write_ref` was called for inside. A batch inside
        a batch is part of the outer one.
        """
        is_inner, self._is_batching = self._is_batching, True
        try:
            yield
            if not is_inner:
                self._settle()
        finally:
            self._is_batching = is_inner
            if not is_inner:
                self._discard()

    def write_object(self, kind: ObjectKind, data: bytes) -> ObjectName:
        """Keep an object; one that is here already is left alone. Outside `batch` it is durable on return.

        The bytes are not looked into: a malformed tree or commit is reported when it is read.

        Raises:
            InputError: it is larger than the store's limit.
            SpaceError: the disk is full; nothing was left of it.
        """
        name = ObjectName(kind, hashlib.sha256(data).hexdigest())
        if len(data) > self._limit(kind):
            raise InputError("is too large for one object", path=str(name), max_bytes=self._limit(kind))
        if not self.has(name):
            with self.batch():
                packed = zstandard.ZstdCompressor(level=self._level, write_checksum=False).compress(data)
                self._staged[name] = stage(self._path / "staging", packed)
        return name

    def drop_object(self, name: ObjectName) -> None:
        """Forget an object if it is here: a corrupt one would otherwise stay, as `write_object` leaves it alone."""
        self._locate(name).unlink(missing_ok=True)
        self._staged.pop(name, None)

    def add_commit(
        self,
        tree: str,
        *,
        committed_at: datetime,
        parent: str | None = None,
        subject: str = "",
        metadata: Mapping[str, object] | None = None,
        ref: str | None = None,
    ) -> str:
        """The checksum of a new commit of a tree that is here; `ref`, if given, then points to it.

        Raises:
            InputError: the date has no time zone, or the metadata holds more than text, integers, truth values
                and lists of text.
            RepositoryError: the tree is not here.
        """
        if not self.has(ObjectName(ObjectKind.TREE, tree)):
            raise _object_error("is missing", ObjectName(ObjectKind.TREE, tree), needed_by=f"commit {subject!r}")
        data = encode_commit(tree, committed_at=committed_at, parent=parent, subject=subject, metadata=metadata or {})
        checksum = self.write_object(ObjectKind.COMMIT, data).checksum
        if ref is not None:
            self.write_ref(ref, checksum)
        return checksum

    def write_ref(self, ref: str, checksum: str) -> None:
        """Point a ref to a commit, after everything written so far is on the disk.

        Raises:
            InputError: the ref's name is not words separated by '/', or has another ref's name as its folder.
            RepositoryError: the commit is not here.
            SpaceError: the disk is full; the ref points where it did.
        """
        if not is_ref_name(ref):
            raise InputError("is not a ref's name", got=ref)
        if not self.has(ObjectName(ObjectKind.COMMIT, checksum)):
            raise _object_error("is missing", ObjectName(ObjectKind.COMMIT, checksum), needed_by=f"refs/{ref}")
        self._settle()
        path = self._path / "refs" / ref
        try:
            with full_disk_as_error(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, f"{checksum}\n".encode())
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InputError("is in another ref's way: one name is a folder of the other", got=ref) from error
        for folder in path.relative_to(self._path).parents:
            sync_directory(self._path / folder)

    def drop_refs(self, folder: str) -> None:
        """Forget every ref below a folder of names; what they pointed to stays until it is pruned."""
        if not is_ref_name(folder):
            raise InputError("is not a ref's name", got=folder)
        for path in sorted((self._path / "refs" / folder).glob("**/*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def prune(self, *, depth: int | None = None) -> int:
        """Delete what no ref reaches, and what dead runs left behind; the number of objects deleted.

        `depth` is how many ancestors are kept behind each ref: all, if not given; 0 is for a client that has
        finished a route. Nothing may write meanwhile. Commits go first, so that a crash leaves no commit without
        its tree.

        Raises:
            RepositoryError: a ref's history is broken; nothing was deleted.
        """
        kept = reach_objects(self.read_history(), depth=depth)
        listing = self.list_objects()
        removed = 0
        for kind in reversed(_WRITE_ORDER):
            doomed = [self._locate(ObjectName(kind, one)) for one in listing[kind].keys() - kept[kind]]
            remove_files(doomed)
            removed += len(doomed)
        remove_files(list((self._path / "staging").iterdir()))
        return removed

    def checkout(self, commit: str, folder: Path) -> None:
        """Make a commit's files, in a new or empty folder: modes 644 and 755, symlinks as they are, no dates.

        Nothing outside the folder is touched whatever the commit holds: names are checked, everything is created
        new, and no link is followed. `folder` appears only when complete; it is not synced.

        Raises:
            InputError: the folder is in the way.
            RepositoryError: an object is missing or corrupt.
            SpaceError: the disk is full; nothing was left.
        """
        history = HistoryReader(self.read_object, self.list_objects()).read({"checkout": commit}, depth=0)
        with assembled_folder(folder) as filling:
            self._fill(filling, history.commits[commit].tree, history)

    def _fill(self, folder: Path, tree: str, history: History) -> None:
        for name, checksum in history.trees[tree].files.items():
            _write_file(folder / name, self.read_file(checksum))
        for name, checksum in history.trees[tree].dirs.items():
            (folder / name).mkdir()
            self._fill(folder / name, checksum, history)

    def _limit(self, kind: ObjectKind) -> int:
        return min(self._max_object_bytes, MAX_OBJECT_BYTES if kind is ObjectKind.FILE else MAX_METADATA_BYTES)

    def _locate(self, name: ObjectName) -> Path:
        return self._staged.get(name) or self._path / relative_path(name)

    def _settle(self) -> None:
        for kinds in (_WRITE_ORDER[:2], _WRITE_ORDER[2:]):
            self._settle_kinds([name for name in self._staged if name.kind in kinds])

    def _settle_kinds(self, names: list[ObjectName]) -> None:
        folders = {self._path / "objects"} if names else set()
        for name in names:
            path = self._path / relative_path(name)
            with full_disk_as_error(path):
                path.parent.mkdir(exist_ok=True)
            settle(self._staged[name], path, sync=self._is_durable)
            del self._staged[name]
            folders.add(path.parent)
        for folder in folders if self._is_durable else ():
            sync_directory(folder)

    def _discard(self) -> None:
        for path in self._staged.values():
            path.unlink(missing_ok=True)
        self._staged.clear()


def unpack(packed: bytes, max_bytes: int) -> bytes:
    """What a loose object's file holds, not yet checked against a checksum.

    Raises:
        RepositoryError: it is not one whole zstd frame, or holds more than `max_bytes`.
    """
    try:
        # The frame says how much it holds, and zstd refuses one that holds more than it says; so a frame that
        # would fill the memory is refused before anything is allocated for it.
        claimed_bytes = zstandard.get_frame_parameters(packed).content_size
        if claimed_bytes > max_bytes:
            raise RepositoryError("holds more than is allowed", claimed_bytes=claimed_bytes, max_bytes=max_bytes)
        return zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise RepositoryError("is not one zstd frame", cause=str(error)) from error


def _read_config(path: Path) -> bytes:
    try:
        return read_bounded(path, 64)
    except (OSError, InputError):
        return b""


def _object_error(message: str, name: ObjectName, needed_by: str = "", **facts: object) -> RepositoryError:
    needs = {"needed_by": needed_by} if needed_by else {}
    return RepositoryError(message, path=relative_path(name), **needs, **facts)


def _write_file(path: Path, file: FileObject) -> None:
    if file.kind is FileKind.LINK:
        path.symlink_to(os.fsdecode(file.content))
        return
    with path.open("xb") as out:
        out.write(file.content)
        os.fchmod(out.fileno(), 0o755 if file.kind is FileKind.EXECUTABLE else 0o644)
