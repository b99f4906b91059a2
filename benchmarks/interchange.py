"""Seconds and peak memory of a graph file's way through the program: write, read, digest, judge, write the plan.

Streams side by side, every demand served by one hop or two. The file is written by one process and read by another,
whose peak is the largest until then, its imports and the bytes of the file included.

python -m benchmarks.interchange [--streams STREAMS] [--commits COMMITS]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.instances import many_streams
from planner.graphs import read_graph, write_plan
from planner.optimize.evaluate import Route, Selection, evaluate
from planner.optimize.graph_reader import GRAPH_FORMAT
from planner.optimize.interchange import graph_digest
from planner.optimize.plan import Plan, Status
from planner.optimize.problem import NO_HOP_LIMIT, Problem

Row = tuple[str, float, float, str]
"""Stage, seconds, peak MB of its process, what came of it."""


def main() -> None:
    """Print one row per stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--commits", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = arguments.streams, arguments.commits
        rows = [*_in_process(_write, Path(folder), *sizes), *_in_process(_read, Path(folder), *sizes)]
    table = Table(title=f"{arguments.streams} streams of {arguments.commits} commits")
    for name in ("stage", "s", "peak MB", "result"):
        table.add_column(name, justify="right" if name in ("s", "peak MB") else "left")
    for stage, wall_s, peak_mb, result in rows:
        table.add_row(stage, f"{wall_s:.2f}", f"{peak_mb:.0f}", result)
    Console(width=120).print(table)


def _in_process(stages: Callable[[Path, int, int], list[Row]], folder: Path, streams: int, commits: int) -> list[Row]:
    # A process of its own, started afresh: peaks are the process's, and what an earlier one held is not counted.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(stages, (folder, streams, commits))


def _timed(rows: list[Row], stage: str, action: Callable[[], Any], show: Callable[[Any], str] = str) -> Any:
    started_s = time.perf_counter()
    result = action()
    wall_s = time.perf_counter() - started_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    rows.append((stage, wall_s, peak_mb, show(result)))
    return result


def _write(folder: Path, streams: int, commits: int) -> list[Row]:
    rows: list[Row] = []
    problem = _timed(rows, "generate", lambda: many_streams(streams, commits), _sizes)
    path = folder / "graph.json"
    _timed(rows, "write graph", lambda: _write_graph(problem, path), lambda _: _megabytes(path))
    return rows


def _read(folder: Path, streams: int, commits: int) -> list[Row]:
    rows: list[Row] = []
    problem = _timed(rows, "read graph", lambda: read_graph(folder / "graph.json"), _sizes)
    _timed(rows, "digest", lambda: graph_digest(problem), lambda digest: digest[:12])
    selection = _selection(streams, commits)
    judged = _timed(rows, "evaluate", lambda: evaluate(problem, selection), lambda it: f"feasible: {it.is_feasible}")
    plan = Plan(evaluation=judged, lower_bound=0.0, status=Status.TIME_LIMIT)
    path = folder / "plan.json"
    _timed(rows, "write plan", lambda: write_plan(plan, problem, path), lambda _: _megabytes(path))
    return rows


def _sizes(problem: Problem) -> str:
    return f"{len(problem.commits)} commits, {len(problem.candidates)} candidates, {len(problem.demands)} demands"


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB"


def _write_graph(problem: Problem, path: Path) -> None:
    """The graph file, one column in memory at a time."""
    with path.open("wb") as file:
        file.write(b'{"format":' + msgspec.json.encode(GRAPH_FORMAT))
        file.write(b',"commits":' + msgspec.json.encode(problem.commits))
        for section in ("candidates", "demands"):
            _write_table(file, section, getattr(problem, section))
        file.write(b',"prices":' + msgspec.json.encode(problem.prices) + b"}\n")


def _write_table(file: BinaryIO, section: str, table: Any) -> None:
    for index, key in enumerate(table.__slots__):
        file.write(f',"{section}":{{'.encode() if not index else b",")
        file.write(f'"{key}":'.encode() + msgspec.json.encode(_values(getattr(table, key))))
    file.write(b"}")


def _values(column: np.ndarray) -> list[Any]:
    is_absent = (column == np.inf) | (column == NO_HOP_LIMIT) if column.dtype != bool else np.zeros(1, dtype=bool)
    if not is_absent.any():
        return list(column.tolist())
    return [None if absent else value for absent, value in zip(is_absent.tolist(), column.tolist(), strict=True)]


def _selection(streams: int, commits: int) -> Selection:
    """Every other commit of a stream has a delta to the newest; the commits between take one hop more."""
    routes: list[Route] = []
    for stream in range(streams):
        routes += _routes(commits, stream * commits * (commits - 1) // 2)
    return Selection(build=tuple(sorted({hop for route in routes for hop in route or ()})), routes=tuple(routes))


def _routes(commits: int, first: int) -> Iterator[Route]:
    """One stream's routes to its newest commit; candidates are all pairs, by base, from index `first` on."""
    for base in range(commits - 1):
        direct, onward = _to(commits, base, commits - 1), _to(commits, base, base + 1)
        if base % 2 == 0 or base + 1 == commits - 1:
            yield (first + direct,)
        else:
            yield (first + onward, first + _to(commits, base + 1, commits - 1))


def _to(commits: int, base: int, target: int) -> int:
    """The place of a pair among all pairs of an older and a newer commit, by base."""
    return base * (commits - 1) - base * (base - 1) // 2 + target - base - 1


if __name__ == "__main__":
    main()
