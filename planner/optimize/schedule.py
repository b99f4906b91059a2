"""In which order a plan's deltas are built, so that a night that is cut short pays for itself.

A delta saves nothing before the route that needs it is whole. So routes are finished one after the other, each time
the one whose missing deltas save most money per core-second, other routes that they finish included. That is the greedy
rule for covering with a budget; routes that share deltas make their common part cheaper for those that follow.

Source: Khuller, Moss and Naor 1999, The budgeted maximum coverage problem, section 2 (without its enumeration).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from planner.optimize.evaluate import Route
from planner.optimize.explain_routes import client_money
from planner.optimize.problem import BoolArray, FloatArray, Problem
from planner.optimize.routes import choose_routes
from planner.units import GB

Rows = frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Deltas that finish routes together: candidate rows, the money that finishing them saves, and core-seconds."""

    rows: tuple[int, ...]
    saved_money: float
    core_s: float

    @property
    def value(self) -> float:
        """Money saved per core-second."""
        return self.saved_money / self.core_s if self.core_s > 0 else inf


def order_builds(
    problem: Problem, build: Sequence[int], routes: Sequence[Route], is_ready: BoolArray, core_s: FloatArray
) -> tuple[Lot, ...]:
    """The missing rows of `build`, in lots, the most valuable per core-second first; each row once.

    Args:
        problem: the graph.
        build: rows to have in the end.
        routes: per demand, the rows that it shall use; others than `build`'s are not waited for.
        is_ready: rows that clients can use already; shape (candidates,).
        core_s: what making each row is expected to take; shape (candidates,).

    What no route needs comes last. Ties go to the lowest rows.
    """
    missing = frozenset(row for row in build if not is_ready[row])
    bundles: dict[Rows, float] = {}
    now = choose_routes(problem, is_ready)
    for demand, route in enumerate(routes):
        lacking = missing.intersection(route or ())
        if lacking:
            saved = client_money(problem, demand, now[demand]) - client_money(problem, demand, route)
            saved *= float(problem.demands.clients[demand])
            bundles[lacking] = bundles.get(lacking, 0.0) + saved
    storage = problem.candidates.stored_bytes * (problem.prices.storage_per_gb / GB)
    lots = list(_Greedy(bundles, core_s, storage).lots())
    unused = sorted(missing.difference(*(lot.rows for lot in lots)))
    lots += [Lot(rows=(row,), saved_money=-float(storage[row]), core_s=float(core_s[row])) for row in unused]
    return tuple(lots)


class _Greedy:
    """Sets of rows with what having all of each saves, and what each row costs."""

    def __init__(self, bundles: dict[Rows, float], core_s: FloatArray, storage_money: FloatArray) -> None:
        self._saved = bundles
        self._core_s = core_s
        self._storage = storage_money
        self._done: set[int] = set()
        self._with_row: dict[int, list[Rows]] = {}
        for bundle in bundles:
            for row in bundle:
                self._with_row.setdefault(row, []).append(bundle)

    def lots(self) -> Iterator[Lot]:
        """The best lot, again and again; what it changes is looked at anew."""
        version = dict.fromkeys(self._saved, 0)
        heap = [self._entry(bundle, 0) for bundle in self._saved]
        heapq.heapify(heap)
        while heap:
            _, _, seen, bundle = heapq.heappop(heap)
            if seen != version[bundle] or bundle <= self._done:
                continue
            lot = self._lot(bundle)
            yield lot
            self._done.update(lot.rows)
            for other in {other for row in lot.rows for other in self._with_row[row]}:
                if not other <= self._done:
                    version[other] += 1
                    heapq.heappush(heap, self._entry(other, version[other]))

    def _entry(self, bundle: Rows, version: int) -> tuple[float, tuple[int, ...], int, Rows]:
        return -self._lot(bundle).value, tuple(sorted(bundle)), version, bundle

    def _lot(self, bundle: Rows) -> Lot:
        rows = tuple(sorted(bundle - self._done))
        near = {other for row in rows for other in self._with_row[row]}
        saved = sum(self._saved[other] for other in near if other - self._done <= bundle)
        return Lot(
            rows=rows,
            saved_money=saved - float(self._storage[list(rows)].sum()),
            core_s=float(self._core_s[list(rows)].sum()),
        )
