"""The embedded store: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import zstandard

from planner.errors import InputError, RepositoryError, SpaceError
from planner.history.encoding import FileKind, FileObject, encode_file, encode_tree, relative_path
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


# -- the format ----------------------------------------------------------------------------------------------


def test_checksums_are_those_computed_by_hand(store: Store) -> None:
    """The golden case: one file in one folder, hashed here with nothing but hashlib, and once with sha256sum."""
    file = hashlib.sha256(b"file 644\nhello\n").hexdigest()
    inner = hashlib.sha256(b'{"dirs":{},"files":{"a.txt":"%b"}}' % file.encode()).hexdigest()
    root = hashlib.sha256(b'{"dirs":{"etc":"%b"},"files":{}}' % inner.encode()).hexdigest()
    body = (
        b'{"committed_at":"2024-01-10T00:00:00Z","metadata":{"a":[],"version":"v1"},"parent":null,"subject":"first",'
        b'"tree":"%b"}' % root.encode()
    )
    tree = write_files(store, {"etc/a.txt": b"hello\n"})
    commit = store.add_commit(tree, committed_at=DAY, subject="first", metadata={"version": "v1", "a": []})
    assert tree == root
    assert commit == hashlib.sha256(body).hexdigest()
    assert commit == "b2dc9fda3ab8cbe050fa38cc85777d7979b34422113baf03d90b5b28c060f138"


def test_dates_are_kept_in_utc_and_whole_seconds(store: Store) -> None:
    """The same moment said otherwise is the same commit; a date without a zone is refused."""
    tree = write_files(store, {})
    said_in_paris = DAY.astimezone(timezone(timedelta(hours=1))).replace(microsecond=999)
    assert store.add_commit(tree, committed_at=said_in_paris) == store.add_commit(tree, committed_at=DAY)
    with pytest.raises(InputError, match="time zone"):
        store.add_commit(tree, committed_at=datetime(2024, 1, 10))


def test_objects_are_plain_zstd_frames_named_by_their_content(store: Store) -> None:
    """Another reader of zstd gets the bytes; `loose_bytes` is the file's length."""
    name = store.write_object(ObjectKind.FILE, encode_file(FileObject(content=b"x" * 1000)))
    packed = _place(store, name).read_bytes()
    assert zstandard.get_frame_parameters(packed).content_size == 1009
    assert hashlib.sha256(zstandard.decompress(packed)).hexdigest() == name.checksum
    assert store.loose_bytes(name) == len(packed)


def test_only_a_store_can_be_opened(tmp_path: Path, store: Store) -> None:
    """Neither an empty folder nor a later format; and a store is not made over something."""
    assert Store.open(store.path).read_history().commits == {}
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "config").write_bytes(b"deltaplan-store/2\n")
    for name in ("later", "none", "."):
        with pytest.raises(RepositoryError, match="is not a store"):
            Store.open(tmp_path / name)
    with pytest.raises(InputError, match="in the way"):
        Store.create(store.path)


# -- writing -------------------------------------------------------------------------------------------------


def test_an_object_is_written_once_and_again_after_it_was_dropped(store: Store) -> None:
    """A corrupt object stays until it is dropped; then the next write mends it."""
    name = store.write_object(ObjectKind.FILE, b"file 644\nx")
    _place(store, name).write_bytes(b"corrupt")
    store.write_object(ObjectKind.FILE, b"file 644\nx")
    assert _place(store, name).read_bytes() == b"corrupt"
    store.drop_object(name)
    assert not store.has(name)
    store.write_object(ObjectKind.FILE, b"file 644\nx")
    assert store.read_file(name.checksum) == FileObject(content=b"x")


