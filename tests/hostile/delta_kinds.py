"""Hostile static deltas for our own reader of them: superblocks and parts, read and applied in the process."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.delta.apply import apply_part
from planner.delta.parts import PLAIN, read_part, unpack
from planner.delta.superblock import read_superblock
from planner.errors import RepositoryError
from planner.history.records import ObjectKind, ObjectName
from tests.delta.test_reading import OPTIONS, generate
from tests.delta.worlds import World, make_world
from tests.hostile.mutations import mutate
from tests.hostile.watch import Verdict

_MOST_BYTES = 64_000_000
"""Of a part here: the client's own bound is what its superblock says, and a part of the corpus holds far less."""


@dataclass(frozen=True)
class DeltaWorld:
    """Whole deltas, each a superblock and its parts, and the content of the files that they are made from."""

    deltas: Sequence[tuple[bytes, tuple[bytes, ...]]]
    contents: Mapping[str, bytes]


def make_delta_world(folder: Path) -> DeltaWorld:
    """Deltas of the stock tool, by each of its options."""
    world = make_world(folder)
    base, target, _ = world.commits
    deltas = []
    for number, options in enumerate(OPTIONS.values()):
        (folder / str(number)).mkdir()
        path = generate(world, base, target, folder / str(number), *options)
        superblock = read_superblock(path.read_bytes())
        parts = [superblock.inline.get(n) or (path.parent / str(n)).read_bytes() for n in range(len(superblock.parts))]
        deltas.append((path.read_bytes(), tuple(parts)))
    return DeltaWorld(deltas, _read_contents(world, base))


def _read_contents(world: World, commit: str) -> dict[str, bytes]:
    history = world.repository.read_history()
    trees, contents = [history.commits[commit].tree], dict[str, bytes]()
    while trees:
        tree = history.trees[trees.pop()]
        trees += tree.dirs.values()
        for file in tree.files.values():
            contents[file] = world.repository.read_object(ObjectName(ObjectKind.FILE, file))
    return contents


@dataclass
class DeltaTarget:
    """A client that reads a superblock and applies its parts, one of which is changed."""

    world: DeltaWorld
    is_superblock: bool

    def feed(self, rng: random.Random) -> Verdict:
        """Apply the delta; what it makes must be what its superblock lists, and nothing else."""
        superblock, parts = rng.choice(self.world.deltas)
        if self.is_superblock:
            superblock = mutate(rng, superblock)
        else:
            hit = rng.randrange(len(parts))
            parts = tuple(_change_part(rng, part) if at == hit else part for at, part in enumerate(parts))
        read = read_superblock(superblock)
        contents = dict(self.world.contents)

        def read_file(checksum: str) -> bytes:
            if checksum not in contents:
                raise RepositoryError("is missing", path=checksum)
            return contents[checksum]

        for header, data in zip(read.parts, parts, strict=False):
            made = []
            for one in apply_part(
                read_part(data, most_bytes=_MOST_BYTES), header.objects, read_file, most_bytes=_MOST_BYTES
            ):
                contents[one.name.checksum] = one.content
                made.append(one.name)
            if tuple(made) != header.objects:
                return Verdict.WRONG
        return Verdict.ACCEPTED


def _change_part(rng: random.Random, part: bytes) -> bytes:
    """The file changed, or what is packed in it."""
    if rng.random() < 0.3:
        return mutate(rng, part)
    inside = part[1:] if part[0] == PLAIN else unpack(part[1:], _MOST_BYTES, "")
    return bytes([PLAIN]) + mutate(rng, inside if rng.random() < 0.5 else _change_end(rng, inside))


def _change_end(rng: random.Random, inside: bytes) -> bytes:
    """Operations and offsets stand at the end, behind a long payload that hides them from blind changes."""
    at = max(len(inside) - rng.choice((16, 256, 2048)), 0)
    return inside[:at] + mutate(rng, inside[at:])
