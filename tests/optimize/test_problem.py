"""The problem's derived arrays, variants and drawing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from planner.optimize.limits import allowance_money, price_use
from planner.optimize.problem import Limits, Prices
from tests.optimize.tiny import random_problem, two_step


def test_money_of_a_candidate_is_storage_and_server_cpu_unless_built() -> None:
    """2 money per B and 3 per core-second; a built candidate pays its storage only."""
    problem = two_step(
        candidates={
            "base": [0, 0],
            "target": [1, 1],
            "wire_bytes": [10, 10],
            "stored_bytes": [4, 4],
            "server_cpu_s": [5, 5],
            "client_cpu_s": [6, 6],
            "built": [False, True],
        },
        prices={
            "storage_per_gb": 2e9,
            "server_cpu_per_hour": 3 * 3600,
            "egress_per_gb": 1e9,
            "client_cpu_per_hour": 7 * 3600,
            "per_hop": 0.5,
        },
    )
    assert problem.candidate_money.tolist() == pytest.approx([4 * 2 + 5 * 3, 4 * 2])
    assert problem.hop_money.tolist() == pytest.approx([10 + 6 * 7 + 0.5] * 2)


def test_full_pull_money_is_infinite_where_no_full_pull_is_allowed() -> None:
    """Allowed, not given, larger than the byte limit, exactly the byte limit."""
    problem = two_step(
        demands={
            "base": [0] * 4,
            "target": [2] * 4,
            "clients": [1] * 4,
            "full_pull_bytes": [50, None, 50, 50],
            "max_wire_bytes": [None, None, 49, 50],
        }
    )
    assert problem.full_pull_money.tolist() == [50, np.inf, np.inf, 50]


def test_parts_of_a_candidate_are_ascending_and_without_repeats() -> None:
    """Pairs may come in any order and twice."""
    parts = {"stored_bytes": [1, 1, 1], "candidate": [2, 0, 2, 2], "part": [2, 1, 0, 2]}
    problem = two_step(parts=parts)
    assert [problem.parts_of[candidate] for candidate in range(3)] == [(1,), (), (0, 2)]
    assert [problem.parts_needed_by(np.array(some)).tolist() for some in ([0], [1], [0, 2])] == [[1], [], [0, 1, 2]]


@pytest.mark.parametrize("seed", range(30))
def test_parts_that_candidates_need_together_are_the_union_of_what_each_needs(seed: int) -> None:
    """Whatever the pairs' order and repeats, for any subset of the candidates."""
    problem = random_problem(seed)
    some = np.flatnonzero(np.random.default_rng(seed).random(len(problem.candidates)) < 0.5)
    each = [problem.parts_of[candidate] for candidate in some.tolist()]
    assert problem.parts_needed_by(some).tolist() == sorted(set().union(*each))
    pairs = set(zip(problem.parts.candidate.tolist(), problem.parts.part.tolist(), strict=True))
    for candidate in range(len(problem.candidates)):
        needed = sorted(part for needing, part in pairs if needing == candidate)
        assert problem.parts_of[candidate] == tuple(needed)


def test_replace_changes_only_what_it_names_and_forgets_derived_money() -> None:
    """A what-if keeps the graph and prices it anew; the problem it came from stays as it was."""
    problem = two_step()
    before = problem.hop_money.tolist()
    dear = problem.replace(prices=Prices(egress_per_gb=2e9), limits=Limits(stored_bytes=7.0))
    assert dear.candidates is problem.candidates
    assert dear.hop_money.tolist() == [2 * money for money in before]
    assert (problem.hop_money.tolist(), problem.limits) == (before, Limits())


def test_priced_limits_cost_so_much_when_they_are_used_up() -> None:
    """40 money for a whole limit: 10 B of 20 B cost 20 more; what has no limit stays free; all of it costs 40."""
    problem = two_step(limits={"stored_bytes": 20})
    prices, allowed = (40.0 / 20, 0.0), np.array([20.0, np.inf])
    priced = price_use(problem, prices)
    assert allowance_money(prices, allowed) == 40.0
    assert (priced.candidate_money - problem.candidate_money).tolist() == pytest.approx([20.0, 8.0, 8.0])
    assert (allowance_money((0.0, 0.0), allowed), allowance_money((0.0, 0.0), np.full(2, np.inf))) == (0.0, 0.0)


def test_arrays_are_read_only() -> None:
    """What is derived once cannot be undermined by writing to a row."""
    problem = two_step()
    with pytest.raises(ValueError, match="read-only"):
        problem.candidates.wire_bytes[0] = 1.0


@pytest.mark.parametrize("name", ["networkx", "scipy", "numba"])
def test_solving_does_not_load_what_few_need(name: str) -> None:
    """Each takes tenths of a second: drawing needs the first, cycles the second, large graphs the third."""
    script = f"import sys, planner.graphs; sys.exit({name!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
