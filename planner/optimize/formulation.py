"""The strong mixed-integer formulation, as plain arrays.

Columns: y (candidate kept), z (part kept), and per cohort x (its flow over each candidate) and one
column for its full pull. Rows: one unit of flow per cohort, conservation at every state, x <= y for each
cohort on its own (the strong form, whose linear relaxation is nearly always integral), y <= z, and the limits.

With a short hop limit the states are (commit, hops so far): the relaxation stays tight and flows stay
integral. With a long one the states are commits and a row counts the hops. Where a row on hops or bytes
couples a cohort's flow, its x must be integral by themselves.

Source: Balakrishnan, Magnanti and Wong 1989, section 1 (strong linking); Gouveia 1998 (hop layers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from planner.optimize.evaluate import Selection, evaluate, route_bytes
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem
from planner.optimize.reduce import Cohort

LONGEST_LAYERED_HOPS = 6
"""Hop limits up to this are modelled in layers; beyond, the layers cost more columns than they tighten."""

_NOTHING = np.zeros(0, dtype=np.int64)
_NOT_INTEGRAL = np.zeros(1, dtype=bool)

_LEAST_FLOW = 1e-6
"""Less flow than this is the solver's tolerance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortColumns:
    """Where a cohort's flow lives: column `first + i` is candidate `edge[i]` as hop `layer[i]` (0: any hop)."""

    first: int
    edge: IntArray
    layer: IntArray
    full_pull: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Milp:
    """minimise money @ v, row_low <= A v <= row_high, 0 <= v <= 1, some v integral; A by rows (CSR)."""

    money: FloatArray
    is_integral: BoolArray
    upper: FloatArray
    starts: IntArray
    columns: IntArray
    values: FloatArray
    row_low: FloatArray
    row_high: FloatArray
    candidates: IntArray
    parts: IntArray
    cohorts: tuple[CohortColumns, ...]
    limit_rows: dict[str, int]
    limit_scale: dict[str, float]

    def with_cover(self, columns: IntArray) -> Milp:
        """The same with one row more: not all of these columns together.

        Valid where they break a budget or a byte limit by themselves: so does every superset. It repairs
        solutions that keep a limit only within the solver's tolerance.
        """
        return replace(
            self,
            starts=np.r_[self.starts, self.starts[-1] + len(columns)],
            columns=np.r_[self.columns, columns],
            values=np.r_[self.values, np.ones(len(columns))],
            row_low=np.r_[self.row_low, -inf],
            row_high=np.r_[self.row_high, len(columns) - 1.0],
        )


def find_covers(problem: Problem, milp: Milp, cohorts: tuple[Cohort, ...], values: FloatArray) -> list[IntArray]:
    """Sets of columns that a solution uses together although an exact sum says that no plan may."""
    covers = []
    kept = np.flatnonzero(np.isin(milp.candidates, used_candidates(milp, values)))
    if evaluate(problem, Selection(build=tuple(milp.candidates[kept].tolist()), routes=())).breaks_limit:
        covers.append(kept)
    for cohort, block in zip(cohorts, milp.cohorts, strict=True):
        used = np.flatnonzero(values[block.first : block.full_pull] > 0.5)
        if route_bytes(problem, tuple(block.edge[used].tolist())) > cohort.max_wire_bytes:
            covers.append(block.first + used)
    return covers


def used_candidates(milp: Milp, values: FloatArray) -> IntArray:
    """The candidates that a solution's clients use, ascending.

    Others may be kept in it that cost nothing by themselves, whether what they need is kept or not.
    """
    used = [block.edge[values[block.first : block.full_pull] > _LEAST_FLOW] for block in milp.cohorts]
    return np.unique(np.concatenate(used)) if used else np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class Rows:
    """Rows being written, one block of equal-shaped rows at a time."""

    row: list[IntArray] = field(default_factory=list)
    column: list[IntArray] = field(default_factory=list)
    value: list[FloatArray] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, rows: int, low: float, high: float) -> int:
        """Append empty rows; the first one's index."""
        first = len(self.low)
        self.low += [low] * rows
        self.high += [high] * rows
        return first

    def put(self, row: IntArray, column: IntArray, value: FloatArray | float) -> None:
        """Write entries."""
        self.row.append(row)
        self.column.append(column)
        self.value.append(np.broadcast_to(np.asarray(value, dtype=np.float64), row.shape))


def count_columns(problem: Problem, cohorts: tuple[Cohort, ...]) -> int:
    """How many columns the formulation would have, without writing it."""
    flow = sum(len(_flow_columns(cohort)[0]) + 1 for cohort in cohorts)
    return flow + len(problem.candidates) + len(problem.parts)


def _is_layered(cohort: Cohort) -> bool:
    longest = int(cohort.last_hop.max(initial=0))
    return 1 < cohort.max_hops <= LONGEST_LAYERED_HOPS and longest > 1


