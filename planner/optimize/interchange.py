"""Graphs and plans as JSON: `deltaplan-graph/1` and `deltaplan-plan/1` (`docs/formats.md`).

Reading is strict: unknown keys, wrong types, lengths that differ, negative sizes, NaN and indexes out of
range are refused, all of them together, each with its data path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal, TypeGuard

import msgspec
import numpy as np

from planner.errors import InputError, raise_collected
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.plan import Plan, Status
from planner.optimize.problem import (
    NO_HOP_LIMIT,
    BoolArray,
    Candidates,
    Demands,
    FloatArray,
    IntArray,
    Limits,
    Parts,
    Prices,
    Problem,
)

GRAPH_FORMAT = "deltaplan-graph/1"
PLAN_FORMAT = "deltaplan-plan/1"

_ANY_INDEX = 2**63
"""Bound of indexes into something whose length is not known."""

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "candidates": ("base", "target", "wire_bytes", "stored_bytes", "server_cpu_s", "client_cpu_s", "built"),
    "parts": ("stored_bytes", "server_cpu_s", "built", "candidate", "part"),
    "demands": ("base", "target", "clients", "full_pull_bytes", "max_hops", "max_wire_bytes"),
    "prices": ("storage_per_gb", "server_cpu_per_hour", "egress_per_gb", "client_cpu_per_hour", "per_hop"),
    "limits": ("stored_bytes", "server_cpu_s"),
}
_REQUIRED = ("format", "commits", "candidates", "demands")

_LARGEST = 1e30
"""No quantity or price is larger: products of three of them stay finite, and a plan's total with them."""


