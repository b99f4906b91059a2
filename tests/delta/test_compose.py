"""Composed deltas: several hops in one part, without the base's objects, for stock clients and for us."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from planner.delta.blocks import split_blocks
from planner.delta.compose import Composed, Hop, compose
from planner.delta.encode import Effort
from planner.delta.make import Delta, Settings, compose_delta, make_delta
from planner.delta.packing import packer
from planner.delta.parts import read_part, write_part
from planner.delta.superblock import read_superblock
from planner.errors import BuildError, RepositoryError
from planner.history.objects import ObjectSets
from planner.history.records import EMPTY, ObjectKind, ObjectName
from tests.delta.test_make import write
from tests.delta.test_reading import apply_delta
from tests.delta.worlds import World, commit_tree, copy_with, make_world, run_ostree


@pytest.fixture(scope="module", params=["archive"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), request.param)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Five releases: one large library changes a little each time, another is replaced, one file comes and goes."""
    folder = tmp_path_factory.mktemp("large")
    repo, tree = folder / "repo", folder / "tree"
    run_ostree("init", f"--repo={repo}", "--mode=archive")
    rng = random.Random(3)
    library = bytearray(rng.randbytes(600_000))
    commits = []
    (tree / "lib").mkdir(parents=True)
    for release in range(5):
        # As in recompiled code: too many changes for copies, too few for a new file.
        for at in range(release, len(library), 40):
            library[at] ^= 1
        (tree / "lib/changes.so").write_bytes(library)
        (tree / "lib/replaced.bin").write_bytes(rng.randbytes(300_000))
        (tree / "lib/comes-and-goes").unlink(missing_ok=True)
        if release % 2 == 0:
            (tree / "lib/comes-and-goes").write_bytes(b"the same content each time" * 50)
        (tree / f"lib/new-in-{release}.txt").write_text(f"release {release}\n" * 20)
        commits.append(commit_tree(repo, tree, str(release)))
    return World(path=repo, commits=tuple(commits))


def build_stock(world: World, base: str, target: str, folder: Path) -> Delta:
    folder.mkdir()
    start = f"--from={base}" if base else "--empty"
    run_ostree(
        *("static-delta", "generate", f"--repo={world.path}", start, f"--to={target}", "--min-fallback-size=0"),
        f"--filename={folder / 'superblock'}",
    )
    parts = sorted(int(path.name) for path in folder.iterdir() if path.name != "superblock")
    return Delta(
        superblock=(folder / "superblock").read_bytes(),
        parts=tuple((folder / str(number)).read_bytes() for number in parts),
    )


def hops_of(world: World, route: list[str], stock_in: Path | None = None) -> list[Hop]:
    objects = ObjectSets(world.repository.read_history())
    deltas = [
        make_delta(world.repository, objects, base, target)
        if stock_in is None
        else build_stock(world, base, target, stock_in / str(number))
        for number, (base, target) in enumerate(pairwise(route))
    ]
    return [Hop(read_superblock(delta.superblock), delta.parts) for delta in deltas]


def check_applies(world: World, delta: Delta, base: str, target: str, folder: Path) -> None:
    path = write(delta, folder / "delta")
    _, made = apply_delta(world, path)
    objects = ObjectSets(world.repository.read_history())
    assert set(made) >= objects.missing(base, target) - {ObjectName(ObjectKind.COMMIT, target)}
    client = copy_with(world, () if base == EMPTY else (base,), folder)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", path.parent)
    run_ostree("fsck", "--quiet", f"--repo={client}")
    assert run_ostree("ls", "-RCX", f"--repo={client}", target) == run_ostree(
        "ls", "-RCX", f"--repo={world.path}", target
    )


@pytest.mark.parametrize("is_stock", [False, True], ids=["our hops", "stock hops"])
@pytest.mark.parametrize("starts_empty", [False, True])
def test_a_stock_client_applies_all_hops_at_once(
    world: World, tmp_path: Path, is_stock: bool, starts_empty: bool
) -> None:
    route = [*([EMPTY] if starts_empty else []), *world.commits]
    hops = hops_of(world, route, tmp_path if is_stock else None)
    delta = compose_delta(hops, ObjectSets(world.repository.read_history()), Settings())
    check_applies(world, delta, route[0], route[-1], tmp_path)


