"""The strong formulation for problems with shared parts: parts merged, and one row per cohort and part.

Drop-in for `formulation.formulate`. Parts that exactly the same remaining candidates need are one column; those of a
single candidate are in that candidate's money. A cohort's flow over all candidates that need a part, and of which a
route can use only one, is together at most the part's column: without these rows flow that spreads over several
candidates pays only a fraction of the part.

Source: the disaggregated rows of Balakrishnan, Magnanti and Wong 1989, section 1, lifted over the candidates of a part.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np

from planner.optimize.core import Core, core_of
from planner.optimize.formulation import (
    CohortColumns,
    Kept,
    Milp,
    Rows,
    candidates_of,
    write_milp,
)
from planner.optimize.net import lay_out
from planner.optimize.part_bound import PartAscent
from planner.optimize.problem import IntArray, Problem
from planner.optimize.reduce import Cohort


def formulate_with_parts(problem: Problem, cohorts: tuple[Cohort, ...]) -> Milp:
    """The formulation of a problem over its reduced cohorts; `parts` names one part of each merged one."""
    kept, needed = _merge(problem, candidates_of(cohorts))
    position = _forward_positions(problem)

    def link(rows: Rows, cohort: Cohort, columns: CohortColumns, of_edge: IntArray) -> None:
        _write_part_links(rows, problem, kept.candidates, needed, cohort, columns.first, of_edge, position)

    return write_milp(problem, cohorts, kept, link, lambda _: None)


def _merge(problem: Problem, candidates: IntArray) -> tuple[Kept, list[IntArray]]:
    """Candidates and their parts merged, each by one of them; and each candidate's merged parts.

    A part that one candidate alone needs is in that candidate's money and use.
    """
    used = problem.candidate_use(candidates)
    money = problem.candidate_money[candidates]
    needing: dict[int, list[int]] = {}
    for index, candidate in enumerate(candidates.tolist()):
        for part in problem.parts_of[candidate]:
            needing.setdefault(part, []).append(index)
    groups: dict[tuple[int, ...], list[int]] = {}
    for part in sorted(needing):
        groups.setdefault(tuple(needing[part]), []).append(part)
    needed: list[list[int]] = [[] for _ in candidates]
    merged: list[list[int]] = []
    for members, its_parts in groups.items():
        if len(members) == 1:
            money[members[0]] += problem.part_money[its_parts].sum()
            used[:, members[0]] += problem.part_use(its_parts).sum(axis=1)
            continue
        for index in members:
            needed[index].append(len(merged))
        merged.append(its_parts)
    kept = Kept(
        candidates=candidates,
        parts=np.array([its_parts[0] for its_parts in merged], dtype=np.int64),
        money=np.r_[money, [problem.part_money[its_parts].sum() for its_parts in merged]],
        uses=np.hstack([used, *(problem.part_use(its_parts).sum(axis=1, keepdims=True) for its_parts in merged)]),
    )
    return kept, [np.array(one, dtype=np.int64) for one in needed]


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
    candidates: IntArray,
    needed: list[IntArray],
    cohort: Cohort,
    first: int,
    of_edge: IntArray,
    position: IntArray | None,
) -> None:
    """A cohort's flow needs its candidates kept, and its parts: together where a route uses only one of them."""
    if not len(cohort.edges):
        return
    keep = np.searchsorted(candidates, cohort.edges)
    edge = np.concatenate([np.full(len(needed[i]) + 1, j) for j, i in enumerate(keep.tolist())])
    column = np.concatenate([np.r_[i, len(candidates) + needed[i]] for i in keep.tolist()])
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


def reduce_by_shares(
    problem: Problem, ascent: PartAscent, slack: float, most_columns: int, is_time_up: Callable[[], bool]
) -> Core | None:
    """The cohorts' edges that a plan at most `slack` dearer than the bound may use, as `core.reduce_by_bound`.

    Or those of as much of the slack as leaves at most `most_columns` flow columns; None: time is up.
    """
    net = ascent.net
    found = []
    for k in range(len(net.cohorts.base)):
        if is_time_up():
            return None
        excess = ascent.excess(k)
        near = np.flatnonzero(excess <= slack)
        found.append((near, excess[near]))
    return core_of(problem, net, found, slack, most_columns)