def parse_graph(data: bytes | str) -> Problem:
    """The problem that a `deltaplan-graph/1` document describes.

    Raises:
        InputError: the document breaks the format; every fault found is named with its data path.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("is not JSON", path="graph", reason=str(error)) from error
    return graph_from_dict(document)


def graph_from_dict(document: object) -> Problem:
    """The problem in a decoded `deltaplan-graph/1` document; `Raises:` as `parse_graph`."""
    reader = _Reader(document)
    problem = reader.problem()
    raise_collected(reader.errors)
    assert problem is not None  # noqa: S101 - no error was collected
    return problem


class _Reader:
    """Turns a decoded document into arrays, collecting faults on the way."""

    def __init__(self, document: object) -> None:
        self.errors: list[InputError] = []
        self.document = self._object(document, "graph", ("format", "commits", *_SECTIONS))
        for key in _REQUIRED if isinstance(document, dict) else ():
            if key not in self.document:
                self._fault(key, "is missing")
        if self.document.get("format", GRAPH_FORMAT) != GRAPH_FORMAT:
            self._fault("format", "is not " + GRAPH_FORMAT, got=self.document["format"])
        self.sections = {
            name: self._object(self.document.get(name, {}), name, columns) for name, columns in _SECTIONS.items()
        }

    def _fault(self, path: str, message: str, **facts: object) -> None:
        self.errors.append(InputError(message, path=path, **facts))

    def _object(self, value: object, path: str, keys: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._fault(path, "is not an object")
            return {}
        for key in value:
            if key not in keys:
                self._fault(key if path == "graph" else f"{path}.{key}", "is an unknown key")
        return value

    def problem(self) -> Problem | None:
        """The problem, or None where `errors` says why not."""
        commits = self._commits()
        # Where the commits are no array, that is the fault, and not every index into them.
        known_commits = len(commits) if isinstance(self.document.get("commits"), list) else _ANY_INDEX
        candidates = self._candidates(known_commits)
        parts = self._parts(len(candidates))
        demands = self._demands(known_commits)
        prices = {key: self._number("prices", key) for key in self.sections["prices"]}
        limits = {key: self._number("limits", key, null=True) for key in self.sections["limits"]}
        if self.errors:
            return None
        return Problem(
            commits=commits,
            candidates=candidates,
            parts=parts,
            demands=demands,
            prices=Prices(**{key: value for key, value in prices.items() if value is not None}),
            limits=Limits(**limits),
        )

    def _commits(self) -> tuple[str, ...]:
        names = self.document.get("commits", [])
        if not isinstance(names, list):
            self._fault("commits", "is not an array")
            return ()
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            if not isinstance(name, str):
                self._fault(f"commits[{index}]", "is not a string", got=name)
            elif name in seen:
                self._fault(f"commits[{index}]", "repeats a name", got=name, first=seen[name])
            else:
                seen[name] = index
        return tuple(str(name) for name in names)

    def _candidates(self, commits: int) -> Candidates:
        rows = self._rows("candidates", "base")
        wire_bytes = self._floats("candidates", "wire_bytes", rows)
        has_stored = "stored_bytes" in self.sections["candidates"]
        return Candidates(
            base=self._indexes("candidates", "base", rows, commits),
            target=self._indexes("candidates", "target", rows, commits),
            wire_bytes=wire_bytes,
            stored_bytes=self._floats("candidates", "stored_bytes", rows) if has_stored else wire_bytes,
            server_cpu_s=self._floats("candidates", "server_cpu_s", rows, default=0.0),
            client_cpu_s=self._floats("candidates", "client_cpu_s", rows, default=0.0),
            built=self._booleans("candidates", "built", rows),
        )

    def _parts(self, candidates: int) -> Parts:
        rows, pairs = self._rows("parts", "stored_bytes"), self._rows("parts", "candidate")
        return Parts(
            stored_bytes=self._floats("parts", "stored_bytes", rows, default=0.0),
            server_cpu_s=self._floats("parts", "server_cpu_s", rows, default=0.0),
            built=self._booleans("parts", "built", rows),
            candidate=self._indexes("parts", "candidate", pairs, candidates),
            part=self._indexes("parts", "part", pairs, rows),
        )

    def _demands(self, commits: int) -> Demands:
        rows = self._rows("demands", "base")
        return Demands(
            base=self._indexes("demands", "base", rows, commits),
            target=self._indexes("demands", "target", rows, commits),
            clients=self._floats("demands", "clients", rows),
            full_pull_bytes=self._floats("demands", "full_pull_bytes", rows, default=inf, null=True),
            max_hops=self._hops(rows),
            max_wire_bytes=self._floats("demands", "max_wire_bytes", rows, default=inf, null=True),
        )

    def _rows(self, section: str, first: str) -> int:
        """How many rows a section has: the length of its first column, or of the first one given."""
        columns = self.sections[section]
        peers = ("candidate", "part") if first == "candidate" else tuple(_SECTIONS[section])
        if section == "parts" and first != "candidate":
            peers = ("stored_bytes", "server_cpu_s", "built")
        for key in (first, *peers):
            if isinstance(columns.get(key), list):
                return len(columns[key])
        return 0

    def _values(self, section: str, key: str, rows: int, fault_of: Callable[[Any], str], default: object) -> list[Any]:
        """The column as a list of `rows` entries; zeros where it is faulty, after reporting every fault."""
        path, columns, faults = f"{section}.{key}", self.sections[section], len(self.errors)
        column = columns.get(key, [default] * rows)
        if key not in columns:
            is_required = default is None and isinstance(self.document.get(section), dict)
            if is_required and (rows or section != "parts"):
                self._fault(path, "is missing")
        elif not isinstance(column, list):
            self._fault(path, "is not an array")
        elif len(column) != rows:
            self._fault(path, "has another length than the columns beside it", got=len(column), expected=rows)
        else:
            for index, value in enumerate(column):
                fault = fault_of(value)
                if fault:
                    self._fault(f"{path}[{index}]", fault, got=value)
        return column if len(self.errors) == faults else [0] * rows

    def _floats(
        self, section: str, key: str, rows: int, *, default: float | None = None, null: bool = False
    ) -> FloatArray:
        column = self._values(section, key, rows, lambda value: _number_fault(value, null=null), default)
        filled = [default if value is None else value for value in column]
        # Adding 0.0 makes -0.0 plain: it means the same, and must not have another digest.
        return np.array([0.0 if value is None else value for value in filled], dtype=np.float64) + 0.0

    def _indexes(self, section: str, key: str, rows: int, bound: int) -> IntArray:
        column = self._values(section, key, rows, lambda value: _index_fault(value, bound), None)
        return np.array([int(value or 0) for value in column], dtype=np.int64)

    def _booleans(self, section: str, key: str, rows: int) -> BoolArray:
        column = self._values(section, key, rows, _boolean_fault, default=False)
        return np.array(column, dtype=bool)

    def _hops(self, rows: int) -> IntArray:
        column = self._values("demands", "max_hops", rows, _hops_fault, NO_HOP_LIMIT)
        limits = [NO_HOP_LIMIT if value is None else min(int(value), NO_HOP_LIMIT) for value in column]
        return np.array(limits, dtype=np.int64)

    def _number(self, section: str, key: str, *, null: bool = False) -> float | None:
        value = self.sections[section][key]
        fault = _number_fault(value, null=null)
        if fault:
            self._fault(f"{section}.{key}", fault, got=value)
            return None
        return None if value is None else float(value) + 0.0


def _number_fault(value: object, *, null: bool) -> str:
    """Why `value` is no size, count or price, or nothing."""
    if value is None:
        return "" if null else "is null"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "is not a number"
    if value != value:  # noqa: PLR0124 - NaN; a document given as a dict may hold one
        return "is not a number"
    if value > _LARGEST:
        return f"is larger than {_LARGEST:g}"
    return "is negative" if value < 0 else ""


def _is_whole(value: object) -> TypeGuard[float]:
    """JSON has one kind of number: 2.0, as tools with columns of floats write it, is the count 2."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0


