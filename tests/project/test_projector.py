"""Projections of real deltas: near what the builder makes, exact where it was made, and cheap to ask again."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.make import make_delta
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY, ObjectKind
from planner.project.changes import ChangeFinder
from planner.project.looks import Looker
from planner.project.projector import Projector
from planner.project.quantities import Measurement
from tests.delta.contents import draw_binary, draw_text
from tests.delta.worlds import run_ostree

RELEASES = 5


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> OSTreeRepository:
    """Releases of texts and libraries: some change, some move, some are new, one goes."""
    folder = tmp_path_factory.mktemp("releases")
    repo, tree = folder / "repo", folder / "tree"
    run_ostree("init", f"--repo={repo}", "--mode=bare-user")
    rng = random.Random(11)
    texts = {f"doc/{k}.txt": draw_text(rng, 4000) for k in range(30)}
    libraries = {f"lib/lib{k}.so": draw_binary(rng, 120_000) for k in range(4)}
    for release in range(RELEASES):
        for files in (texts, libraries):
            for path, content in files.items():
                target = tree / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        (tree / f"lib/only-{release}.so").write_bytes(draw_binary(rng, 20_000))
        when = f"--timestamp=2024-01-0{release + 1} 00:00:00 +0000"
        run_ostree("commit", f"--repo={repo}", "--branch=main", f"--subject={release}", when, f"--tree=dir={tree}")
        for path in rng.sample(sorted(texts), 12):
            texts[path] = change(rng, texts[path], 12)
        libraries = {path: change(rng, content, 150) for path, content in libraries.items()}
        moved = f"doc/{release}.txt"
        (tree / moved).unlink()
        texts[f"moved/{release}.txt"] = texts.pop(moved)
    return OSTreeRepository(repo)


def change(rng: random.Random, content: bytes, times: int) -> bytes:
    """Bytes changed and some put in."""
    data = bytearray(content)
    for _ in range(times):
        at = rng.randrange(len(data) - 20)
        data[at : at + 4] = bytes(b ^ rng.randrange(1, 32) for b in data[at : at + 4])
    at = rng.randrange(len(data))
    return bytes(data[:at] + content[:40][::-1] + data[at:])


def open_contents(repository: OSTreeRepository) -> CommitContents:
    return CommitContents(repository, ObjectSets(repository.read_history()))


def weigh(repository: OSTreeRepository, pair: tuple[str, str], pool: DifferencePool | None = None) -> int:
    """What a built delta weighs."""
    delta = make_delta(repository, ObjectSets(repository.read_history()), *pair, pool=pool)
    return len(delta.superblock) + sum(map(len, delta.parts))


def measure(wire_bytes: int, client_cpu_s: float = 0.1, peak_memory_bytes: int = 200_000_000) -> Measurement:
    return Measurement(
        wire_bytes=wire_bytes, server_cpu_s=1.0, client_cpu_s=client_cpu_s, peak_memory_bytes=peak_memory_bytes
    )


def pairs_of(repository: OSTreeRepository) -> list[tuple[str, str]]:
    commits = list(repository.read_history().commits)
    return [(EMPTY, commits[0]), *itertools.combinations(commits, 2), (commits[-1], commits[0])]


def test_projections_are_near_what_is_built(repository: OSTreeRepository) -> None:
    pairs = pairs_of(repository)
    with DifferencePool() as pool:
        projections = Projector(open_contents(repository), pool).project(pairs)
    for pair in pairs:
        built_bytes = weigh(repository, pair)
        found = projections[pair].wire_bytes
        assert found.low < found.middle < found.high
        assert built_bytes / 2 < found.middle < 2 * built_bytes


def test_measurements_correct_the_others(repository: OSTreeRepository) -> None:
    """Every second delta was built; the errors of the rest become smaller in all."""
    pairs = pairs_of(repository)[1:]
    built = {pair: measure(weigh(repository, pair)) for pair in pairs}
    known = {pair: built[pair] for pair in pairs[::2]}

    def error(projector: Projector, measured: dict[tuple[str, str], Measurement]) -> float:
        found = projector.project(pairs[1::2], measured)
        return sum(abs(found[pair].wire_bytes.middle / built[pair].wire_bytes - 1) for pair in pairs[1::2])

    with DifferencePool() as cold, DifferencePool() as warm:
        for pair in pairs[::2]:
            weigh(repository, pair, warm)
        before = error(Projector(open_contents(repository), cold), {})
        after = error(Projector(open_contents(repository), warm), known)
    assert after < before
    assert after / len(pairs[1::2]) < 0.15


def test_a_slow_client_and_a_large_process_are_expected_again(repository: OSTreeRepository) -> None:
    pairs = pairs_of(repository)[1:]
    with DifferencePool() as pool:
        projector = Projector(open_contents(repository), pool)
        before = projector.project(pairs)
        known = {
            pair: measure(
                round(before[pair].wire_bytes.middle),
                1.5 * before[pair].client_cpu_s.middle,
                round(1.5 * before[pair].peak_memory_bytes.middle),
            )
            for pair in pairs[::2]
        }
        after = projector.project(pairs[1::2], known)
    for pair in pairs[1::2]:
        one, other = before[pair], after[pair]
        assert other.client_cpu_s.low < 1.5 * one.client_cpu_s.middle < other.client_cpu_s.high
        assert other.client_cpu_s.middle > 1.1 * one.client_cpu_s.middle
        assert other.peak_memory_bytes.low < 1.5 * one.peak_memory_bytes.middle < other.peak_memory_bytes.high
        assert other.peak_memory_bytes.middle > 1.1 * one.peak_memory_bytes.middle


def test_nothing_is_looked_at_twice(repository: OSTreeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(repository)[1:]
    with DifferencePool() as pool:
        first = Projector(open_contents(repository), pool).project(pairs)
        contents = open_contents(repository)
        monkeypatch.setattr(contents, "read", lambda _: pytest.fail("a content was read again"))
        assert Projector(contents, pool).project(pairs) == first


def test_a_cancelled_look_keeps_what_it_saw(repository: OSTreeRepository, tmp_path: Path) -> None:
    contents = open_contents(repository)
    with DifferencePool(tmp_path / "pool.sqlite") as pool:
        changes = ChangeFinder(contents, pool).find(*pairs_of(repository)[1])
        Looker(contents, pool).look_at(changes.changed[:3])
    with DifferencePool(tmp_path / "pool.sqlite") as pool:
        assert [bool(pool.looks(new)) for _, new in changes.changed] == [True] * 3 + [False] * (
            len(changes.changed) - 3
        )


def test_changes_are_what_a_client_lacks(repository: OSTreeRepository) -> None:
    contents = open_contents(repository)
    with DifferencePool() as pool:
        finder = ChangeFinder(contents, pool)
        for base, target in pairs_of(repository):
            changes = finder.find(base, target)
            files = {name.checksum for name in contents.missing(base, target) if name.kind is ObjectKind.FILE}
            assert {new for _, new in changes.changed} | set(changes.added) == files
            assert not {new for _, new in changes.changed} & set(changes.added)
            assert {old for old, _ in changes.changed} <= set(contents.files(base).values())
            assert changes.objects == len(contents.missing(base, target))


def test_no_pairs_are_no_projections(repository: OSTreeRepository) -> None:
    with DifferencePool() as pool:
        assert Projector(open_contents(repository), pool).project([]) == {}
