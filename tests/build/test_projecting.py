"""Projections on many cores: by codec, from what a repository's nights measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.build import projecting
from planner.build.executors import LocalExecutor
from planner.build.pool import Pool
from planner.build.projecting import project_candidates
from planner.build.workshop import Workshop
from planner.delta.superblock import COMPOSED, NATIVE
from planner.history.records import EMPTY, History
from planner.project.quantities import Projection
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.stock_client import STOCK_CODEC
from tests.delta.worlds import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), "archive")


@pytest.fixture
def workshop(world: World, tmp_path: Path) -> Workshop:
    """A workshop whose pool is new."""
    return Workshop(world.path, Pool(tmp_path / "pool"))


def candidates(world: World, codec: str) -> list[Candidate]:
    one, two, three = world.commits
    return [Candidate(base=b, target=t, codec=codec) for b, t in ((one, two), (two, three), (one, three), (EMPTY, two))]


def weigh(wire_bytes: int, server_cpu_s: float = 1.0) -> Weight:
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=wire_bytes,
        server_cpu_s=server_cpu_s,
        client_cpu_s=0.0,
        peak_memory_bytes=0,
        status=WeightStatus.MEASURED,
    )


def project(
    workshop: Workshop, history: History, wanted: list[Candidate], measured: dict[Candidate, Weight] | None = None
) -> dict[Candidate, Projection]:
    return project_candidates(
        workshop, history, wanted, measured or {}, executor=LocalExecutor(2), report=lambda *_: None
    )


def test_each_codec_has_projections_but_composed(world: World, workshop: Workshop) -> None:
    history = world.repository.read_history()
    wanted = [one for codec in (NATIVE, STOCK_CODEC, COMPOSED) for one in candidates(world, codec)]
    found = project(workshop, history, wanted)
    assert set(found) == {one for one in wanted if one.codec != COMPOSED}
    for native, stock in zip(candidates(world, NATIVE), candidates(world, STOCK_CODEC), strict=True):
        assert found[native].wire_bytes.middle <= found[stock].wire_bytes.middle


def test_lots_of_any_size_see_the_same(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, wanted = world.repository.read_history(), candidates(world, NATIVE)
    found = []
    for task_bytes in (1, 50_000_000):
        monkeypatch.setattr(projecting, "_TASK_BYTES", task_bytes)
        monkeypatch.setattr(projecting, "TASKS_OF_A_WORKER", 1000)
        found.append(project(Workshop(world.path, Pool(tmp_path / str(task_bytes))), history, wanted))
    assert found[0] == found[1]


def test_measurements_move_projections_of_their_codec_only(world: World, workshop: Workshop) -> None:
    history = world.repository.read_history()
    native, stock = candidates(world, NATIVE), candidates(world, STOCK_CODEC)
    before = project(workshop, history, [native[2], stock[2]])
    large = {one: weigh(round(3 * before[native[2]].wire_bytes.middle)) for one in native[:2]}
    after = project(workshop, history, [native[2], stock[2]], large)
    assert after[native[2]].wire_bytes.middle > before[native[2]].wire_bytes.middle
    assert after[stock[2]] == before[stock[2]]


def test_what_was_measured_of_commits_that_are_gone_is_passed_over(world: World, workshop: Workshop) -> None:
    history, wanted = world.repository.read_history(), candidates(world, NATIVE)
    gone = {Candidate(base="0" * 64, target=world.commits[1], codec=NATIVE): weigh(10**9)}
    foreign = {wanted[0]: weigh(10**9, 0.0)}
    assert project(workshop, history, wanted[2:], gone | foreign) == project(workshop, history, wanted[2:])
