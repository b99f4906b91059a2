"""Make and prove candidates in parallel, each in a process of its own.

A codec is C code that reads hostile or merely huge input: a crash, a leak or a peak of memory in one job
must not touch the others, and a job's own peak can only be seen in its own process.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from planner.build.builders import Builder
from planner.build.pool import Pool
from planner.errors import BuildError, PlannerError
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.catalogue import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A job that ended well: the artifact in the pool, and what it took."""

    artifact: Artifact
    weight: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A job whose delta could not be built, or did not reproduce its target.

    `is_final`: trying again would end the same way. A process that was ended from outside says nothing of that.
    """

    candidate: Candidate
    reason: str
    is_final: bool


def make(builder: Builder, pool: Pool, candidate: Candidate) -> Made:
    """Build one candidate, apply it to its base, compare with its target, and admit it to the pool.

    CPU is this process's and its children's, user and system. The server pays for building and for proving;
    a client pays about what proving took.

    Raises:
        BuildError: it could not be built, or did not reproduce its target.
        SpaceError: the disk is full.
    """
    base, target, codec = candidate.base, candidate.target, candidate.codec
    with pool.making() as folder:
        started_s = _cpu_s()
        builder.build(base, target, codec, folder)
        built_s = _cpu_s()
        builder.prove(base, target, codec, folder)
        proved_s = _cpu_s()
        artifact = pool.admit(candidate, folder)
    weight = Weight(
        wire_bytes=artifact.wire_bytes,
        stored_bytes=artifact.wire_bytes,
        server_cpu_s=proved_s - started_s,
        client_cpu_s=proved_s - built_s,
        peak_memory_bytes=_peak_memory_bytes(),
        status=WeightStatus.MEASURED,
    )
    return Made(artifact=artifact, weight=weight)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_memory_bytes() -> int:
    """The largest resident size of this process or any one child; Linux counts in KiB."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_jobs(builder: Builder, pool: Pool, candidates: Sequence[Candidate], *, workers: int) -> Iterator[Made | Failed]:
    """Outcomes as the jobs end, in no particular order; closing the iterator ends what still runs.

    Raises:
        PlannerError: something that is not the candidate's own fault: a full disk, a missing program, a defect.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["planner.build.jobs"])
    waiting = deque(candidates)
    running: dict[Connection, tuple[BaseProcess, Candidate]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                candidate = waiting.popleft()
                here, there = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=_work, args=(there, builder, pool, candidate), daemon=True
                )
                process.start()
                there.close()
                running[here] = process, candidate
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)  # noqa: S101 - only connections were waited for
                yield _outcome(ready, *running.pop(ready))
    finally:
        for connection, (process, _) in running.items():
            process.terminate()
            process.join()
            connection.close()


def _work(results: Connection, builder: Builder, pool: Pool, candidate: Candidate) -> None:
    """What a job's process does."""
    try:
        results.send(make(builder, pool, candidate))
    except PlannerError as error:
        results.send(error)
    except OSError as error:
        results.send(BuildError("the system refused", reason=str(error)))
    except MemoryError:
        results.send(BuildError("ran out of memory"))


def _outcome(results: Connection, process: BaseProcess, candidate: Candidate) -> Made | Failed:
    answer: Made | PlannerError | None
    try:
        answer = results.recv()
    except EOFError:
        answer = None
    finally:
        results.close()
        process.join()
    if isinstance(answer, Made):
        return answer
    if isinstance(answer, BuildError):
        return Failed(candidate=candidate, reason=str(answer), is_final=True)
    if answer is not None:
        raise answer
    status = process.exitcode or 0
    if status >= 0:
        raise BuildError("a job's process failed; its error is above", status=status, candidate=str(candidate))
    return Failed(candidate=candidate, reason=f"its process was ended by signal {-status}", is_final=False)
