"""Terms that are remembered: the same projections as without them, whatever was made or lost in between."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.make import make_delta
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY
from planner.project.changes import ChangeFinder
from planner.project.projector import Projector
from planner.project.quantities import Projection
from planner.project.recall import find_commits_with
from tests.delta.contents import draw_binary, draw_text
from tests.delta.worlds import run_ostree

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> OSTreeRepository:
    """Two refs with three releases each, which share nothing."""
    folder = tmp_path_factory.mktemp("refs")
    repo, tree = folder / "repo", folder / "tree"
    run_ostree("init", f"--repo={repo}", "--mode=bare-user")
    rng = random.Random(5)
    for ref in ("one", "other"):
        text, library = draw_text(rng, 3000), draw_binary(rng, 30_000)
        for release in range(3):
            (tree / "lib").mkdir(parents=True, exist_ok=True)
            (tree / "notes.txt").write_bytes(text)
            (tree / "lib/code.so").write_bytes(library)
            when = f"--timestamp=2024-01-0{release + 1} 00:00:00 +0000"
            run_ostree("commit", f"--repo={repo}", f"--branch={ref}", f"--subject={ref}", when, f"--tree=dir={tree}")
            text = text.replace(b"a", b"bb", 20 + release)
            library = library[:9000] + bytes(200) + library[9000:]
    return OSTreeRepository(repo)


def open_contents(repository: OSTreeRepository) -> CommitContents:
    return CommitContents(repository, ObjectSets(repository.read_history()))


def pairs_of(repository: OSTreeRepository) -> list[Pair]:
    history = repository.read_history()
    pairs = [(EMPTY, head) for head in history.refs.values()]
    return pairs + [(base, head) for head in history.refs.values() for base in history.ancestors(head)]


def project(repository: OSTreeRepository, pool_path: Path) -> dict[Pair, Projection]:
    with DifferencePool(pool_path) as pool:
        return Projector(open_contents(repository), pool).project(pairs_of(repository))


def project_cold(repository: OSTreeRepository, pool_path: Path) -> dict[Pair, Projection]:
    (pool_path.parent / "terms.sqlite").unlink(missing_ok=True)
    return project(repository, pool_path)


def count_finds(monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    found: list[Pair] = []
    find = ChangeFinder.find

    def counted(finder: ChangeFinder, base: str, target: str) -> object:
        found.append((base, target))
        return find(finder, base, target)

    monkeypatch.setattr(ChangeFinder, "find", counted)
    return found


def test_nothing_is_worked_out_twice(
    repository: OSTreeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool.sqlite"
    first, finds = project(repository, pool), count_finds(monkeypatch)
    assert project(repository, pool) == first
    assert finds == []


def test_what_was_built_since_changes_its_commits_only(
    repository: OSTreeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, pairs = tmp_path / "pool.sqlite", pairs_of(repository)
    before = project(repository, pool)
    with DifferencePool(pool) as opened:
        make_delta(repository, ObjectSets(repository.read_history()), *pairs[-1], pool=opened)
    finds = count_finds(monkeypatch)
    after = project(repository, pool)
    assert {target for _, target in finds} == {pairs[-1][1]}
    assert after[pairs[-1]] != before[pairs[-1]]
    assert after == project_cold(repository, pool)


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_memory_is_no_memory(repository: OSTreeRepository, tmp_path: Path, damage: bytes) -> None:
    pool = tmp_path / "pool.sqlite"
    first = project(repository, pool)
    (tmp_path / "terms.sqlite").write_bytes(damage)
    assert project(repository, pool) == first
    assert project(repository, pool) == first


def test_a_lost_pool_is_asked_anew(repository: OSTreeRepository, tmp_path: Path) -> None:
    pool = tmp_path / "pool.sqlite"
    first = project(repository, pool)
    for path in tmp_path.glob("pool.sqlite*"):
        path.unlink()
    assert project(repository, pool) == first


def test_commits_with_a_content(repository: OSTreeRepository) -> None:
    history = repository.read_history()
    head = history.refs["one"]
    tree = history.trees[history.commits[head].tree]
    assert find_commits_with(history, {tree.files["notes.txt"]}) == {head}
    below = history.trees[tree.dirs["lib"]]
    assert find_commits_with(history, {below.files["code.so"]}) == {head}
    assert find_commits_with(history, set()) == set()
