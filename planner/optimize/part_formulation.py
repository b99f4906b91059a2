"""The strong formulation for problems with shared parts: parts merged, and one row per cohort and part.

Drop-in for `formulation.formulate`. Parts that exactly the same remaining candidates need are one column; those of a
single candidate are in that candidate's money. A cohort's flow over all candidates that need a part, and of which a
route can use only one, is together at most the part's column: without these rows flow that spreads over several
candidates pays only a fraction of the part.

Source: the disaggregated rows of Balakrishnan, Magnanti and Wong 1989, section 1, lifted over the candidates of a part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.optimize.core import Core, cohort_over, demands_of, slack_for
from planner.optimize.formulation import (
    LONGEST_LAYERED_HOPS,
    CohortColumns,
    Milp,
    Rows,
    compress,
    flow_columns,
    write_flow,
    write_side_rows,
)
from planner.optimize.net import lay_out
from planner.optimize.part_bound import PartAscent
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.reduce import Cohort


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """Columns of candidates, then of merged parts: money and uses of the limits of all; and who needs which.

    `needed[i]` are the merged parts of candidate i; `first_part` is one part of each merged one.
    """

    candidates: IntArray
    first_part: IntArray
    money: FloatArray
    uses: FloatArray
    needed: list[IntArray]


def formulate_with_parts(problem: Problem, cohorts: tuple[Cohort, ...]) -> Milp:
    """The formulation of a problem over its reduced cohorts; `parts` names one part of each merged one."""
    merged = _merge(problem, cohorts)
    columns = len(merged.money)
    position = _forward_positions(problem)
    rows = Rows()
    money, integral, blocks, first = [merged.money], [np.ones(columns, dtype=bool)], [], columns
    for cohort in cohorts:
        of_edge, layer = flow_columns(cohort)
        block = CohortColumns(first=first, edge=cohort.edges[of_edge], layer=layer, full_pull=first + len(of_edge))
        write_flow(rows, problem, cohort, block)
        _write_part_links(rows, problem, merged, cohort, of_edge, first, position)
        couples = write_side_rows(rows, problem, cohort, block)
        full_pull_money = cohort.full_pull_money if cohort.full_pull_money < inf else 0.0
        money.append(cohort.clients * np.r_[problem.hop_money[block.edge], full_pull_money])
        integral.append(np.full(len(of_edge) + 1, couples))
        blocks.append(block)
        first += len(of_edge) + 1
    limit_rows, limit_scale = _write_limits(rows, problem, merged)
    upper = np.ones(first)
    upper[[b.full_pull for b, c in zip(blocks, cohorts, strict=True) if c.full_pull_money == inf]] = 0.0
    starts, entries, values = compress(rows)
    return Milp(
        money=np.concatenate(money),
        is_integral=np.concatenate(integral),
        upper=upper,
        starts=starts,
        columns=entries,
        values=values,
        row_low=np.array(rows.low),
        row_high=np.array(rows.high),
        candidates=merged.candidates,
        parts=merged.first_part,
        cohorts=tuple(blocks),
        limit_rows=limit_rows,
        limit_scale=limit_scale,
    )


def _merge(problem: Problem, cohorts: tuple[Cohort, ...]) -> _Merged:
    """Candidates that some cohort may use, and their parts merged."""
    edges = [cohort.edges for cohort in cohorts]
    candidates = np.unique(np.concatenate(edges)) if edges else np.zeros(0, dtype=np.int64)
    rows, parts = problem.candidates, problem.parts
    used = np.stack([rows.stored_bytes[candidates], np.where(rows.built, 0.0, rows.server_cpu_s)[candidates]])
    used_part = np.stack([parts.stored_bytes, np.where(parts.built, 0.0, parts.server_cpu_s)])
    money = problem.candidate_money[candidates].copy()
    needing: dict[int, list[int]] = {}
    for index, candidate in enumerate(candidates.tolist()):
        for part in problem.parts_of[candidate]:
            needing.setdefault(part, []).append(index)
    groups: dict[tuple[int, ...], list[int]] = {}
    for part in sorted(needing):
        groups.setdefault(tuple(needing[part]), []).append(part)
    needed: list[list[int]] = [[] for _ in candidates]
    first_part: list[int] = []
    group_money: list[float] = []
    group_uses: list[FloatArray] = []
    for members, its_parts in groups.items():
        if len(members) == 1:
            money[members[0]] += problem.part_money[its_parts].sum()
            used[:, members[0]] += used_part[:, its_parts].sum(axis=1)
            continue
        for index in members:
            needed[index].append(len(first_part))
        first_part.append(its_parts[0])
        group_money.append(float(problem.part_money[its_parts].sum()))
        group_uses.append(used_part[:, its_parts].sum(axis=1))
    return _Merged(
        candidates,
        np.array(first_part, dtype=np.int64),
        np.r_[money, np.array(group_money)],
        np.hstack([used, np.array(group_uses).reshape(-1, 2).T]),
        [np.array(one, dtype=np.int64) for one in needed],
    )


def _forward_positions(problem: Problem) -> IntArray | None:
    """Positions of the commits at which all candidates point forward; None where some point back."""
    net = lay_out(problem)
    if not net.edges.is_acyclic:
        return None
    ends = net.edges.head, net.edges.tail
    tail, head = ends if net.is_mirrored else ends[::-1]
    position = np.zeros(len(problem.commits), dtype=np.int64)
    position[problem.candidates.base[net.candidate]] = tail
    position[problem.candidates.target[net.candidate]] = head
    return -position if net.is_mirrored else position


def _write_part_links(
    rows: Rows,
    problem: Problem,
    merged: _Merged,
    cohort: Cohort,
    of_edge: IntArray,
    first: int,
    position: IntArray | None,
) -> None:
    """A cohort's flow needs its candidates kept, and its parts: together where a route uses only one of them."""
    if not len(cohort.edges):
        return
    keep = np.searchsorted(merged.candidates, cohort.edges)
    edge = np.concatenate([np.full(len(merged.needed[i]) + 1, j) for j, i in enumerate(keep.tolist())])
    column = np.concatenate([np.r_[i, len(merged.candidates) + merged.needed[i]] for i in keep.tolist()])
    tails, heads = problem.candidates.base[cohort.edges], problem.candidates.target[cohort.edges]
    if position is None:
        group = np.arange(len(edge))
    else:
        order = np.lexsort((position[heads[edge]], column))
        edge, column = edge[order], column[order]
        group = _stab(column, position[tails[edge]], position[heads[edge]])
    # Which columns of flow belong to an edge: one per layer.
    by_edge = np.argsort(of_edge, kind="stable")
    bounds = np.searchsorted(of_edge[by_edge], np.arange(len(cohort.edges) + 1))
    counts = np.diff(bounds)[edge]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    flow = by_edge[np.repeat(bounds[edge], counts) + within]
    row = rows.add(int(group[-1]) + 1, -inf, 0.0)
    rows.put(row + np.repeat(group, counts), first + flow, 1.0)
    is_first = np.r_[True, group[1:] != group[:-1]]
    rows.put(row + group[is_first], column[is_first], -1.0)


