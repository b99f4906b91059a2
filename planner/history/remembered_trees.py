"""Trees that were read and checked before, in one file: a tree never changes, and a night adds few to the last ones.

A cache in the repository's own area for this program, safe to delete. A file that is damaged, of another format, or
that names an object which is gone or a tree whose file was touched is not used: then all is read and checked as if it
were not there.

    deltaplan-trees/1           a line
    32 bytes                    sha256 of the trees' checksums, in order, and of what is known of their files
    32 bytes                    sha256 of what follows
    arrays                      as NumPy's `savez` writes them; see `_write_trees`
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.errors import InputError
from planner.history.encoding import is_safe_name, relative_path
from planner.history.files import read_bounded, write_atomically
from planner.history.reading import Listing
from planner.history.records import ObjectKind, ObjectName, Tree

TREES_PATH = "extensions/deltaplan/trees"
"""Where the file is, from the repository's folder."""

MAX_FILE_BYTES = 2**31
"""A larger file is neither written nor read: some fifty million names in trees."""

_FORMAT = b"deltaplan-trees/1\n"
_DIGEST_BYTES = 32
_HEAD_BYTES = len(_FORMAT) + 2 * _DIGEST_BYTES
_Arrays = Mapping[str, NDArray[np.generic]]


def recall_trees(repository: Path, listing: Listing) -> dict[str, Tree]:
    """The trees that were remembered, by checksum, with the listing's own text; none where one cannot be trusted."""
    try:
        arrays = _unpack(read_bounded(repository / TREES_PATH, MAX_FILE_BYTES))
        trees = _read_trees(arrays, listing)
        return trees if np.array_equal(arrays["stats"], _stats(repository, trees)) else {}
    except (OSError, InputError, KeyError, ValueError, IndexError, zipfile.BadZipFile):
        return {}


def remember_trees(repository: Path, trees: Mapping[str, Tree]) -> None:
    """Keep these trees and no others, if that is not what the file holds; not where this user may not write.

    Raises:
        SpaceError: the disk is full.
    """
    path = repository / TREES_PATH
    with suppress(PermissionError, FileNotFoundError):
        stats = _stats(repository, trees)
        digest = _digest(trees, stats)
        if _holds(path, digest):
            return
        packed = _pack({**_write_trees(trees), "stats": stats}, digest)
        if len(packed) <= MAX_FILE_BYTES:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, packed)


def _digest(trees: Mapping[str, Tree], stats: NDArray[np.int64]) -> bytes:
    return hashlib.sha256("".join(trees).encode() + stats.tobytes()).digest()


def _stats(repository: Path, trees: Iterable[str]) -> NDArray[np.int64]:
    """Size and time of change of each tree's file: one that was touched since is read and checked again.

    Raises:
        OSError: one is gone.
    """
    places = (f"{repository}/{relative_path(ObjectName(ObjectKind.TREE, checksum))}" for checksum in trees)
    found = [(status.st_size, status.st_mtime_ns) for status in map(os.stat, places)]
    return np.array(found, np.int64).reshape(-1, 2)


def _holds(path: Path, digest: bytes) -> bool:
    """Whether the file was written for the trees with this digest, and is whole."""
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
    except (FileNotFoundError, InputError):
        return False
    return data.startswith(_FORMAT + digest) and _is_whole(data)


def _is_whole(data: bytes) -> bool:
    sum_at = _HEAD_BYTES - _DIGEST_BYTES
    return data[sum_at:_HEAD_BYTES] == hashlib.sha256(memoryview(data)[_HEAD_BYTES:]).digest()


def _pack(arrays: _Arrays, digest: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for another argument
    return b"".join([_FORMAT, digest, hashlib.sha256(file.getbuffer()).digest(), file.getbuffer()])


def _unpack(data: bytes) -> _Arrays:
    if not data.startswith(_FORMAT) or not _is_whole(data):
        raise ValueError("is damaged, or of another format")
    with np.load(io.BytesIO(memoryview(data)[_HEAD_BYTES:]), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


# -- trees as arrays ---------------------------------------------------------------------------------------------------


def _write_trees(trees: Mapping[str, Tree]) -> _Arrays:
    """The trees in their order: numbers of checksums and names, those of all files together, then of folders."""
    values = trees.values()
    sums, names = _Numbers(), _Numbers()
    return {
        "tree_sum": sums.of(trees),
        "files": np.array([len(tree.files) for tree in values], np.int64),
        "file_name": names.of(name for tree in values for name in tree.files),
        "file_sum": sums.of(file for tree in values for file in tree.files.values()),
        "dirs": np.array([len(tree.dirs) for tree in values], np.int64),
        "dir_name": names.of(name for tree in values for name in tree.dirs),
        "dir_sum": sums.of(child for tree in values for child in tree.dirs.values()),
        "metas": np.array([len(tree.metas) for tree in values], np.int64),
        "meta_sum": sums.of(meta for tree in values for meta in sorted(tree.metas)),
        "sums": np.frombuffer(bytes.fromhex("".join(sums.number)), np.uint8),
        "names": np.frombuffer("\0".join(names.number).encode(), np.uint8),
    }


class _Numbers:
    """Texts, numbered as they come."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}

    def of(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """The number of each text."""
        number = self.number
        return np.array([number.setdefault(text, len(number)) for text in texts], np.int32)


def _read_trees(arrays: _Arrays, listing: Listing) -> dict[str, Tree]:
    """What `_write_trees` was given.

    Raises:
        KeyError: an object is not in the listing, or an array is missing.
        ValueError: a name is not allowed.
    """
    text = arrays["sums"].tobytes().hex()
    sums = [text[at : at + 2 * _DIGEST_BYTES] for at in range(0, len(text), 2 * _DIGEST_BYTES)]
    names = arrays["names"].tobytes().decode().split("\0")
    if not all(map(is_safe_name, names)) and names != [""]:
        raise ValueError("a name that is not allowed")

    def look_up(member: str, kind: ObjectKind) -> list[str]:
        known = listing.get(kind, {})
        of_number = {number: known[sums[number]] for number in np.unique(arrays[member]).tolist()}
        return [of_number[number] for number in arrays[member].tolist()]

    def entries(counts: str, name: str, member: str, kind: ObjectKind) -> Iterator[dict[str, str]]:
        named = [names[number] for number in arrays[name].tolist()]
        found = look_up(member, kind)
        for start, end in _bounds(arrays[counts].tolist()):
            yield dict(zip(named[start:end], found[start:end], strict=True))

    metas = look_up("meta_sum", ObjectKind.META)
    return {
        checksum: Tree(files=files, dirs=dirs, metas=frozenset(metas[start:end]) if end > start else _NO_METAS)
        for checksum, files, dirs, (start, end) in zip(
            look_up("tree_sum", ObjectKind.TREE),
            entries("files", "file_name", "file_sum", ObjectKind.FILE),
            entries("dirs", "dir_name", "dir_sum", ObjectKind.TREE),
            _bounds(arrays["metas"].tolist()),
            strict=True,
        )
    }


_NO_METAS: frozenset[str] = frozenset()


def _bounds(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where the items of each begin and end."""
    return pairwise(accumulate(counts, initial=0))
