"""A folder of files becomes a commit.

Only what a client can be given is looked at: names, contents, the executable bit and links. Dates of files,
owners and the order in which the file system lists names play no part, so equal folders give equal checksums.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from planner.errors import InputError
from planner.history.encoding import (
    FileKind,
    FileObject,
    decode_tree,
    encode_file,
    encode_tree,
    is_safe_name,
    relative_path,
)
from planner.history.files import read_bounded
from planner.history.layers import unite_names
from planner.history.reading import MAX_DEPTH
from planner.history.records import LAYERS_KEY, VERSION_KEY, ObjectKind, ObjectName, Tree
from planner.history.store import MAX_OBJECT_BYTES, Store


def natural_key(name: str) -> tuple[object, ...]:
    """A sort key by which numbers in names count as numbers.

    >>> sorted(["v10", "v2", "v1.10", "v1.9", "v02"], key=natural_key)
    ['v1.9', 'v1.10', 'v02', 'v2', 'v10']
    """
    pieces = re.split("([0-9]+)", name)
    return tuple(int(piece) if odd % 2 else piece for odd, piece in enumerate(pieces)), name


def import_tree(
    store: Store,
    folder: Path,
    *,
    version: str,
    committed_at: datetime,
    parent: str | None = None,
    layers: Sequence[str] = (),
    ref: str | None = None,
) -> str:
    """The checksum of a new commit of a folder's content; `ref`, if given, then points to it.

    `layers` are the commits that the folder was merged from, in order. Nothing is kept when an error is raised.

    Raises:
        InputError: an entry is neither a regular file, a folder nor a link, has a name that is not UTF-8, or is too
            large or too deep.
        SpaceError: the disk is full.
    """
    metadata = {VERSION_KEY: version} | ({LAYERS_KEY: " ".join(layers)} if layers else {})
    with store.batch():
        tree = write_folder(store, folder)
        return store.add_commit(
            tree, committed_at=committed_at, parent=parent, subject=version, metadata=metadata, ref=ref
        )


def unite_trees(store: Store, trees: Sequence[str]) -> str:
    """Keep the union of trees that the store has (`layers.py` has the rule); its checksum.

    Raises:
        InputError: a path is a file in one tree and a folder in another; nothing is kept.
        RepositoryError: a tree is missing or corrupt.
    """

    def read(checksum: str) -> Tree:
        name = ObjectName(ObjectKind.TREE, checksum)
        return decode_tree(store.read_object(name), where=relative_path(name))

    def unite(checksums: Sequence[str], path: str) -> str:
        if len(set(checksums)) == 1:
            return checksums[0]
        files, dirs = unite_names([read(one) for one in checksums], path)
        below = {name: unite(of_name, f"{path}/{name}") for name, of_name in dirs.items()}
        return store.write_object(ObjectKind.TREE, encode_tree(Tree(files=files, dirs=below))).checksum

    with store.batch():
        return unite(trees, "")


def write_folder(store: Store, folder: Path) -> str:
    """Keep a folder's content; the checksum of its tree.

    Raises:
        InputError: see `import_tree`.
        SpaceError: the disk is full.
    """
    with store.batch():
        return _write_folder(store, folder, depth=1)


def write_files(store: Store, files: Mapping[str, bytes]) -> str:
    """Keep plain files given as path -> content, with '/' between names; the checksum of their tree.

    Raises:
        InputError: a path is absolute, has a name that is not allowed, or is a file as well as a folder.
    """
    with store.batch():
        return _write_level(store, {tuple(path.split("/")): content for path, content in files.items()})


def _write_level(store: Store, contents: Mapping[tuple[str, ...], bytes]) -> str:
    files: dict[str, str] = {}
    below: dict[str, dict[tuple[str, ...], bytes]] = {}
    for (name, *rest), content in contents.items():
        if not is_safe_name(name) or len(rest) >= MAX_DEPTH:
            raise InputError("is not a path of allowed names", path="/".join((name, *rest)))
        if rest:
            below.setdefault(name, {})[tuple(rest)] = content
        else:
            files[name] = store.write_object(ObjectKind.FILE, encode_file(FileObject(content=content))).checksum
    if both := files.keys() & below.keys():
        raise InputError("is both a file and a folder", path=min(both))
    dirs = {name: _write_level(store, level) for name, level in below.items()}
    return store.write_object(ObjectKind.TREE, encode_tree(Tree(files=files, dirs=dirs))).checksum


def _write_folder(store: Store, folder: Path, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise InputError("is too deep", path=str(folder), max_depth=MAX_DEPTH)
    files, dirs = {}, {}
    for entry in _list_entries(folder):
        if entry.is_dir(follow_symlinks=False):
            dirs[entry.name] = _write_folder(store, Path(entry.path), depth + 1)
        else:
            files[entry.name] = store.write_object(ObjectKind.FILE, encode_file(_read_file(entry))).checksum
    return store.write_object(ObjectKind.TREE, encode_tree(Tree(files=files, dirs=dirs))).checksum


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError("cannot be read", path=str(folder), cause=error.strerror) from error
    for entry in entries:
        if not is_safe_name(entry.name):
            raise InputError("has a name that is not UTF-8", path=repr(entry.path))
    return entries


def _read_file(entry: os.DirEntry[str]) -> FileObject:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return FileObject(kind=FileKind.LINK, content=os.fsencode(Path(entry.path).readlink()))
        if not stat.S_ISREG(mode):
            raise InputError("is neither a regular file, a folder nor a link", path=entry.path)
        content = read_bounded(Path(entry.path), MAX_OBJECT_BYTES)
    except OSError as error:
        raise InputError("cannot be read", path=entry.path, cause=error.strerror) from error
    return FileObject(kind=FileKind.EXECUTABLE if mode & stat.S_IXUSR else FileKind.PLAIN, content=content)
