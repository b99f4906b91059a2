"""The reader of OSTree repositories against repositories that the real tool made, in every mode."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import shutil
import subprocess
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import RepositoryError
from planner.history import ostree_objects
from planner.history.objects import ObjectSets, full_pull_bytes, walk_files
from planner.history.ostree import OSTreeRepository
from planner.history.reading import MAX_DEPTH
from planner.history.records import LAYERS_KEY, ObjectKind, ObjectName
from planner.history.repository import Repository

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
    # Targets that a path library would tidy up, and a mode that bare-user-only changes.
    os.symlink("./däta//../däta/", first / "usr/share/untidy")  # noqa: PTH211
    (first / "usr/share/secret").write_text("secret")
    (first / "usr/share/secret").chmod(0o660)
    words = random.Random(1).choices(["alpha", "beta", "gamma", "delta", "epsilon\n"], k=40_000)
    (first / "usr/share/words").write_text(" ".join(words))
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
    for release in (first, second) if request.param != "bare-user-only" else ():
        # File systems list the shorter name first; OSTree sorts them.
        os.setxattr(release / "usr/share/empty", "user.zz", b"kept as well")
        os.setxattr(release / "usr/share/empty", "user.note", b"kept")
        os.setxattr(release / "usr/share", "user.folder", b"kept as well")
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


LISTED = re.compile(r"([-dl])(\d+) \d+ \d+ +(\d+) ([0-9a-f]{64})( [0-9a-f]{64})? \{ .* \} (/.*?)(?: -> (.*))?")


def test_every_path_has_the_checksum_that_ls_prints(world: tuple[Path, str, str]) -> None:
    """`ostree ls -R -C -X` prints a line for each path, with checksums: ours are the same, none is left out."""
    repo, one, two = world
    repository = OSTreeRepository(repo)
    history = repository.read_history()
    for commit in (one, two):
        rows = [LISTED.fullmatch(line) for line in ostree("ls", f"--repo={repo}", "-RCX", commit).splitlines()]
        listed = {row[6]: row for row in rows if row}
        paths = {path.rstrip("/") or "/": name for path, name in walk_files(history, history.commits[commit].tree)}
        assert {path: name.checksum for path, name in paths.items()} == {path: row[4] for path, row in listed.items()}
        metas = {row[5].strip() for row in listed.values() if row[5]}
        objects = ObjectSets(history).of_commit(commit)
        assert {name.checksum for name in objects if name.kind is ObjectKind.META} == metas
        for path, row in listed.items():
            if row[1] == "-":
                assert repository.object_bytes(paths[path]) == int(row[3])
            if row[1] == "l":
                assert repository.read_object(paths[path]).decode() == row[7]


def test_refs_and_parents_are_what_the_tool_resolves(world: tuple[Path, str, str]) -> None:
    """`ostree rev-parse` agrees on every ref and parent, `ostree log` on the order, `ostree cat` on the content."""
    repo, one, two = world
    repository = OSTreeRepository(repo)
    assert isinstance(repository.path, Path)
    history = repository.read_history()
    assert set(history.refs) == set(ostree("refs", f"--repo={repo}").split())
    for ref, commit in history.refs.items():
        assert ostree("rev-parse", f"--repo={repo}", ref) == commit
    assert ostree("rev-parse", f"--repo={repo}", "os/stable^") == history.commits[two].parent
    logged = re.findall("^commit ([0-9a-f]{64})$", ostree("log", f"--repo={repo}", "os/stable"), re.MULTILINE)
    assert logged == [two, *history.ancestors(two)] == [two, one]
    path, name = next(pair for pair in walk_files(history, history.commits[two].tree) if pair[0].endswith(".txt"))
    done = subprocess.run(["ostree", "cat", f"--repo={repo}", two, path], check=True, capture_output=True)
    assert done.stdout == repository.read_object(name)


def test_every_object_can_be_read_and_checked(world: tuple[Path, str, str]) -> None:
    """Content equals the tree that was committed; every object's bytes have its checksum in every mode."""
    repo, one, two = world
    repository = OSTreeRepository(repo)
    history = repository.read_history()
    objects = ObjectSets(history)
    for name in objects.of_commit(one) | objects.of_commit(two):
        data = repository.read_object(name)
        assert repository.loose_bytes(name) > 0
        assert repository.object_bytes(name) == len(data)
    for path, name in walk_files(history, history.commits[two].tree):
        original = repo.parent / "second" / path.lstrip("/")
        if name.kind is ObjectKind.FILE:
            is_link = original.is_symlink()
            expected = os.readlink(os.fsencode(original)) if is_link else original.read_bytes()  # noqa: PTH115
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
    stored = sum((client / "objects" / name[:2] / name[2:]).stat().st_size for name in counted)
    counted_bytes = full_pull_bytes(repository, objects, "", one)
    if repository.mode == "archive-z2":
        assert counted_bytes == stored
    else:  # projected by compressing; another zlib than the tool's may differ by a few bytes
        assert counted_bytes == pytest.approx(stored, rel=0.01)
        assert counted_bytes == full_pull_bytes(repository, objects, "", one)


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


