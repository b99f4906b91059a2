"""One run over a work folder: the locks, the catalogue, the journal, and the records of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from planner.build.pool import EXTENSION_PATH
from planner.errors import PlannerError
from planner.night.clock import Clock, Moment, clock_shift_s
from planner.night.gate import Gate
from planner.night.joblog import JobLog
from planner.night.journal import DeadRun, Journal
from planner.night.workspace import Workspace, copy_databases, locked_folder
from planner.units import format_duration
from planner.weigh.candidates import Candidate, WeightStatus
from planner.weigh.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one run holds. `notes` are what a person should know of it."""

    catalogue: Catalogue
    journal: Journal
    log: JobLog
    clock: Clock
    began: Moment
    notes: list[str] = field(default_factory=list)

    @property
    def run(self) -> int:
        """The run's number."""
        return self.log.run

    @property
    def gate(self) -> Gate:
        """What may still be started."""
        return self.log.gate

    def begin_step(self, step: str, detail: str = "") -> None:
        """Announce what is about to be done."""
        self.journal.begin_step(self.run, self.clock.now(), step, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What it takes to open a session."""

    workspace: Workspace
    repository: Path
    clock: Clock
    name: Callable[[Candidate], str]
    free_bytes: int

    @contextmanager
    def open(self, verb: str, window_s: float | None) -> Iterator[Session]:
        """Hold the locks of the work folder and of the repository, and number a run, while the block runs.

        Raises:
            BusyError: another run works in either.
            InputError: the catalogue or the journal is none, or a folder cannot be written.
            SpaceError: the disk is full.
        """
        with ExitStack() as stack:
            stack.enter_context(self.workspace.locked())
            stack.enter_context(locked_folder(self.repository / EXTENSION_PATH))
            catalogue = stack.enter_context(Catalogue(self.workspace.catalogue_path))
            journal = stack.enter_context(Journal(self.workspace.journal_path))
            session = self._begin(verb, catalogue, journal, window_s, self.workspace.folder / "jobs.jsonl")
            try:
                yield session
            except BaseException as error:
                # The journal may be what failed: the error that came first is the one to tell.
                with suppress(PlannerError):
                    journal.drop_attempts()
                    journal.end_run(session.run, f"failed: {error}")
                raise
            journal.end_run(session.run, "done")

    @contextmanager
    def open_dry(self, scratch: Path) -> Iterator[Session]:
        """A session over copies of the databases in `scratch`: nothing that it writes stays."""
        copy_databases(self.workspace.folder, scratch)
        there = Workspace(scratch)
        with Catalogue(there.catalogue_path) as catalogue, Journal(there.journal_path) as journal:
            yield self._begin("dry run", catalogue, journal, None, None)

    def _begin(
        self, verb: str, catalogue: Catalogue, journal: Journal, window_s: float | None, lines: Path | None
    ) -> Session:
        began, dead, last = self.clock.now(), journal.dead_run(), journal.last_run()
        gate = Gate(
            monotonic_s=self.clock.monotonic_s,
            ends_s=inf if window_s is None else self.clock.monotonic_s() + window_s,
            folder=self.repository,
            free_bytes=self.free_bytes,
        )
        log = JobLog(
            journal=journal,
            run=journal.begin_run(verb, began),
            clock=self.clock,
            gate=gate,
            expected=catalogue.weights(WeightStatus.PROJECTED) | catalogue.weights(),
            name=self.name,
            lines=lines,
        )
        notes = [] if dead is None else [self._describe(dead)]
        shift_s = clock_shift_s(last[1], began) if last else 0.0
        if shift_s:
            way = "forward" if shift_s > 0 else "back"
            notes.append(f"the clock was moved {way} by {format_duration(abs(shift_s))} since the run before")
        return Session(catalogue=catalogue, journal=journal, log=log, clock=self.clock, began=began, notes=notes)

    def _describe(self, dead: DeadRun) -> str:
        making = ", ".join(map(self.name, dead.making[:3])) or "nothing"
        return f"the run of {dead.began.iso} was killed in {dead.last_step or 'its start'}; it was making {making}"
