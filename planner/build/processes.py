"""Tasks in parallel, each in a process of its own.

A codec is C code that reads hostile or merely huge input: a crash, a leak or a peak of memory in one task
must not touch the others, and a task's own peak can only be seen in its own process.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Generic, Protocol, TypeVar, cast

from planner.build.pool import Pool
from planner.build.tools import is_missing
from planner.errors import BuildError, PlannerError, ToolError
from planner.units import format_bytes, format_duration

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


TASKS_OF_A_WORKER = 4
"""Lots for each worker: enough that none waits long for the last one."""

POLL_S = 0.5
"""Between two looks at what running jobs take: a codec that grows by 1 GB/s is 0.5 GB above its bound when it ends."""


class Task(Protocol[ResultT_co]):
    """Something to do in a process of its own; can be pickled, and so can its result."""

    def run(self, folder: Path) -> ResultT_co:
        """Do it, in an empty folder that is gone afterwards.

        Raises:
            BuildError: it cannot be done, whoever tries.
            ToolError: a program is missing or failed.
            PlannerError: the task is not to blame: a full disk, a broken repository.
        """


class DatabaseTask:
    """A task that uses a database of the workshop, which only processes of one machine may share.

    Source: sqlite.org, "Write-Ahead Logging": it "does not work over a network filesystem".
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A task that could not be done.

    `is_final`: trying again would end the same way. A process that was ended from outside, or that the system
    refused something, says nothing of that.
    """

    reason: str
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What one task may take before it is ended: resident memory of all its processes together, and wall time.

    Memory that processes share counts for each of them, so the bound is never exceeded unseen. A program that leaves
    its task's process group is not counted; none that this package starts does.
    """

    most_memory_bytes: int | None = None
    most_wall_s: float | None = None

    @property
    def are_set(self) -> bool:
        """Whether there is anything to look at."""
        return self.most_memory_bytes is not None or self.most_wall_s is not None

    def judge(self, memory_bytes: int, wall_s: float) -> str:
        """Why a task that takes so much is to be ended; empty where it may go on."""
        if self.most_memory_bytes is not None and memory_bytes > self.most_memory_bytes:
            return f"it took more than {format_bytes(self.most_memory_bytes)} of memory"
        if self.most_wall_s is not None and wall_s > self.most_wall_s:
            return f"it ran longer than {format_duration(self.most_wall_s)}"
        return ""


NO_GUARDS = Guards()


def run_tasks(
    tasks: Iterable[Task[ResultT]],
    pool: Pool,
    *,
    workers: int,
    preload: str = "",
    guards: Guards = NO_GUARDS,
    is_cancelled: Callable[[], bool] | None = None,
) -> Generator[tuple[int, ResultT | Refused]]:
    """Numbers of tasks with their outcomes as they end, in no particular order; closing the iterator kills the rest.

    A task is taken from `tasks` when there is a worker for it.

    `preload` is a module that the process from which all are forked imports, if these tasks are the first. A task
    that takes more than its `guards` allow is killed with its programs, and refused. `is_cancelled` is asked every
    `POLL_S`; once it says so, all is killed and the iterator ends.

    Nothing stays of a task's folder, however it ended.

    Raises:
        PlannerError: something that is not the task's own fault: a full disk, a missing program.
    """
    waiting = enumerate(tasks)
    running: dict[Connection, Job[ResultT]] = {}
    timeout_s = POLL_S if guards.are_set or is_cancelled is not None else None
    try:
        while True:
            for number, task in islice(waiting, workers - len(running)):
                job = _start(number, task, pool, preload)
                running[job.results] = job
            if not running:
                return
            for ready in wait(list(running), timeout_s):
                assert isinstance(ready, Connection)  # noqa: S101 - only connections were waited for
                job = running.pop(ready)
                yield job.number, job.end()
            for job, reason in _excessive(running.values(), guards):
                job.kill()
                del running[job.results]
                yield job.number, Refused(reason=reason, is_final=False)
            if is_cancelled is not None and is_cancelled():
                return
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
    started_s: float = field(default_factory=time.monotonic)

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
            # A defect, and its traceback is above: one job's, so the others go on.
            return Refused(reason=f"its process failed with status {status}; its error is above", is_final=False)
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


def _excessive(jobs: Collection[Job[ResultT]], guards: Guards) -> list[tuple[Job[ResultT], str]]:
    """The jobs that take more than they may, with the reason."""
    if not guards.are_set:
        return []
    memory_bytes = group_memory_bytes() if guards.most_memory_bytes is not None else Counter()
    now_s = time.monotonic()
    judged = ((job, guards.judge(memory_bytes[job.process.pid or 0], now_s - job.started_s)) for job in jobs)
    return [(job, reason) for job, reason in judged if reason]


def group_memory_bytes() -> Counter[int]:
    """Resident memory now, by process group: the sum over its processes.

    Source: proc(5), `/proc/PID/stat`: the fields behind the name are state, parent, group, ..., and RSS in pages.
    """
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    found: Counter[int] = Counter()
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed, of some hundred processes
        if entry.isdigit():
            # It may end meanwhile.
            with suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(fields[2])] += int(fields[21]) * page_bytes
    return found


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
