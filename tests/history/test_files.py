"""Durable files: whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from planner.errors import InputError, SpaceError
from planner.history import files


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fail_with(number: int):
    def fail(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A second write replaces the first, and no other file stays."""
    path = tmp_path / "a"
    files.write_atomically(path, b"one")
    files.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """SpaceError names the place; the old content survives; the temporary file is gone."""
    path = tmp_path / "a"
    files.write_atomically(path, b"old")
    monkeypatch.setattr(os, call, _fail_with(number))
    with pytest.raises(SpaceError, match="the disk is full"):
        files.write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


def test_another_fault_is_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error passes as it is, and still leaves nothing behind."""
    monkeypatch.setattr(os, "write", _fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.write_atomically(tmp_path / "a", b"new")
    assert _names(tmp_path) == []


def test_a_disk_that_takes_a_little_at_a_time_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.write` may write less than it was given."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
    files.write_atomically(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_the_file_is_synced_before_it_has_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that makes the rename safe."""
    seen: list[bool] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append((tmp_path / "a").exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_atomically(tmp_path / "a", b"x")
    assert seen == [False, True]


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    """An error inside the block removes what was there."""
    with files.assembled_folder(tmp_path / "deep" / "f") as filling:
        (filling / "a").write_bytes(b"1")
        assert not (tmp_path / "deep" / "f").exists()
    assert (tmp_path / "deep" / "f" / "a").read_bytes() == b"1"
    with pytest.raises(FileNotFoundError), files.assembled_folder(tmp_path / "g") as filling:
        (filling / "a" / "b").write_bytes(b"1")
    assert _names(tmp_path) == ["deep"]


def test_a_folder_that_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """A file, a link or a full folder; an empty folder is used."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name in ("file", "link", "full"):
        with pytest.raises(InputError, match="in the way"), files.assembled_folder(tmp_path / name):
            pass
    with files.assembled_folder(tmp_path / "empty") as filling:
        (filling / "a").write_bytes(b"1")
    assert (tmp_path / "empty" / "a").exists()


def test_a_folder_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """Two runs that make the same folder: the first to finish wins."""
    with pytest.raises(InputError, match="somebody else"), files.assembled_folder(tmp_path / "f"):
        (tmp_path / "f" / "theirs").mkdir(parents=True)
    assert _names(tmp_path) == ["f"]
    assert _names(tmp_path / "f") == ["theirs"]


def test_a_bounded_read_takes_the_bound_and_no_more(tmp_path: Path) -> None:
    """The bound itself is allowed; nothing else than a regular file is, and a pipe is not waited for."""
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_bounded(tmp_path / "a", 5) == b"12345"
    with pytest.raises(InputError, match="larger than allowed"):
        files.read_bounded(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(InputError, match="not a regular file"):
            files.read_bounded(tmp_path / name, 5)
    with pytest.raises(FileNotFoundError):
        files.read_bounded(tmp_path / "none", 5)


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_digest_is_the_sha256_of_the_content(tmp_path: Path, size: int) -> None:
    """As hashlib says in one piece; and a bounded read gives all of the file."""
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(data)
    assert files.digest_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    assert files.read_bounded(tmp_path / "a", size) == data