def test_packed_blocks_stay_as_they_are_and_what_is_dead_is_left_out(large: World, tmp_path: Path) -> None:
    objects = ObjectSets(large.repository.read_history())
    hops = hops_of(large, list(large.commits))
    delta = compose_delta(hops, objects, Settings())
    check_applies(large, delta, large.commits[0], large.commits[-1], tmp_path)
    # Three of four versions of the replaced file are needed by nobody.
    assert len(delta.parts[0]) < 0.5 * sum(len(part) for hop in hops for part in hop.parts)
    last_names = {ObjectName(ObjectKind.FILE, checksum) for checksum in objects_of_last(large)}
    made = [name for part in read_superblock(delta.superblock).parts for name in part.objects]
    assert len(made) == len(set(made))
    assert sum(name.kind is ObjectKind.FILE and name not in last_names for name in made) == 3


def objects_of_last(world: World) -> set[str]:
    objects = ObjectSets(world.repository.read_history())
    return {name.checksum for name in objects.of_commit(world.commits[-1]) if name.kind is ObjectKind.FILE}


def test_needed_blocks_are_the_same_bytes(large: World) -> None:
    objects = ObjectSets(large.repository.read_history())
    hops = hops_of(large, list(large.commits))
    blocks = [block.data for hop in hops for part in hop.parts for block in split_blocks(part[1:])]
    composed = compose_delta(hops, objects, Settings())
    kept = [block.data for block in split_blocks(composed.parts[0][1:]) if block.data in blocks]
    # The library's difference of every hop, and the last hop's whole file.
    assert len(kept) == 5


def test_no_object_of_the_base_is_read(large: World) -> None:
    """A server that has dropped the base still composes: it needs the deltas and the trees only."""
    objects = ObjectSets(large.repository.read_history())
    base, target = large.commits[0], large.commits[-1]
    composed = compose(hops_of(large, list(large.commits)), objects.of_commit(base), objects.missing(base, target))
    assert isinstance(composed, Composed)


def test_hops_that_do_not_follow_each_other_are_refused(world: World) -> None:
    hops = hops_of(world, list(world.commits))
    with pytest.raises(BuildError, match="do not follow"):
        compose(hops[::-1], frozenset(), frozenset())


def test_an_object_that_a_hop_leaves_out_is_an_error(world: World) -> None:
    objects = ObjectSets(world.repository.read_history())
    settings = Settings(fallback_bytes=1000)
    first = make_delta(world.repository, objects, EMPTY, world.commits[0], settings)
    second = make_delta(world.repository, objects, *world.commits[:2])
    hops = [Hop(read_superblock(delta.superblock), delta.parts) for delta in (first, second)]
    with pytest.raises(BuildError, match="fetched on its own"):
        compose_delta(hops, objects, Settings())


def test_the_same_hops_make_the_same_bytes(large: World) -> None:
    objects = ObjectSets(large.repository.read_history())
    one, two = (compose_delta(hops_of(large, list(large.commits)), objects, Settings()) for _ in range(2))
    assert one == two


def test_damaged_hops_are_errors(world: World) -> None:
    """Whatever a bit or a cut does to a part: an error of ours, or a part that a client would check."""
    objects = ObjectSets(world.repository.read_history())
    hops = hops_of(world, list(world.commits))
    rng = random.Random(5)
    refused = 0
    for _ in range(300):
        part = read_part(hops[0].parts[0])
        field = rng.choice(["operations", "payload", "modes"])
        damaged = bytearray(getattr(part, field) if field != "modes" else b"\0")
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        changed = replace(part, modes=part.modes[:1]) if field == "modes" else replace(part, **{field: bytes(damaged)})
        data = write_part(changed, packer(Effort.QUICK) if rng.random() < 0.5 else None)
        try:
            compose_delta([replace(hops[0], parts=(data,)), hops[1]], objects, Settings())
        except (BuildError, RepositoryError):
            refused += 1
    assert refused > 100
