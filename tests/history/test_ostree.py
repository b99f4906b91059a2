"""The reader of OSTree repositories against repositories that the real tool made, in every mode."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from planner.errors import RepositoryError
from planner.history.objects import ObjectSets, full_pull_bytes, walk_files
from planner.history.ostree import OSTreeRepository
from planner.history.records import LAYERS_KEY, ObjectKind, ObjectName

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")

MODES = ("archive", "bare", "bare-user", "bare-user-only")


def ostree(*arguments: object) -> str:
    done = subprocess.run(["ostree", *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_trees(root: Path) -> tuple[Path, Path]:
    """Two releases with links, executables, an empty file, unicode names and folders of different modes."""
    first = root / "first"
    (first / "usr/bin").mkdir(parents=True)
    (first / "usr/share/däta").mkdir(parents=True)
    (first / "usr/bin/tool").write_bytes(os.urandom(50_000))
    (first / "usr/bin/tool").chmod(0o755)
    (first / "usr/bin/link").symlink_to("tool")
    (first / "usr/share/däta/ünïcode.txt").write_text("text\n" * 500)
    (first / "usr/share/empty").touch()
    second = root / "second"
    shutil.copytree(first, second, symlinks=True)
    (second / "usr/bin/tool").write_bytes(os.urandom(60_000))
    (second / "usr/bin/link").unlink()
    (second / "usr/bin/link").symlink_to("../share/empty")
    (second / "new").mkdir()
    (second / "new/file").write_text("new")
    return first, second


@pytest.fixture(params=MODES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str]:
    """A repository of each mode with two commits of one ref and a second ref; its path and the two checksums."""
    repo = tmp_path / "repo"
    ostree("init", f"--repo={repo}", f"--mode={request.param}")
    first, second = make_trees(tmp_path)
    if request.param in ("archive", "bare") and os.geteuid() == 0:
        os.setxattr(first / "usr/share/empty", "user.note", b"kept")
        os.setxattr(first / "usr/share/empty", "user.other", b"")
    commit = ("commit", f"--repo={repo}", "--branch=os/stable")
    metadata = ("--add-metadata-string=version=1.0", f"--add-metadata-string={LAYERS_KEY}=aa bb")
    moment = "--timestamp=2024-01-02 03:04:05 +0000"
    one = ostree(*commit, f"--tree=dir={first}", moment, "--subject=the first", *metadata)
    two = ostree(*commit, f"--tree=dir={second}", "--timestamp=2024-02-02")
    ostree("refs", f"--repo={repo}", one, "--create=os/old")
    return repo, one, two


def test_history_is_what_the_tool_says(world: tuple[Path, str, str]) -> None:
    """Commits, parents, dates, metadata and refs agree with `ostree log`, `show` and `refs`."""
    repo, one, two = world
    history = OSTreeRepository(repo).read_history()
    assert list(history.commits) == [one, two]
    assert history.refs == {"os/old": one, "os/stable": two}
    first, second = history.commits.values()
    assert (first.parent, second.parent) == (None, one)
    assert first.committed_at == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (first.subject, first.version, first.layers) == ("the first", "1.0", ("aa", "bb"))
    assert history.resolve("1.0") == history.resolve(one[:12]) == one
    assert ostree("show", f"--repo={repo}", "--print-metadata-key=version", one) == f"'{first.version}'"


def test_every_path_has_the_checksum_that_ls_prints(world: tuple[Path, str, str]) -> None:
    """`ostree ls -R -C` prints one line per path with its object checksums; ours are the same, none is left out."""
    repo, _, two = world
    history = OSTreeRepository(repo).read_history()
    listed = {}
    for line in ostree("ls", f"--repo={repo}", "-R", "-C", two).splitlines():
        words = line.split()
        path = words[words.index(next(w for w in words if w.startswith("/")))]
        listed[path] = next(word for word in words if len(word) == 64)
    ours = {path.rstrip("/") or "/": name.checksum for path, name in walk_files(history, history.commits[two].tree)}
    assert ours == listed


def test_every_object_can_be_read_and_checked(world: tuple[Path, str, str]) -> None:
    """Content equals the tree that was committed; every object's bytes have its checksum in every mode."""
    repo, one, two = world
    repository = OSTreeRepository(repo)
    history = repository.read_history()
    objects = ObjectSets(history)
    for name in objects.of_commit(one) | objects.of_commit(two):
        data = repository.read_object(name)
        assert repository.loose_bytes(name) > 0
        if name.kind is not ObjectKind.FILE:
            assert repository.object_bytes(name) == len(data)
    for path, name in walk_files(history, history.commits[two].tree):
        original = repo.parent / "second" / path.lstrip("/")
        if name.kind is ObjectKind.FILE:
            expected = str(original.readlink()).encode() if original.is_symlink() else original.read_bytes()
            assert repository.read_object(name) == expected


