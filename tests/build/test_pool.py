"""The pool: what is in it was proven, and what is not is never mistaken for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from planner.build.pool import Pool, measure_files
from planner.errors import BuildError, SpaceError
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Artifact
from tests.build.worlds import list_paths

CANDIDATE = Candidate(base="aa" * 32, target="bb" * 32, codec="zstd")


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool.of_repository(tmp_path)


def _admit(pool: Pool, content: bytes = b"superblock", note: bytes | None = None) -> Artifact:
    with pool.making() as folder:
        (folder / "0").write_bytes(b"part")
        (folder / "superblock").write_bytes(content)
        return pool.admit(CANDIDATE, folder, note=note)


def test_an_admitted_delta_is_there_and_whole(pool: Pool) -> None:
    """It has its bytes, passes the check, and nothing is left in the making."""
    artifact = _admit(pool)
    assert artifact.wire_bytes == len(b"part") + len(b"superblock")
    assert pool.has(artifact)
    pool.check(artifact)
    assert sorted(path.name for path in pool.folder(CANDIDATE).iterdir()) == ["0", "superblock"]
    assert list_paths(pool.root / "tmp") == []


def test_candidates_have_folders_of_their_own(pool: Pool) -> None:
    """Another base, target, codec, or no base: another folder inside the pool."""
    others = [
        Candidate(base="cc" * 32, target="bb" * 32, codec="zstd"),
        Candidate(base="", target="bb" * 32, codec="zstd"),
        Candidate(base="aa" * 32, target="cc" * 32, codec="zstd"),
        Candidate(base="aa" * 32, target="bb" * 32, codec="ostree"),
    ]
    folders = {pool.folder(candidate) for candidate in [CANDIDATE, *others]}
    assert len(folders) == 5
    assert all(folder.is_relative_to(pool.root) for folder in folders)


def test_admit_replaces_an_unrecorded_folder(pool: Pool) -> None:
    """What a run left that was killed before it recorded anything is gone, to the last file."""
    folder = pool.folder(CANDIDATE)
    folder.mkdir(parents=True)
    (folder / "1").write_bytes(b"of an older try")
    pool.check(_admit(pool))
    assert sorted(path.name for path in folder.iterdir()) == ["0", "superblock"]


@pytest.mark.parametrize("name", ["0", "superblock"])
def test_check_finds_any_changed_byte(pool: Pool, name: str) -> None:
    """Every byte of every file counts, even where the size is the same."""
    artifact = _admit(pool)
    path = pool.folder(CANDIDATE) / name
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert pool.has(artifact)
        with pytest.raises(BuildError, match="not those that were proven"):
            pool.check(artifact)


def test_check_finds_renamed_added_and_missing_files(pool: Pool) -> None:
    """Names count as contents do."""
    artifact = _admit(pool)
    folder = pool.folder(CANDIDATE)
    (folder / "0").rename(folder / "1")
    with pytest.raises(BuildError):
        pool.check(artifact)
    (folder / "1").rename(folder / "0")
    pool.check(artifact)
    (folder / "2").touch()
    with pytest.raises(BuildError):
        pool.check(artifact)
    (folder / "2").unlink()
    (folder / "0").unlink()
    assert not pool.has(artifact)
    with pytest.raises(BuildError):
        pool.check(artifact)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
def test_only_regular_files_are_a_delta(pool: Pool, kind: str) -> None:
    """A link could lead out of the repository once it is published, a pipe would stop every client."""
    with pool.making() as folder:
        (folder / "superblock").write_bytes(b"x")
        place = folder / "odd"
        if kind in ("link", "dangling"):
            place.symlink_to(folder / "superblock" if kind == "link" else "no/where")
        elif kind == "folder":
            place.mkdir()
        else:
            os.mkfifo(place)
        with pytest.raises(BuildError, match="regular"):
            pool.admit(CANDIDATE, folder)
    assert not pool.folder(CANDIDATE).exists()


def test_an_empty_folder_is_no_delta(pool: Pool) -> None:
    """A builder that wrote nothing has built nothing."""
    with pool.making() as folder, pytest.raises(BuildError, match="no files"):
        measure_files(folder)


def test_the_digest_tells_files_apart_that_join_to_the_same_bytes(tmp_path: Path) -> None:
    """A byte that moves from one file to the next changes the digest."""
    for name, parts in (("a", (b"12", b"3")), ("b", (b"1", b"23"))):
        (tmp_path / name).mkdir()
        for number, part in enumerate(parts):
            (tmp_path / name / str(number)).write_bytes(part)
    first, second = measure_files(tmp_path / "a"), measure_files(tmp_path / "b")
    assert first[0] != second[0]
    assert first[1] == second[1] == 3


def test_a_folder_in_the_making_vanishes_with_an_error(pool: Pool) -> None:
    """A failed build leaves nothing, and its own error comes out."""

    def fail() -> None:
        with pool.making() as folder:
            (folder / "half").write_bytes(b"x")
            raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        fail()
    assert list_paths(pool.root / "tmp") == []


def test_a_full_disk_in_the_making_is_a_space_error(pool: Pool) -> None:
    """ENOSPC and EDQUOT from any codec are one planned error; others pass as they are."""
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(SpaceError), pool.making():
            raise OSError(number, "full")
    with pytest.raises(PermissionError), pool.making():
        raise PermissionError(errno.EACCES, "no")


def test_a_full_disk_while_admitting_leaves_no_artifact(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta whose bytes could not be brought to the disk does not get its name."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SpaceError):
        _admit(pool)
    assert not pool.folder(CANDIDATE).exists()
    assert list_paths(pool.root / "tmp") == []


def test_admit_names_a_delta_only_after_its_bytes_are_on_the_disk(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power failure a named folder is whole: every file is synced before the rename, the name after it."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, pool.folder(CANDIDATE).exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    _admit(pool)
    assert {name for name, is_named in synced if not is_named} >= {"0", "superblock"}
    assert ("zstd", True) in synced


def test_clean_removes_what_dead_runs_left_and_nothing_else(pool: Pool) -> None:
    """Folders in the making go, artifacts stay; an absent pool is clean."""
    pool.clean()
    artifact = _admit(pool)
    litter = pool.root / "tmp" / "dead" / "deep"
    litter.mkdir(parents=True)
    (litter / "x").write_bytes(b"x")
    pool.clean()
    assert not (pool.root / "tmp").exists()
    pool.check(artifact)


def test_discard_leaves_published_links_alone(pool: Pool, tmp_path: Path) -> None:
    """The pool forgets its name for the bytes; whoever linked them keeps them."""
    artifact = _admit(pool)
    os.link(pool.folder(CANDIDATE) / "0", tmp_path / "published")
    pool.discard(CANDIDATE)
    pool.discard(CANDIDATE)
    assert not pool.has(artifact)
    assert (tmp_path / "published").read_bytes() == b"part"


def test_the_first_of_two_noted_deltas_stays(pool: Pool) -> None:
    """A worker that was believed lost may be the faster one; both get what is there, and its own note."""
    first = _admit(pool, note=b"first")
    second = _admit(pool, b"SUPERBLOCK", note=b"second")
    assert second == first
    pool.check(first)
    assert pool.find_note(CANDIDATE) == b"first"
    assert list_paths(pool.root / "tmp") == []


def test_a_note_is_of_its_delta_only(pool: Pool) -> None:
    """One that was replaced by another without a note has none; a discarded one leaves none."""
    _admit(pool, note=b"first")
    _admit(pool, b"SUPERBLOCK")
    assert pool.find_note(CANDIDATE) is None
    _admit(pool, note=b"again")
    assert pool.find_note(CANDIDATE) == b"again"
    pool.discard(CANDIDATE)
    assert pool.find_note(CANDIDATE) is None
    assert list((pool.root / "notes").rglob("*.json")) == []
