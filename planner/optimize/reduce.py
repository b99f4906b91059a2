"""What the solvers work on: merged cohorts, each with only the candidates that an optimal route may use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.errors import InfeasibleError
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem
from planner.optimize.routes import SUM_SLACK, RouteTable, cheapest_within_bytes, route_table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """Demands that differ only in their number of clients, and the candidates worth a look for them.

    `edges` are candidate indexes, ascending. A route may take `edges[i]` as its hop number
    `first_hop[i]` at the earliest and `last_hop[i]` at the latest (counted from 1).
    """

    demands: tuple[int, ...]
    base: int
    target: int
    clients: float
    full_pull_money: float
    max_hops: int
    max_wire_bytes: float
    edges: IntArray
    first_hop: IntArray
    last_hop: IntArray

    @property
    def is_served(self) -> bool:
        """Whether a route or a full pull exists."""
        return len(self.edges) > 0 or self.full_pull_money < inf


def reduce_cohorts(problem: Problem) -> tuple[Cohort, ...]:
    """Cohorts that need a decision; demands whose base is their target need none.

    A candidate is deleted for a cohort when no route through it keeps the hop and byte limits, or when
    the cheapest such route, fixed money left out, already costs as much as the cohort's full pull.

    Raises:
        InfeasibleError: a demand has neither a route nor a full pull; the error names it.
    """
    finder = _EdgeFinder(problem)
    merged: dict[tuple[float, ...], list[int]] = {}
    demands = problem.demands
    for index in range(len(demands)):
        if demands.base[index] != demands.target[index]:
            limits = (finder.hops(index), float(demands.max_wire_bytes[index]), float(problem.full_pull_money[index]))
            merged.setdefault((int(demands.base[index]), int(demands.target[index]), *limits), []).append(index)
    return tuple(finder.cohort(rows) for rows in merged.values())


class _EdgeFinder:
    """Finds each cohort's candidates from tables that cohorts share."""

    def __init__(self, problem: Problem) -> None:
        rows = problem.candidates
        self.problem = problem
        self.mirror = problem.replace(
            candidates=dataclasses.replace(rows, base=rows.target, target=rows.base),
        )
        self.all_open = np.ones(len(rows), dtype=bool)
        self.tables: dict[tuple[bool, str, int, int], RouteTable] = {}

    def hops(self, demand: int) -> int:
        """The demand's hop limit; no cheapest route needs more hops than there are commits."""
        return min(int(self.problem.demands.max_hops[demand]), max(len(self.problem.commits) - 1, 0))

    def cohort(self, rows: list[int]) -> Cohort:
        problem, first = self.problem, rows[0]
        demands, max_hops = problem.demands, self.hops(first)
        base, target = int(demands.base[first]), int(demands.target[first])
        full_pull_money = float(problem.full_pull_money[first])
        max_wire_bytes = float(demands.max_wire_bytes[first])
        ahead, behind = self._table("money", base, max_hops, mirror=True), self._table("money", target, max_hops)
        is_useful = self._is_useful(problem.hop_money, ahead, behind, full_pull_money, strict=full_pull_money < inf)
        if max_wire_bytes < inf:
            ahead_bytes = self._table("bytes", base, max_hops, mirror=True)
            behind_bytes = self._table("bytes", target, max_hops)
            wire_bytes = problem.candidates.wire_bytes
            is_useful &= self._is_useful(wire_bytes, ahead_bytes, behind_bytes, max_wire_bytes * (1 + SUM_SLACK))
        heads, tails = problem.candidates.target, problem.candidates.base
        first_hop, hops_after = _hop_counts(ahead)[tails] + 1, _hop_counts(behind)[heads]
        is_useful &= (first_hop + hops_after <= max_hops) & (heads != base) & (tails != target)
        edges = np.flatnonzero(is_useful)
        cohort = Cohort(
            demands=tuple(rows),
            base=base,
            target=target,
            clients=float(demands.clients[rows].sum()),
            full_pull_money=full_pull_money,
            max_hops=max_hops,
            max_wire_bytes=max_wire_bytes,
            edges=edges,
            first_hop=first_hop[edges],
            last_hop=np.where(tails[edges] == base, 1, max_hops - hops_after[edges]),
        )
        self._check_served(cohort)
        return cohort

    def _check_served(self, cohort: Cohort) -> None:
        """Raise where neither a route nor a full pull exists; hops and bytes may be met apart yet not together."""
        is_served = cohort.is_served
        if is_served and cohort.full_pull_money == inf and cohort.max_wire_bytes < inf:
            is_open = np.zeros(len(self.problem.candidates), dtype=bool)
            is_open[cohort.edges] = True
            is_served = cheapest_within_bytes(self.problem, cohort.demands[0], is_open) is not None
        if not is_served:
            commits = self.problem.commits
            raise InfeasibleError(
                "has no route within its limits and no full pull",
                path=f"demands[{cohort.demands[0]}]",
                base=commits[cohort.base],
                target=commits[cohort.target],
            )

    def _table(self, quantity: str, commit: int, max_hops: int, *, mirror: bool = False) -> RouteTable:
        key = (mirror, quantity, commit, max_hops)
        if key not in self.tables:
            problem = self.mirror if mirror else self.problem
            weights = problem.hop_money if quantity == "money" else problem.candidates.wire_bytes
            self.tables[key] = route_table(problem, commit, max_hops, self.all_open, weights)
        return self.tables[key]

    def _is_useful(
        self, weights: FloatArray, ahead: RouteTable, behind: RouteTable, most: float, *, strict: bool = False
    ) -> BoolArray:
        """Candidates on some route whose weight stays within `most`; hop limits are relaxed here."""
        rows = self.problem.candidates
        through: FloatArray = ahead.money[-1][rows.base] + weights + behind.money[-1][rows.target]
        return (through < most) if strict else (through <= most) & (through < inf)


def _hop_counts(table: RouteTable) -> IntArray:
    """Fewest hops between the table's commit and every other; more than any limit where there is no way."""
    is_reached = np.isfinite(table.money)
    hops = np.argmax(is_reached, axis=0)
    return np.where(is_reached.any(axis=0), hops, np.iinfo(np.int32).max).astype(np.int64)
