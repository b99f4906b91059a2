"""Graphs and plans at the edge: files and a real clock around the pure solver."""

from __future__ import annotations

import json
import time
from pathlib import Path

from planner.errors import InputError
from planner.history.files import read_bounded, write_atomically
from planner.optimize import solve as solver
from planner.optimize.certificate_format import certificate_to_dict, parse_certificate
from planner.optimize.certificate_record import Certificate
from planner.optimize.evaluate import Selection
from planner.optimize.interchange import encode_plan, parse_graph
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem

MAX_GRAPH_BYTES = 4_000_000_000


def read_document(path: str | Path) -> bytes:
    """The bytes of a graph, plan or certificate file.

    Raises:
        InputError: the file cannot be read, or is too large.
    """
    try:
        return read_bounded(Path(path), MAX_GRAPH_BYTES)
    except OSError as error:
        raise InputError("cannot be read", path=str(path), reason=error.strerror) from error


def _write(path: str | Path, data: bytes) -> None:
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise InputError("cannot be written", path=str(path), reason=error.strerror) from error


def read_graph(path: str | Path) -> Problem:
    """The problem in a `deltaplan-graph/1` file.

    Raises:
        InputError: the file cannot be read, or breaks the format; every fault is named with its data path.
    """
    return parse_graph(read_document(path))


def write_plan(plan: Plan, problem: Problem, path: str | Path) -> None:
    """Write a `deltaplan-plan/1` file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
        SpaceError: the disk is full.
    """
    _write(path, encode_plan(plan, problem))


def read_certificate(path: str | Path, problem: Problem) -> Certificate:
    """The certificate in a `deltaplan-certificate/1` file; `verify_certificate` says what it proves.

    Raises:
        InputError: the file cannot be read, breaks the format, or belongs to another graph.
    """
    return parse_certificate(read_document(path), problem)


def write_certificate(certificate: Certificate, problem: Problem, path: str | Path) -> None:
    """Write a `deltaplan-certificate/1` file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
        SpaceError: the disk is full.
    """
    _write(path, (json.dumps(certificate_to_dict(certificate, problem)) + "\n").encode())


def solve(
    problem: Problem,
    *,
    gap: float = 0.0,
    time_limit_s: float | None = None,
    seed: int = 0,
    start: Selection | None = None,
) -> Plan:
    """The best plan that can be found for a problem, with a proven lower bound.

    Args:
        problem: what there is to decide.
        gap: stop at this relative gap; 0 asks for an optimal plan.
        time_limit_s: stop after so many seconds with the best plan so far.
        seed: for ties and search order; the same seed gives the same plan.
        start: a selection to begin from, such as yesterday's.

    Raises:
        InfeasibleError: a demand cannot be served or a limit cannot be met; the error says which.
    """
    limit_s = float("inf") if time_limit_s is None else time_limit_s
    options = solver.Options(gap=gap, time_limit_s=limit_s, seed=seed, start=start, clock=time.monotonic)
    return solver.solve(problem, options)
