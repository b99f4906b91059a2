"""What runs tasks: processes of this machine, or the workers of a Dask cluster, behind one protocol."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from planner.build.pool import Pool
from planner.build.processes import NO_GUARDS, Guards, Refused, ResultT, Task, run_tasks
from planner.errors import InputError

LOCAL = "local"
DASK_PREFIX = "dask:"


class Executor(Protocol):
    """Runs tasks side by side."""

    @property
    def workers(self) -> int:
        """How many tasks run at a time.

        Raises:
            ToolError: nobody there to ask.
        """

    def run(
        self, tasks: Iterable[Task[ResultT]], pool: Pool, *, preload: str = ""
    ) -> Generator[tuple[int, ResultT | Refused]]:
        """Numbers of tasks with their outcomes as they end; closing the iterator ends the rest, now.

        Tasks are started in their order, and each is taken when there is a worker for it, or soon will be. Each runs in
        a process of its own, whose folder is in `pool` and of which nothing stays. `preload` is as in `run_tasks`.

        Raises:
            PlannerError: something that is not the task's own fault: a full disk, a missing program.
        """


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Processes of this machine."""

    workers: int
    guards: Guards = NO_GUARDS

    def run(
        self, tasks: Iterable[Task[ResultT]], pool: Pool, *, preload: str = ""
    ) -> Generator[tuple[int, ResultT | Refused]]:
        """As `run_tasks`."""
        return run_tasks(tasks, pool, workers=self.workers, preload=preload, guards=self.guards)


def open_executor(text: str, *, workers: int, guards: Guards = NO_GUARDS) -> Executor:
    """The executor that a person named: `local`, with so many workers, or `dask:ADDRESS`.

    A cluster has its own number of workers; so many processes of this machine do beside it what must be done here.

    Raises:
        InputError: it is neither, or Dask is not installed.
    """
    if text == LOCAL:
        return LocalExecutor(workers, guards)
    address = text.removeprefix(DASK_PREFIX)
    if address == text or "://" not in address:
        raise InputError("is no executor", path="--executor", got=text, known=[LOCAL, "dask:tcp://HOST:8786"])
    if find_spec("distributed") is None:
        raise InputError("Dask is not installed: pip install 'delta-planner[dask]'", path="--executor", got=text)
    from planner.build.dask_executor import DaskExecutor  # noqa: PLC0415 - loading Dask takes a second

    return DaskExecutor(address, guards, workers)