def test_objects_of_a_commit_are_those_that_a_pull_copies(world: tuple[Path, str, str], tmp_path: Path) -> None:
    """A client that pulls one commit holds exactly the objects that we count, and their files' bytes are ours."""
    repo, one, _ = world
    client = tmp_path / "client"
    ostree("init", f"--repo={client}", "--mode=archive")
    ostree("pull-local", f"--repo={client}", repo, one)
    held = {path.parent.name + path.name for path in (client / "objects").glob("*/*.*")}
    repository = OSTreeRepository(repo)
    objects = ObjectSets(repository.read_history())
    counted = {f"{name}{'z' if name.kind is ObjectKind.FILE else ''}" for name in objects.of_commit(one)}
    assert counted == {name for name in held if not name.endswith("commitmeta")}
    if repository.mode == "archive":
        stored = sum((client / "objects" / name[:2] / name[2:]).stat().st_size for name in counted)
        assert full_pull_bytes(repository, objects, "", one) == stored


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, str, str]:
    """An archive repository with two commits."""
    repo = tmp_path / "repo"
    ostree("init", f"--repo={repo}", "--mode=archive")
    first, second = make_trees(tmp_path)
    commit = ("commit", f"--repo={repo}", "--branch=main")
    return repo, ostree(*commit, f"--tree=dir={first}"), ostree(*commit, f"--tree=dir={second}")


def _object_path(repo: Path, name: ObjectName) -> Path:
    ending = "filez" if name.kind is ObjectKind.FILE else name.kind.value
    return repo / "objects" / name.checksum[:2] / f"{name.checksum[2:]}.{ending}"


def test_missing_objects_are_named_with_who_needs_them(archive: tuple[Path, str, str]) -> None:
    """A tree, a file or folder attributes that are gone: the error has the object's path and the needing path."""
    repo, _, two = archive
    history = OSTreeRepository(repo).read_history()
    usr = history.trees[history.commits[two].tree].dirs["usr"]
    share = history.trees[usr].dirs["share"]
    victims = {
        ObjectName(ObjectKind.TREE, share): "/usr/share",
        ObjectName(ObjectKind.FILE, history.trees[share].files["empty"]): "/usr/share/empty",
        ObjectName(ObjectKind.META, min(history.trees[usr].metas)): "",
    }
    for name, needed_by in victims.items():
        path = _object_path(repo, name)
        path.rename(repo / "aside")
        with pytest.raises(RepositoryError) as caught:
            OSTreeRepository(repo).read_history()
        assert "is missing" in str(caught.value)
        assert name.checksum[2:] in str(caught.value)
        assert needed_by in str(caught.value)
        (repo / "aside").rename(path)


def test_missing_commit_of_a_ref_is_named(archive: tuple[Path, str, str]) -> None:
    """A ref whose commit is gone is an error; an absent parent is only the end of the history."""
    repo, one, two = archive
    _object_path(repo, ObjectName(ObjectKind.COMMIT, one)).unlink()
    assert list(OSTreeRepository(repo).read_history().commits) == [two]
    _object_path(repo, ObjectName(ObjectKind.COMMIT, two)).unlink()
    with pytest.raises(RepositoryError, match=r"is missing: needed_by='ref main'"):
        OSTreeRepository(repo).read_history()


@pytest.mark.parametrize("kind", list(ObjectKind))
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_corrupt_objects_are_found(archive: tuple[Path, str, str], kind: ObjectKind, damage: str) -> None:
    """A flipped byte, a cut file and an empty one, in every kind of object; never anything but RepositoryError."""
    repo, _, two = archive
    objects = ObjectSets(OSTreeRepository(repo).read_history())
    name = max(name for name in objects.of_commit(two) if name.kind is kind)
    path = _object_path(repo, name)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {"flip": data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :], "cut": data[:-1], "empty": b""}[
            damage
        ]
    )
    with pytest.raises(RepositoryError, match=name.checksum[2:]):
        OSTreeRepository(repo).read_object(name)
    if kind is not ObjectKind.FILE:
        with pytest.raises(RepositoryError, match=name.checksum[2:]):
            OSTreeRepository(repo).read_history()


def test_partial_commit_is_reported_not_used(archive: tuple[Path, str, str]) -> None:
    """A commit that a pull left partial is in `incomplete`; its ref is left out."""
    repo, one, two = archive
    (repo / "state" / f"{two}.commitpartial").touch()
    ostree("refs", f"--repo={repo}", one, "--create=old")
    history = OSTreeRepository(repo).read_history()
    assert set(history.incomplete) == {two}
    assert history.refs == {"old": one}


def test_ref_that_leads_out_of_the_repository_is_refused(archive: tuple[Path, str, str], tmp_path: Path) -> None:
    """A symlink under refs/ to somewhere else is not followed."""
    repo, one, _ = archive
    (tmp_path / "outside").write_text(one)
    (repo / "refs/heads/evil").symlink_to(tmp_path / "outside")
    with pytest.raises(RepositoryError, match="leads out of the repository"):
        OSTreeRepository(repo).read_history()


def test_remote_refs_are_read(archive: tuple[Path, str, str]) -> None:
    """Refs of remotes are named `remote:ref`."""
    repo, one, _ = archive
    (repo / "refs/remotes/origin/a").mkdir(parents=True)
    (repo / "refs/remotes/origin/a/b").write_text(one + "\n")
    assert OSTreeRepository(repo).read_refs()["origin:a/b"] == one


@pytest.mark.parametrize("config", ["", "[core]\nmode=split-xattrs\n", "\0", "[core\n"])
def test_folder_that_is_no_repository_is_refused(tmp_path: Path, config: str) -> None:
    """No config, an unknown mode, or nonsense: RepositoryError naming the folder."""
    folder = tmp_path / "repo"
    folder.mkdir()
    if config:
        (folder / "config").write_text(config)
    with pytest.raises(RepositoryError, match="repo"):
        OSTreeRepository(folder)
