"""The workshop: what deltas have in common is made once, each delta of it is proved, and damage costs only time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from planner.build.builders import OSTreeBuilder
from planner.build.executors import LocalExecutor
from planner.build.pool import Pool
from planner.build.workshop import Workshop
from planner.delta.difference_pool import DifferencePool
from planner.delta.superblock import COMPOSED, NATIVE, read_superblock
from planner.errors import BuildError
from planner.history.records import EMPTY
from planner.weigh.candidates import Candidate
from tests.build.worlds import World, make_ostree

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")

Steps = list[tuple[str, int, int]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_ostree(tmp_path)


@pytest.fixture
def builder(world: World, tmp_path: Path) -> OSTreeBuilder:
    return OSTreeBuilder(world.path, tmp_path / "scratch")


def prepare(builder: OSTreeBuilder, pairs: list[tuple[str, str]], settings_shared_bytes: int = 1) -> Steps:
    """Order native deltas, with every group of pieces in a part of its own; the progress that was reported."""
    steps: Steps = []
    workshop = share_all(builder.workshop, settings_shared_bytes)
    workshop.prepare(
        pairs, executor=LocalExecutor(2), report=lambda step, done, total, _: steps.append((step, done, total))
    )
    return steps


def share_all(workshop: Workshop, least_bytes: int) -> Workshop:
    return replace(workshop, settings=replace(workshop.settings, least_shared_bytes=least_bytes))


def build_and_prove(builder: OSTreeBuilder, pair: tuple[str, str], codec: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    builder.build(*pair, codec, folder)
    builder.prove(*pair, codec, folder)
    return folder


def test_deltas_of_several_bases_are_proved_and_share_files(
    world: World, builder: OSTreeBuilder, tmp_path: Path
) -> None:
    pairs = [(EMPTY, world.third), (world.first, world.third), (world.second, world.third)]
    prepare(builder, pairs)
    folders = [build_and_prove(builder, pair, NATIVE, tmp_path / str(k)) for k, pair in enumerate(pairs)]
    inodes = [{path.stat().st_ino for path in folder.iterdir()} for folder in folders]
    assert inodes[0] & inodes[2]
    assert all(read_superblock((folder / "superblock").read_bytes()).codec == NATIVE for folder in folders)


def test_what_was_made_is_not_made_again(world: World, builder: OSTreeBuilder) -> None:
    pairs = [(world.first, world.second), (world.third, world.second)]
    first = prepare(builder, pairs)
    assert {step for step, _, _ in first} == {"differences", "pack", "lay out"}
    assert [step for step, _, _ in prepare(builder, pairs)] == ["lay out"]


def test_one_more_base_uses_the_parts_that_there_are(world: World, builder: OSTreeBuilder, tmp_path: Path) -> None:
    """The third release differs from the first in one file, so most of what it needs is packed already."""
    prepare(builder, [(world.first, world.second)])
    build_and_prove(builder, (world.first, world.second), NATIVE, tmp_path / "one")
    # Of a base that lacks what the part makes and has what it reads; that base's own delta is one more small part.
    steps = prepare(builder, [(world.third, world.second)])
    build_and_prove(builder, (world.third, world.second), NATIVE, tmp_path / "two")
    one, two = ({path.stat().st_ino for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one & two
    assert all(total <= 1 for step, _, total in steps if step == "pack")


def test_needs_are_the_files_and_their_making(world: World, builder: OSTreeBuilder, tmp_path: Path) -> None:
    pair = (world.first, world.second)
    prepare(builder, [pair])
    (tmp_path / "made").mkdir()
    built = builder.build(*pair, NATIVE, tmp_path / "made")
    part_bytes = sum(path.stat().st_size for path in (tmp_path / "made").iterdir() if path.name != "superblock")
    assert sum(need.stored_bytes for need in built.needs) == part_bytes
    assert all((need.stored_bytes > 0) != (need.server_cpu_s > 0.0) for need in built.needs)


def test_the_memory_of_making_parts_is_told(world: World, builder: OSTreeBuilder, tmp_path: Path) -> None:
    """Whether the parts are packed now or were packed before; a process of ours takes 20 MB at least."""
    for name in ("now", "again"):
        prepare(builder, [(world.first, world.second)])
        (tmp_path / name).mkdir()
        built = builder.build(world.first, world.second, NATIVE, tmp_path / name)
        assert built.peak_memory_bytes > 20_000_000


def test_a_composed_delta_is_made_of_hops_in_the_pool(world: World, builder: OSTreeBuilder, tmp_path: Path) -> None:
    hops = [(world.first, world.second), (world.second, world.third)]
    pool = Pool.of_repository(world.path)
    prepare(builder, hops)
    needs = []
    for hop in hops:
        with pool.making() as folder:
            needs += builder.build(*hop, NATIVE, folder).needs
            pool.admit(Candidate(base=hop[0], target=hop[1], codec=NATIVE), folder)
    ends = (world.first, world.third)
    builder.workshop.order_composed(*ends, hops, needs)
    (tmp_path / "made").mkdir()
    of_composed = builder.build(*ends, COMPOSED, tmp_path / "made").needs
    builder.prove(*ends, COMPOSED, tmp_path / "made")
    assert {need.key for need in of_composed} == {need.key for need in needs if not need.stored_bytes}
    superblock = read_superblock((tmp_path / "made" / "superblock").read_bytes())
    assert (superblock.base, superblock.target, superblock.codec) == (*ends, COMPOSED)


def test_a_hop_that_is_gone_is_an_error(world: World, builder: OSTreeBuilder, tmp_path: Path) -> None:
    hops = [(world.first, world.second), (world.second, world.third)]
    builder.workshop.order_composed(world.first, world.third, hops, [])
    (tmp_path / "made").mkdir()
    with pytest.raises(BuildError, match="hop's delta is gone"):
        builder.build(world.first, world.third, COMPOSED, tmp_path / "made")


@pytest.mark.parametrize("codec", [NATIVE, COMPOSED])
def test_what_was_not_ordered_is_an_error(world: World, builder: OSTreeBuilder, tmp_path: Path, codec: str) -> None:
    with pytest.raises(BuildError, match="not ordered"):
        builder.build(world.first, world.second, codec, tmp_path)


def test_damaged_notes_parts_and_differences_cost_only_time(
    world: World, builder: OSTreeBuilder, tmp_path: Path
) -> None:
    pair = (world.first, world.second)
    prepare(builder, [pair])
    workshop = builder.workshop
    notes = sorted((workshop.pool.workshop / "parts").glob("*/*.json"))
    assert notes
    for note in notes:
        note.write_bytes(b'{"checksum":')
        note.with_suffix("").unlink()
    workshop.differences.write_bytes(b"no database at all" * 500)
    shutil.rmtree(workshop.pool.workshop / "orders")
    prepare(builder, [pair])
    build_and_prove(builder, pair, NATIVE, tmp_path / "made")


def test_cleaning_keeps_parts_that_deltas_link_to(world: World, builder: OSTreeBuilder, tmp_path: Path) -> None:
    prepare(builder, [(world.first, world.second), (world.second, world.third)])
    folder = build_and_prove(builder, (world.first, world.second), NATIVE, tmp_path / "made")
    builder.workshop.clean()
    left = [path for path in (builder.workshop.pool.workshop / "parts").glob("*/*") if path.suffix != ".json"]
    assert {path.stat().st_ino for path in left} == {
        path.stat().st_ino for path in folder.iterdir() if path.name != "superblock"
    }
    assert not builder.workshop.order_folder(NATIVE, world.second, world.third).exists()
    with DifferencePool(builder.workshop.differences) as pool:
        assert pool.trim(0) > 0
