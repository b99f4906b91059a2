"""Tasks in parallel, each in a process of its own.

A codec is C code that reads hostile or merely huge input: a crash, a leak or a peak of memory in one task
must not touch the others, and a task's own peak can only be seen in its own process.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Generic, Protocol, TypeVar, cast

from planner.build.pool import Pool
from planner.build.tools import is_missing
from planner.errors import BuildError, PlannerError, ToolError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


TASKS_OF_A_WORKER = 4
"""Lots for each worker: enough that none waits long for the last one."""


class Task(Protocol[ResultT_co]):
    """Something to do in a process of its own; can be pickled, and so can its result."""

    def run(self, folder: Path) -> ResultT_co:
        """Do it, in an empty folder that is gone afterwards.

        Raises:
            BuildError: it cannot be done, whoever tries.
            ToolError: a program is missing or failed.
            PlannerError: the task is not to blame: a full disk, a broken repository.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A task that could not be done.

    `is_final`: trying again would end the same way. A process that was ended from outside, or that the system
    refused something, says nothing of that.
    """

    reason: str
    is_final: bool


def run_tasks(
    tasks: Sequence[Task[ResultT]], pool: Pool, *, workers: int, preload: str = ""
) -> Generator[tuple[int, ResultT | Refused]]:
    """Numbers of tasks with their outcomes as they end, in no particular order; closing the iterator kills the rest.

    `preload` is a module that the process from which all are forked imports, if these tasks are the first.

    Nothing stays of a task's folder, however it ended.

    Raises:
        PlannerError: something that is not the task's own fault: a full disk, a missing program, a defect.
    """
    waiting = deque(enumerate(tasks))
    running: dict[Connection, Job[ResultT]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, task = waiting.popleft()
                job = _start(number, task, pool, preload)
                running[job.results] = job
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)  # noqa: S101 - only connections were waited for
                job = running.pop(ready)
                yield job.number, job.end()
    finally:
        for job in running.values():
            job.kill()


def share_out(items: Iterable[ItemT], size: Callable[[ItemT], float], enough: float) -> Iterator[list[ItemT]]:
    """Items in order, as many together as make a task long enough.

    >>> list(share_out([3, 1, 1, 1, 5], float, 3.0))
    [[3], [1, 1, 1], [5]]
    """
    lot: list[ItemT] = []
    total = 0.0
    for item in items:
        lot.append(item)
        total += size(item)
        if total >= enough:
            yield lot
            lot, total = [], 0.0
    if lot:
        yield lot


def cpu_s() -> float:
    """Core-seconds of this process and its children so far, user and system."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_memory_bytes() -> int:
    """The largest resident size of this process or any one child so far."""
    # Linux counts in KiB.
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


# -- the parent's side ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[ResultT]):
    """A task that runs; `resources` are its folder and its end of the pipe, held here because it may be killed."""

    number: int
    process: BaseProcess
    results: Connection
    resources: ExitStack

    def end(self) -> ResultT | Refused:
        """The outcome of a task that has answered or died."""
        with self.resources:
            try:
                answer = self.results.recv()
            except (EOFError, OSError):
                answer = None
            self.process.join()
        if isinstance(answer, PlannerError):
            raise answer
        return self._judge_silence() if answer is None else cast("ResultT | Refused", answer)

    def _judge_silence(self) -> Refused:
        status = self.process.exitcode or 0
        if status >= 0:
            raise BuildError("a job's process failed; its error is above", status=status)
        return Refused(reason=f"its process was ended by signal {-status}", is_final=False)

    def kill(self) -> None:
        """End the task now, with whatever programs it started."""
        with self.resources:
            # Its group is named by its own id; a process that has not made its group yet has no children either.
            with suppress(ProcessLookupError):
                if self.process.pid and self.process.is_alive():
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join()


def _start(number: int, task: Task[ResultT], pool: Pool, preload: str) -> Job[ResultT]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["planner.build.jobs", *([preload] if preload else [])])
    with ExitStack() as resources:
        folder = resources.enter_context(pool.making())
        here, there = context.Pipe(duplex=False)
        resources.enter_context(here)
        with there:
            process: BaseProcess = context.Process(target=_work, args=(there, task, folder), daemon=True)
            process.start()
        return Job(number=number, process=process, results=here, resources=resources.pop_all())


# -- the task's own side -------------------------------------------------------------------------------------------


def _work(results: Connection, task: Task[ResultT], folder: Path) -> None:
    """What a task's process does."""
    os.setpgrp()
    Thread(target=_die_with_parent, daemon=True).start()
    results.send(_attempt(task, folder))


def _die_with_parent() -> None:
    """Kill this task and its programs when the run is gone: they would work on beside the next run, unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _attempt(task: Task[ResultT], folder: Path) -> ResultT | Refused | PlannerError:
    try:
        return task.run(folder)
    except BuildError as error:
        return Refused(reason=str(error), is_final=True)
    except ToolError as error:
        # A program that is missing fails every task. One that failed or was killed may have met a full memory.
        return error if is_missing(error) else Refused(reason=str(error), is_final=False)
    except PlannerError as error:
        return error
    except (OSError, MemoryError) as error:
        return Refused(reason=f"the system refused: {error!r}", is_final=False)
