"""Make and prove candidates in parallel: one task each, measured."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from planner.build.builders import Builder
from planner.build.executors import Executor
from planner.build.pool import Pool
from planner.build.processes import Refused, cpu_s, peak_memory_bytes
from planner.history.files import full_disk_as_error
from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus
from planner.weigh.catalogue import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A job that ended well: the artifact in the pool, what it took, and what of that other candidates may share."""

    artifact: Artifact
    weight: Weight
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A job whose delta could not be built, or did not reproduce its target; `is_final` as in `Refused`."""

    candidate: Candidate
    reason: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class MakeTask:
    """Build one candidate in an empty folder, apply it to its base, compare with its target, admit it to the pool."""

    builder: Builder
    pool: Pool
    candidate: Candidate

    def run(self, folder: Path) -> Made:
        """Do it, unless the pool has the delta with its note: a try whose worker was lost may have come that far.

        CPU is this process's and its children's, user and system, and what pieces took that were made before. The
        server pays for building and for proving, of which a client pays the applying.

        Raises:
            BuildError: it could not be built, or did not reproduce its target.
            SpaceError: the disk is full.
        """
        with full_disk_as_error(folder):
            return self.find() or self._make(folder)

    def _make(self, folder: Path) -> Made:
        base, target, codec = self.candidate.base, self.candidate.target, self.candidate.codec
        started_s = cpu_s()
        built = self.builder.build(base, target, codec, folder)
        client_cpu_s = self.builder.prove(base, target, codec, folder)
        server_cpu_s = cpu_s() - started_s + sum(need.server_cpu_s for need in built.needs)

        artifact = self.pool.measure(self.candidate, folder)
        weight = Weight(
            wire_bytes=artifact.wire_bytes,
            stored_bytes=artifact.wire_bytes,
            server_cpu_s=server_cpu_s,
            client_cpu_s=client_cpu_s,
            peak_memory_bytes=max(built.peak_memory_bytes, peak_memory_bytes()),
            status=WeightStatus.MEASURED,
        )
        made = Made(artifact=artifact, weight=weight, needs=built.needs)
        admitted = self.pool.admit(self.candidate, folder, note=msgspec.json.encode(made))
        if built.spent is not None:
            shutil.rmtree(built.spent, ignore_errors=True)
        return made if admitted == artifact else self.find() or replace(made, artifact=admitted)

    def find(self) -> Made | None:
        """What was noted of the delta when it was admitted; None where the pool does not have it as it was."""
        note = self.pool.find_note(self.candidate)
        try:
            return None if note is None else msgspec.json.decode(note, type=Made)
        except msgspec.DecodeError:
            return None


def run_jobs(
    builder: Builder, pool: Pool, candidates: Iterable[Candidate], *, executor: Executor
) -> Generator[Made | Failed]:
    """Outcomes as the jobs end, in no particular order; closing the iterator kills what still runs.

    A candidate is taken when there is a worker for it.

    Nothing of a job that did not end well stays in the pool, however it ended.

    Raises:
        PlannerError: something that is not the candidate's own fault: a full disk, a missing program.
    """
    started: list[Candidate] = []

    def tasks() -> Iterator[MakeTask]:
        for candidate in candidates:
            started.append(candidate)
            yield MakeTask(builder, pool, candidate)

    with closing(executor.run(tasks(), pool)) as outcomes:
        for number, outcome in outcomes:
            if isinstance(outcome, Refused):
                yield Failed(candidate=started[number], reason=outcome.reason, is_final=outcome.is_final)
            else:
                yield outcome
