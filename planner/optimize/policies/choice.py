"""What a policy answers, and how its answer is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from planner.optimize.evaluate import Evaluation, Selection, evaluate
from planner.optimize.problem import NO_HOP_LIMIT, BoolArray, Demands, IntArray, Problem
from planner.optimize.routes import choose_routes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The candidates that a policy keeps, and what its clients make of them.

    `is_open` has shape (candidates,). A client follows at most `max_hops` hops, on top of its own limit, and where
    `never_above_full_pull` no route that downloads more than its full pull.
    """

    is_open: BoolArray
    max_hops: int = NO_HOP_LIMIT
    never_above_full_pull: bool = False


Policy = Callable[[Problem], Choice]


def follow_policy(problem: Problem, policy: Policy) -> Evaluation:
    """The policy's selection, judged; it may break limits that it does not know about.

    Everything the policy keeps is paid for, used or not. Clients take their cheapest route that the policy allows;
    one that is left without any gets None, and the judge reports it where a full pull is not allowed.
    """
    choice = policy(problem)
    followed = problem.replace(demands=_restrict(problem.demands, choice))
    routes = choose_routes(followed, choice.is_open)
    return evaluate(problem, Selection(build=tuple(np.flatnonzero(choice.is_open).tolist()), routes=routes))


def _restrict(demands: Demands, choice: Choice) -> Demands:
    """The demands with the policy's rules for clients on top of their own."""
    max_wire_bytes = demands.max_wire_bytes
    if choice.never_above_full_pull:
        max_wire_bytes = np.minimum(max_wire_bytes, demands.full_pull_bytes)
    return dataclasses.replace(
        demands, max_hops=np.minimum(demands.max_hops, choice.max_hops), max_wire_bytes=max_wire_bytes
    )


def keep(problem: Problem, *candidates: npt.ArrayLike) -> BoolArray:
    """Marks the given candidates; shape (candidates,)."""
    is_open = np.zeros(len(problem.candidates), dtype=bool)
    for some in candidates:
        is_open[np.asarray(some, dtype=np.int64)] = True
    return is_open


def is_empty_commit(problem: Problem) -> BoolArray:
    """Which commit is the empty one; shape (commits,)."""
    return np.array([not name for name in problem.commits], dtype=bool)


def pair_keys(problem: Problem, base: IntArray, target: IntArray) -> IntArray:
    """One number per pair of commits, the same for the same pair."""
    return base * len(problem.commits) + target


def one_per_pair(problem: Problem, is_asked: BoolArray, *, prefer_built: bool = False) -> IntArray:
    """Of the marked candidates the smallest on the wire for each base and target (lowest index on ties).

    By target, then base, ascending. With `prefer_built`, one that is built already goes before any that is not.
    """
    rows = problem.candidates
    index = np.flatnonzero(is_asked)
    is_missing = ~rows.built[index] & prefer_built
    index = index[np.lexsort((rows.wire_bytes[index], is_missing, rows.base[index], rows.target[index]))]
    keys = pair_keys(problem, rows.base[index], rows.target[index])
    return index[np.r_[True, keys[1:] != keys[:-1]]] if len(index) else index


def streams(problem: Problem) -> IntArray:
    """The lowest commit that each commit is connected to by candidates, those from empty aside; shape (commits,).

    Releases of different products have no deltas between them, so each stream is one line of releases.
    """
    rows = problem.candidates
    has_base = ~is_empty_commit(problem)[rows.base] & ~is_empty_commit(problem)[rows.target]
    base, target = rows.base[has_base], rows.target[has_base]
    lowest = np.arange(len(problem.commits))
    while len(base) and (lowest[base] != lowest[target]).any():
        least = np.minimum(lowest[base], lowest[target])
        np.minimum.at(lowest, lowest[base], least)
        np.minimum.at(lowest, lowest[target], least)
        lowest = lowest[lowest]
    return lowest
