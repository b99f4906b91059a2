"""Weights of deltas that were never built, projected on all cores; what was seen stays in the workshop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from planner.build.processes import Refused, run_tasks
from planner.build.workshop import Report, Workshop
from planner.delta.contents import CommitContents, Contents
from planner.delta.difference_pool import DifferencePool
from planner.errors import BuildError
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import History
from planner.project.looks import Looker, by_target
from planner.project.projector import Measurement, Pair, Projection, Projector

# Bytes of new contents that a task looks at: less, and starting its process takes longer than looking.
_TASK_BYTES = 50_000_000
_TASKS_OF_A_WORKER = 4


@dataclass(frozen=True, slots=True)
class LookTask:
    """Look at differences (old, new)."""

    workshop: Workshop
    pairs: tuple[tuple[str, str], ...]

    def run(self, folder: Path) -> bool:  # noqa: ARG002 - what was seen is in the pool of differences
        """Do it."""
        with DifferencePool(self.workshop.differences) as pool:
            Looker(Contents(OSTreeRepository(self.workshop.repository)), pool).look_at(self.pairs)
        return True


def project_deltas(
    workshop: Workshop,
    history: History,
    pairs: Iterable[Pair],
    measured: Mapping[Pair, Measurement],
    *,
    workers: int,
    report: Report,
) -> dict[Pair, Projection]:
    """What our own deltas of these pairs would weigh, given what others of the repository weighed.

    A run that is cancelled keeps what it has seen.

    Raises:
        RepositoryError: an object is missing or corrupt.
        PlannerError: as `run_tasks`.
    """
    contents = CommitContents(OSTreeRepository(workshop.repository), ObjectSets(history))
    with DifferencePool(workshop.differences) as pool:
        look_at = partial(_look_at, workshop, contents, pool, workers=workers, report=report)
        return Projector(contents, pool, look_at=look_at).project(pairs, measured)


def _look_at(
    workshop: Workshop,
    contents: Contents,
    pool: DifferencePool,
    pairs: Iterable[tuple[str, str]],
    *,
    workers: int,
    report: Report,
) -> None:
    fresh = {}
    for new, olds in by_target(pairs).items():
        seen = pool.looks(new)
        left = [old for old in olds if old not in seen]
        if left:
            fresh[new] = left
    tasks = [LookTask(workshop, tuple(lot)) for lot in _share_out(fresh, contents, workers)]
    with closing(run_tasks(tasks, workshop.pool, workers=workers, preload="planner.project.loaded")) as outcomes:
        for done, (_, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Refused):
                raise BuildError("contents cannot be looked at", reason=outcome.reason)
            report("project", done, len(tasks), "contents looked at")


def _share_out(fresh: Mapping[str, Sequence[str]], contents: Contents, workers: int) -> Iterator[list[tuple[str, str]]]:
    """Pairs in lots of about as many bytes, in their order: versions of one file stay together."""
    sizes = {new: contents.size_bytes(new) * (1 + len(olds)) for new, olds in fresh.items()}
    enough_bytes = max(_TASK_BYTES, sum(sizes.values()) // (_TASKS_OF_A_WORKER * workers))
    lot: list[tuple[str, str]] = []
    lot_bytes = 0
    for new, olds in fresh.items():
        lot += [(old, new) for old in olds]
        lot_bytes += sizes[new]
        if lot_bytes >= enough_bytes:
            yield lot
            lot, lot_bytes = [], 0
    if lot:
        yield lot
