"""What peers do, by name, as plans of the same type on the same graph.

Each policy chooses candidates by its own rule and keeps them all, used or not; clients then take their
cheapest route over them. Commits are numbered oldest first, so 'newer' is a higher index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from planner.optimize.evaluate import Evaluation, Selection, evaluate
from planner.optimize.problem import BoolArray, IntArray, Problem
from planner.optimize.routes import choose_routes

Policy = Callable[[Problem], BoolArray]


def all_to_head(problem: Problem) -> BoolArray:
    """A direct delta from every base that clients are on to what they want.

    Source: NervesHub, `SELECT DISTINCT firmware` per deployment (`devices/deployments.ex`); Foundries
    `fioctl targets static-deltas --by-tag`.
    """
    wanted = {
        (base, target)
        for base, target in zip(problem.demands.base.tolist(), problem.demands.target.tolist(), strict=True)
        if base != target
    }
    return _chosen(problem, _smallest_per_pair(problem, wanted))


def last_n(problem: Problem, releases: int = 4) -> BoolArray:
    """Direct deltas to every wanted commit from the newest older commits that have one.

    Source: Firefox partial updates, 4 most recent releases (`shipit_api/admin/api.py`, `_suggest_partials`);
    flat-manager's depth per ref.
    """
    return _chosen(problem, [e for target in _targets(problem) for e in _newest_first(problem, target)[:releases]])


def consecutive(problem: Problem) -> BoolArray:
    """Each commit from the newest older commit, as one long chain; clients follow it as far as they may.

    Source: Squirrel and Velopack, which publish only consecutive deltas (`UpdateManager.cs`).
    """
    return _chosen(problem, [e for target in range(len(problem.commits)) for e in _newest_first(problem, target)[:1]])


POLICIES: Mapping[str, Policy] = {"all_to_head": all_to_head, "last_n": last_n, "consecutive": consecutive}


def follow_policy(problem: Problem, policy: Policy) -> Evaluation:
    """The policy's selection, judged; it may break limits that it does not know about."""
    is_open = policy(problem)
    routes = choose_routes(problem, is_open)
    return evaluate(problem, Selection(build=tuple(np.flatnonzero(is_open).tolist()), routes=routes))


def _chosen(problem: Problem, candidates: Iterable[int]) -> BoolArray:
    is_chosen = np.zeros(len(problem.candidates), dtype=bool)
    is_chosen[list(candidates)] = True
    return is_chosen


def _targets(problem: Problem) -> IntArray:
    return np.unique(problem.demands.target)


def _smallest_per_pair(problem: Problem, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each pair, its smallest candidate on the wire (lowest index on ties), where it has one."""
    rows = problem.candidates
    smallest: dict[tuple[int, int], int] = {}
    for e in np.argsort(rows.wire_bytes, kind="stable").tolist():
        smallest.setdefault((int(rows.base[e]), int(rows.target[e])), e)
    return [smallest[pair] for pair in sorted(set(pairs) & smallest.keys())]


def _newest_first(problem: Problem, target: int) -> list[int]:
    """Smallest candidates into `target` from older commits but the empty one, newest base first."""
    rows = problem.candidates
    into = np.flatnonzero((rows.target == target) & (rows.base < target))
    pairs = {(int(rows.base[e]), target) for e in into if problem.commits[int(rows.base[e])]}
    return _smallest_per_pair(problem, pairs)[::-1]
