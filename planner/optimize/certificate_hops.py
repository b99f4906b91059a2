"""A problem's candidates as hops between places, as a certificate is verified on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hops:
    """Candidates between places (a commit's place in the certificate's order), by tail; arrays of shape (hops,).

    Those that leave place `v` are `start[v]:start[v + 1]`, those in `back` have their tail after their head; `pairs`
    are the parts that they need as (hop, part).
    """

    candidate: IntArray
    tail: IntArray
    head: IntArray
    start: IntArray
    back: IntArray
    hop_money: FloatArray
    pairs: tuple[IntArray, IntArray]


def hops_between(problem: Problem, place: IntArray) -> Hops:
    """The candidates that a route without repeated commits can use, and their parts as (hop, part) pairs."""
    rows, parts = problem.candidates, problem.parts
    used = np.flatnonzero(rows.base != rows.target)
    used = used[np.lexsort((place[rows.target[used]], place[rows.base[used]]))]
    tail, head = place[rows.base[used]], place[rows.target[used]]
    hop_of = np.full(len(rows), -1, dtype=np.int64)
    hop_of[used] = np.arange(len(used))
    count = max(len(parts), 1)
    pairs = np.unique(hop_of[parts.candidate] * count + parts.part)
    pairs = pairs[pairs >= 0]
    return Hops(
        candidate=used,
        tail=tail,
        head=head,
        start=np.searchsorted(tail, np.arange(len(place) + 1)),
        back=np.flatnonzero(tail > head),
        hop_money=problem.hop_money[used],
        pairs=(pairs // count, pairs % count),
    )


def most_uses(problem: Problem, hops: Hops, is_shared: BoolArray) -> IntArray:
    """For each part that cohorts pay shares of, the most hops that need it on one route, or something more."""
    asks = problem.demands.base != problem.demands.target
    most_hops = max(int(np.minimum(problem.demands.max_hops[asks], len(hops.start)).max(initial=1)), 1)
    most = np.ones(len(problem.parts), dtype=np.int64)
    order = np.argsort(hops.pairs[1], kind="stable")
    bounds = np.searchsorted(hops.pairs[1][order], np.arange(len(most) + 1))
    for part in np.flatnonzero(is_shared).tolist():
        needing = hops.pairs[0][order[bounds[part] : bounds[part + 1]]]
        tails, heads = hops.tail[needing], hops.head[needing]
        if len(hops.back):
            most[part] = min(len(np.unique(tails)), len(np.unique(heads)))
        elif len(needing) and tails.max() >= heads.min():
            most[part] = _most_on_a_way(hops, needing)
    return np.minimum(np.maximum(most, 1), most_hops)


def _most_on_a_way(hops: Hops, needing: IntArray) -> int:
    """The most of some hops on one way where no hop points back."""
    first, last = int(hops.tail[needing].min()), int(hops.head[needing].max())
    counts = np.zeros(last + 1, dtype=np.int64)
    is_needed = np.zeros(len(hops.tail), dtype=np.int64)
    is_needed[needing] = 1
    for v in range(last - 1, first - 1, -1):
        leaving = slice(int(hops.start[v]), int(hops.start[v + 1]))
        heads = hops.head[leaving]
        ahead = counts[heads[heads <= last]] + is_needed[leaving][heads <= last]
        counts[v] = ahead.max(initial=0)
    return int(counts.max())
