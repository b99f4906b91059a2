"""Deltas of our own: what stock clients make of them is the target, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.delta import bsdiff
from planner.delta.bsdiff import Rows
from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.encode import Effort
from planner.delta.make import Delta, Settings, lay_out, make_delta, write_delta
from planner.delta.packing import pack_recipe
from planner.delta.superblock import read_superblock
from planner.history.objects import ObjectSets
from planner.history.records import EMPTY, ObjectKind, ObjectName
from tests.delta.test_reading import apply_delta
from tests.delta.worlds import World, copy_with, make_world, run_ostree


@pytest.fixture(scope="module", params=["bare-user", "archive"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), request.param)


def write(delta: Delta, folder: Path) -> Path:
    """The delta's files as clients expect them; the superblock's path."""
    folder.mkdir()
    for number, part in enumerate(delta.parts):
        (folder / str(number)).write_bytes(part)
    (folder / "superblock").write_bytes(delta.superblock)
    return folder / "superblock"


ENDS = [(None, 0), (0, 1), (1, 2), (0, 2), (2, 0)]


def commits_of(world: World, ends: tuple[int | None, int]) -> tuple[str, str]:
    return EMPTY if ends[0] is None else world.commits[ends[0]], world.commits[ends[1]]


@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("settings", [Settings(), Settings(max_part_bytes=20_000)], ids=["one part", "small parts"])
def test_a_stock_client_applies_it_and_we_do(
    world: World, tmp_path: Path, ends: tuple[int | None, int], settings: Settings
) -> None:
    base, target = commits_of(world, ends)
    objects = ObjectSets(world.repository.read_history())
    delta = make_delta(world.repository, objects, base, target, settings)
    path = write(delta, tmp_path / "delta")
    superblock, made = apply_delta(world, path)
    assert (superblock.base, superblock.target, superblock.fallbacks) == (base, target, ())
    assert {*made, ObjectName(ObjectKind.COMMIT, target)} == objects.missing(base, target) | {
        ObjectName(ObjectKind.COMMIT, target)
    }
    client = copy_with(world, () if base == EMPTY else (base,), tmp_path)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", path.parent)
    run_ostree("fsck", "--quiet", f"--repo={client}")
    assert run_ostree("ls", "-RCX", f"--repo={client}", target) == run_ostree(
        "ls", "-RCX", f"--repo={world.path}", target
    )


def test_the_same_delta_is_the_same_bytes(world: World) -> None:
    base, target = world.commits[:2]
    one, two = (
        make_delta(world.repository, ObjectSets(world.repository.read_history()), base, target) for _ in range(2)
    )
    assert one == two


def test_it_is_smaller_than_the_stock_tools(world: World, tmp_path: Path) -> None:
    """A renamed library with a few changed bytes: the stock tool sends it whole."""
    base, target = world.commits[:2]
    delta = make_delta(world.repository, ObjectSets(world.repository.read_history()), base, target)
    stock = tmp_path / "stock"
    stock.mkdir()
    run_ostree(
        *("static-delta", "generate", f"--repo={world.path}", f"--from={base}", f"--to={target}"),
        *("--min-fallback-size=0", f"--filename={stock / 'superblock'}"),
    )
    stock_bytes = sum(path.stat().st_size for path in stock.iterdir())
    assert len(delta.superblock) + sum(map(len, delta.parts)) < 0.5 * stock_bytes


def test_large_whole_objects_are_left_to_be_fetched(world: World) -> None:
    delta = make_delta(
        world.repository,
        ObjectSets(world.repository.read_history()),
        EMPTY,
        world.commits[0],
        Settings(fallback_bytes=100_000),
    )
    superblock = read_superblock(delta.superblock)
    sizes = {one.name: one.object_bytes for one in superblock.fallbacks}
    assert max(sizes.values()) == 200_000
    for name, size_bytes in sizes.items():
        assert len(world.repository.read_object(name)) == size_bytes >= 100_000
        assert all(name not in part.objects for part in superblock.parts)


def test_deltas_into_one_commit_share_parts_that_serve_each_alone(world: World, tmp_path: Path) -> None:
    """Each base's client gets its delta only, with the shared part among its parts."""
    bases, target = [EMPTY, *world.commits[:2]], world.commits[2]
    contents = CommitContents(world.repository, ObjectSets(world.repository.read_history()))
    with DifferencePool(tmp_path / "pool.sqlite") as pool:
        layouts = lay_out(contents, bases, target, Settings(least_shared_bytes=1), pool)
        recipes = {recipe for layout in layouts for recipe in layout.recipes}
        parts = {recipe: pack_recipe(recipe, contents, pool, Effort.BALANCED) for recipe in recipes}
    assert len(recipes) < sum(len(layout.recipes) for layout in layouts)
    for layout in layouts:
        folder = tmp_path / (layout.base or "empty")
        folder.mkdir()
        path = write(write_delta(layout, parts, contents), folder / "delta")
        client = copy_with(world, () if layout.base == EMPTY else (layout.base,), folder)
        run_ostree("static-delta", "apply-offline", f"--repo={client}", path.parent)
        run_ostree("fsck", "--quiet", f"--repo={client}")
        assert run_ostree("ls", "-RCX", f"--repo={client}", target) == run_ostree(
            "ls", "-RCX", f"--repo={world.path}", target
        )


