"""What a Dask worker does with one of our tasks: run it in a process of its own, for as long as somebody wants it.

Dask's own threads cannot be stopped. So a plugin listens to what becomes of a task on its worker, and a task that is
cancelled, or whose client is gone, has its process killed.
"""

from __future__ import annotations

from contextlib import closing
from multiprocessing import current_process
from pathlib import Path
from threading import Event
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from planner.build.pool import Pool
from planner.build.processes import Guards, Refused, ResultT, Task, run_tasks

KEY_PREFIX = "deltaplan-"

# By key: the tasks of this process, each with whether nobody wants it any more.
_unwanted: dict[str, Event] = {}


class Watch(WorkerPlugin):  # type: ignore[misc] # Dask is not looked into
    """Notes which of our tasks nobody wants any more."""

    name = "deltaplan-watch"
    idempotent = True

    def transition(self, key: object, start: str, finish: str, **_: Any) -> None:
        """Called by the worker's event loop at each change of any task's state, before the task's thread starts."""
        name = str(key)
        if not name.startswith(KEY_PREFIX):
            return
        if finish == "executing":
            _unwanted[name] = Event()
        elif start == "executing" and finish not in ("memory", "error") and name in _unwanted:
            _unwanted[name].set()

    def teardown(self, worker: object) -> None:  # noqa: ARG002 - one for each process
        """Called when the worker ends, as it does when its scheduler is gone: it would wait for its threads."""
        for unwanted in list(_unwanted.values()):
            unwanted.set()


def run_on_worker(key: str, task: Task[ResultT], pool: Pool, preload: str, guards: Guards) -> ResultT | Refused | None:
    """The outcome of a task, in a process of its own; None where nobody wants it any more.

    Raises:
        PlannerError: as `run_tasks`.
    """
    # A nanny starts its worker as a "daemon", which `multiprocessing` forbids to have children, lest they outlive it.
    # Ours do not: each watches its parent.
    current_process().daemon = False
    # `~` is this worker's, where the pool is not the repository's.
    pool = Pool(pool.root.expanduser())
    unwanted = _unwanted.setdefault(key, Event())
    try:
        outcomes = run_tasks([task], pool, workers=1, preload=preload, guards=guards, is_cancelled=unwanted.is_set)
        with closing(outcomes):
            return next((outcome for _, outcome in outcomes), None)
    finally:
        _unwanted.pop(key, None)


def read_machine() -> str:
    """What tells this machine from others: its kernel's boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def count_tasks(run: str) -> int:
    """How many tasks of a run this worker is at, cancelled ones included."""
    return sum(key.startswith(run) for key in list(_unwanted))
