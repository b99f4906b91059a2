"""Demand from a table: CSV rows of `base,target,clients`.

Optional columns are `max_hops` and `max_wire_bytes`; an empty cell means no limit. A base or target is
a ref, a version, a commit checksum or a prefix of one; an empty base is a client that has nothing yet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from math import isfinite
from typing import Any

from planner.demand.cohorts import Cohort, Demand, UnknownBase
from planner.errors import InputError, raise_collected
from planner.history.records import History

_REQUIRED = ("base", "target", "clients")
_OPTIONAL = ("max_hops", "max_wire_bytes")


def parse_demand_csv(text: str, history: History, *, name: str = "demand") -> Demand:
    """The demand that a CSV text describes; `name` leads the data paths of errors.

    Rows with an unknown base are kept as `Demand.unknown`: those clients exist and will download.

    Raises:
        InputError: the header or some rows are wrong, or a target is unknown; all are named by line.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    header = reader.fieldnames or ()
    faults = [InputError("column is missing", path=f"{name}:1", column=key) for key in _REQUIRED if key not in header]
    faults += [
        InputError("column is unknown", path=f"{name}:1", column=key)
        for key in header
        if key not in (*_REQUIRED, *_OPTIONAL)
    ]
    raise_collected(faults)
    rows: list[Cohort | UnknownBase] = []
    try:
        for row in reader:
            try:
                rows.append(demand_row(row, history, path=f"{name}:{reader.line_num}"))
            except InputError as error:
                faults.append(error)
    except csv.Error as error:
        faults.append(InputError("is not CSV", path=f"{name}:{reader.line_num}", reason=str(error)))
    raise_collected(faults)
    return Demand(
        cohorts=tuple(row for row in rows if isinstance(row, Cohort)),
        unknown=tuple(row for row in rows if isinstance(row, UnknownBase)),
    )


def demand_row(row: Mapping[Any, object], history: History, *, path: str) -> Cohort | UnknownBase:
    """One row of a demand table, its cells as text or numbers.

    Raises:
        InputError: a cell is wrong, or the target is unknown.
    """
    if None in row or any(row.get(key) is None for key in _REQUIRED):
        raise InputError("has another number of cells than the header", path=path)
    clients = _clients(row["clients"], path)
    target_name = str(row["target"]).strip()
    try:
        target = history.resolve(target_name)
    except InputError as error:
        raise InputError(error.message, path=f"{path}.target", **error.facts) from None
    base_name = str(row["base"]).strip()
    try:
        base = history.resolve(base_name)
    except InputError:
        return UnknownBase(base=base_name, target=target, clients=clients, path=path)
    return Cohort(
        base=base,
        target=target,
        clients=clients,
        ref=target_name if target_name in history.refs else None,
        max_hops=_count(row.get("max_hops"), f"{path}.max_hops"),
        max_wire_bytes=_count(row.get("max_wire_bytes"), f"{path}.max_wire_bytes"),
    )


def _clients(cell: object, path: str) -> float:
    try:
        clients = float(str(cell))
    except ValueError:
        raise InputError("is not a number", path=f"{path}.clients", got=cell) from None
    if not isfinite(clients):
        raise InputError("is not finite", path=f"{path}.clients", got=cell)
    if clients < 0:
        raise InputError("is negative", path=f"{path}.clients", got=cell)
    return clients


def _count(cell: object, path: str) -> int | None:
    text = "" if cell is None else str(cell).strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise InputError("is not a count", path=path, got=cell)
    return int(text)
