"""Local search: what it lays are routes, what it says they cost is what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.instances import many_streams, shared_parts
from planner.optimize import ascent
from planner.optimize.ascent import Ascent, nearest_first
from planner.optimize.evaluate import evaluate
from planner.optimize.net import lay_out
from planner.optimize.problem import Limits, Problem
from planner.optimize.search import Search
from tests.optimize.test_ascent import never
from tests.optimize.tiny import exhaustive, random_problem


def without_side_rules(problem: Problem) -> Problem:
    """The problem with full pulls for everybody, and without limits of the plan or of bytes."""
    rows = len(problem.demands)
    columns = {name: getattr(problem.demands, name) for name in problem.demands.__slots__}
    columns |= {"full_pull_bytes": np.full(rows, 30.0), "max_wire_bytes": np.full(rows, np.inf)}
    return problem.replace(limits=Limits(), demands=type(problem.demands)(**columns))


def searched(problem: Problem) -> Search:
    """A search after its descent, from the plain start."""
    net = lay_out(problem)
    search = Search(problem, net, problem.candidate_money[net.candidate], problem.part_money)
    search.lay(nearest_first(net), never)
    search.descend(never)
    return search


@pytest.mark.parametrize("seed", range(120))
def test_routes_are_feasible_and_cost_what_the_search_says(seed: int) -> None:
    """`evaluate` finds no fault and the same money, parts and mirrored graphs included."""
    problem = without_side_rules(random_problem(seed, commits=6, candidates=18, demands=7))
    search = searched(problem)
    judged = evaluate(problem, search.selection())
    assert judged.violations == ()
    assert search.money() == pytest.approx(judged.cost.total, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_search_comes_near_the_optimum_and_not_below(seed: int) -> None:
    """On tiny graphs a descent from one start is within half of the optimum's cost again."""
    problem = without_side_rules(random_problem(seed))
    oracle = exhaustive(problem)
    assert oracle is not None
    money = searched(problem).money()
    assert oracle.cost.total - 1e-9 <= money <= 1.5 * oracle.cost.total + 1e-9


@pytest.mark.parametrize("seed", range(30))
def test_one_common_base_is_searched_mirrored(seed: int) -> None:
    """All demands from one commit: the net turns round, and the routes come out in their own direction."""
    problem = without_side_rules(random_problem(seed, commits=6, candidates=18, demands=6))
    columns = {name: getattr(problem.demands, name) for name in problem.demands.__slots__}
    columns |= {"base": np.zeros(6, dtype=np.int64), "target": np.array([1, 2, 3, 4, 5, 5])}
    problem = problem.replace(demands=type(problem.demands)(**columns))
    search = searched(problem)
    assert search.net.is_mirrored or len(search.net.cohorts.base) <= 1
    assert evaluate(problem, search.selection()).violations == ()


@pytest.mark.parametrize("seed", range(30))
def test_beginning_from_given_routes_keeps_them_until_something_is_better(seed: int) -> None:
    """`follow` with the routes of a finished search costs the same, and descending from there changes nothing."""
    problem = without_side_rules(random_problem(seed, commits=6, candidates=18, demands=7))
    search = searched(problem)
    lengths = search.routes.length.tolist()
    given = [None if n < 0 else tuple(row[:n]) for row, n in zip(search.routes.route.tolist(), lengths, strict=True)]
    other = Search(problem, search.net, search.fixed_money, search.part_money)
    other.follow(given)
    assert other.money() == pytest.approx(search.money(), rel=1e-12)
    other.descend(never)
    assert other.money() == pytest.approx(search.money(), rel=1e-9)


def test_streams_in_two_threads_are_searched_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What streams do not share, threads cannot disturb: the same routes, shares and money to the last bit."""
    problem = many_streams(9, 7, fixed_multiplier=30)
    net, found = lay_out(problem), []
    for steps in (10**9, 10):
        monkeypatch.setattr(ascent, "STEPS_PER_CALL", steps)
        search, climbing = searched(problem), Ascent(net, problem.candidate_money[net.candidate])
        climbing.round(nearest_first(net), 1.0, 0.5, never)
        found.append((search, climbing))
    (one, alone), (two, split) = found
    assert len(one.halves) == 1
    assert len(two.halves) == 2
    assert all(is_mine.any() for is_mine in two.halves)
    assert two.selection() == one.selection()
    assert np.array_equal(two.fixed.users, one.fixed.users)
    assert np.array_equal(split.potentials, alone.potentials)
    assert np.array_equal(split.left, alone.left)


def test_halves_are_streams_apart_and_parts_join_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ascent, "STEPS_PER_CALL", 10)
    problem = many_streams(6, 5)
    net = lay_out(problem)
    first, second = ascent.halves(net, ascent.work_of(net))
    assert (first ^ second).all()
    assert net.cohorts.high[first].max() < net.cohorts.low[second].min()
    assert ascent.halves(net, np.zeros_like(ascent.work_of(net))) == []
    of_parts = shared_parts(5, 3)
    net = lay_out(of_parts)
    assert len(Search(of_parts, net, of_parts.candidate_money[net.candidate], of_parts.part_money).halves) == 1
