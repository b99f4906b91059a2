"""Superblocks in both orders of bytes: the stock tool reads ours, we read its, and they differ in the same places."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from planner.build import native_delta
from planner.delta.make import Settings, make_delta
from planner.delta.superblock import SUPERBLOCK_TYPE, ByteOrder, Superblock, read_superblock, write_superblock
from planner.history.gvariant import split_tuple
from planner.history.objects import ObjectSets
from planner.history.records import EMPTY, ObjectKind
from tests.delta.test_reading import apply_delta, generate
from tests.delta.worlds import World, copy_with, make_world, run_ostree

LARGE = 10_000
"""Objects of the world that the fallback tests leave out of parts are larger."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), "archive")


def make_both(world: World, base: str, target: str, **changes: bool | int) -> dict[ByteOrder, bytes]:
    """Our superblock in either order."""
    objects = ObjectSets(world.repository.read_history())
    return {
        order: make_delta(
            world.repository, objects, base, target, replace(Settings(byte_order=order), **changes)
        ).superblock
        for order in ByteOrder
    }


def changed_members(one: bytes, other: bytes) -> list[int]:
    """Which members of two superblocks differ, by their number; the time of day does not count."""
    pairs = zip(split_tuple(SUPERBLOCK_TYPE, one), split_tuple(SUPERBLOCK_TYPE, other), strict=True)
    return [number for number, (left, right) in enumerate(pairs) if bytes(left) != bytes(right) and number != 1]


@pytest.mark.parametrize("option", ["--set-endianness=B", "--swap-endianness"])
def test_stock_swaps_the_sizes_of_parts_and_fallbacks_and_nothing_else(tmp_path: Path, option: str) -> None:
    world = make_world(tmp_path, "archive")
    (tmp_path / "tree/large").write_bytes(random.Random(1).randbytes(1_200_000))
    target = run_ostree("commit", f"--repo={world.path}", "--branch=main", f"--tree=dir={tmp_path / 'tree'}").strip()
    base = world.commits[0]
    read: list[Superblock] = []
    files: list[tuple[bytes, bytes]] = []
    for name, options in (("little", ()), ("big", (option,))):
        (tmp_path / name).mkdir()
        path = generate(world, base, target, tmp_path / name, "--min-fallback-size=1", *options)
        files.append((path.read_bytes(), (path.parent / "0").read_bytes()))
        read.append(apply_delta(world, path)[0])
    assert files[0][1] == files[1][1]
    assert changed_members(files[0][0], files[1][0]) == [0, 6, 7]
    assert [one.byte_order for one in read] == ["l", "B"]
    assert replace(read[1], byte_order=ByteOrder.LITTLE, timestamp=read[0].timestamp) == read[0]


def test_what_stock_wrote_is_written_again_to_the_byte(world: World, tmp_path: Path) -> None:
    for order in ByteOrder:
        path = generate(world, *world.commits[:2], tmp_path, "--inline", f"--set-endianness={order}")
        superblock = read_superblock(path.read_bytes())
        assert superblock.byte_order is order
        assert write_superblock(superblock) == path.read_bytes()


def test_ours_swaps_what_stock_swaps(world: World) -> None:
    both = make_both(world, EMPTY, world.commits[0], fallback_bytes=LARGE)
    assert changed_members(*both.values()) == [0, 6, 7]
    little, big = (read_superblock(data) for data in both.values())
    assert little.fallbacks
    assert replace(big, byte_order=ByteOrder.LITTLE) == little


@pytest.mark.parametrize("order", ByteOrder)
def test_stock_shows_the_same_numbers(tmp_path: Path, order: ByteOrder) -> None:
    world = make_world(tmp_path, "archive")
    target = world.commits[0]
    objects = ObjectSets(world.repository.read_history())
    made = make_delta(world.repository, objects, EMPTY, target, Settings(byte_order=order, fallback_bytes=LARGE))
    native_delta.write_into(made, world.path, EMPTY, target)
    shown = run_ostree("static-delta", "show", f"--repo={world.path}", target).splitlines()
    superblock = read_superblock(made.superblock)
    assert f"Endianness: {'big' if order is ByteOrder.BIG else 'little'}" in shown
    assert f"Timestamp: {superblock.timestamp}" in shown
    (part,) = superblock.parts
    assert f"PartMeta0: nobjects={len(part.objects)} size={part.file_bytes} usize={part.object_bytes}" in shown
    for title, of in (("Fallback Size", "loose_bytes"), ("Fallback Uncompressed Size", "object_bytes")):
        total_bytes = sum(getattr(one, of) for one in superblock.fallbacks)
        (line,) = [one for one in shown if one.startswith(f"Total {title}:")]
        assert line.startswith(f"Total {title}: {total_bytes} (")
        assert total_bytes


@pytest.mark.parametrize("is_inline", [False, True], ids=["parts beside it", "inline"])
@pytest.mark.parametrize("ends", [(None, 0), (0, 1), (2, 0)], ids=str)
def test_stock_applies_a_big_endian_delta(
    world: World, tmp_path: Path, ends: tuple[int | None, int], is_inline: bool
) -> None:
    base, target = EMPTY if ends[0] is None else world.commits[ends[0]], world.commits[ends[1]]
    settings = Settings(byte_order=ByteOrder.BIG, is_inline=is_inline, max_part_bytes=20_000)
    made = make_delta(world.repository, ObjectSets(world.repository.read_history()), base, target, settings)
    native_delta.write_beside(made, tmp_path / "superblock")
    client = copy_with(world, (base,) if base else (), tmp_path)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", tmp_path / "superblock")
    run_ostree("fsck", "--quiet", f"--repo={client}")
    assert run_ostree("ls", "-RCX", f"--repo={client}", target) == run_ostree(
        "ls", "-RCX", f"--repo={world.path}", target
    )
    _, objects = apply_delta(world, tmp_path / "superblock")
    assert {name.kind for name in objects} >= {ObjectKind.FILE, ObjectKind.TREE}
