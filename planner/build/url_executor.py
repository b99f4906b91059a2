"""A cluster whose workers reach the repository by a URL only, beside this machine, which has its workshop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, cast

from planner.build.carried import CarriedTask, carry, receive, worker_pool
from planner.build.executors import Executor
from planner.build.jobs import Made, MakeTask
from planner.build.pool import Pool
from planner.build.processes import Refused, ResultT, Task
from planner.weigh.candidates import Candidate


@dataclass(frozen=True, slots=True)
class UrlExecutor:
    """Sends out what can be done elsewhere, and does the rest here.

    `bring` makes the objects of the repository in a folder the same at `url`. A store's deltas and the stock tool's are
    made elsewhere; differences, parts and deltas of our own are made of what is in the repository's workshop, here.
    """

    elsewhere: Executor
    here: Executor
    url: str
    bring: Callable[[Path], object]

    @property
    def workers(self) -> int:
        """Those of this machine: only tasks that stay here are shared out by it."""
        return self.here.workers

    def run(
        self, tasks: Iterable[Task[ResultT]], pool: Pool, *, preload: str = ""
    ) -> Generator[tuple[int, ResultT | Refused]]:
        """As `Executor.run`: first the tasks that go out; those that stay are put aside meanwhile."""
        sorting = _Sorting(self, enumerate(tasks))
        with closing(self.elsewhere.run(sorting.going(), worker_pool(self.url))) as outcomes:
            for place, outcome in outcomes:
                number, candidate = sorting.gone[place]
                done = outcome if isinstance(outcome, Refused) else receive(outcome, candidate, pool)
                yield number, cast("ResultT | Refused", done)
        for number, made in sorting.found:
            yield number, cast("ResultT", made)
        staying = sorting.staying
        with closing(self.here.run((task for _, task in staying), pool, preload=preload)) as outcomes_here:
            for place, outcome_here in outcomes_here:
                yield staying[place][0], outcome_here


@dataclass
class _Sorting(Generic[ResultT]):
    """Where the tasks of one run go."""

    executor: UrlExecutor
    tasks: Iterator[tuple[int, Task[ResultT]]]
    gone: list[tuple[int, Candidate]] = field(default_factory=list)
    staying: list[tuple[int, Task[ResultT]]] = field(default_factory=list)
    found: list[tuple[int, Made]] = field(default_factory=list)
    """Those whose deltas are in the pool."""

    def going(self) -> Iterator[CarriedTask]:
        """Those that go out, each when there is a worker for it; before the first the repository is brought."""
        for number, task in self.tasks:
            carried = carry(task, self.executor.url)
            made = task.find() if isinstance(task, MakeTask) and carried is not None else None
            if carried is None:
                self.staying.append((number, task))
            elif made is not None:
                self.found.append((number, made))
            else:
                if not self.gone:
                    self.executor.bring(carried.repository)
                self.gone.append((number, carried.candidate))
                yield carried
