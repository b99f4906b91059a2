"""What is worth handing to the exact solver: per cohort, the edges that a plan cheaper than the best known may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.compiled import kernels
from planner.optimize import ascent_kernels
from planner.optimize.ascent import Ascent
from planner.optimize.formulation import LONGEST_LAYERED_HOPS
from planner.optimize.net import Net
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem
from planner.optimize.reduce import Cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """Cohorts over the edges on ways at most `slack` dearer than their part of the bound.

    Any plan that uses other edges costs at least the bound plus `slack`.
    """

    cohorts: tuple[Cohort, ...]
    slack: float


def reduce_by_bound(
    problem: Problem, ascent: Ascent, slack: float, most_columns: int, is_time_up: Callable[[], bool]
) -> Core | None:
    """The core for a slack, or for as much of it as leaves at most `most_columns` flow columns; None: time is up."""
    net, weight = ascent.net, flow_columns_per_edge(ascent.net)
    run = kernels(ascent_kernels, int(ascent.work.sum()))
    excess = np.full(len(net.candidate), np.inf)
    found: list[tuple[IntArray, FloatArray]] = []
    columns = 0
    for k in range(len(net.cohorts.base)):
        if is_time_up():
            return None
        run.find_excess(net.edges, net.cohorts, k, ascent.left, ascent.potentials, ascent.offset, excess)
        start = net.edges.start
        first, last = int(start[net.cohorts.low[k]]), int(start[net.cohorts.high[k] + 1])
        near = np.flatnonzero(excess[first:last] <= slack)
        found.append((first + near, excess[first:last][near]))
        columns += len(near) * int(weight[k])
        if columns > 4 * most_columns:
            slack = _slack_for(found, weight, most_columns)
            found = [(edges[more <= slack], more[more <= slack]) for edges, more in found]
            columns = _count(found, weight)
    return core_of(problem, net, found, slack, most_columns)


def flow_columns_per_edge(net: Net) -> IntArray:
    """About how many flow columns each edge of a cohort becomes; shape (cohorts,)."""
    return np.minimum(np.maximum(net.cohorts.max_hops, 1), LONGEST_LAYERED_HOPS)


def core_of(
    problem: Problem, net: Net, found: list[tuple[IntArray, FloatArray]], slack: float, most_columns: int
) -> Core:
    """The core of each cohort's edges with their excess, for as much of the slack as leaves so many columns."""
    weight = flow_columns_per_edge(net)
    if _count(found, weight) > most_columns:
        slack = _slack_for(found, weight, most_columns)
    rows_of = _demands_of(net)
    chosen = [edges[more <= slack] for edges, more in found]
    cohorts = tuple(_cohort_over(problem, net, k, rows_of[k], edges) for k, edges in enumerate(chosen))
    return Core(cohorts=cohorts, slack=slack)


def _count(found: list[tuple[IntArray, FloatArray]], weight: IntArray) -> int:
    """Flow columns of the cohorts found so far."""
    return sum(len(edges) * int(times) for (edges, _), times in zip(found, weight.tolist(), strict=False))


def _slack_for(found: list[tuple[IntArray, FloatArray]], weight: IntArray, most_columns: int) -> float:
    """The most slack that leaves at most so many columns."""
    more = np.concatenate([excess for _, excess in found])
    weights = np.repeat(weight[: len(found)], [len(edges) for edges, _ in found])
    order = np.argsort(more, kind="stable")
    kept = int(np.searchsorted(np.cumsum(weights[order]), most_columns, side="right"))
    return float(more[order[max(kept - 1, 0)]])


def _demands_of(net: Net) -> list[tuple[int, ...]]:
    """Each cohort's demands, ascending."""
    rows: list[list[int]] = [[] for _ in net.cohorts.base]
    for demand, cohort in enumerate(net.cohort_of.tolist()):
        if cohort >= 0:
            rows[cohort].append(demand)
    return [tuple(row) for row in rows]


def _cohort_over(problem: Problem, net: Net, k: int, demands: tuple[int, ...], chosen: IntArray) -> Cohort:
    """A cohort in the problem's own terms, over the chosen edges that some way within its hop limit takes."""
    rows, first = problem.candidates, demands[0]
    base, target = int(problem.demands.base[first]), int(problem.demands.target[first])
    edges = np.sort(net.candidate[chosen])
    edges = edges[(rows.target[edges] != base) & (rows.base[edges] != target)]
    max_hops = min(int(problem.demands.max_hops[first]), max(len(problem.commits) - 1, 0))
    first_hop = last_hop = edges
    if len(edges):
        # Numbers of this cohort's own commits: among 1,000 streams it sees few of all.
        commits, places = np.unique(np.r_[base, target, rows.base[edges], rows.target[edges]], return_inverse=True)
        tails, heads = places[2 : 2 + len(edges)], places[2 + len(edges) :]
        ahead = count_hops(len(commits), int(places[0]), tails, heads, max_hops)
        behind = count_hops(len(commits), int(places[1]), heads, tails, max_hops)
        is_usable: BoolArray = ahead[tails] + 1 + behind[heads] <= max_hops
        edges, first_hop = edges[is_usable], ahead[tails[is_usable]] + 1
        last_hop = np.where(rows.base[edges] == base, 1, max_hops - behind[heads[is_usable]])
    return Cohort(
        demands=demands,
        base=base,
        target=target,
        clients=float(net.cohorts.clients[k]),
        full_pull_money=float(problem.full_pull_money[first]),
        max_hops=max_hops,
        max_wire_bytes=float(problem.demands.max_wire_bytes[first]),
        edges=edges,
        first_hop=first_hop,
        last_hop=last_hop,
    )


def count_hops(commits: int, origin: int, tails: IntArray, heads: IntArray, most: int) -> IntArray:
    """Fewest hops from `origin` to every commit over some edges; more than `most` where there is no way."""
    hops = np.full(commits, most + 1, dtype=np.int64)
    hops[origin] = 0
    for count in range(1, most + 1):
        reached = heads[(hops[tails] == count - 1)]
        reached = reached[hops[reached] > count]
        if not len(reached):
            break
        hops[reached] = count
    return hops
