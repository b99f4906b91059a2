"""What every plan that costs less than a known one has to keep at the root, and what it cannot use.

A storage limit that a few large versions nearly fill leaves little choice. Commits that reach the root only over one
another need a candidate from among them to the root, so the smallest of these is a must; what exceeds the rest of the
limit is not to be had. With what must be kept taken off both sides, the price of a byte is one of the rest only.

Source: probing and coefficient tightening as in Savelsbergh 1994, sections 2 and 3; the cuts of commits are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.optimize.net import Net
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem
from planner.optimize.rooted_prices import LimitedUse

_ROUNDING = 1e-9
"""Fraction of a limit or a cost that sums may err by: what is closer to either is kept."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Must:
    """Edges (indices) of which each plan keeps one at least; `least_bytes` is the smallest of them."""

    edges: IntArray
    least_bytes: float


def reduce_to_cheaper(problem: Problem, net: Net, upper_money: float) -> tuple[Net, LimitedUse] | None:
    """The net and limits of all plans that cost less than `upper_money`; None where they are those of all plans.

    Dropped are edges whose hop alone costs as much, and those that exceed what is left of the storage limit when all
    that must be kept is. Where of some edges exactly one is kept, its bytes beyond the smallest one's count against
    what is left, and one more row of the limits says that there is one (`LimitedUse.use`).
    """
    if upper_money <= 0.0:
        return None
    least_clients = float(net.cohorts.clients.min(initial=np.inf))
    kept = net.only(least_clients * net.edges.hop_money < upper_money * (1 + _ROUNDING))
    while True:
        limited = LimitedUse(problem, kept)
        if not limited.is_limited[0]:
            return None
        musts = _find_musts(kept, limited.use[0], upper_money)
        rest = limited.most[0] - sum(must.least_bytes for must in musts)
        fits = _extra_bytes(limited.use[0], musts) <= rest + _ROUNDING * limited.most[0]
        if fits.all():
            break
        kept = kept.only(fits)
    singles = [must for must in musts if _is_single(limited.use[0], must, rest + _ROUNDING * limited.most[0])]
    if len(kept.candidate) == len(net.candidate) and not singles:
        return None
    for must in singles:
        limited.require_one(must.edges, must.least_bytes)
    return kept, limited


def _find_musts(net: Net, stored_bytes: FloatArray, upper_money: float) -> list[Must]:
    """One per set of commits that reach one another, and nothing else but the root."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - takes 0.2 s, which most runs need not pay
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    edges, nodes, root = net.edges, len(net.edges.start) - 1, net.cohorts.target[0]
    inner = (edges.head != root) & (edges.tail != root)
    ends = edges.tail[inner], edges.head[inner]
    sets, of_node = connected_components(
        csr_array((np.ones(len(ends[0])), ends), shape=(nodes, nodes)), connection="strong"
    )
    is_must = np.zeros(sets, dtype=bool)
    is_must[of_node[net.cohorts.base[net.cohorts.cap >= upper_money]]] = True
    leaves = of_node[ends[0]] != of_node[ends[1]]
    is_must[of_node[ends[0][leaves]]] = False
    is_must[of_node[root]] = False
    to_root = np.flatnonzero(edges.head == root)
    found = [to_root[of_node[edges.tail[to_root]] == one] for one in np.flatnonzero(is_must).tolist()]
    return [Must(edges=one, least_bytes=float(stored_bytes[one].min())) for one in found if len(one)]


def _extra_bytes(stored_bytes: FloatArray, musts: list[Must]) -> FloatArray:
    """What a plan with an edge stores at least beyond all that must be kept; shape (edges,)."""
    extra = stored_bytes.copy()
    for must in musts:
        extra[must.edges] -= must.least_bytes
    return extra


def _is_single(stored_bytes: FloatArray, must: Must, rest_bytes: float) -> bool:
    """Whether no two of the edges fit: the second smallest exceeds all that is left."""
    second: BoolArray = np.sort(stored_bytes[must.edges])[1:2] > rest_bytes
    return bool(second.all())
