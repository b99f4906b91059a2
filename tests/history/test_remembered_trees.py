"""Trees that are remembered: the same history as without them, and never a damaged or a stale one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from planner.errors import RepositoryError
from planner.history.encoding import relative_path
from planner.history.records import History, ObjectKind, ObjectName, Tree
from planner.history.remembered_trees import TREES_PATH, recall_trees, remember_trees
from planner.history.store import Store
from planner.history.trees import write_files

DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three releases of one ref and one of another, which share folders."""
    store = Store.create(tmp_path / "store")
    parent = None
    for release in range(3):
        files = {"a/x": b"same", "a/b/y": b"same too", f"c/{release}": b"new", "top": b"%d" % release}
        parent = add(store, "main", files, parent, release)
    add(store, "side", {"a/x": b"same", "empty": b""}, None, 0)
    return store


def add(store: Store, ref: str, files: dict[str, bytes], parent: str | None, release: int) -> str:
    tree = write_files(store, files)
    return store.add_commit(tree, committed_at=DAY + timedelta(days=release), parent=parent, subject=ref, ref=ref)


def remember(store: Store) -> History:
    history = store.read_history()
    remember_trees(store.path, history.trees)
    return history


def count_tree_reads(monkeypatch: pytest.MonkeyPatch) -> list[ObjectName]:
    read: list[ObjectName] = []
    read_object = Store.read_object

    def counted(store: Store, name: ObjectName, *, needed_by: str = "") -> bytes:
        if name.kind is ObjectKind.TREE:
            read.append(name)
        return read_object(store, name, needed_by=needed_by)

    monkeypatch.setattr(Store, "read_object", counted)
    return read


def test_no_tree_is_read_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before, reads = remember(store), count_tree_reads(monkeypatch)
    after = store.read_history()
    assert after == before
    assert list(after.trees) == list(before.trees)
    assert reads == []


def test_only_new_trees_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(store)
    head = store.read_refs()["main"]
    add(store, "main", {"a/x": b"same", "a/b/y": b"same too", "top": b"other"}, head, 3)
    reads = count_tree_reads(monkeypatch)
    warm = store.read_history()
    assert len(reads) == 1
    (store.path / TREES_PATH).unlink()
    assert store.read_history() == warm


def test_trees_that_no_ref_reaches_are_left_out(store: Store) -> None:
    remember(store)
    (store.path / "refs/side").unlink()
    warm = store.read_history()
    (store.path / TREES_PATH).unlink()
    assert store.read_history() == warm


def test_a_file_that_changed_anywhere_is_not_used_or_tells_the_same(store: Store) -> None:
    before = remember(store)
    path, dice = store.path / TREES_PATH, random.Random(1)
    data = path.read_bytes()
    for _ in range(200):
        at = dice.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :])
        assert store.read_history() == before
    for at in range(0, len(data), 97):
        path.write_bytes(data[:at])
        assert store.read_history() == before


def test_a_damaged_file_is_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(store)
    path = store.path / TREES_PATH
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    remember(store)
    reads = count_tree_reads(monkeypatch)
    store.read_history()
    assert reads == []


def test_a_missing_object_is_named_as_without_the_file(store: Store) -> None:
    history = remember(store)
    tree = history.trees[history.commits[history.refs["main"]].tree]
    store.drop_object(ObjectName(ObjectKind.FILE, tree.files["top"]))
    with pytest.raises(RepositoryError, match="is missing") as warm:
        store.read_history()
    (store.path / TREES_PATH).unlink()
    with pytest.raises(RepositoryError, match="is missing") as cold:
        store.read_history()
    assert str(warm.value) == str(cold.value)


def test_names_that_are_not_allowed_are_not_believed(store: Store) -> None:
    listing = store.list_objects()
    some = next(iter(listing[ObjectKind.FILE]))
    tree = next(iter(listing[ObjectKind.TREE]))
    for name, is_believed in (("plain", True), ("a/b", False), ("..", False), ("", False)):
        remember_trees(store.path, {tree: Tree(files={name: some, "other": some}, dirs={})})
        assert bool(recall_trees(store.path, listing)) == is_believed
        (store.path / TREES_PATH).unlink()


def test_an_unchanged_history_is_not_written_again(store: Store) -> None:
    remember(store)
    before = (store.path / TREES_PATH).stat()
    remember(store)
    assert (store.path / TREES_PATH).stat().st_ino == before.st_ino


def test_a_store_without_trees(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    assert remember(store) == store.read_history()


def test_a_tree_that_was_damaged_since_is_named(store: Store) -> None:
    """Its file was touched: all are read again, and it is found."""
    tree = next(iter(remember(store).trees))
    path = store.path / relative_path(ObjectName(ObjectKind.TREE, tree))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(RepositoryError, match=tree[2:]):
        store.read_history()