def _flow_columns(cohort: Cohort) -> tuple[IntArray, IntArray]:
    """Each flow column's position in `cohort.edges` and its layer; without layers the layer is 0."""
    if not _is_layered(cohort):
        return np.arange(len(cohort.edges)), np.zeros(len(cohort.edges), dtype=np.int64)
    repeats = np.maximum(cohort.last_hop - cohort.first_hop + 1, 0)
    position = np.repeat(np.arange(len(cohort.edges)), repeats)
    within = np.arange(len(position)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return position, cohort.first_hop[position] + within


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What comes before all flow columns: candidates, then parts, with the money and the limits' use of both.

    `money` has shape (candidates + parts,), `uses` (2, candidates + parts): bytes first.
    """

    candidates: IntArray
    parts: IntArray
    money: FloatArray
    uses: FloatArray


Link = Callable[["Rows", Cohort, CohortColumns, IntArray], None]
"""Writes the rows by which a cohort's flow needs something kept; gets each flow column's place in `cohort.edges`."""


def formulate(problem: Problem, cohorts: tuple[Cohort, ...]) -> Milp:
    """The formulation of a problem over its reduced cohorts."""
    candidates = candidates_of(cohorts)
    parts = problem.parts_needed_by(candidates)
    kept = Kept(
        candidates=candidates,
        parts=parts,
        money=np.r_[problem.candidate_money[candidates], problem.part_money[parts]],
        uses=np.hstack([problem.candidate_use(candidates), problem.part_use(parts)]),
    )

    def link(rows: Rows, cohort: Cohort, columns: CohortColumns, position: IntArray) -> None:
        _write_links(rows, cohort, columns, np.searchsorted(candidates, cohort.edges)[position])

    return write_milp(problem, cohorts, kept, link, lambda rows: _write_parts(rows, problem, candidates, parts))


def candidates_of(cohorts: tuple[Cohort, ...]) -> IntArray:
    """Candidates that some cohort may use, ascending."""
    edges = [cohort.edges for cohort in cohorts]
    return np.unique(np.concatenate(edges)) if edges else np.zeros(0, dtype=np.int64)


def write_milp(
    problem: Problem, cohorts: tuple[Cohort, ...], kept: Kept, link: Link, tie: Callable[[Rows], None]
) -> Milp:
    """Flow of every cohort over what is kept; `link` writes a cohort's rows to it, `tie` those among what is kept."""
    rows, first = Rows(), len(kept.money)
    money, integral, blocks = [kept.money], [np.ones(first, dtype=bool)], []
    for cohort in cohorts:
        if not len(cohort.edges) and cohort.max_wire_bytes == inf:
            blocks.append(_write_full_pull(rows, money, integral, cohort, first))
            first += 1
            continue
        position, layer = _flow_columns(cohort)
        columns = CohortColumns(first=first, edge=cohort.edges[position], layer=layer, full_pull=first + len(position))
        _write_flow(rows, problem, cohort, columns)
        link(rows, cohort, columns, position)
        couples = _write_side_rows(rows, problem, cohort, columns)
        full_pull_money = cohort.full_pull_money if cohort.full_pull_money < inf else 0.0
        money.append(cohort.clients * np.r_[problem.hop_money[columns.edge], full_pull_money])
        integral.append(np.full(len(position) + 1, couples))
        blocks.append(columns)
        first += len(position) + 1
    tie(rows)
    limit_rows, limit_scale = _write_limits(rows, problem, kept.uses)
    upper = np.ones(first)
    upper[[b.full_pull for b, c in zip(blocks, cohorts, strict=True) if c.full_pull_money == inf]] = 0.0
    starts, columns_, values = _compress(rows)
    return Milp(
        money=np.concatenate(money),
        is_integral=np.concatenate(integral),
        upper=upper,
        starts=starts,
        columns=columns_,
        values=values,
        row_low=np.array(rows.low),
        row_high=np.array(rows.high),
        candidates=kept.candidates,
        parts=kept.parts,
        cohorts=tuple(blocks),
        limit_rows=limit_rows,
        limit_scale=limit_scale,
    )


def _write_full_pull(
    rows: Rows, money: list[FloatArray], integral: list[BoolArray], cohort: Cohort, first: int
) -> CohortColumns:
    """A cohort with nothing to choose: most of many are. The same rows and columns as of any other."""
    row = rows.add(1, 1.0, 1.0)
    rows.put(np.array([row]), np.array([first]), 1.0)
    full_pull_money = cohort.full_pull_money if cohort.full_pull_money < inf else 0.0
    money.append(np.array([cohort.clients * full_pull_money]))
    integral.append(_NOT_INTEGRAL)
    return CohortColumns(first=first, edge=_NOTHING, layer=_NOTHING, full_pull=first)


def _write_flow(rows: Rows, problem: Problem, cohort: Cohort, columns: CohortColumns) -> None:
    """One unit leaves the base or is a full pull; what enters any other state leaves it."""
    commits = len(problem.commits)
    tail = problem.candidates.base[columns.edge] + commits * np.maximum(columns.layer - 1, 0)
    head = problem.candidates.target[columns.edge] + commits * columns.layer
    is_last = problem.candidates.target[columns.edge] == cohort.target
    states = np.unique(np.r_[cohort.base, tail, head[~is_last]])
    row = rows.add(len(states), 0.0, 0.0)
    source = row + int(np.searchsorted(states, cohort.base))
    rows.low[source] = rows.high[source] = 1.0
    column = columns.first + np.arange(len(columns.edge))
    rows.put(row + np.searchsorted(states, tail), column, 1.0)
    rows.put(row + np.searchsorted(states, head[~is_last]), column[~is_last], -1.0)
    rows.put(np.array([source]), np.array([columns.full_pull]), 1.0)


def _write_links(rows: Rows, cohort: Cohort, columns: CohortColumns, keep: IntArray) -> None:
    """A cohort's flow over a candidate, whatever the hop, needs the candidate kept."""
    row = rows.add(len(cohort.edges), -inf, 0.0)
    link = row + np.searchsorted(cohort.edges, columns.edge)
    rows.put(link, columns.first + np.arange(len(columns.edge)), 1.0)
    first_of = np.unique(link, return_index=True)[1]
    rows.put(link[first_of], keep[first_of], -1.0)


def _write_side_rows(rows: Rows, problem: Problem, cohort: Cohort, columns: CohortColumns) -> bool:
    """Rows on the route as a whole; whether there are any, so that flows must be integral by themselves."""
    column = columns.first + np.arange(len(columns.edge))
    couples = False
    longest_simple = len(np.unique(problem.candidates.base[cohort.edges]))
    if not _is_layered(cohort) and cohort.max_hops < longest_simple:
        row = rows.add(1, -inf, float(cohort.max_hops))
        rows.put(np.full(len(column), row), column, 1.0)
        couples = True
    if cohort.max_wire_bytes < inf:
        row = rows.add(1, -inf, 1.0)
        scale = max(cohort.max_wire_bytes, 1.0)
        rows.high[row] = cohort.max_wire_bytes / scale
        rows.put(np.full(len(column), row), column, problem.candidates.wire_bytes[columns.edge] / scale)
        couples = True
    return couples


def _write_parts(rows: Rows, problem: Problem, candidates: IntArray, parts: IntArray) -> None:
    """A kept candidate needs its parts kept."""
    pairs = [(i, part) for i, e in enumerate(candidates.tolist()) for part in problem.parts_of[e]]
    if not pairs:
        return
    keep, part = np.array(pairs, dtype=np.int64).T
    row = rows.add(len(pairs), -inf, 0.0) + np.arange(len(pairs))
    rows.put(row, keep, 1.0)
    rows.put(row, len(candidates) + np.searchsorted(parts, part), -1.0)


def _write_limits(rows: Rows, problem: Problem, uses: FloatArray) -> tuple[dict[str, int], dict[str, float]]:
    """Limit rows by name, scaled so that the limit is 1 (or 0)."""
    limit_rows, limit_scale = {}, {}
    for name, amounts in zip(("stored_bytes", "server_cpu_s"), uses, strict=True):
        allowed = getattr(problem.limits, name)
        if allowed is not None:
            limit_scale[name] = scale = allowed if allowed > 0 else 1.0
            limit_rows[name] = rows.add(1, -inf, allowed / scale)
            rows.put(np.full(len(amounts), limit_rows[name]), np.arange(len(amounts)), amounts / scale)
    return limit_rows, limit_scale


def _compress(rows: Rows) -> tuple[IntArray, IntArray, FloatArray]:
    """Entries by rows (CSR): row starts, columns, values."""
    if not rows.row:
        return np.zeros(len(rows.low) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0)
    row, column = np.concatenate(rows.row), np.concatenate(rows.column)
    order = np.lexsort((column, row))
    starts = np.searchsorted(row[order], np.arange(len(rows.low) + 1))
    return starts, column[order], np.concatenate(rows.value)[order]


def column_values(problem: Problem, milp: Milp, cohorts: tuple[Cohort, ...], selection: Selection) -> FloatArray:
    """A selection as the formulation's column values, for a warm start."""
    values = np.zeros(len(milp.money))
    used = np.isin(milp.candidates, selection.build)
    values[: len(used)] = used
    needed = {part for e in milp.candidates[used].tolist() for part in problem.parts_of[e]}
    values[len(used) : len(used) + len(milp.parts)] = np.isin(milp.parts, sorted(needed))
    for cohort, columns in zip(cohorts, milp.cohorts, strict=True):
        route = selection.routes[cohort.demands[0]]
        if route is None:
            values[columns.full_pull] = 1.0
            continue
        for number, hop in enumerate(route, start=1):
            is_column = (columns.edge == hop) & ((columns.layer == 0) | (columns.layer == number))
            values[columns.first + np.flatnonzero(is_column)] = 1.0
    return values
