"""Make and prove candidates in parallel: one task each, measured."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from planner.build.builders import Builder
from planner.build.pool import Pool
from planner.build.processes import Refused, cpu_s, peak_memory_bytes, run_tasks
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
        """Do it.

        CPU is this process's and its children's, user and system, and what pieces took that were made before. The
        server pays for building and for proving, of which a client pays the applying.

        Raises:
            BuildError: it could not be built, or did not reproduce its target.
            SpaceError: the disk is full.
        """
        base, target, codec = self.candidate.base, self.candidate.target, self.candidate.codec
        with full_disk_as_error(folder):
            started_s = cpu_s()
            built = self.builder.build(base, target, codec, folder)
            client_cpu_s = self.builder.prove(base, target, codec, folder)
            proved_s = cpu_s()
            artifact = self.pool.admit(self.candidate, folder)
        weight = Weight(
            wire_bytes=artifact.wire_bytes,
            stored_bytes=artifact.wire_bytes,
            server_cpu_s=proved_s - started_s + sum(need.server_cpu_s for need in built.needs),
            client_cpu_s=client_cpu_s,
            peak_memory_bytes=max(built.peak_memory_bytes, peak_memory_bytes()),
            status=WeightStatus.MEASURED,
        )
        return Made(artifact=artifact, weight=weight, needs=built.needs)


def run_jobs(
    builder: Builder, pool: Pool, candidates: Sequence[Candidate], *, workers: int
) -> Generator[Made | Failed]:
    """Outcomes as the jobs end, in no particular order; closing the iterator kills what still runs.

    Nothing of a job that did not end well stays in the pool, however it ended.

    Raises:
        PlannerError: something that is not the candidate's own fault: a full disk, a missing program, a defect.
    """
    tasks = [MakeTask(builder, pool, candidate) for candidate in candidates]
    with closing(run_tasks(tasks, pool, workers=workers)) as outcomes:
        for number, outcome in outcomes:
            if isinstance(outcome, Refused):
                yield Failed(candidate=candidates[number], reason=outcome.reason, is_final=outcome.is_final)
            else:
                yield outcome
