"""Graphs and plans at the edge: files and a real clock around the pure solver."""

from __future__ import annotations

import json
import time
from pathlib import Path

from planner.errors import InputError
from planner.history.files import read_bounded, write_atomically
from planner.optimize import solve as solver
from planner.optimize.interchange import parse_graph, plan_to_dict
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem

MAX_GRAPH_BYTES = 4_000_000_000


def read_graph(path: str | Path) -> Problem:
    """The problem in a `deltaplan-graph/1` file.

    Raises:
        InputError: the file cannot be read, or breaks the format; every fault is named with its data path.
    """
    try:
        data = read_bounded(Path(path), MAX_GRAPH_BYTES)
    except OSError as error:
        raise InputError("cannot be read", path=str(path), reason=error.strerror) from error
    return parse_graph(data)


def write_plan(plan: Plan, problem: Problem, path: str | Path) -> None:
    """Write a `deltaplan-plan/1` file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
        SpaceError: the disk is full.
    """
    try:
        write_atomically(Path(path), (json.dumps(plan_to_dict(plan, problem)) + "\n").encode())
    except OSError as error:
        raise InputError("cannot be written", path=str(path), reason=error.strerror) from error


def solve(problem: Problem, *, gap: float = 0.0, time_limit_s: float | None = None, seed: int = 0) -> Plan:
    """The best plan that can be found for a problem, with a proven lower bound.

    Args:
        problem: what there is to decide.
        gap: stop at this relative gap; 0 asks for an optimal plan.
        time_limit_s: stop after so many seconds with the best plan so far.
        seed: for ties and search order; the same seed gives the same plan.

    Raises:
        InfeasibleError: a demand cannot be served or a limit cannot be met; the error says which.
    """
    limit_s = float("inf") if time_limit_s is None else time_limit_s
    return solver.solve(problem, solver.Options(gap=gap, time_limit_s=limit_s, seed=seed, clock=time.monotonic))
