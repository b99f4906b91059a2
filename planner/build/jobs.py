"""Make and prove candidates in parallel, each in a process of its own.

A codec is C code that reads hostile or merely huge input: a crash, a leak or a peak of memory in one job
must not touch the others, and a job's own peak can only be seen in its own process.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

from planner.build.builders import Builder
from planner.build.pool import Pool
from planner.build.tools import is_missing
from planner.errors import BuildError, PlannerError, ToolError
from planner.history.files import full_disk_as_error
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

    `is_final`: trying again would end the same way. A process that was ended from outside, or that the system
    refused something, says nothing of that.
    """

    candidate: Candidate
    reason: str
    is_final: bool


def make(builder: Builder, pool: Pool, candidate: Candidate, folder: Path) -> Made:
    """Build one candidate in the empty `folder`, apply it to its base, compare with its target, admit it to the pool.

    CPU is this process's and its children's, user and system. The server pays for building and for proving;
    a client pays about what proving took.

    Raises:
        BuildError: it could not be built, or did not reproduce its target.
        SpaceError: the disk is full.
    """
    base, target, codec = candidate.base, candidate.target, candidate.codec
    with full_disk_as_error(folder):
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


def run_jobs(
    builder: Builder, pool: Pool, candidates: Sequence[Candidate], *, workers: int
) -> Generator[Made | Failed]:
    """Outcomes as the jobs end, in no particular order; closing the iterator kills what still runs.

    Nothing of a job that did not end well stays in the pool, however it ended.

    Raises:
        PlannerError: something that is not the candidate's own fault: a full disk, a missing program, a defect.
    """
    waiting = deque(candidates)
    running: dict[Connection, _Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = _start(builder, pool, waiting.popleft())
                running[job.results] = job
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)  # noqa: S101 - only connections were waited for
                yield running.pop(ready).end()
    finally:
        for job in running.values():
            job.kill()


# -- the parent's side ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A job that runs; `resources` are its folder and its end of the pipe, held here because it may be killed."""

    candidate: Candidate
    process: BaseProcess
    results: Connection
    resources: ExitStack

    def end(self) -> Made | Failed:
        """The outcome of a job that has answered or died."""
        with self.resources:
            try:
                answer: Made | Failed | PlannerError | None = self.results.recv()
            except (EOFError, OSError):
                answer = None
            self.process.join()
        if isinstance(answer, PlannerError):
            raise answer
        return answer or self._judge_silence()

    def _judge_silence(self) -> Failed:
        status = self.process.exitcode or 0
        if status >= 0:
            raise BuildError("a job's process failed; its error is above", status=status, candidate=str(self.candidate))
        return Failed(candidate=self.candidate, reason=f"its process was ended by signal {-status}", is_final=False)

    def kill(self) -> None:
        """End the job now, with whatever programs it started."""
        with self.resources:
            # Its group is named by its own id; a process that has not made its group yet has no children either.
            with suppress(ProcessLookupError):
                if self.process.pid and self.process.is_alive():
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join()


def _start(builder: Builder, pool: Pool, candidate: Candidate) -> _Job:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["planner.build.jobs"])
    with ExitStack() as resources:
        folder = resources.enter_context(pool.making())
        here, there = context.Pipe(duplex=False)
        resources.enter_context(here)
        with there:
            arguments = (there, builder, pool, candidate, folder)
            process: BaseProcess = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
        return _Job(candidate=candidate, process=process, results=here, resources=resources.pop_all())


# -- the job's own side --------------------------------------------------------------------------------------------


def _work(results: Connection, builder: Builder, pool: Pool, candidate: Candidate, folder: Path) -> None:
    """What a job's process does."""
    os.setpgrp()
    Thread(target=_die_with_parent, daemon=True).start()
    results.send(_attempt(builder, pool, candidate, folder))


def _die_with_parent() -> None:
    """Kill this job and its programs when the run is gone: they would work on beside the next run, unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _attempt(builder: Builder, pool: Pool, candidate: Candidate, folder: Path) -> Made | Failed | PlannerError:
    try:
        return make(builder, pool, candidate, folder)
    except BuildError as error:
        return Failed(candidate=candidate, reason=str(error), is_final=True)
    except ToolError as error:
        # A program that is missing fails every job. One that failed or was killed may have met a full memory.
        return error if is_missing(error) else Failed(candidate=candidate, reason=str(error), is_final=False)
    except PlannerError as error:
        return error
    except (OSError, MemoryError) as error:
        return Failed(candidate=candidate, reason=f"the system refused: {error!r}", is_final=False)
