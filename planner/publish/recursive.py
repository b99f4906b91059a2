"""Routes as OSTree's own recursive deltas: superblocks without parts that name the deltas to apply first.

The format has a place for them, the prerequisites, on which no stock client acts: it would take such a superblock for
that of a whole delta. So they stand apart from the deltas, under `extensions/deltaplan/recursive/`, each where the
delta of its two ends would be below `deltas/`. What they say is what the route index says, in the format that
`ostree static-delta show` prints ("Number of parents").

Source: libostree, `ostree-repo-static-delta-private.h`: "deltas to fetch and apply before this one".
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from planner.build.pool import EXTENSION_PATH
from planner.delta.paths import SUPERBLOCK, relative_path
from planner.delta.superblock import Superblock, write_superblock
from planner.history.files import write_atomically
from planner.history.ostree import OSTreeRepository
from planner.history.records import History, ObjectKind, ObjectName
from planner.publish.routes import PublishedRoute

RECURSIVE_PATH = f"{EXTENSION_PATH}/recursive"
"""Where recursive superblocks are, from the repository's folder."""


def write_recursive(
    repository: OSTreeRepository, history: History, routes: Mapping[str, Sequence[PublishedRoute]]
) -> int:
    """Write a superblock for each route of two hops or more, and remove those of other routes; how many there are.

    What is there already is left alone. Of several routes between the same commits the longest is told, as its clients
    can follow them all.
    """
    folder = repository.path / RECURSIVE_PATH
    chosen: dict[tuple[str, str], PublishedRoute] = {}
    for base, of_base in routes.items():
        for route in sorted(of_base, key=lambda one: len(one.hops or ())):
            if route.hops and len(route.hops) > 1 and not route.layers:
                chosen[base, route.target] = route
    _remove_others(folder, {str(folder / relative_path(base, target)) for base, target in chosen})
    for (base, target), route in sorted(chosen.items()):
        stops = [base, *(hop.commit for hop in route.hops or ())]
        superblock = Superblock(
            base=base,
            target=target,
            timestamp=int(history.commits[target].committed_at.timestamp()),
            commit=repository.read_object(ObjectName(ObjectKind.COMMIT, target)),
            parts=(),
            prerequisites=tuple(pairwise(stops)),
        )
        _write_if_new(folder / relative_path(base, target) / SUPERBLOCK, write_superblock(superblock))
    return len(chosen)


def _write_if_new(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


def _remove_others(folder: Path, wanted: Collection[str]) -> None:
    """Remove the folders of deltas that are not wanted; these are two levels below `deltas`."""
    for path in folder.glob("deltas/*/*"):
        if str(path) not in wanted:
            shutil.rmtree(path, ignore_errors=True)
