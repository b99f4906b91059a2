"""The demands of one commit as dataset versioning sees them: a root that retrieves every other commit.

There, versions are stored whole or as a delta from another one, and a version's retrieval is the path from the empty
commit. Here the clients of one base want many targets, or the clients of many bases one target; the second is the
first with every delta turned round. A full pull is a retrieval that stores nothing, but leads nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from planner.optimize.arborescence import reachable
from planner.optimize.problem import BoolArray, Demands, FloatArray, IntArray, Problem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rooted:
    """One root, the candidates that lead away from it, and who waits at the other commits.

    Edges (shape (edges,)) are in the order of their heads: `tail`, `head`, `candidate`, `scarce` (what there is too
    little of: stored bytes where they are limited, else money), `fixed_money` to keep and build, `hop_money` of one
    client. Commits (shape (commits,)): `clients`, `pull_money` of all of them (0 where nobody asks, infinite where
    some of them may not), `is_wanted`.
    """

    root: int
    tail: IntArray
    head: IntArray
    candidate: IntArray
    scarce: FloatArray
    fixed_money: FloatArray
    hop_money: FloatArray
    clients: FloatArray
    pull_money: FloatArray
    is_wanted: BoolArray

    @property
    def commits(self) -> int:
        """How many commits the problem has."""
        return len(self.clients)


def rooted_groups(problem: Problem, is_kept: BoolArray) -> Iterator[Rooted]:
    """One rooted graph per commit that demands start at, or end at where those are fewer.

    Candidates marked in `is_kept` at the time a group is asked for cost nothing more. Groups with more clients come
    first, then lower commits.
    """
    demands = problem.demands
    asks = np.flatnonzero(demands.base != demands.target)
    is_mirrored = len(np.unique(demands.target[asks])) < len(np.unique(demands.base[asks]))
    near, far = (demands.target, demands.base) if is_mirrored else (demands.base, demands.target)
    roots, which = np.unique(near[asks], return_inverse=True)
    clients = np.bincount(which.reshape(-1), weights=demands.clients[asks], minlength=len(roots))
    for group in np.argsort(-clients, kind="stable").tolist():
        own = asks[near[asks] == roots[group]]
        yield _root(problem, int(roots[group]), own, far, is_mirrored=is_mirrored, is_kept=is_kept)


def _root(
    problem: Problem, root: int, own: IntArray, far: IntArray, *, is_mirrored: bool, is_kept: BoolArray
) -> Rooted:
    rows, demands = problem.candidates, problem.demands
    tail, head = (rows.target, rows.base) if is_mirrored else (rows.base, rows.target)
    fixed_money = np.where(is_kept, 0.0, with_parts(problem, problem.candidate_money, problem.part_money))
    stored_bytes = np.where(is_kept, 0.0, with_parts(problem, rows.stored_bytes, problem.parts.stored_bytes))
    scarce = fixed_money if problem.limits.stored_bytes is None else stored_bytes
    leads = reachable(len(problem.commits), root, tail, head)[tail] & (tail != head) & (head != root)
    leads &= np.isfinite(scarce) & np.isfinite(fixed_money) & np.isfinite(problem.hop_money)
    edges = np.flatnonzero(leads)
    edges = edges[np.lexsort((problem.hop_money[edges], head[edges]))]
    waits = far[own]
    is_wanted = np.zeros(len(problem.commits), dtype=bool)
    is_wanted[waits] = True
    pull_money = np.zeros(len(problem.commits))
    np.add.at(pull_money, waits, _pull_money(problem, demands, own))
    return Rooted(
        root=root,
        tail=tail[edges],
        head=head[edges],
        candidate=edges,
        scarce=scarce[edges],
        fixed_money=fixed_money[edges],
        hop_money=problem.hop_money[edges],
        clients=np.bincount(waits, demands.clients[own], len(problem.commits)).astype(np.float64),
        pull_money=pull_money,
        is_wanted=is_wanted,
    )


def _pull_money(problem: Problem, demands: Demands, own: IntArray) -> FloatArray:
    """What the full pulls of all clients of each demand cost, infinite where they are not allowed."""
    each = problem.full_pull_money[own]
    return np.where(np.isfinite(each), demands.clients[own] * np.where(np.isfinite(each), each, 0.0), np.inf)


def with_parts(problem: Problem, own: FloatArray, of_part: FloatArray) -> FloatArray:
    """Each candidate's own amount with those of its parts: every delta counts them in full, shared or not."""
    if not len(problem.parts.part):
        return own
    pairs = np.unique(np.stack([problem.parts.candidate, problem.parts.part]), axis=1)
    return own + np.bincount(pairs[0], weights=of_part[pairs[1]], minlength=len(own))