def _index_fault(value: object, bound: int) -> str:
    if not _is_whole(value):
        return "is not an index"
    return "" if 0 <= value < bound else f"is out of range 0..{bound - 1}" if bound else "is out of range"


def _boolean_fault(value: object) -> str:
    return "" if isinstance(value, bool) else "is not true or false"


def _hops_fault(value: object) -> str:
    if value is None:
        return ""
    if not _is_whole(value):
        return "is not a count"
    return "is negative" if value < 0 else ""


def graph_to_dict(problem: Problem) -> dict[str, Any]:
    """The problem as a `deltaplan-graph/1` document with every column written out."""
    rows, parts, demands = problem.candidates, problem.parts, problem.demands
    return {
        "format": GRAPH_FORMAT,
        "commits": list(problem.commits),
        "candidates": {key: getattr(rows, key).tolist() for key in _SECTIONS["candidates"]},
        "parts": {key: getattr(parts, key).tolist() for key in _SECTIONS["parts"]},
        "demands": {
            "base": demands.base.tolist(),
            "target": demands.target.tolist(),
            "clients": demands.clients.tolist(),
            "full_pull_bytes": [_float_or_null(value) for value in demands.full_pull_bytes.tolist()],
            "max_hops": [None if value == NO_HOP_LIMIT else value for value in demands.max_hops.tolist()],
            "max_wire_bytes": [_float_or_null(value) for value in demands.max_wire_bytes.tolist()],
        },
        "prices": {key: float(getattr(problem.prices, key)) for key in _SECTIONS["prices"]},
        "limits": {key: _float_or_null(getattr(problem.limits, key)) for key in _SECTIONS["limits"]},
    }


def _float_or_null(value: float | None) -> float | None:
    return None if value is None or value == inf else float(value)


def graph_digest(problem: Problem) -> str:
    """sha256 of the problem's canonical JSON: equal for graphs that mean the same, defaults written or not."""
    canonical = json.dumps(graph_to_dict(problem), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def plan_to_dict(plan: Plan, problem: Problem) -> dict[str, Any]:
    """The plan as a `deltaplan-plan/1` document."""
    cost = plan.cost
    return {
        "format": PLAN_FORMAT,
        "build": list(plan.build),
        "routes": [None if route is None else list(route) for route in plan.routes],
        "cost": {
            "total": cost.total,
            "storage": cost.storage,
            "server_cpu": cost.server_cpu,
            "egress": cost.egress,
            "client_cpu": cost.client_cpu,
            "hops": cost.hops,
        },
        "stored_bytes": plan.evaluation.stored_bytes,
        "server_cpu_s": plan.evaluation.server_cpu_s,
        "egress_bytes": plan.evaluation.egress_bytes,
        "lower_bound": plan.lower_bound,
        "gap": plan.gap,
        "status": str(plan.status),
        "shadow_prices": dict(plan.shadow_prices),
        "seed": plan.seed,
        "wall_s": plan.wall_s,
        "graph_digest": graph_digest(problem),
    }


class _PlanFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`deltaplan-plan/1` as it is written; the money and totals are recomputed, not believed."""

    format: Literal["deltaplan-plan/1"]
    build: tuple[int, ...]
    routes: tuple[tuple[int, ...] | None, ...]
    cost: dict[str, float]
    stored_bytes: float
    server_cpu_s: float
    egress_bytes: float
    lower_bound: float
    gap: float
    status: Status
    shadow_prices: dict[str, float]
    seed: int
    wall_s: float
    graph_digest: str


def parse_plan(data: bytes | str, problem: Problem) -> Plan:
    """The plan in a `deltaplan-plan/1` document, judged again on its graph.

    Raises:
        InputError: the document breaks the format, belongs to another graph, or is not feasible on it.
    """
    try:
        file = msgspec.json.decode(data, type=_PlanFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("is no plan", path="plan", reason=str(error)) from error
    digest = graph_digest(problem)
    if file.graph_digest != digest:
        raise InputError("belongs to another graph", path="plan.graph_digest", got=file.graph_digest, expected=digest)
    selection = Selection(build=file.build, routes=file.routes)
    if any(not 0 <= hop < len(problem.candidates) for hop in (*file.build, *(h for r in file.routes for h in r or ()))):
        raise InputError("names a candidate that does not exist", path="plan.build")
    evaluation = evaluate(problem, selection)
    if not evaluation.is_feasible:
        raise InputError("is not feasible", path="plan", reason=evaluation.violations[0])
    return Plan(
        evaluation=evaluation,
        lower_bound=file.lower_bound,
        status=file.status,
        shadow_prices=file.shadow_prices,
        seed=file.seed,
        wall_s=file.wall_s,
    )