def test_a_batch_keeps_everything_or_nothing(store: Store) -> None:
    """Objects of a batch can be read inside it, and have no name in `objects` before it ends well."""
    with store.batch():
        kept = store.write_object(ObjectKind.FILE, b"file 644\nx")
        assert store.has(kept)
        assert store.read_object(kept) == b"file 644\nx"
        assert store.loose_bytes(kept) > 0
        assert not _place(store, kept).exists()
    assert _place(store, kept).exists()
    lost = encode_file(FileObject(content=b"y"))
    with pytest.raises(InputError), store.batch():
        _commit(store, {"a": b"y", "/a": b"absolute"})
    assert not store.has(ObjectName(ObjectKind.FILE, hashlib.sha256(lost).hexdigest()))
    assert _names(store.path / "staging") == []


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_the_store_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """No object, no staged file, no moved ref; and the store goes on working afterwards."""
    first = _commit(store, {"a": b"1"})
    before = sorted(store.path.rglob("*"))

    def fail(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SpaceError), store.batch():
        _commit(store, {"a": b"2"}, parent=first)
    monkeypatch.undo()
    assert [path for path in sorted(store.path.rglob("*")) if path.is_file()] == [p for p in before if p.is_file()]
    second = _commit(store, {"a": b"2"}, parent=first)
    assert store.read_refs() == {"main": second}


def test_a_commit_gets_its_name_after_what_it_needs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between any two renames leaves no commit without its tree."""
    named: list[str] = []
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (named.append(Path(to).suffix), real(self, to))[1])
    with store.batch():
        _commit(store, {"a/b": b"1"}, ref=None)
    assert named[-1] == ".commit"
    assert sorted(named[:-1]) == [".dirtree", ".dirtree", ".file"]


@pytest.mark.parametrize("step", range(1, 6))
def test_a_run_that_dies_leaves_what_refs_reach_whole(store: Store, step: int) -> None:
    """Killed before its first, second, ... rename: the old release or the new one is there, and the next run works."""
    first = _commit(store, {"a/x": b"1"})
    if (child := os.fork()) == 0:
        _die_at("replace", step)
        _commit(store, {"a/x": b"2"}, parent=first)
        os._exit(0)
    os.waitpid(child, 0)
    later = Store.open(store.path)
    assert later.read_history().refs["main"] == first
    assert later.prune() <= step
    second = _commit(later, {"a/x": b"2"}, parent=first)
    assert list(later.read_history().commits) == [first, second]
    assert _names(later.path / "staging") == []


def _die_at(call: str, step: int) -> None:
    real, count = getattr(Path, call), itertools.count(1)
    setattr(Path, call, lambda *args, **options: os._exit(9) if next(count) == step else real(*args, **options))


@pytest.mark.parametrize("step", range(1, 7))
def test_a_prune_that_dies_leaves_what_refs_reach_whole(store: Store, step: int) -> None:
    """Killed at each deletion: a parent is there with its tree, or it is the history's end."""
    first = _commit(store, {"a/x": b"1", "b": b"1"})
    second = _commit(store, {"a/x": b"2", "b": b"1"}, parent=first)
    if (child := os.fork()) == 0:
        _die_at("unlink", step)
        store.prune(depth=0)
        os._exit(0)
    os.waitpid(child, 0)
    assert store.read_history().refs == {"main": second}
    store.prune(depth=0)
    assert sum(map(len, store.list_objects().values())) == 5


def test_a_ref_written_inside_a_batch_has_its_objects_on_the_disk(store: Store) -> None:
    """The ref is never ahead of what it needs, not even for the length of a batch."""
    with store.batch():
        commit = _commit(store, {"a": b"1"})
        assert Store.open(store.path).read_history().refs == {"main": commit}


@pytest.mark.parametrize("ref", ["", "/a", "a/", "../a", "a/../b", ".a", "a b", "a\n", "a//b"])
def test_a_ref_name_cannot_leave_its_folder(store: Store, ref: str) -> None:
    """Words separated by '/', none with a leading dot."""
    commit = _commit(store, {})
    with pytest.raises(InputError, match="not a ref's name"):
        store.write_ref(ref, commit)


def test_refs_may_have_folders_but_not_be_one(store: Store) -> None:
    """As OSTree's `os/x86_64/stable`; foreign files in the folder are passed over, wrong contents are not."""
    commit = _commit(store, {}, ref="os/x86_64/stable")
    for ref in ("os/x86_64", "os/x86_64/stable/more"):
        with pytest.raises(InputError, match="another ref's way"):
            store.write_ref(ref, commit)
    (store.path / "refs" / ".0123.tmp").write_bytes(b"left by a dead run")
    assert store.read_refs() == {"os/x86_64/stable": commit}
    with pytest.raises(RepositoryError, match="is missing"):
        store.write_ref("main", NO_CHECKSUM)
    (store.path / "refs" / "bad").write_bytes(b"hello\n")
    with pytest.raises(RepositoryError, match="does not hold"):
        store.read_history()


