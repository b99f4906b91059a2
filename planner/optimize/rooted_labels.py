"""Tables of labels: what parts of a graph can do for the nodes they share with the rest, joined one by one.

Source: dynamic programming over tree decompositions (Arnborg and Proskurowski 1989), with labels of two criteria
that undercut one another (as in Guo et al. 2024 on trees) in place of states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.optimize.problem import IntArray
from planner.optimize.rooted_label_kernels import AT_ROOT, MOST_NODES, WAITS, Grain, Rows

NO_CHOICE = -1
"""In `Table.choice`: no edge; cohort `k` that pulls in full is `-2 - k`."""

_MOST_COMPARED = 2000
"""How many of the cheapest labels of a kind others are compared with."""

_BINS = ((0.0, 0.0), (200.0, 600.0), (100.0, 300.0), (50.0, 150.0), (30.0, 80.0), (20.0, 50.0), (12.0, 30.0),
         (8.0, 20.0), (5.0, 12.0), (3.0, 7.0), (2.0, 4.0), (1.0, 2.0))  # fmt: skip
"""Bins per e-fold of clients and of money, ever coarser (`Grain`)."""

_USES = (0.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0, 80.0, 160.0)
"""Units of use that count at these, 0 where any does."""

_COARSER_FROM = (1e5, 3e5, 3e5, 3e6, 3e6, 3e7, 3e7)
"""Pairs of labels from which a join is made with ever coarser bins at once, where tables are of the usual size."""

_USUAL_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Labels over some nodes, and where each came from: rows of two tables, or a choice of its own (`NO_CHOICE`)."""

    nodes: tuple[int, ...]
    rows: Rows
    sources: tuple[Table, Table] | None
    left: IntArray
    right: IntArray

    def __len__(self) -> int:
        return len(self.rows.used)

    def only(self, picks: IntArray) -> Table:
        """Some of the labels, in the order given."""
        return Table(
            nodes=self.nodes,
            rows=Rows(*(column[picks] for column in self.rows)),
            sources=self.sources,
            left=self.left[picks],
            right=self.right[picks],
        )

    def choices(self, row: int) -> Iterator[int]:
        """The choices that a label stands for."""
        left: list[tuple[Table, int]] = [(self, row)]
        while left:
            table, at = left.pop()
            if table.sources is None:
                if table.left[at] != NO_CHOICE:
                    yield int(table.left[at])
                continue
            left.append((table.sources[0], int(table.left[at])))
            left.append((table.sources[1], int(table.right[at])))


Choice = tuple[int, tuple[int, ...], tuple[float, ...], float, float]
"""A label to begin with: its choice, `Rows.supply` and `Rows.amount` by node, use and money."""


def table_of(nodes: tuple[int, ...], choices: list[Choice]) -> Table:
    """A table of choices, one label each."""
    count = len(choices)
    supply, amount = np.full((count, MOST_NODES), WAITS, dtype=np.int8), np.zeros((count, MOST_NODES))
    for row, (_, by, value, _, _) in enumerate(choices):
        supply[row, : len(nodes)], amount[row, : len(nodes)] = by, value
    rows = Rows(supply, amount, np.array([one[3] for one in choices]), np.array([one[4] for one in choices]))
    left = np.array([one[0] for one in choices], dtype=np.int64)
    return Table(nodes=nodes, rows=rows, sources=None, left=left, right=left)


NOTHING = table_of((), [(NO_CHOICE, (), (), 0.0, 0.0)])
"""The table of no edges."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joiner:
    """How tables are joined: the kernels, what a label may take and cost, units of bins, and the size to stay within.

    Where tables are larger, labels that are alike are merged into one that undercuts them. `use_unit` is 0 where use
    does not count, for it is priced.
    """

    kernels: Any
    most_used: float
    most_money: float
    client_unit: float
    money_unit: float
    use_unit: float
    size: int

    def join_all(self, tables: list[Table], kept: frozenset[int]) -> Table:
        """One table of all, over the nodes that are kept; others are left behind as soon as nothing else has them.

        It may be larger than the size to stay within (`merge`).
        """
        rest = sorted(tables, key=lambda table: (len(table.nodes), len(table)))
        joined = rest.pop(0)
        while rest:
            here = set(joined.nodes)
            rest.sort(key=lambda table: (len(here | set(table.nodes)), len(table)))
            table = rest.pop(0)
            joined = self.join(self.merge(joined), table, kept.union(*(other.nodes for other in rest)))
        return joined if kept.issuperset(joined.nodes) else self.join(joined, NOTHING, kept)

    def join(self, one: Table, other: Table, kept: frozenset[int]) -> Table:
        """All that two tables can do together for the nodes that are kept."""
        level = sum(len(one) * len(other) * _USUAL_SIZE >= pairs * self.size for pairs in _COARSER_FROM)
        return self._thin(self._combine(one, other, kept, level))

    def merge(self, table: Table) -> Table:
        """The table, its labels merged until they stay within the size."""
        level, kept = 1, frozenset(table.nodes)
        while len(table) > self.size and level < len(_BINS):
            table = self._thin(self._combine(table, NOTHING, kept, level))
            level += 1
        return table

    def _combine(self, one: Table, other: Table, kept: frozenset[int], level: int) -> Table:
        nodes = tuple(sorted({*one.nodes, *other.nodes}))
        stay = tuple(node for node in nodes if node in kept)
        bins = _BINS[level]
        least_use = self.use_unit * (_USES[level] or -1.0)
        grain = Grain(self.client_unit, bins[0], self.money_unit, bins[1], least_use)
        rows, left, right = self.kernels.combine(
            one.rows,
            np.array([nodes.index(node) for node in one.nodes], dtype=np.int64),
            other.rows,
            np.array([nodes.index(node) for node in other.nodes], dtype=np.int64),
            len(nodes),
            np.array([stay.index(node) if node in kept else -1 for node in nodes], dtype=np.int64),
            grain,
            self.most_used,
            self.most_money,
        )
        if other is NOTHING and one.sources is not None:
            return Table(nodes=stay, rows=rows, sources=one.sources, left=one.left[left], right=one.right[left])
        return Table(nodes=stay, rows=rows, sources=(one, other), left=left, right=right)

    def _thin(self, table: Table) -> Table:
        """The table without labels that others undercut."""
        rows = table.rows
        pattern = (rows.supply.astype(np.int64) + 2) @ (8 ** np.arange(MOST_NODES))
        order = np.lexsort((rows.used, rows.money, pattern))
        return table.only(np.flatnonzero(self.kernels.find_best(rows, order, len(table.nodes), _MOST_COMPARED)))


def by_money(table: Table) -> Table:
    """The labels, the cheapest first."""
    return table.only(np.argsort(table.rows.money, kind="stable"))


def supplied(at_root: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Supply and amount of one node that is supplied from the root at this money of a client's way."""
    return (AT_ROOT,), (at_root,)
