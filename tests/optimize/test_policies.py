"""What peers would do, checked by hand on one line of releases."""

from __future__ import annotations

import numpy as np
import pytest

from planner.optimize.policies import POLICIES, all_to_head, consecutive, follow_policy, last_n
from planner.optimize.problem import Problem
from planner.optimize.solve import solve
from tests.optimize.tiny import random_problem, two_step


def _line(**changes: object) -> Problem:
    """Empty, v1, v2, v3, v4: candidates 0-3 to v4 from each, 4-6 consecutive, 7 a larger v3 -> v4, 8 a downgrade."""
    graph: dict[str, object] = {
        "commits": ["", "v1", "v2", "v3", "v4"],
        "candidates": {
            "base": [0, 1, 2, 3, 0, 1, 2, 3, 4],
            "target": [4, 4, 4, 4, 1, 2, 3, 4, 3],
            "wire_bytes": [90, 30, 20, 10, 70, 10, 10, 11, 10],
        },
        "demands": {"base": [0, 1, 3], "target": [4, 4, 4], "clients": [1, 2, 3], "full_pull_bytes": [100, 100, 100]},
    }
    return two_step(**{**graph, **changes})


def _chosen(is_chosen: np.ndarray) -> list[int]:
    return np.flatnonzero(is_chosen).tolist()


def test_all_to_head_is_the_smallest_delta_of_every_asking_base() -> None:
    """From empty, v1 and v3; not v2, which nobody is on; not the larger delta from v3."""
    assert _chosen(all_to_head(_line())) == [0, 1, 3]


def test_last_n_is_from_the_newest_older_releases() -> None:
    """Into v4 only, newest bases first, never from empty and never a downgrade."""
    assert _chosen(last_n(_line())) == [1, 2, 3]
    assert _chosen(last_n(_line(), 2)) == [2, 3]


def test_consecutive_is_one_chain() -> None:
    """Each release from the one before it that has a delta: v1 -> v2 -> v3 -> v4."""
    assert _chosen(consecutive(_line())) == [3, 5, 6]


def test_clients_follow_the_policys_deltas_as_far_as_they_may() -> None:
    """On the chain, v1's clients take three hops; a stock client cannot, and pulls in full."""
    assert follow_policy(_line(), consecutive).selection.routes == (None, (5, 6, 3), (3,))
    demands = {"base": [1], "target": [4], "clients": [2], "full_pull_bytes": [100], "max_hops": [1]}
    assert follow_policy(_line(demands=demands), consecutive).selection.routes == (None,)


def test_policy_keeps_what_nobody_uses() -> None:
    """The chain is built for v3's clients too: all of it is stored, though they use its last delta only."""
    problem = _line(demands={"base": [3], "target": [4], "clients": [1], "full_pull_bytes": [100]})
    judged = follow_policy(problem, consecutive)
    assert judged.selection.build == (3, 5, 6)
    assert judged.stored_bytes == 30


def test_policy_may_break_a_limit_and_says_so() -> None:
    """Policies do not know about limits; the judge does."""
    judged = follow_policy(_line(limits={"stored_bytes": 25}), consecutive)
    assert judged.violations == ("limits.stored_bytes: exceeded: needed=30.0, allowed=25.0",)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(30))
def test_no_policy_beats_the_optimum(name: str, seed: int) -> None:
    """A feasible policy's plan costs at least the proven bound."""
    problem = random_problem(seed, commits=5, candidates=12)
    judged = follow_policy(problem, POLICIES[name])
    if judged.is_feasible:
        assert judged.cost.total >= solve(problem).lower_bound
    else:
        assert judged.violations
