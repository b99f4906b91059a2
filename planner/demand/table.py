"""Demand from a table: CSV rows of `base,target,clients`.

Optional columns are `max_hops` and `max_wire_bytes`, where an empty cell means no limit, and `layers` (`yes` or `no`):
whether clients hold what their base is composed of, and unite what their target is; `client_version` is that of the
program that updates. A base or target is
a ref, a version, a commit checksum or a prefix of one; an empty base is a client that has nothing yet.
A byte order mark, blank lines and spaces around cells are ignored.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any, TypeVar

from planner.demand.cohorts import Cohort, Demand, UnknownBase
from planner.errors import InputError, raise_collected
from planner.history.records import EMPTY, History

_Value = TypeVar("_Value")

_REQUIRED = ("base", "target", "clients")
_OPTIONAL = ("max_hops", "max_wire_bytes", "layers", "client_version")

_LARGEST_COUNT = 2**63 - 1
"""Counts are kept in 64 bits."""


def parse_demand_csv(text: str, history: History, *, name: str = "demand") -> Demand:
    """The demand that a CSV text describes; `name` leads the data paths of errors.

    Rows with an unknown base are kept as `Demand.unknown`: those clients exist and will download.

    Raises:
        InputError: the header or some rows are wrong, or a target is unknown; all are named by line.
    """
    faults: list[InputError] = []
    rows: list[Cohort | UnknownBase] = []
    lines = _read_lines(text.removeprefix("\ufeff"), name, faults)
    _, header = next(lines, (1, []))
    raise_collected(faults or _header_faults(header, f"{name}:1"))
    for line, cells in lines:
        path = f"{name}:{line}"
        if len(cells) != len(header):
            faults.append(InputError("has another number of cells than the header", path=path, got=len(cells)))
            continue
        try:
            rows.append(demand_row(dict(zip(header, cells, strict=True)), history, path=path))
        except InputError as error:
            faults.append(error)
    raise_collected(faults)
    return Demand(
        cohorts=tuple(row for row in rows if isinstance(row, Cohort)),
        unknown=tuple(row for row in rows if isinstance(row, UnknownBase)),
    )


def _read_lines(text: str, name: str, faults: list[InputError]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, cells stripped, with the line where each ends; stops where the text is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        faults.append(InputError("is not CSV", path=f"{name}:{reader.line_num}", reason=str(error)))


def _header_faults(header: list[str], path: str) -> list[InputError]:
    known = (*_REQUIRED, *_OPTIONAL)
    faults = [InputError("column is missing", path=path, column=key) for key in _REQUIRED if key not in header]
    faults += [InputError("column is unknown", path=path, column=key) for key in header if key not in known]
    repeated = sorted({key for key in header if key in known and header.count(key) > 1})
    return faults + [InputError("column is repeated", path=path, column=key) for key in repeated]


def demand_row(row: Mapping[Any, object], history: History, *, path: str) -> Cohort | UnknownBase:
    """One row of a demand table, its cells as text or numbers.

    Raises:
        InputError: cells are wrong, or the target is unknown; all faults of the row together.
    """
    faults: list[InputError] = []

    def read(key: str, parse: Callable[[str], _Value], default: _Value) -> _Value:
        try:
            return parse("" if row.get(key) is None else str(row[key]).strip())
        except InputError as error:
            faults.append(InputError(error.message, path=f"{path}.{key}", **error.facts))
            return default

    clients = read("clients", _clients, 0.0)
    target = read("target", lambda name: _target(name, history), "")
    max_hops = read("max_hops", _count, None)
    max_wire_bytes = read("max_wire_bytes", _count, None)
    layers = read("layers", _flag, False)
    raise_collected(faults)
    base_name, target_name = str(row["base"]).strip(), str(row["target"]).strip()
    try:
        base = history.resolve(base_name)
    except InputError:
        return UnknownBase(base=base_name, target=target, clients=clients, path=path)
    return Cohort(
        base=base,
        target=target,
        clients=clients,
        ref=target_name if target_name in history.refs else None,
        max_hops=max_hops,
        max_wire_bytes=max_wire_bytes,
        layers=layers,
        client_version=str(row.get("client_version") or "").strip() or None,
    )


def _target(name: str, history: History) -> str:
    if name == EMPTY:
        raise InputError("is empty: nobody asks for the empty commit")
    return history.resolve(name)


def _clients(text: str) -> float:
    try:
        clients = float(text)
    except ValueError:
        raise InputError("is not a number", got=text) from None
    if not isfinite(clients):
        raise InputError("is not finite", got=text)
    if clients < 0:
        raise InputError("is negative", got=text)
    return clients


def _flag(text: str) -> bool:
    flags = {"": False, "no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}
    if text.lower() not in flags:
        raise InputError("is neither yes nor no", got=text)
    return flags[text.lower()]


def _count(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise InputError("is not a count", got=text)
    if len(text.lstrip("0")) > 19 or int(text) > _LARGEST_COUNT:
        raise InputError("is larger than any count", got=text)
    return int(text)
