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
from planner.history.records import LAYERS_KEY, ObjectKind
from planner.history.store import Store
from planner.history.trees import import_tree, import_trees, natural_key, write_files, write_folder

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


# -- several releases ----------------------------------------------------------------------------------------


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    for name in ("v1", "v2", "v10"):
        _write(tmp_path / "releases" / name, {"a": name.encode(), "same": b"same"})
    return tmp_path / "releases"


def test_releases_come_in_natural_order_a_day_apart(store: Store, releases: Path) -> None:
    """v2 before v10, each the parent of the next; loose files and hidden folders are passed over."""
    _write(releases, {"README": b"", ".git/config": b""})
    commits = import_trees(store, releases)
    history = store.read_history()
    assert list(commits) == ["v1", "v2", "v10"]
    assert list(history.commits) == list(commits.values())
    assert [commit.version for commit in history.commits.values()] == ["v1", "v2", "v10"]
    assert [commit.committed_at.day for commit in history.commits.values()] == [1, 2, 3]
    assert list(history.ancestors(history.refs["main"])) == [commits["v2"], commits["v1"]]


def test_importing_again_changes_nothing_and_more_releases_go_on_top(store: Store, releases: Path) -> None:
    """The same folder gives the same checksums."""
    first = import_trees(store, releases)
    before = store.list_objects()
    assert import_trees(store, releases) == first
    assert store.list_objects() == before
    _write(releases / "v11", {"a": b"11"})
    assert list(import_trees(store, releases).items())[:3] == list(first.items())


def test_a_ref_with_other_commits_is_left_alone(store: Store, releases: Path) -> None:
    """Importing another folder into a ref would drop its history; under another name both stay."""
    import_trees(store, releases)
    before = (store.read_refs(), store.list_objects())
    (releases / "v10").rename(releases / "w1")
    with pytest.raises(InputError, match="not in this folder"):
        import_trees(store, releases)
    assert (store.read_refs(), store.list_objects()) == before
    import_trees(store, releases, ref="other")
    assert sorted(store.read_refs()) == ["main", "other"]


def test_a_listing_gives_refs_dates_and_layers(store: Store, releases: Path) -> None:
    """Its order counts, not the names'; layers become checksums."""
    (releases / "commits.toml").write_text(
        '[[commits]]\nname = "v10"\nref = "base"\nreleased_at = 2023-05-01T00:00:00Z\n'
        '[[commits]]\nname = "v2"\n'
        '[[commits]]\nname = "v1"\nref = "devices/stable"\nlayers = ["v10", "v2"]\n'
    )
    commits = import_trees(store, releases, ref="apps")
    history = store.read_history()
    assert history.refs == {"apps": commits["v2"], "base": commits["v10"], "devices/stable": commits["v1"]}
    merged = history.commits[commits["v1"]]
    assert merged.layers == (commits["v10"], commits["v2"])
    assert merged.metadata[LAYERS_KEY] == f"{commits['v10']} {commits['v2']}"
    assert merged.parent is None
    assert history.commits[commits["v10"]].committed_at == datetime(2023, 5, 1, tzinfo=UTC)
    assert merged.committed_at == datetime(2024, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('[[commits]]\nname = "v1"\ndate = 1\n', "commits[0].date", "not a known key"),
        ('other = 1\n[[commits]]\nname = "v1"\n', "other", "not a known key"),
        ('[[commits]]\nname = "v1"\n[[commits]]\nref = "x"\n', "commits[1]", "missing required field `name`"),
        ('[[commits]]\nname = "v1"\nreleased_at = 2024-01-01\n', "commits[0].released_at", "Expected"),
        ('[[commits]]\nname = "v1"\nreleased_at = 2024-01-01T00:00:00\n', "commits[0].released_at", "timezone"),
        ('[[commits]]\nname = "v1"\nlayers = "v2"\n', "commits[0].layers", "Expected `array`"),
        ("commits = 1\n", "commits", "Expected `array`"),
        ("[[commits]\n", "", "Expected"),
    ],
)
def test_a_wrong_listing_is_refused_with_the_path(
    store: Store, releases: Path, text: str, path: str, message: str
) -> None:
    """Unknown keys, missing keys and wrong types; the file and the place in it are named."""
    (releases / "commits.toml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        import_trees(store, releases)
    assert caught.value.path == f"{releases / 'commits.toml'}" + (f": {path}" if path else "")


def test_everything_wrong_with_a_listing_is_shown_together(store: Store, releases: Path) -> None:
    """A name twice, no folder, a ref that cannot be, a layer below, a date that goes back, a folder left out."""
    (releases / "commits.toml").write_text(
        '[[commits]]\nname = "v1"\nlayers = ["v2"]\nreleased_at = 2024-02-01T00:00:00Z\n'
        '[[commits]]\nname = "v1"\nref = "../x"\n'
        '[[commits]]\nname = "none"\n[[commits]]\nname = "v2"\nreleased_at = 2024-01-31T00:00:00Z\n'
    )
    with pytest.raises(InputError) as caught:
        import_trees(store, releases)
    text = str(caught.value)
    for part in (
        "commits[0].layers: is no commit above this one: got='v2'",
        "commits[1].name: is there twice",
        "commits[1].ref: is not a ref's name: got='../x'",
        "commits[2].name: is no folder beside this file: got='none'",
        "commits[3].released_at: is before the release above it",
        "does not name a folder beside it: folder='v10'",
    ):
        assert part in text
    assert store.list_objects()[ObjectKind.COMMIT] == {}


def test_a_folder_without_releases_is_refused(store: Store, tmp_path: Path) -> None:
    """Nothing to import is a mistake in the path, more often than not."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no releases"):
        import_trees(store, tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        import_trees(store, tmp_path / "none")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6)))
def test_the_natural_order_is_total(names: list[str]) -> None:
    """Any names can be compared, and equal keys mean equal names."""
    assert sorted(names, key=natural_key) == sorted(sorted(names), key=natural_key)
    assert len(set(map(natural_key, names))) == len(set(names))
