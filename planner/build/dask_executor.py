"""Tasks on the workers of a Dask cluster, which reach the repository by the same path as this machine.

A worker runs each task in a process of its own, as this machine would, so a crash or a peak of memory ends a task and
not a worker. Dask gives the tasks of a lost worker to others; a task that was further than anybody knows finds its
delta in the pool (`MakeTask`), so no delta is made twice.

All tasks of one run are of one kind. Those that use a database of the workshop stay on its machine (`DatabaseTask`).
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from queue import Empty, Queue
from typing import Any, Generic

from distributed import CancelledError, Client, KilledWorker

from planner.build.dask_worker import KEY_PREFIX, Watch, count_tasks, read_machine, run_on_worker
from planner.build.executors import LocalExecutor
from planner.build.pool import Pool
from planner.build.processes import NO_GUARDS, DatabaseTask, Guards, Refused, ResultT, Task
from planner.errors import BuildError, PlannerError, ToolError

# Tasks given to the cluster for each of its threads: with one more than it runs, none waits for this machine.
_TASKS_OF_A_THREAD = 2
# A task that is lost so often (its scheduler started anew, say) is left for the next night. The workers that one try
# may lose are Dask's own setting, `distributed.scheduler.allowed-failures` (3).
_MOST_TRIES = 3
_CONNECT_TIMEOUT_S = 30.0
# How long a cluster may be without a worker or a scheduler, both of which may be on their way.
_PATIENCE_S = 120.0
# A cancelled task ends within `processes.POLL_S`, unless its worker is gone too.
_END_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """The workers of the cluster whose scheduler has this address.

    `local_workers` processes of this machine do what uses a database, unless all of the cluster is on this machine too.
    """

    address: str
    guards: Guards = NO_GUARDS
    local_workers: int = 1
    patience_s: float = _PATIENCE_S

    @property
    def workers(self) -> int:
        """The threads of all workers that are there.

        Raises:
            ToolError: the scheduler does not answer, or no worker comes.
        """
        with self._connected() as client:
            return _count_threads(client)

    def run(
        self, tasks: Iterable[Task[ResultT]], pool: Pool, *, preload: str = ""
    ) -> Generator[tuple[int, ResultT | Refused]]:
        """As `Executor.run`. A task that is lost with its worker again and again is refused, for this time.

        Raises:
            PlannerError: something that is not the task's own fault.
            ToolError: the scheduler does not answer, or no worker comes.
        """
        waiting = iter(tasks)
        first = next(waiting, None)
        if first is None:
            return
        taken = chain([first], waiting)
        with self._connected() as client:
            if isinstance(first, DatabaseTask) and not _is_on_this_machine(client):
                local = LocalExecutor(self.local_workers, self.guards)
                yield from local.run(taken, pool, preload=preload)
                return
            client.register_plugin(Watch())
            run = _Run(client, self, enumerate(taken), pool, preload)
            try:
                yield from run.outcomes()
            finally:
                run.end()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A client for the block: connecting takes some 20 ms, and nothing outlives the run."""
        try:
            client = Client(self.address, timeout=min(_CONNECT_TIMEOUT_S, self.patience_s), set_as_default=False)
        except (OSError, ValueError) as error:
            raise ToolError("the scheduler does not answer", path=self.address, reason=str(error)) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=self.patience_s)
            except TimeoutError as error:
                raise ToolError("no worker has joined the cluster", path=self.address) from error
            yield client