@pytest.mark.parametrize("mode", ["bare", "bare-user", "bare-user-only"])
@pytest.mark.parametrize("damage", ["content", "mode"])
def test_damage_in_bare_modes_is_found(tmp_path: Path, mode: str, damage: str) -> None:
    """Content or attributes that changed in place: the checksum covers both."""
    repo = tmp_path / "repo"
    ostree("init", f"--repo={repo}", f"--mode={mode}")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_text("content")
    commit = ostree("commit", f"--repo={repo}", "--branch=main", f"--tree=dir={tmp_path}/tree")
    history = OSTreeRepository(repo).read_history()
    name = ObjectName(ObjectKind.FILE, history.trees[history.commits[commit].tree].files["a"])
    assert OSTreeRepository(repo).read_object(name) == b"content"
    path = repo / "objects" / name.checksum[:2] / f"{name.checksum[2:]}.file"
    if mode == "bare-user-only" and os.geteuid() == 0:
        os.chown(path, 5, 5)  # the mode does not keep owners, so this is no damage
        assert OSTreeRepository(repo).read_object(name) == b"content"
    if damage == "content":
        path.write_text("CONTENT")
    elif mode == "bare-user":
        os.setxattr(path, "user.ostreemeta", os.getxattr(path, "user.ostreemeta").replace(b"\x81\xa4", b"\x81\xed"))
    else:
        path.chmod(0o755)
    with pytest.raises(RepositoryError, match=f"{name.checksum[2:]}.file: is corrupt: .*needed_by='main:/a'"):
        OSTreeRepository(repo).read_object(name, needed_by="main:/a")


def test_order_of_attributes_on_disk_does_not_matter(tmp_path: Path) -> None:
    """A file system lists attributes in an order of its own; a checksum covers them by name."""
    repo = tmp_path / "repo"
    ostree("init", f"--repo={repo}", "--mode=bare")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_text("content")
    for attribute in ("user.a", "user.b"):
        os.setxattr(tmp_path / "tree/a", attribute, b"value")
    commit = ostree("commit", f"--repo={repo}", "--branch=main", f"--tree=dir={tmp_path}/tree")
    history = OSTreeRepository(repo).read_history()
    name = ObjectName(ObjectKind.FILE, history.trees[history.commits[commit].tree].files["a"])
    path = repo / "objects" / name.checksum[:2] / f"{name.checksum[2:]}.file"
    os.removexattr(path, "user.a")
    os.setxattr(path, "user.a", b"value")
    assert OSTreeRepository(repo).read_object(name) == b"content"


def test_owner_that_bare_user_only_lost_is_refused_as_fsck_does(tmp_path: Path) -> None:
    """A file of another owner, pulled into that mode, no longer has its checksum; the real tool says the same."""
    source, client = tmp_path / "source", tmp_path / "client"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_text("content")
    ostree("init", f"--repo={source}", "--mode=archive")
    ostree("init", f"--repo={client}", "--mode=bare-user-only")
    commit = ostree("commit", f"--repo={source}", "--owner-uid=5", "--branch=main", f"--tree=dir={tmp_path}/tree")
    ostree("pull-local", f"--repo={client}", source, "main")
    history = OSTreeRepository(client).read_history()
    name = ObjectName(ObjectKind.FILE, history.trees[history.commits[commit].tree].files["a"])
    assert OSTreeRepository(source).read_object(name) == b"content"
    with pytest.raises(subprocess.CalledProcessError):
        ostree("fsck", f"--repo={client}")
    with pytest.raises(RepositoryError, match="is corrupt"):
        OSTreeRepository(client).read_object(name)