def _stab(column: IntArray, tail: IntArray, head: IntArray) -> IntArray:
    """Number the rows that entries, sorted by (column, head), belong to.

    Candidates over a common stretch of positions exclude each other on a route; each row's have one in common: the
    last step before the least head among them.
    """
    group, number, least, last = np.empty(len(column), dtype=np.int64), -1, 0, -1
    for index, (key, begin, end) in enumerate(zip(column.tolist(), tail.tolist(), head.tolist(), strict=True)):
        if key != last or begin >= least:
            number, least, last = number + 1, end, key
        group[index] = number
    return group


def _write_limits(rows: Rows, problem: Problem, merged: _Merged) -> tuple[dict[str, int], dict[str, float]]:
    """Limit rows by name, scaled so that the limit is 1 (or 0)."""
    limit_rows, limit_scale = {}, {}
    for name, amounts in zip(("stored_bytes", "server_cpu_s"), merged.uses, strict=True):
        allowed = getattr(problem.limits, name)
        if allowed is not None:
            limit_scale[name] = scale = allowed if allowed > 0 else 1.0
            limit_rows[name] = rows.add(1, -inf, allowed / scale)
            rows.put(np.full(len(amounts), limit_rows[name]), np.arange(len(amounts)), amounts / scale)
    return limit_rows, limit_scale


def reduce_by_shares(
    problem: Problem, ascent: PartAscent, slack: float, most_columns: int, is_time_up: Callable[[], bool]
) -> Core | None:
    """The cohorts' edges that a plan at most `slack` dearer than the bound may use, as `core.reduce_by_bound`.

    Or those of as much of the slack as leaves at most `most_columns` flow columns; None: time is up.
    """
    net = ascent.net
    weight = np.minimum(np.maximum(net.cohorts.max_hops, 1), LONGEST_LAYERED_HOPS)
    found = []
    for k in range(len(net.cohorts.base)):
        if is_time_up():
            return None
        excess = ascent.excess(k)
        near = np.flatnonzero(excess <= slack)
        found.append((near, excess[near]))
    if sum(len(near) * int(times) for (near, _), times in zip(found, weight.tolist(), strict=True)) > most_columns:
        slack = slack_for(found, weight, most_columns)
    rows_of = demands_of(net)
    chosen = [near[more <= slack] for near, more in found]
    return Core(
        cohorts=tuple(cohort_over(problem, net, k, rows_of[k], edges) for k, edges in enumerate(chosen)), slack=slack
    )
