"""What the stock tool writes, we read and apply, to the last object."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from planner.delta.apply import MadeObject, apply_part
from planner.delta.parts import read_part
from planner.delta.paths import relative_path
from planner.delta.superblock import Superblock, read_superblock
from planner.history.objects import ObjectSets
from planner.history.records import EMPTY, ObjectKind, ObjectName
from tests.delta.worlds import World, make_world, run_ostree


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


OPTIONS = {
    "as usual": (),
    "inline": ("--inline",),
    "no bsdiff": ("--disable-bsdiff",),
    "big endian": ("--swap-endianness",),
    "many parts": ("--max-chunk-size=0",),
    "all in parts": ("--min-fallback-size=0",),
}


def generate(world: World, base: str, target: str, folder: Path, *options: str) -> Path:
    """A stock delta's folder; the file named `superblock` in it."""
    start = ("--empty",) if base == EMPTY else (f"--from={base}",)
    path = folder / "superblock"
    run_ostree(
        "static-delta", "generate", f"--repo={world.path}", *start, f"--to={target}", f"--filename={path}", *options
    )
    return path


def apply_delta(world: World, path: Path) -> tuple[Superblock, dict[ObjectName, MadeObject]]:
    """Everything that a delta makes, read from the base by checksum or from what was made before."""
    superblock = read_superblock(path.read_bytes())
    made: dict[ObjectName, MadeObject] = {}

    def read_file(checksum: str) -> bytes:
        name = ObjectName(ObjectKind.FILE, checksum)
        return made[name].content if name in made else world.repository.read_object(name)

    for number, header in enumerate(superblock.parts):
        data = superblock.inline.get(number) or (path.parent / str(number)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == header.checksum
        assert len(data) == header.file_bytes
        for one in apply_part(read_part(data), header.objects, read_file):
            made[one.name] = one
    return superblock, made


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("ends", [(None, 0), (0, 1), (1, 2), (0, 2)], ids=str)
def test_a_stock_delta_makes_exactly_what_the_base_lacks(
    world: World, tmp_path: Path, options: tuple[str, ...], ends: tuple[int | None, int]
) -> None:
    base = EMPTY if ends[0] is None else world.commits[ends[0]]
    target = world.commits[ends[1]]
    path = generate(world, base, target, tmp_path, *options)
    superblock, made = apply_delta(world, path)
    objects = ObjectSets(world.repository.read_history())
    commit = ObjectName(ObjectKind.COMMIT, target)
    assert (superblock.base, superblock.target) == (base, target)
    assert hashlib.sha256(superblock.commit).hexdigest() == target
    fallbacks = {one.name for one in superblock.fallbacks}
    assert {*made, *fallbacks, commit} == objects.missing(base, target) | {commit}
    for name, one in made.items():
        expected = world.repository.read_object(name)
        content = one.content
        if one.header is not None and one.header.is_link:
            content = one.header.link_target.encode()
        assert content == expected
    if "--inline" in options:
        assert set(superblock.inline) == set(range(len(superblock.parts)))
        key = f"{relative_path(base, target)}/"
        assert all(key not in other for other in superblock.metadata)
    assert superblock.prerequisites == ()
