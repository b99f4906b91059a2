"""Folders become commits: equal folders, equal checksums."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.history.records import ObjectKind
from planner.history.store import Store
from planner.history.trees import import_tree, natural_key, write_files, write_folder

DAY = datetime(2024, 1, 10, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def _describe(folder: Path) -> dict[str, object]:
    """What a client sees of a folder: by path, the content with its mode, a link's target, or None for a folder."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[name] = path.readlink()
        else:
            found[name] = None if stat.S_ISDIR(mode) else (stat.S_IMODE(mode), path.read_bytes())
    return found


_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
_NAMES = _NAMES.filter(lambda name: name not in (".", "..") and len(name.encode()) < 40)
_LEAVES = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=40)),
    st.tuples(st.just("run"), st.binary(max_size=40)),
    st.tuples(st.just("link"), _NAMES.map(str.encode)),
)
_FOLDERS = st.dictionaries(
    _NAMES, st.recursive(_LEAVES, lambda below: st.dictionaries(_NAMES, below, max_size=3)), max_size=5
)


def _make(folder: Path, content: dict[str, object]) -> None:
    folder.mkdir()
    for name, value in content.items():
        if isinstance(value, dict):
            _make(folder / name, value)
            continue
        kind, data = value
        if kind == "link":
            (folder / name).symlink_to(data.decode())
        else:
            (folder / name).write_bytes(data)
            (folder / name).chmod(0o755 if kind == "run" else 0o644)


@given(_FOLDERS)
@settings(max_examples=15, deadline=None)
def test_what_was_imported_is_checked_out(content: dict[str, object]) -> None:
    """Bytes, executable bits, links (dangling ones too), empty folders and any name that UTF-8 can say."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "in")
        _make(folder, content)
        store = Store.create(Path(home, "store"))
        commit = import_tree(store, folder, version="v1", committed_at=DAY, ref="main")
        store.checkout(commit, Path(home, "out"))
        assert _describe(Path(home, "out")) == _describe(folder)
        assert write_folder(store, Path(home, "out")) == store.read_commit(commit).tree


def test_dates_order_and_other_mode_bits_play_no_part(tmp_path: Path, store: Store) -> None:
    """Two folders that a client cannot tell apart are one tree."""
    one = _write(tmp_path / "one", {"b": b"2", "a": b"1"})
    two = _write(tmp_path / "two", {"a": b"1", "b": b"2"})
    os.utime(two / "a", (0, 0))
    (two / "b").chmod(0o664)
    assert write_folder(store, one) == write_folder(store, two)
    assert write_folder(store, one) == write_files(store, {"a": b"1", "b": b"2"})
    (two / "b").chmod(0o744)
    assert write_folder(store, one) != write_folder(store, two)


def test_equal_contents_are_kept_once(tmp_path: Path, store: Store) -> None:
    """Three files, two contents, and two folders with one tree."""
    write_folder(store, _write(tmp_path / "in", {"a/x": b"1", "b/x": b"1", "c": b"2"}))
    listing = store.list_objects()
    assert {kind: len(found) for kind, found in listing.items()} == {
        ObjectKind.FILE: 2,
        ObjectKind.TREE: 2,
        ObjectKind.COMMIT: 0,
    }


def test_other_kinds_of_file_are_named(tmp_path: Path, store: Store) -> None:
    """A pipe and a socket; and nothing of the folder is kept."""
    folder = _write(tmp_path / "in", {"a": b"1"})
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="neither a regular file") as caught:
        import_tree(store, folder, version="v1", committed_at=DAY)
    assert caught.value.path == str(folder / "pipe")
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(folder / "s"))
        with pytest.raises(InputError, match="neither a regular file"):
            import_tree(store, folder, version="v1", committed_at=DAY)
    assert store.list_objects()[ObjectKind.FILE] == {}
    assert _names(store.path / "staging") == []


def test_names_that_are_not_utf8_are_named(tmp_path: Path, store: Store) -> None:
    """A tree's names are text."""
    folder = _write(tmp_path / "in", {})
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(InputError, match="not UTF-8"):
        write_folder(store, folder)


def test_a_folder_that_is_too_deep_is_refused(tmp_path: Path, store: Store) -> None:
    """257 levels could be written but not read."""
    folder = tmp_path / "in"
    folder.joinpath(*"d" * 255).mkdir(parents=True)
    assert write_folder(store, folder)
    folder.joinpath(*"d" * 256).mkdir()
    with pytest.raises(InputError, match="too deep"):
        write_folder(store, folder)
    assert write_files(store, {"d/" * 255 + "x": b""})
    with pytest.raises(InputError, match="allowed"):
        write_files(store, {"d/" * 256 + "x": b""})


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/..", "a\0"])
def test_paths_of_files_in_memory_are_checked(store: Store, path: str) -> None:
    """What could not be checked out is not kept."""
    with pytest.raises(InputError, match="path of allowed names"):
        write_files(store, {"ok": b"", path: b""})
    with pytest.raises(InputError, match="both a file and a folder"):
        write_files(store, {"a": b"", "a/b": b""})
    assert store.list_objects()[ObjectKind.FILE] == {}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6)))
def test_the_natural_order_is_total(names: list[str]) -> None:
    """Any names can be compared, and equal keys mean equal names."""
    assert sorted(names, key=natural_key) == sorted(sorted(names), key=natural_key)
    assert len(set(map(natural_key, names))) == len(set(names))
