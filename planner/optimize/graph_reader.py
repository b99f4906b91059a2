"""Turns a decoded `deltaplan-graph/1` document into a problem, or names every fault in it with its data path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, TypeGuard

import numpy as np

from planner.errors import InputError
from planner.optimize.columns import COLUMNS, LARGEST, TypedColumn
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

SECTIONS: Mapping[str, tuple[str, ...]] = {
    **COLUMNS,
    "prices": ("storage_per_gb", "server_cpu_per_hour", "egress_per_gb", "client_cpu_per_hour", "per_hop"),
    "limits": ("stored_bytes", "server_cpu_s"),
}
_REQUIRED = ("format", "commits", "candidates", "demands")

_ANY_INDEX = 2**63
"""Bound of indexes into something whose length is not known."""


class GraphReader:
    """Turns a decoded document into arrays, collecting faults on the way.

    A column may be a list of anything, or a `TypedColumn`, which is looked at value by value only where it does not
    fit the rest of the document.
    """

    def __init__(self, document: object) -> None:
        self.errors: list[InputError] = []
        self.document = self._object(document, "graph", ("format", "commits", *SECTIONS))
        for key in _REQUIRED if isinstance(document, dict) else ():
            if key not in self.document:
                self._fault(key, "is missing")
        if self.document.get("format", GRAPH_FORMAT) != GRAPH_FORMAT:
            self._fault("format", "is not " + GRAPH_FORMAT, got=self.document["format"])
        self.sections = {
            name: self._object(self.document.get(name, {}), name, columns) for name, columns in SECTIONS.items()
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
        if set(map(type, names)) <= {str} and len(set(names)) == len(names):
            return tuple(names)
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
        peers = ("candidate", "part") if first == "candidate" else tuple(SECTIONS[section])
        if section == "parts" and first != "candidate":
            peers = ("stored_bytes", "server_cpu_s", "built")
        for key in (first, *peers):
            if isinstance(columns.get(key), list | TypedColumn):
                return len(columns[key])
        return 0

    def _typed(self, section: str, key: str, rows: int) -> Any:
        """The array of a column that needs no closer look, or None."""
        column = self.sections[section].get(key)
        return column.array if isinstance(column, TypedColumn) and len(column) == rows else None

    def _values(self, section: str, key: str, rows: int, fault_of: Callable[[Any], str], default: object) -> list[Any]:
        """The column as a list of `rows` entries; zeros where it is faulty, after reporting every fault."""
        path, columns, faults = f"{section}.{key}", self.sections[section], len(self.errors)
        column = columns.get(key, ())
        if isinstance(column, TypedColumn):
            column = column.values()
        if key not in columns:
            is_required = default is None and isinstance(self.document.get(section), dict)
            if is_required and (rows or section != "parts"):
                self._fault(path, "is missing")
            column = [default] * rows
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
        array: FloatArray | None = self._typed(section, key, rows)
        if array is not None:
            return array
        if default is not None and key not in self.sections[section]:
            return np.full(rows, default)
        column = self._values(section, key, rows, lambda value: _number_fault(value, null=null), default)
        filled = [default if value is None else value for value in column]
        # Adding 0.0 makes -0.0 plain: it means the same, and must not have another digest.
        return np.array([0.0 if value is None else value for value in filled], dtype=np.float64) + 0.0

    def _indexes(self, section: str, key: str, rows: int, bound: int) -> IntArray:
        array: IntArray | None = self._typed(section, key, rows)
        if array is not None and (not rows or 0 <= array.min() <= array.max() < bound):
            return array
        column = self._values(section, key, rows, lambda value: _index_fault(value, bound), None)
        return np.array([int(value or 0) for value in column], dtype=np.int64)

    def _booleans(self, section: str, key: str, rows: int) -> BoolArray:
        array: BoolArray | None = self._typed(section, key, rows)
        if array is not None:
            return array
        if key not in self.sections[section]:
            return np.zeros(rows, dtype=bool)
        column = self._values(section, key, rows, _boolean_fault, default=False)
        return np.array(column, dtype=bool)

    def _hops(self, rows: int) -> IntArray:
        array: IntArray | None = self._typed("demands", "max_hops", rows)
        if array is not None:
            return array
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
    if value > LARGEST:
        return f"is larger than {LARGEST:g}"
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
