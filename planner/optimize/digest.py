"""A fingerprint of a problem: equal for graphs that mean the same, whatever their files look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from planner.optimize.problem import Problem

_LITTLE_ENDIAN = {"f": "<f8", "i": "<i8", "u": "<i8", "b": "|u1"}
"""By kind of array: the type its bytes have in a digest, on every machine."""


def digest_problem(problem: Problem) -> str:
    """sha256 over the format's name, and the name, length and little-endian bytes of every column.

    Commits are columns of their names' UTF-8 lengths and bytes; prices and limits are columns of one number, a limit
    that was not given is infinite. O(bytes of the arrays).
    """
    digest = hashlib.sha256(b"deltaplan-graph/1\n")
    for name, column in _columns(problem):
        digest.update(f"{name} {len(column)}\n".encode())
        digest.update(_plain_bytes(column))
    return digest.hexdigest()


def _columns(problem: Problem) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    # Names from Python may hold lone surrogates, which JSON can escape and UTF-8 cannot hold.
    names = [name.encode("utf-8", "surrogatepass") for name in problem.commits]
    yield "commits.length_bytes", np.fromiter(map(len, names), dtype=np.int64, count=len(names))
    yield "commits", np.frombuffer(b"".join(names), dtype=np.uint8)
    for section in ("candidates", "parts", "demands"):
        table = getattr(problem, section)
        for key in table.__slots__:
            yield f"{section}.{key}", getattr(table, key)
    for key in problem.prices.__slots__:
        yield f"prices.{key}", np.array([getattr(problem.prices, key)], dtype=np.float64)
    for key in problem.limits.__slots__:
        limit = getattr(problem.limits, key)
        yield f"limits.{key}", np.array([inf if limit is None else limit], dtype=np.float64)


def _plain_bytes(column: npt.NDArray[Any]) -> memoryview:
    if column.dtype == np.uint8:
        return column.data
    array = np.ascontiguousarray(column, dtype=_LITTLE_ENDIAN[column.dtype.kind])
    # Adding 0.0 makes -0.0 plain: it means the same.
    return (array + 0.0).data if column.dtype.kind == "f" else array.data
