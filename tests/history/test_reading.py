"""From refs to a history: what is missing, damaged or hostile is named, and nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard

from planner.errors import InputError, RepositoryError
from planner.history.encoding import encode_tree, relative_path
from planner.history.reading import MAX_DEPTH
from planner.history.records import ObjectKind, ObjectName, Tree
from planner.history.store import Store
from planner.history.trees import write_files

DAY = datetime(2024, 1, 10, tzinfo=UTC)
NO_CHECKSUM = "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def _commit(store: Store, files: dict[str, bytes], parent: str | None = None, ref: str | None = "main") -> str:
    days = 0 if parent is None else len(store.read_history().commits)
    tree = write_files(store, files)
    return store.add_commit(tree, committed_at=DAY + timedelta(days=days), parent=parent, ref=ref)


def _commit_of(store: Store, tree_body: bytes) -> str:
    """A commit of any bytes as its tree, as a hostile server would make it."""
    tree = store.write_object(ObjectKind.TREE, tree_body).checksum
    return store.add_commit(tree, committed_at=DAY, ref="main")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _place(store: Store, name: ObjectName) -> Path:
    return store.path / relative_path(name)


def _tree_of(store: Store, commit: str) -> Tree:
    history = store.read_history()
    return history.trees[history.commits[commit].tree]


def test_a_history_has_commits_oldest_first_and_trees_once(store: Store) -> None:
    """Two releases that share a folder share its tree."""
    first = _commit(store, {"a/x": b"1", "b/y": b"1"})
    second = _commit(store, {"a/x": b"1", "b/y": b"2"}, parent=first)
    history = store.read_history()
    assert list(history.commits) == [first, second]
    assert history.refs == {"main": second}
    assert len(history.trees) == 5
    assert history.commits[second].parent == first
    assert history.incomplete == {}


def test_an_absent_parent_ends_the_history(store: Store) -> None:
    """As on a client that pruned what it no longer needs."""
    commit = _commit(store, {"a": b"1"}, parent=None, ref=None)
    tree = store.read_commit(commit).tree
    shallow = store.add_commit(tree, committed_at=DAY, parent=NO_CHECKSUM, ref="main")
    assert list(store.read_history().commits) == [shallow]


@pytest.mark.parametrize("kind", [ObjectKind.FILE, ObjectKind.TREE, ObjectKind.COMMIT])
def test_a_missing_object_is_named_with_who_needs_it(store: Store, kind: ObjectKind) -> None:
    """The path in the store, and the ref, commit or path in the tree."""
    commit = _commit(store, {"etc/motd": b"hi"})
    inner = _tree_of(store, commit).dirs["etc"]
    wanted = {
        ObjectKind.FILE: (store.read_history().trees[inner].files["motd"], ":/etc/motd"),
        ObjectKind.TREE: (inner, ":/etc"),
        ObjectKind.COMMIT: (commit, "ref main"),
    }
    checksum, needed_by = wanted[kind]
    name = ObjectName(kind, checksum)
    _place(store, name).unlink()
    with pytest.raises(RepositoryError, match="is missing") as caught:
        store.read_history()
    assert caught.value.path == relative_path(name)
    assert needed_by in str(caught.value.facts["needed_by"])


def _flip(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


@pytest.mark.parametrize(
    "damage",
    [_flip, lambda data: data[:-2], lambda data: data + b"x", lambda _: b"", lambda _: zstandard.compress(b"other")],
    ids=["flipped", "truncated", "longer", "empty", "exchanged"],
)
def test_damage_is_found_and_named(store: Store, damage: Callable[[bytes], bytes]) -> None:
    """Whatever happened to a tree's file, the error names the file and the commit that needs it."""
    commit = _commit(store, {"etc/motd": b"hi"})
    name = ObjectName(ObjectKind.TREE, store.read_commit(commit).tree)
    path = _place(store, name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RepositoryError, match="is corrupt") as caught:
        store.read_history()
    assert caught.value.path == relative_path(name)
    assert commit[:12] in str(caught.value)


def test_a_zstd_bomb_is_refused_by_what_it_claims(tmp_path: Path) -> None:
    """A frame that claims more than the limit, one that does not say, and one that lies."""
    store = Store.create(tmp_path / "s")
    small = Store(store.path, max_object_bytes=1000)
    name = store.write_object(ObjectKind.FILE, b"\0" * 10**7)
    assert store.loose_bytes(name) < 1000
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 10**7)
    lying = bytearray(zstandard.compress(b"\0" * 10**7))
    lying[5:9] = (100).to_bytes(4, "little")
    for packed in (None, silent, bytes(lying)):
        if packed is not None:
            _place(store, name).write_bytes(packed)
        with pytest.raises(RepositoryError, match="is corrupt"):
            small.read_object(name)
    fits, does_not = (store.write_object(ObjectKind.FILE, b"z" * length) for length in (1000, 1001))
    assert len(small.read_object(fits)) == 1000
    with pytest.raises(RepositoryError, match="is corrupt"):
        small.read_object(does_not)
    with pytest.raises(InputError, match="too large"):
        small.write_object(ObjectKind.FILE, b"y" * 1001)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../../x", "a\0b", "x" * 256, "é" * 128])