def test_large_attributes_are_read(tmp_path: Path) -> None:
    """A header that is longer than what is read at first (attributes of 9,000 and 60,000 bytes)."""
    tar, repo = tmp_path / "tree.tar", tmp_path / "repo"
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.size = 7
        member.pax_headers = {"SCHILY.xattr.user.big": "a" * 9_000, "SCHILY.xattr.user.bigger": "b" * 60_000}
        archive.addfile(member, io.BytesIO(b"content"))
    ostree("init", f"--repo={repo}", "--mode=archive")
    commit = ostree("commit", f"--repo={repo}", "--branch=main", f"--tree=tar={tar}", "--tar-autocreate-parents")
    repository = OSTreeRepository(repo)
    history = repository.read_history()
    name = ObjectName(ObjectKind.FILE, history.trees[history.commits[commit].tree].files["a"])
    assert repository.loose_bytes(name) > 69_000
    assert repository.read_object(name) == b"content"
    assert repository.object_bytes(name) == 7


# -- forged objects: what the real tool would never write ----------------------------------------------------------


def frame(pieces: Sequence[bytes], ends: int) -> bytes:
    """An array of all pieces, or a tuple whose members but the last have an end; nothing is aligned."""
    places = [sum(map(len, pieces[: place + 1])) for place in range(ends)]
    body, ordered = b"".join(pieces), places if ends == len(pieces) else places[::-1]
    width = next(width for width in (1, 2, 4) if len(body) + width * ends < 256**width)
    return body + b"".join(place.to_bytes(width, "little") for place in ordered)


def forge_tree(files: Sequence[tuple[str, str]], dirs: Sequence[tuple[str, str, str]] = ()) -> bytes:
    file_items = [frame([name.encode() + b"\0", bytes.fromhex(file)], 1) for name, file in files]
    dir_items = [frame([name.encode() + b"\0", *map(bytes.fromhex, both)], 2) for name, *both in dirs]
    return frame([frame(file_items, len(file_items)), frame(dir_items, len(dir_items))], 1)


def write_object(repo: Path, data: bytes, ending: str) -> str:
    checksum = hashlib.sha256(data).hexdigest()
    (repo / "objects" / checksum[:2]).mkdir(exist_ok=True)
    (repo / "objects" / checksum[:2] / f"{checksum[2:]}.{ending}").write_bytes(data)
    return checksum


def forge_commit(repo: Path, tree: str) -> str:
    """Let `main` point to a copy of its commit that has another tree."""
    history = OSTreeRepository(repo).read_history()
    commit = history.commits[history.refs["main"]]
    data = OSTreeRepository(repo).read_object(ObjectName(ObjectKind.COMMIT, commit.checksum))
    forged = write_object(repo, data.replace(bytes.fromhex(commit.tree), bytes.fromhex(tree)), "commit")
    (repo / "refs/heads/main").write_text(forged + "\n")
    return forged


def _known_objects(repo: Path) -> tuple[str, str, str]:
    history = OSTreeRepository(repo).read_history()
    commit = history.commits[history.refs["main"]]
    (file,) = history.trees[history.trees[commit.tree].dirs["new"]].files.values()
    assert commit.tree_meta
    return file, commit.tree, commit.tree_meta


def test_forged_tree_of_a_harmless_name_is_read(archive: tuple[Path, str, str]) -> None:
    """The forger of the next tests writes what the real tool accepts; else they would show nothing."""
    repo, _, _ = archive
    file, tree, meta = _known_objects(repo)
    forged = forge_commit(repo, write_object(repo, forge_tree([("a", file)], [("b", tree, meta)]), "dirtree"))
    ostree("fsck", f"--repo={repo}")
    history = OSTreeRepository(repo).read_history()
    assert history.trees[history.commits[forged].tree].files == {"a": file}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../../x"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_hostile_names_in_trees_are_refused(archive: tuple[Path, str, str], name: str, is_folder: bool) -> None:
    """A name that could mean another place than an entry of its folder."""
    repo, _, _ = archive
    file, tree, meta = _known_objects(repo)
    data = forge_tree([], [(name, tree, meta)]) if is_folder else forge_tree([(name, file)])
    forge_commit(repo, write_object(repo, data, "dirtree"))
    with pytest.raises(RepositoryError, match="has a name that is not allowed"):
        OSTreeRepository(repo).read_history()


@pytest.mark.parametrize("names", [("aa", ""), ("", "aa"), ("a", "a")])
def test_names_that_are_there_twice_are_refused(archive: tuple[Path, str, str], names: tuple[str, str]) -> None:
    """Twice among the files, among the folders, or once in each."""
    repo, _, _ = archive
    file, tree, meta = _known_objects(repo)
    data = forge_tree([(name, file) for name in names[0]], [(name, tree, meta) for name in names[1]])
    forge_commit(repo, write_object(repo, data, "dirtree"))
    with pytest.raises(RepositoryError, match="has a name twice"):
        OSTreeRepository(repo).read_history()


