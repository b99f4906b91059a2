"""The work folder of a scenario: the lock, the catalogue, and what each step leaves for the next.

lock                held by the run that works here
catalogue.sqlite    weights, artifacts, failures
candidates.json     what was proposed and pruned, with the reasons
graph.json          the problem (`deltaplan-graph/1`); names.json says what its rows are
plan.json           the plan (`deltaplan-plan/1`)
repository/         the embedded store or OSTree repository, unless the scenario names another
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
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


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the rows of graph.json are."""

    candidates: tuple[Candidate, ...]
    cohorts: tuple[Cohort, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A work folder."""

    folder: Path

    @property
    def catalogue_path(self) -> Path:
        """The catalogue's file."""
        return self.folder / "catalogue.sqlite"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder while the block runs; a dead run's lock is no lock.

        Raises:
            BusyError: another run holds it.
        """
        with full_disk_as_error(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise BusyError("another run works here", path=str(self.folder)) from error
        finally:
            os.close(descriptor)

    def write_json(self, name: str, value: object) -> None:
        """Keep a file for the next step; readable by people, the same value gives the same bytes."""
        write_atomically(self.folder / name, (json.dumps(value, indent=1) + "\n").encode())

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
