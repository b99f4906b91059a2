"""Weights of deltas that were never built, projected on all cores; what was seen stays in the workshop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from planner.build.executors import Executor
from planner.build.processes import TASKS_OF_A_WORKER, DatabaseTask, Refused, share_out
from planner.build.workshop import Report, Workshop
from planner.delta.contents import CommitContents, Contents
from planner.delta.difference_pool import DifferencePool
from planner.delta.superblock import NATIVE
from planner.errors import BuildError
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY, History
from planner.project.belief import Belief
from planner.project.looks import Looker, find_unseen
from planner.project.projector import Pair, Projector
from planner.project.quantities import NATIVE_BELIEFS, Beliefs, Measurement, Projection, Quantity
from planner.weigh.candidates import Candidate, Weight
from planner.weigh.stock_client import STOCK_CODEC

PRIORS: Mapping[str, Beliefs] = {
    NATIVE: NATIVE_BELIEFS,
    # The stock tool pairs files by its own rules, which nothing here foresees: measured on the 91 pairs of fourteen
    # releases of sqlalchemy, projections are 25 % off at the median once fourteen deltas were built, and say so.
    STOCK_CODEC: {
        **NATIVE_BELIEFS,
        Quantity.WIRE_BYTES: Belief.prior((1.0, 0.85, 3.0, 1.6, 0.8), (0.02, 0.2, 0.6, 0.5, 0.25), 0.3),
        Quantity.SERVER_CPU_S: Belief.prior((2.0, 1e-6, 5e-6, 0.05), (0.8, 0.8, 0.8, 10.0), 0.3),
    },
}
"""By codec, what is believed of a delta's weight before anything was measured."""

# Bytes of new contents that a task looks at: less, and starting its process takes longer than looking.
_TASK_BYTES = 50_000_000
# Deltas that are learnt from, the newest targets': more change nothing, and each is looked at.
_MOST_LEARNT = 500


@dataclass(frozen=True, slots=True)
class LookTask(DatabaseTask):
    """Look at differences (old, new)."""

    workshop: Workshop
    pairs: tuple[tuple[str, str], ...]

    def run(self, folder: Path) -> bool:  # noqa: ARG002 - what was seen is in the pool of differences
        """Do it."""
        with DifferencePool(self.workshop.differences) as pool:
            Looker(Contents(OSTreeRepository(self.workshop.repository)), pool).look_at(self.pairs)
        return True


def project_candidates(
    workshop: Workshop,
    history: History,
    candidates: Iterable[Candidate],
    measured: Mapping[Candidate, Weight],
    *,
    executor: Executor,
    report: Report,
) -> dict[Candidate, Projection]:
    """What candidates would weigh, given what others of their codec weighed; those of other codecs are left out.

    A run that is cancelled keeps what it has seen.

    Raises:
        RepositoryError: an object is missing or corrupt.
        PlannerError: as `Executor.run`.
    """
    contents = CommitContents(OSTreeRepository(workshop.repository), ObjectSets(history))
    pairs: defaultdict[str, list[Pair]] = defaultdict(list)
    for one in candidates:
        pairs[one.codec].append((one.base, one.target))
    found = {}
    with DifferencePool(workshop.differences) as pool:
        projector = Projector(
            contents, pool, look_at=partial(_look_at, workshop, contents, pool, executor=executor, report=report)
        )
        for codec in sorted(pairs.keys() & PRIORS.keys()):
            known = _known(history, measured, codec)
            for (base, target), projection in projector.project(pairs[codec], known, PRIORS[codec]).items():
                found[Candidate(base=base, target=target, codec=codec)] = projection
    return found


def _known(history: History, measured: Mapping[Candidate, Weight], codec: str) -> dict[Pair, Measurement]:
    """The last deltas of a codec that were built; what somebody else published cost nobody knows what."""
    age = {commit: number for number, commit in enumerate((EMPTY, *history.commits))}
    usable = (
        one
        for one, weight in measured.items()
        if one.codec == codec and {one.base, one.target} <= age.keys() and weight.wire_bytes and weight.server_cpu_s
    )
    return {
        (one.base, one.target): Measurement(
            wire_bytes=measured[one].wire_bytes,
            server_cpu_s=measured[one].server_cpu_s,
            client_cpu_s=measured[one].client_cpu_s,
            peak_memory_bytes=measured[one].peak_memory_bytes,
        )
        for one in sorted(usable, key=lambda one: age[one.target])[-_MOST_LEARNT:]
    }


def _look_at(
    workshop: Workshop,
    contents: Contents,
    pool: DifferencePool,
    pairs: Iterable[tuple[str, str]],
    *,
    executor: Executor,
    report: Report,
) -> None:
    fresh = find_unseen(pairs, pool)
    tasks = [
        LookTask(workshop, tuple((old, new) for new in lot for old in fresh[new]))
        for lot in _share_out(fresh, contents, executor.workers)
    ]
    with closing(executor.run(tasks, workshop.pool, preload="planner.project.loaded")) as outcomes:
        for done, (_, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Refused):
                raise BuildError("contents cannot be looked at", reason=outcome.reason)
            report("project", done, len(tasks), "contents looked at")


def _share_out(fresh: Mapping[str, Sequence[str]], contents: Contents, workers: int) -> Iterator[list[str]]:
    """New contents in lots of about as many bytes, in their order: versions of one file stay together."""
    sizes = {new: contents.size_bytes(new) * (1 + len(olds)) for new, olds in fresh.items()}
    enough_bytes = max(_TASK_BYTES, sum(sizes.values()) // (TASKS_OF_A_WORKER * workers))
    return share_out(fresh, sizes.__getitem__, enough_bytes)
