"""Columns of a graph file as arrays, without looking at values one by one where all of them are plainly right.

A column of millions of values is decoded with its type known and checked as an array. Where that finds anything
wrong, nothing is said here: the column is then decoded as what it is, and `graph_reader` names every fault in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

import msgspec
import numpy as np

from planner.optimize.problem import NO_HOP_LIMIT, BoolArray, FloatArray, IntArray

LARGEST = 1e30
"""No quantity or price is larger: products of three of them stay finite, and a plan's total with them."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "candidates": ("base", "target", "wire_bytes", "stored_bytes", "server_cpu_s", "client_cpu_s", "built"),
    "parts": ("stored_bytes", "server_cpu_s", "built", "candidate", "part"),
    "demands": ("base", "target", "clients", "full_pull_bytes", "max_hops", "max_wire_bytes"),
}
"""The columns of the sections that are tables, in the order of the format."""

_EXACT_WHOLE = 2.0**53
"""A float of this size may stand for several whole numbers."""

Column: TypeAlias = FloatArray | IntArray | BoolArray

_any = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_names = msgspec.json.Decoder(list[str])
_floats = msgspec.json.Decoder(list[float])
_floats_or_null = msgspec.json.Decoder(list[float | None])
_integers = msgspec.json.Decoder(list[int])
_integers_or_null = msgspec.json.Decoder(list[int | None])
_booleans = msgspec.json.Decoder(list[bool])


@dataclass(frozen=True, slots=True, eq=False)
class TypedColumn:
    """A column of the right type and sign: its text, and what it means as an array of shape (rows,)."""

    text: msgspec.Raw
    array: Column

    def __len__(self) -> int:
        return len(self.array)

    def values(self) -> list[Any]:
        """The values as they are written, for messages."""
        values: list[Any] = _any.decode(self.text)
        return values


def decode_document(data: bytes | str) -> dict[str, Any]:
    """A graph document, decoded but for the columns of its tables: each a `TypedColumn` where nothing is wrong with it.

    One column at a time is held as Python objects, which take several times the memory of its array.

    Raises:
        msgspec.DecodeError: the text is no JSON object; `ValidationError`, a subclass, may also stand for a number
            that is out of range.
        UnicodeDecodeError: a string is not UTF-8.
        RecursionError: nested too deeply.
    """
    document: dict[str, Any] = dict(_members.decode(data))
    for name, text in document.items():
        document[name] = _decode_table(name, text) if name in COLUMNS else _decode_value(name, text)
    return document


def _decode_value(name: str, text: msgspec.Raw) -> Any:
    if name == "commits":
        try:
            return _names.decode(text)
        except msgspec.ValidationError:
            pass
    return _any.decode(text)


def _decode_table(name: str, text: msgspec.Raw) -> Any:
    try:
        table: dict[str, Any] = dict(_members.decode(text))
    except msgspec.ValidationError:
        return _any.decode(text)
    for key, column in table.items():
        array = _READERS[name, key](column) if key in COLUMNS[name] else None
        table[key] = _any.decode(column) if array is None else TypedColumn(column, array)
    return table


def _read_floats(text: msgspec.Raw) -> FloatArray | None:
    """Sizes, counts or seconds; None: not all of them are."""
    try:
        array = np.array(_floats.decode(text), dtype=np.float64)
    except msgspec.ValidationError:
        return None
    return _plain(array) if _are_quantities(array) else None


def _read_floats_or_null(text: msgspec.Raw) -> FloatArray | None:
    """As `_read_floats`, infinite where there is none."""
    try:
        array = np.array(_floats_or_null.decode(text), dtype=np.float64)
    except msgspec.ValidationError:
        return None
    # JSON has no NaN, so NaN is where NumPy met a null.
    is_null = np.isnan(array)
    if not _are_quantities(array[~is_null]):
        return None
    array[is_null] = inf
    return _plain(array)


def _are_quantities(array: FloatArray) -> bool:
    # A whole number just above the largest rounds to it: the very largest is left to the exact comparison.
    return not len(array) or bool(array.min() >= 0.0 and array.max() < LARGEST)


def _plain(array: FloatArray) -> FloatArray:
    # Adding 0.0 makes -0.0 plain: it means the same, and must not have another digest.
    array += 0.0
    return array


def _read_indexes(text: msgspec.Raw) -> IntArray | None:
    """Whole numbers; whether they are in range is not known here."""
    try:
        return np.array(_integers.decode(text), dtype=np.int64)
    except OverflowError:
        return None
    except msgspec.ValidationError:
        return _read_whole_floats(text)


def _read_whole_floats(text: msgspec.Raw) -> IntArray | None:
    """JSON has one kind of number: 2.0, as tools with columns of floats write it, is the index 2."""
    try:
        array = np.array(_floats.decode(text), dtype=np.float64)
    except msgspec.ValidationError:
        return None
    is_exact = (np.abs(array) < _EXACT_WHOLE) & (array % 1 == 0)
    return array.astype(np.int64) if is_exact.all() else None


def _read_hops(text: msgspec.Raw) -> IntArray | None:
    """Hop limits, `NO_HOP_LIMIT` where there is none."""
    try:
        limits = _integers_or_null.decode(text)
        array = np.array([NO_HOP_LIMIT if limit is None else limit for limit in limits], dtype=np.int64)
    except (msgspec.ValidationError, OverflowError):
        return None
    return array if not len(array) or array.min() >= 0 else None


def _read_booleans(text: msgspec.Raw) -> BoolArray | None:
    try:
        return np.array(_booleans.decode(text), dtype=bool)
    except msgspec.ValidationError:
        return None


_READERS: Mapping[tuple[str, str], Callable[[msgspec.Raw], Column | None]] = {
    **{(table, key): _read_floats for table, keys in COLUMNS.items() for key in keys},
    **{(table, key): _read_indexes for table in ("candidates", "demands") for key in ("base", "target")},
    **{("parts", key): _read_indexes for key in ("candidate", "part")},
    **{(table, "built"): _read_booleans for table in ("candidates", "parts")},
    **{("demands", key): _read_floats_or_null for key in ("full_pull_bytes", "max_wire_bytes")},
    ("demands", "max_hops"): _read_hops,
}