@dataclass
class _Run(Generic[ResultT]):
    """One run on a cluster."""

    client: Any
    executor: DaskExecutor
    tasks: Iterator[tuple[int, Task[ResultT]]]
    """Those that were not taken yet."""
    pool: Pool
    preload: str
    name: str = field(default_factory=lambda: f"{KEY_PREFIX}{secrets.token_hex(8)}")
    running: dict[int, tuple[Task[ResultT], Any]] = field(default_factory=dict)
    """Each task that was submitted, with its future."""
    lost: deque[tuple[int, Task[ResultT]]] = field(default_factory=deque)
    """Those that are to be tried again."""
    tries: dict[int, int] = field(default_factory=dict)
    ended: Queue[int] = field(default_factory=Queue)

    def outcomes(self) -> Iterator[tuple[int, ResultT | Refused]]:
        """As they end."""
        while True:
            self._fill()
            if not self.running:
                return
            number = self._await_one()
            task, future = self.running.pop(number)
            outcome = self._judge(number, future)
            if outcome is None:
                self.lost.append((number, task))
            else:
                yield number, outcome

    def _fill(self) -> None:
        """Submit what there is room for, first what was lost; the cluster may have shrunk."""
        self._await_scheduler()
        most = _TASKS_OF_A_THREAD * max(1, _count_threads(self.client))
        while len(self.running) < most:
            number, task = self.lost.popleft() if self.lost else next(self.tasks, (None, None))
            if number is None or task is None:
                return
            self._submit(number, task)

    def end(self) -> None:
        """Cancel what is left, and wait until its processes are gone."""
        if not self.running:
            return
        deadline_s = time.monotonic() + _END_TIMEOUT_S
        # Whatever fails here, the cluster ends what its client left.
        with suppress(Exception):
            self.client.cancel([future for _, future in self.running.values()])
            while time.monotonic() < deadline_s and self._count_left():
                time.sleep(0.1)

    def _count_left(self) -> int:
        found = self.client.run(count_tasks, self.name, on_error="ignore")
        return sum(found.values())

    def _submit(self, number: int, task: Task[ResultT]) -> None:
        self.tries[number] = self.tries.get(number, 0) + 1
        key = f"{self.name}-{number}-{self.tries[number]}"
        guards = self.executor.guards
        # Dask starts what has the higher priority first. No result stands for another task's: they have side effects.
        future = self.client.submit(
            run_on_worker, key, task, self.pool, self.preload, guards, key=key, pure=False, priority=-number
        )
        self.running[number] = task, future
        future.add_done_callback(lambda _: self.ended.put(number))

    def _await_one(self) -> int:
        """The number of a task that has ended.

        Raises:
            ToolError: there has been nobody for long who could end one.
        """
        seen_s = time.monotonic()
        while True:
            try:
                number = self.ended.get(timeout=1.0)
            except Empty:
                self._await_scheduler()
                if _count_threads(self.client):
                    seen_s = time.monotonic()
                if time.monotonic() - seen_s > self.executor.patience_s:
                    raise ToolError("no worker is left in the cluster", path=self.executor.address) from None
                continue
            if number in self.running and self.running[number][1].status != "pending":
                return number

    def _await_scheduler(self) -> None:
        """Wait while the client tries to connect again; it closes itself after a while.

        Raises:
            ToolError: nobody answers.
        """
        deadline_s = time.monotonic() + self.executor.patience_s
        while self.client.status != "running":
            if self.client.status in ("closing", "closed") or time.monotonic() > deadline_s:
                raise ToolError("the scheduler is gone", path=self.executor.address)
            time.sleep(0.2)

    def _judge(self, number: int, future: Any) -> ResultT | Refused | None:
        """What became of a task; None where it is to be tried again."""
        try:
            outcome: ResultT | Refused | None = future.result(timeout=self.executor.patience_s)
        except KilledWorker:
            return Refused(reason="its workers were lost, one after the other", is_final=False)
        except (CancelledError, OSError):
            outcome = None
        except PlannerError:
            raise
        except Exception as error:
            raise BuildError(
                "a worker could not run a task; has it this program, in the same version?", reason=repr(error)
            ) from error
        if outcome is None and self.tries[number] == _MOST_TRIES:
            return Refused(reason=f"its worker was lost {_MOST_TRIES} times", is_final=False)
        return outcome


def _is_on_this_machine(client: Any) -> bool:
    return set(client.run(read_machine, on_error="return").values()) <= {read_machine()}


def _count_threads(client: Any) -> int:
    """The threads of the workers that are there; none while the scheduler does not answer."""
    if client.status != "running":
        return 0
    try:
        return sum(client.nthreads().values())
    except OSError:
        return 0