def test_a_warm_pool_makes_the_same_bytes_without_reading_old_contents(world: World, tmp_path: Path) -> None:
    base, target = world.commits[:2]
    objects = ObjectSets(world.repository.read_history())
    path = tmp_path / "pool.sqlite"
    with DifferencePool(path) as pool:
        cold = make_delta(world.repository, objects, base, target, pool=pool)
    contents = CommitContents(world.repository, objects)
    read = []
    contents.read = lambda checksum: read.append(checksum) or CommitContents.read(contents, checksum)  # type: ignore[method-assign, func-returns-value]
    with DifferencePool(path) as pool:
        layout = lay_out(contents, [base], target, Settings(), pool)[0]
        parts = {recipe: pack_recipe(recipe, contents, pool, Effort.BALANCED) for recipe in layout.recipes}
    assert write_delta(layout, parts, contents) == cold
    held = {name.checksum for name in objects.of_commit(base)}
    assert not held & set(read)


def test_larger_files_than_allowed_are_compared_without_sorting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new together: one byte less, and their suffixes are not sorted, but a difference is still made."""
    sorted_bytes: list[int] = []

    def suffix_covers(old: bytes, new: bytes) -> Rows:
        sorted_bytes.append(len(old) + len(new))
        return find_suffix_covers(old, new)

    find_suffix_covers = bsdiff._suffix_covers
    monkeypatch.setattr(bsdiff, "_suffix_covers", suffix_covers)
    objects = ObjectSets(world.repository.read_history())
    make_delta(world.repository, objects, *world.commits[:2])
    largest_bytes = max(sorted_bytes)
    sorted_bytes.clear()
    small = Settings(max_suffix_bytes=largest_bytes - 1)
    delta = make_delta(world.repository, objects, *world.commits[:2], small)
    assert largest_bytes not in sorted_bytes
    assert sum(map(len, delta.parts)) < largest_bytes / 4


def test_a_commits_signatures_travel_with_the_delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTREE_DUMMY_SIGN_ENABLED", "1")
    (tmp_path / "world").mkdir()
    world = make_world(tmp_path / "world", "archive")
    base, target = world.commits[1:]
    run_ostree("sign", f"--repo={world.path}", "--sign-type=dummy", target, "a-key")
    delta = make_delta(world.repository, ObjectSets(world.repository.read_history()), base, target)
    client = copy_with(world, (base,), tmp_path)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", write(delta, tmp_path / "delta").parent)
    kept = f"objects/{target[:2]}/{target[2:]}.commitmeta"
    assert b"a-key" in (client / kept).read_bytes()
    assert (client / kept).read_bytes() == (world.path / kept).read_bytes()
