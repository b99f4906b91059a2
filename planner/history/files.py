"""Durable files: what is written is whole and on the disk, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.errors import InputError, SpaceError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def full_disk_as_error(path: Path) -> Iterator[None]:
    """Inside, a full disk or an exhausted quota is raised as `SpaceError` naming `path`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpaceError("the disk is full", path=str(path)) from error
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`: after a crash the file is the old one or the new one, never a part.

    Raises:
        SpaceError: the disk is full; the old file, if any, is untouched.
        OSError: the folder is missing or cannot be written.
    """
    settle(stage(path.parent, data), path)
    sync_directory(path.parent)


def stage(folder: Path, data: bytes) -> Path:
    """A new file in `folder` that holds `data`, under a name of its own, not yet safe from a crash.

    Raises:
        SpaceError: the disk is full; nothing was left.
    """
    path = _temporary(folder)
    with full_disk_as_error(folder), _removed_on_error(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
    return path


def settle(staged: Path, path: Path, *, sync: bool = True) -> None:
    """Bring a staged file to the disk and give it its name; the caller then syncs the folder.

    Without `sync` it only gets its name: for what can be made again.

    Raises:
        SpaceError: the disk is full; the staged file was removed.
    """
    with full_disk_as_error(path), _removed_on_error(staged):
        if sync:
            sync_file(staged)
        staged.replace(path)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk; its name is its folder's matter.

    Raises:
        SpaceError: the disk is full.
    """
    with full_disk_as_error(path):
        _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Bring a folder's list of names to the disk.

    Raises:
        SpaceError: the disk is full.
    """
    with full_disk_as_error(path):
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def remove_files(paths: Iterable[Path]) -> None:
    """Delete files, those that are gone already included, and bring their folders to the disk."""
    folders = set()
    for path in paths:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        sync_directory(folder)


@contextmanager
def assembled_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it gets the name `folder` when the block ends well, and vanishes otherwise.

    It is not synced: this is for working copies, which can be made again.

    Raises:
        InputError: `folder` exists and is not an empty folder.
        SpaceError: the disk is full; nothing was left.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and _is_empty(folder))):
        raise InputError("is in the way: a new or an empty folder is needed", path=str(folder))
    with full_disk_as_error(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        filling = _temporary(folder.parent)
        filling.mkdir()
        try:
            yield filling
            _rename_folder(filling, folder)
        except BaseException:
            shutil.rmtree(filling, ignore_errors=True)
            raise


def digest_file(path: Path) -> str:
    """The sha256 of a file's content as 64 hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Raises:
        InputError: it is no regular file (a pipe is not waited for), or is larger.
        OSError: it is missing or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError("is not a regular file", path=str(path))
        data = _read_at_most(descriptor, max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise InputError("is larger than allowed", path=str(path), max_bytes=max_bytes)
    return data


def read_if_there(path: Path, max_bytes: int) -> bytes:
    """As `read_bounded`, and no bytes where there is no such file."""
    try:
        return read_bounded(path, max_bytes)
    except FileNotFoundError:
        return b""


def _read_at_most(descriptor: int, most_bytes: int) -> bytes:
    # One call may return less than the file holds (the kernel's limit is 2 GiB), so read until the end. Memory
    # is asked for by the file's size, not by the bound, which is often a gigabyte.
    left_bytes = min(os.fstat(descriptor).st_size + 1, most_bytes)
    pieces: list[bytes] = []
    while left_bytes and (piece := os.read(descriptor, left_bytes)):
        pieces.append(piece)
        left_bytes -= len(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _temporary(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.tmp"


def _rename_folder(folder: Path, name: Path) -> None:
    try:
        folder.replace(name)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise InputError("is in the way: somebody else made it meanwhile", path=str(name)) from error
        raise


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None