@pytest.mark.parametrize("field", ["files", "dirs"])
def test_hostile_names_are_refused(store: Store, tmp_path: Path, name: str, field: str) -> None:
    """Reading refuses them, so does a checkout, and nothing is made."""
    empty = store.write_object(ObjectKind.TREE, encode_tree(Tree(files={}, dirs={}))).checksum
    file = store.write_object(ObjectKind.FILE, b"file 644\n").checksum
    body = {"dirs": {}, "files": {}} | {field: {name: file if field == "files" else empty}}
    commit = _commit_of(store, json.dumps(body).encode())
    with pytest.raises(RepositoryError, match="name that is not allowed"):
        store.read_history()
    with pytest.raises(RepositoryError, match="name that is not allowed"):
        store.checkout(commit, tmp_path / "out" / "deep")
    assert _names(tmp_path) == ["store"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"dirs":{},"files":[]}',
        b'{"dirs":{},"files":{"a":1}}',
        b'{"dirs":{},"files":{},"more":{}}',
        b'{"dirs":{},"files":{"a":"../../../etc/passwd"}}',
        b'{"dirs":{"a":"' + b"Z" * 64 + b'"},"files":{}}',
        b'{"dirs":{"a":"x"},"files":{"a":"x"}}',
        b'{"dirs":{},"files":{"\\ud800":"x"}}',
        b"\xff\xfe",
        b'{"dirs":' * 100_000,
    ],
)
def test_hostile_trees_are_refused(store: Store, body: bytes) -> None:
    """Wrong JSON, wrong types, unknown keys, what is no checksum, one name for two things, endless nesting."""
    _commit_of(store, body)
    with pytest.raises(RepositoryError):
        store.read_history()


@pytest.mark.parametrize(
    "change",
    [
        {"tree": "x"},
        {"parent": "../x"},
        {"committed_at": "2024-01-10T00:00:00"},
        {"committed_at": "0001-01-01T00:00:00+14:00"},
        {"committed_at": 5},
        {"metadata": {"a": {"deep": 1}}},
        {"metadata": {"a": 1.5}},
        {"subject": None},
        {"extra": 1},
    ],
)
def test_hostile_commits_are_refused(store: Store, change: dict[str, object]) -> None:
    """Each field with what it must not hold."""
    tree = write_files(store, {})
    body = {"committed_at": "2024-01-10T00:00:00Z", "metadata": {}, "parent": None, "subject": "", "tree": tree}
    commit = store.write_object(ObjectKind.COMMIT, json.dumps(body | change).encode()).checksum
    store.write_ref("main", commit)
    with pytest.raises(RepositoryError):
        store.read_history()


def _nest(store: Store, tree: str, levels: int) -> str:
    for _ in range(levels):
        tree = store.write_object(ObjectKind.TREE, encode_tree(Tree(files={}, dirs={"d": tree}))).checksum
    return tree


def test_deep_trees_are_refused_by_whichever_way_they_are_reached(store: Store) -> None:
    """256 levels are read; 257 are not, even when the lower part is known from a ref with a shorter way to it."""
    empty = write_files(store, {})
    with store.batch():
        lower = _nest(store, empty, MAX_DEPTH // 2)
        upper = _nest(store, lower, MAX_DEPTH // 2 - 1)
        too_high = _nest(store, upper, 1)
    store.add_commit(upper, committed_at=DAY, ref="b")
    assert len(store.read_history().trees) == MAX_DEPTH
    store.add_commit(lower, committed_at=DAY, ref="a")
    assert len(store.read_history().trees) == MAX_DEPTH
    store.add_commit(too_high, committed_at=DAY, ref="c")
    with pytest.raises(RepositoryError, match="too deep"):
        store.read_history()
    (store.path / "refs" / "a").unlink()
    (store.path / "refs" / "b").unlink()
    with pytest.raises(RepositoryError, match="too deep"):
        store.read_history()


def test_a_checksum_that_leads_elsewhere_is_refused(store: Store) -> None:
    """Names of objects become paths."""
    for checksum in ("../../config", "", "A" * 64, "0" * 63):
        with pytest.raises(RepositoryError, match="not the name of an object"):
            store.read_object(ObjectName(ObjectKind.FILE, checksum))