def test_a_commit_needs_its_tree_and_plain_metadata(store: Store) -> None:
    """What could not be read again is not written."""
    with pytest.raises(RepositoryError, match="is missing"):
        store.add_commit(NO_CHECKSUM, committed_at=DAY)
    tree = write_files(store, {})
    for value in (b"bytes", 1.5, {"a": 1}, [1], "\udcff"):
        with pytest.raises(InputError, match="cannot be kept"):
            store.add_commit(tree, committed_at=DAY, metadata={"a": value})


# -- prune and checkout --------------------------------------------------------------------------------------


def test_prune_keeps_what_refs_reach(store: Store) -> None:
    """Everything behind a ref stays; a commit without one goes, with what only it needs; leftovers go too."""
    first = _commit(store, {"a": b"1", "shared": b"s"})
    second = _commit(store, {"a": b"2", "shared": b"s"}, parent=first)
    _commit(store, {"a": b"3", "shared": b"s"}, ref=None)
    (store.path / "staging" / ".dead.tmp").write_bytes(b"half")
    before = store.read_history()
    assert store.prune() == 3  # a commit, its tree and its file
    assert store.read_history() == before
    assert _names(store.path / "staging") == []
    assert store.prune() == 0
    assert store.prune(depth=1) == 0
    assert store.prune(depth=0) == 3
    assert list(store.read_history().commits) == [second]


def test_prune_of_a_broken_store_deletes_nothing(store: Store) -> None:
    """What a broken history reaches is not known."""
    first = _commit(store, {"a": b"1"})
    _commit(store, {"a": b"2"}, ref=None)
    _place(store, ObjectName(ObjectKind.TREE, store.read_commit(first).tree)).unlink()
    before = store.list_objects()
    with pytest.raises(RepositoryError):
        store.prune()
    assert store.list_objects() == before


def test_a_checkout_has_modes_and_links(store: Store, tmp_path: Path) -> None:
    """Modes do not depend on the umask; a link is made, not followed."""
    kinds = {
        "run": FileObject(kind=FileKind.EXECUTABLE, content=b"#!"),
        "read": FileObject(content=b"text"),
        "link": FileObject(kind=FileKind.LINK, content=b"/etc/passwd"),
    }
    files = {name: store.write_object(ObjectKind.FILE, encode_file(file)).checksum for name, file in kinds.items()}
    commit = _commit_of(store, encode_tree(Tree(files=files, dirs={})))
    old = os.umask(0o077)
    try:
        store.checkout(commit, tmp_path / "out")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out" / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out" / "read").stat().st_mode) == 0o644
    assert (tmp_path / "out" / "link").readlink() == Path("/etc/passwd")
    with pytest.raises(InputError, match="in the way"):
        store.checkout(commit, tmp_path / "out")


@pytest.mark.parametrize("body", [b"link\n", b"link\na\0b", b"file 600\nx", b"", b"no header"])
def test_hostile_files_leave_no_checkout(store: Store, tmp_path: Path, body: bytes) -> None:
    """A file object that cannot be made is named, and the folder does not appear."""
    file = store.write_object(ObjectKind.FILE, body)
    commit = _commit_of(store, encode_tree(Tree(files={"a": file.checksum}, dirs={})))
    with pytest.raises(RepositoryError) as caught:
        store.checkout(commit, tmp_path / "out")
    assert caught.value.path == relative_path(file)
    assert _names(tmp_path) == ["store"]


def test_a_store_that_can_be_made_again_is_written_without_waiting_for_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same objects; only refs are synced."""
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(str(Path(f"/proc/self/fd/{file}").readlink())), real(file))[1]
    )
    scratch = Store(store.path, is_durable=False)
    commit = _commit(scratch, {"a/b": b"1"})
    assert len(synced) > 0
    assert not [path for path in synced if "objects" in path or path.endswith("staging")]
    scratch_objects = scratch.list_objects()
    durable = Store.create(store.path.parent / "durable")
    synced.clear()
    assert _commit(durable, {"a/b": b"1"}) == commit
    assert durable.list_objects() == scratch_objects
    assert sum("objects" in path for path in synced) >= 3
