"""The work folder of a scenario: the lock, the catalogue, and what each step leaves for the next.

lock                held by the run that works here; it says who that is
catalogue.sqlite    weights, artifacts, failures
journal.sqlite      what was begun, what failed, and what is on its way out
full-pulls.sqlite   what clients download without deltas; a cache
candidates.json     what was proposed and pruned, with the reasons
settled.json        in which streams nothing is left to probe; without it they are probed again
graph.json          the problem (`deltaplan-graph/1`); names.json says what its rows are
plan.json           the plan (`deltaplan-plan/1`)
unchanged.txt       what the plan was made of, while nothing is left to do
jobs.jsonl          one line per delta that the last night made, failed to make or left
report.json         what the last night did; report.html for people, metrics.prom for monitoring
mirrors/            what is known of each mirror of the repository
repository/         the embedded store or OSTree repository, unless the scenario names another
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from planner.demand.cohorts import Cohort
from planner.errors import BusyError, InputError
from planner.history.files import full_disk_as_error, read_bounded, write_atomically
from planner.optimize.assemble import Assembly
from planner.optimize.interchange import graph_to_dict, parse_graph, parse_plan, plan_to_dict
from planner.optimize.plan import Plan
from planner.weigh.candidates import Candidate

_MAX_FILE_BYTES = 1_000_000_000
_MAX_HOLDER_BYTES = 200
_SETTLED = "settled.json"


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the rows of graph.json are."""

    candidates: tuple[Candidate, ...]
    cohorts: tuple[Cohort, ...]


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs; a dead run's lock is no lock.

    The system drops a lock with the process that held it, however that ended: what the file says of the holder is for
    people.

    Raises:
        BusyError: another run holds it; the error says which.
        InputError: the folder cannot be written.
        SpaceError: the disk is full.
    """
    try:
        with full_disk_as_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError("cannot be written", path=str(folder), reason=error.strerror) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_holder(descriptor)
        yield
    except BlockingIOError as error:
        holder = os.pread(descriptor, _MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()
        raise BusyError("another run works here", path=str(folder), holder=holder or "unknown") from error
    finally:
        os.close(descriptor)


def copy_databases(folder: Path, into: Path) -> None:
    """Copy a work folder's databases between two runs, and touch nothing.

    Raises:
        BusyError: a run is at work.
    """
    with ExitStack() as stack:
        if (folder / "lock").exists():
            descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError("a run is at work here", path=str(folder)) from error
        # What a killed run left of its last transactions is beside the file.
        for path in folder.glob("*.sqlite*"):
            shutil.copyfile(path, into / path.name)


def _write_holder(descriptor: int) -> None:
    # A full disk is no reason not to hold a lock.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A work folder."""

    folder: Path

    @property
    def catalogue_path(self) -> Path:
        """The catalogue's file."""
        return self.folder / "catalogue.sqlite"

    @property
    def journal_path(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.sqlite"

    @property
    def pulls_path(self) -> Path:
        """The file that remembers sizes of full pulls."""
        return self.folder / "full-pulls.sqlite"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder while the block runs; see `locked_folder`."""
        with locked_folder(self.folder):
            yield

    def write_json(self, name: str, value: object) -> None:
        """Keep a file for the next step; readable by people, the same value gives the same bytes."""
        # The standard library's `json` takes ten times as long to indent: seconds, for what 1,000 refs need.
        self._write(name, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")

    def write_text(self, name: str, text: str) -> None:
        """Keep a file for people or other programs."""
        self._write(name, text.encode())

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self.folder / name, data)

    def has(self, name: str) -> bool:
        """Whether an earlier step, tonight or before, left a file."""
        return (self.folder / name).is_file()

    def _read(self, name: str, step: str) -> bytes:
        try:
            return read_bounded(self.folder / name, _MAX_FILE_BYTES)
        except FileNotFoundError:
            message = f"is not there yet: run `deltaplan {step}` first"
            raise InputError(message, path=str(self.folder / name)) from None

    def read_json(self, name: str, step: str) -> Any:
        """A file that an earlier step left.

        Raises:
            InputError: the step has not run yet.
        """
        return msgspec.json.decode(self._read(name, step))

    def read_settled(self) -> set[str]:
        """The fingerprints of the streams whose plan was stable; none where the file is gone or damaged."""
        try:
            data = read_bounded(self.folder / _SETTLED, _MAX_FILE_BYTES)
            return set(msgspec.json.decode(data, type=list[str]))
        except (OSError, InputError, msgspec.DecodeError):
            return set()

    def write_settled(self, fingerprints: Iterable[str]) -> None:
        """Keep the fingerprints of the streams that need no more probes."""
        self.write_json(_SETTLED, sorted(fingerprints))

    def write_plan(self, assembly: Assembly, plan: Plan) -> None:
        """Keep a problem and its plan; the plan is written last, so that it always has its graph."""
        (self.folder / "plan.json").unlink(missing_ok=True)
        self.write_json("graph.json", graph_to_dict(assembly.problem))
        names = _Names(candidates=assembly.candidates, cohorts=assembly.cohorts)
        self.write_json("names.json", msgspec.to_builtins(names))
        self.write_json("plan.json", plan_to_dict(plan, assembly.problem))

    def read_last_plan(self) -> tuple[Assembly, Plan] | None:
        """The problem and the plan of the last night; None where there are none that can be used."""
        try:
            return self.read_plan()
        except (InputError, msgspec.DecodeError):
            return None

    def read_plan(self) -> tuple[Assembly, Plan]:
        """The problem and the plan that `plan` left, judged again.

        Raises:
            InputError: the step has not run yet, or the files do not belong together.
        """
        plan_data = self._read("plan.json", "plan")
        problem = parse_graph(self._read("graph.json", "plan"))
        names = msgspec.json.decode(self._read("names.json", "plan"), type=_Names)
        assembly = Assembly(problem=problem, candidates=names.candidates, cohorts=names.cohorts)
        return assembly, parse_plan(plan_data, problem)