@pytest.mark.parametrize("depth", [MAX_DEPTH - 3, 3 * MAX_DEPTH])
def test_depth_of_trees_is_bounded(archive: tuple[Path, str, str], depth: int) -> None:
    """Deep trees are read, hostile ones end in the error, not in a RecursionError."""
    repo, _, _ = archive
    _, tree, meta = _known_objects(repo)
    for _ in range(depth - 4):
        tree = write_object(repo, forge_tree([], [("d", tree, meta)]), "dirtree")
    forged = forge_commit(repo, tree)
    if depth < MAX_DEPTH:
        assert OSTreeRepository(repo).read_history().commits[forged].tree == tree
    else:
        with pytest.raises(RepositoryError, match="is too deep"):
            OSTreeRepository(repo).read_history()


def _filez(content_bytes: int, packed: bytes, mode: int = 0o100644) -> bytes:
    numbers = content_bytes.to_bytes(8, "big") + bytes(8) + mode.to_bytes(4, "big") + bytes(4)
    header = frame([numbers + b"\0", b""], 1)
    return len(header).to_bytes(4, "big") + bytes(4) + header + packed


def _deflate(content: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()


BOMB = _deflate(bytes(20_000_000))
HOSTILE_FILES = {
    "more than it says": _filez(10, BOMB),
    "less than it says": _filez(11, _deflate(b"ten bytes.")),
    "more than is kept in memory": _filez(10**18, BOMB),
    "no end of the packed content": _filez(10, _deflate(b"ten bytes.")[:-1]),
    "no packed content": _filez(0, b""),
    "a device": _filez(0, b"", mode=0o020644),
    "a folder": _filez(0, b"", mode=0o040755),
    "a header that is longer than the file": b"\xff" * 4 + bytes(100),
    "padding that is not zero": _filez(10, _deflate(b"ten bytes.")).replace(bytes(4), b"\0\0\1\0", 1),
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hostile_file_objects_are_refused(name: str) -> None:
    """Sizes that lie, bombs, and kinds of files that OSTree does not keep."""
    tracemalloc.start()
    try:
        with pytest.raises(RepositoryError, match=r"^here: "):
            ostree_objects.unpack_file(HOSTILE_FILES[name], "here")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
    header, content = ostree_objects.unpack_file(_filez(10, _deflate(b"ten bytes.")), "here")
    assert (header.mode, content) == (0o100644, b"ten bytes.")


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_objects_raise_one_error_or_are_read(archive: tuple[Path, str, str], data: st.DataObject) -> None:
    """Every decoder, given bytes that were cut, changed or lengthened: RepositoryError or a value."""
    repo, _, two = archive
    objects = sorted(ObjectSets(OSTreeRepository(repo).read_history()).of_commit(two))
    name = data.draw(st.sampled_from(objects))
    good = _object_path(repo, name).read_bytes()
    place = data.draw(st.integers(0, min(len(good), 300)))
    bad = good[:place] + data.draw(st.binary(max_size=4)) + good[place + data.draw(st.integers(0, 4)) :]
    decoders: dict[ObjectKind, Callable[[bytes], object]] = {
        ObjectKind.COMMIT: lambda bad: ostree_objects.decode_commit(bad, two, where="here"),
        ObjectKind.TREE: lambda bad: ostree_objects.decode_tree(bad, where="here"),
        ObjectKind.META: lambda bad: ostree_objects.decode_user_metadata(bad, "here"),
        ObjectKind.FILE: lambda bad: ostree_objects.unpack_file(bad, "here"),
    }
    with suppress(RepositoryError):
        decoders[name.kind](bad)


def test_symbolic_link_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A variant's text is UTF-8, so OSTree has no checksum for such a link."""
    repo = tmp_path / "repo"
    ostree("init", f"--repo={repo}", "--mode=bare")
    path = repo / "objects/aa" / f"{'a' * 62}.file"
    path.parent.mkdir(exist_ok=True)
    os.symlink(b"caf\xe9", path)  # noqa: PTH211
    with pytest.raises(RepositoryError, match="cannot be read"):
        OSTreeRepository(repo).read_object(ObjectName(ObjectKind.FILE, "a" * 64))


@pytest.mark.parametrize("kind", list(ObjectKind))
def test_object_that_is_a_pipe_or_a_folder_is_refused(archive: tuple[Path, str, str], kind: ObjectKind) -> None:
    """Nothing waits for a pipe's other end."""
    repo, _, _ = archive
    repository = OSTreeRepository(repo)
    for first, make in (("a", os.mkfifo), ("b", os.mkdir)):
        name = ObjectName(kind, first * 64)
        _object_path(repo, name).parent.mkdir(exist_ok=True)
        make(_object_path(repo, name))
        with pytest.raises(RepositoryError):
            repository.read_object(name)
        if kind is ObjectKind.FILE:
            with pytest.raises(RepositoryError):
                repository.object_bytes(name)


@pytest.mark.parametrize("checksum", ["", "../../../etc/passwd", "A" * 64, "a" * 63 + "\n"])
def test_names_that_are_no_checksums_lead_nowhere(archive: tuple[Path, str, str], checksum: str) -> None:
    """An object's path is made only of hex digits."""
    repository = OSTreeRepository(archive[0])
    questions: list[Callable[[ObjectName], object]] = [repository.read_object, repository.object_bytes]
    for ask in [*questions, repository.loose_bytes]:
        with pytest.raises(RepositoryError, match="is not the name of an object"):
            ask(ObjectName(ObjectKind.FILE, checksum))


def test_reader_is_a_repository(archive: tuple[Path, str, str]) -> None:
    """It is what the rest of the program asks for."""
    repository: Repository = OSTreeRepository(archive[0])
    missing = ObjectName(ObjectKind.FILE, "0" * 64)
    for ask in (repository.loose_bytes, repository.read_object, OSTreeRepository(archive[0]).object_bytes):
        with pytest.raises(RepositoryError, match=f"objects/00/{'0' * 62}.filez: is missing"):
            ask(missing)


# -- partial commits, refs and configs -----------------------------------------------------------------------------


def test_partial_commit_is_reported_not_used(archive: tuple[Path, str, str]) -> None:
    """A commit that a pull left partial is in `incomplete`; its ref is left out."""
    repo, one, two = archive
    for marker in (f"{two}.commitpartial", f"{one}.commitpartial.tmp", one):
        (repo / "state" / marker).touch()
    ostree("refs", f"--repo={repo}", one, "--create=old")
    history = OSTreeRepository(repo).read_history()
    assert set(history.incomplete) == {two}
    assert history.refs == {"old": one}


def test_pull_of_a_commit_without_its_files_is_partial(archive: tuple[Path, str, str], tmp_path: Path) -> None:
    """What the real tool marks: a pull of the commit's metadata alone."""
    repo, _, two = archive
    client = tmp_path / "client"
    ostree("init", f"--repo={client}", "--mode=bare-user")
    ostree("pull-local", f"--repo={client}", "--commit-metadata-only", repo, "main")
    (client / "state/nonsense.commitpartial").touch()
    history = OSTreeRepository(client).read_history()
    assert (set(history.incomplete), history.refs, history.commits) == ({two}, {}, {})


def test_shallow_history_ends_where_the_pull_ended(archive: tuple[Path, str, str], tmp_path: Path) -> None:
    """A pull fetches one commit; its parent is named, absent, and no error."""
    repo, one, two = archive
    client = tmp_path / "client"
    ostree("init", f"--repo={client}", "--mode=bare-user")
    ostree("pull-local", f"--repo={client}", repo, "main")
    history = OSTreeRepository(client).read_history()
    assert list(history.commits) == [two]
    assert (history.commits[two].parent, list(history.ancestors(two))) == (one, [])


def test_alias_is_read_as_its_ref(archive: tuple[Path, str, str]) -> None:
    """A symbolic link inside refs/, as the real tool makes one; what cannot be a ref's name is passed over."""
    repo, _, two = archive
    ostree("refs", f"--repo={repo}", "main", "--alias", "--create=os/current")
    (repo / "refs/heads/.rsync_info").write_text("nonsense")
    (repo / "refs/heads/os/line\nbreak").write_text("nonsense")
    assert OSTreeRepository(repo).read_refs() == {"main": two, "os/current": two}


@pytest.mark.parametrize("target", ["nowhere", "loop", "os"])
def test_alias_of_no_ref_is_refused(archive: tuple[Path, str, str], target: str) -> None:
    """A dangling link, a circle, or a folder: RepositoryError with the ref's path."""
    repo, _, _ = archive
    (repo / "refs/heads/os").mkdir()
    (repo / "refs/heads/loop").symlink_to(target)
    with pytest.raises(RepositoryError, match=r"^refs/heads/loop: "):
        OSTreeRepository(repo).read_history()


@pytest.mark.parametrize("text", ["", "main", "a" * 63, "A" * 64, "a" * 200, "../" * 20, "é" * 32])
def test_ref_that_holds_no_checksum_is_refused(archive: tuple[Path, str, str], text: str) -> None:
    """Too short, too long, not hex digits, or a path."""
    repo, _, _ = archive
    (repo / "refs/heads/os").mkdir()
    (repo / "refs/heads/os/bad").write_text(text)
    with pytest.raises(RepositoryError, match=r"^refs/heads/os/bad: "):
        OSTreeRepository(repo).read_history()


def test_refs_folder_that_leads_elsewhere_is_not_searched(archive: tuple[Path, str, str]) -> None:
    """A link to the root of the file system instead of refs/heads, or below it."""
    repo, _, _ = archive
    (repo / "refs/heads/all").symlink_to("/")
    with pytest.raises(RepositoryError, match="refs/heads/all: leads out of the repository"):
        OSTreeRepository(repo).read_refs()
    shutil.rmtree(repo / "refs/heads")
    (repo / "refs/heads").symlink_to("/")
    with pytest.raises(RepositoryError, match="refs/heads: is a link"):
        OSTreeRepository(repo).read_refs()


def test_ref_that_leads_out_of_the_repository_is_refused(archive: tuple[Path, str, str], tmp_path: Path) -> None:
    """A symlink under refs/ to somewhere else is not followed."""
    repo, one, _ = archive
    (tmp_path / "outside").write_text(one)
    (repo / "refs/heads/evil").symlink_to(tmp_path / "outside")
    with pytest.raises(RepositoryError, match="leads out of the repository"):
        OSTreeRepository(repo).read_history()


def test_refs_of_remotes_and_mirrors_are_read(archive: tuple[Path, str, str]) -> None:
    """They are named `remote:ref` and `collection:ref`."""
    repo, one, two = archive
    for folder, commit in (("remotes/origin", one), ("mirrors/org.example.Os", two)):
        (repo / "refs" / folder / "a").mkdir(parents=True)
        (repo / "refs" / folder / "a/b").write_text(commit + "\n")
    refs = OSTreeRepository(repo).read_refs()
    assert refs == {"main": two, "origin:a/b": one, "org.example.Os:a/b": two}


CONFIGS = {
    "of nothing": "",
    "of an unknown mode": "[core]\nrepo_version=1\nmode=bare-split-xattrs\n",
    "of another version": "[core]\nrepo_version=2\nmode=archive\n",
    "without a version": "[core]\nmode=archive\n",
    "of a NUL": "\0",
    "of half a section": "[core\n",
    "without a section": "mode=archive\n",
    "of a megabyte": "#" * 1_000_001,
    "that refers to itself": "[core]\nrepo_version=%(repo_version)s\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_folder_that_is_no_repository_is_refused(tmp_path: Path, name: str) -> None:
    """A config that no repository has: RepositoryError naming the folder, also when there is none."""
    folder = tmp_path / "repo"
    folder.mkdir()
    with pytest.raises(RepositoryError, match="repo"):
        OSTreeRepository(folder)
    (folder / "config").write_text(CONFIGS[name])
    with pytest.raises(RepositoryError, match="repo"):
        OSTreeRepository(folder)


@pytest.mark.parametrize("mode", ["archive", "archive-z2", *MODES])
def test_config_is_read_as_the_tool_writes_it(tmp_path: Path, mode: str) -> None:
    """Both spellings of archive, comments and remotes; without a mode a repository is bare."""
    text = f'[core]\nrepo_version=1\n# mode=none\nmode={mode}\n\n[remote "a"]\nurl=http://a/%20$x;y\n'
    (tmp_path / "config").write_text(text)
    assert OSTreeRepository(tmp_path).mode == mode
    (tmp_path / "config").write_text("[core]\nrepo_version=1\n")
    assert OSTreeRepository(tmp_path).mode == "bare"


@given(st.text("[]core=mode\n #;:%\0\t\r1\u2028", max_size=60))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_config_raises_one_error_or_is_read(tmp_path: Path, text: str) -> None:
    """Whatever a config holds."""
    (tmp_path / "config").write_text(f"[core]\nrepo_version=1\n{text}")
    with suppress(RepositoryError):
        OSTreeRepository(tmp_path)
