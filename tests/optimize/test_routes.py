"""Cheapest routes against brute force and networkx, on dense graphs whose routes nearly tie."""

from __future__ import annotations

import dataclasses
from math import fsum, inf

import networkx as nx
import numpy as np
import pytest

from planner.optimize.problem import NO_HOP_LIMIT, Problem
from planner.optimize.routes import cheapest_within_bytes, choose_routes, route_table, select
from tests.optimize.tiny import random_problem, simple_routes, two_step

DENSE = {"commits": 6, "candidates": 22, "demands": 8}


def _open(problem: Problem, seed: int) -> np.ndarray:
    """Most candidates, at random."""
    return np.random.default_rng(seed).random(len(problem.candidates)) < 0.8


def _permitted(problem: Problem, demand: int, is_open: np.ndarray) -> list[tuple[float, int, tuple[int, ...]]]:
    """Every simple route within the demand's limits, as (money of one client, hops, route)."""
    demands = problem.demands
    found = []
    for route in simple_routes(problem, demand, tuple(np.flatnonzero(is_open).tolist())):
        if route is None or len(route) > demands.max_hops[demand]:
            continue
        if fsum(problem.candidates.wire_bytes[list(route)].tolist()) <= demands.max_wire_bytes[demand]:
            found.append((fsum(problem.hop_money[list(route)].tolist()), len(route), route))
    return sorted(found)


@pytest.mark.parametrize("seed", range(60))
def test_chosen_route_is_the_cheapest_of_all_within_its_limits(seed: int) -> None:
    """Brute force over simple routes: the same money, the fewest hops among equals; else a full pull."""
    problem = random_problem(seed, **DENSE)
    is_open = _open(problem, seed)
    for demand, route in enumerate(choose_routes(problem, is_open)):
        permitted = _permitted(problem, demand, is_open)
        full_pull_money = problem.full_pull_money[demand]
        if not permitted or permitted[0][0] > full_pull_money:
            assert route is None
        else:
            assert route is not None
            assert (fsum(problem.hop_money[list(route)].tolist()), len(route)) == permitted[0][:2]
            assert route in [one[2] for one in permitted]


@pytest.mark.parametrize("seed", range(30))
def test_byte_limited_search_agrees_with_brute_force_on_fractional_bytes(seed: int) -> None:
    """Sizes in tenths and limits that a sum of them just meets: no route is lost to rounding."""
    problem = random_problem(seed, **DENSE)
    rng = np.random.default_rng(seed)
    rows = dataclasses.replace(problem.candidates, wire_bytes=rng.integers(1, 5, 22) / 10)
    limits = dataclasses.replace(
        problem.demands, max_wire_bytes=rng.integers(3, 9, 8) / 10, full_pull_bytes=np.full(8, inf)
    )
    problem = problem.replace(candidates=rows, demands=limits)
    is_open = np.ones(22, dtype=bool)
    for demand in range(8):
        permitted = _permitted(problem, demand, is_open)
        route = cheapest_within_bytes(problem, demand, is_open)
        if not permitted:
            assert route is None
        else:
            assert route in [one[2] for one in permitted]
            assert fsum(problem.hop_money[list(route or ())].tolist()) == pytest.approx(permitted[0][0])


@pytest.mark.parametrize("seed", range(30))
def test_table_without_hop_limit_agrees_with_dijkstra(seed: int) -> None:
    """The shortest distances that networkx finds to the target, from every commit."""
    problem = random_problem(seed, commits=12, candidates=60)
    is_open = _open(problem, seed)
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(12))
    for index in np.flatnonzero(is_open).tolist():
        ends = int(problem.candidates.target[index]), int(problem.candidates.base[index])
        graph.add_edge(*ends, money=float(problem.hop_money[index]))
    expected = nx.single_source_dijkstra_path_length(graph, 3, weight="money")
    money = route_table(problem, 3, NO_HOP_LIMIT, is_open, problem.hop_money).money[-1]
    assert money.tolist() == pytest.approx([expected.get(commit, inf) for commit in range(12)])


@pytest.mark.parametrize("seed", range(30))
def test_layer_of_the_table_is_the_least_money_within_so_many_hops(seed: int) -> None:
    """Brute force within h hops, for every h and every commit; more hops never cost more."""
    problem = random_problem(seed, **DENSE)
    is_open = np.ones(22, dtype=bool)
    table = route_table(problem, 2, 3, is_open, problem.hop_money)
    for base in range(6):
        asked = problem.replace(demands=_demand(problem, base, 2))
        for hops in range(4):
            routes = [route for route in simple_routes(asked, 0, tuple(range(22))) if route is not None]
            money = [fsum(problem.hop_money[list(route)].tolist()) for route in routes if len(route) <= hops]
            layer = min(hops, len(table.money) - 1)
            assert table.money[layer, base] == pytest.approx(min(money, default=inf))
    assert (np.diff(np.where(np.isinf(table.money), 1e9, table.money), axis=0) <= 0).all()


def _demand(problem: Problem, base: int, target: int) -> object:
    rows = {name: getattr(problem.demands, name)[:1] for name in problem.demands.__slots__}
    ends = {"base": np.array([base]), "target": np.array([target])}
    return dataclasses.replace(type(problem.demands)(**rows), **ends)


def test_ties_go_to_fewer_hops_then_to_the_lowest_index() -> None:
    """8 B directly, twice, or 4 + 4 B over two hops, twice: the first direct delta."""
    candidates = {"base": [0, 1, 0, 1, 0, 0], "target": [1, 2, 1, 2, 2, 2], "wire_bytes": [4, 4, 4, 4, 8, 8]}
    problem = two_step(candidates=candidates)
    is_open = np.ones(6, dtype=bool)
    assert choose_routes(problem, is_open) == ((4,),)
    is_open[4:] = False
    assert choose_routes(problem, is_open) == ((0, 1),)


def test_tie_with_the_full_pull_goes_to_the_route() -> None:
    """50 B either way: the delta that is open anyway is used."""
    problem = two_step(candidates={"base": [0], "target": [2], "wire_bytes": [50]})
    assert choose_routes(problem, np.array([True])) == ((0,),)


def test_cheap_way_with_many_hops_does_not_hide_a_dearer_one_with_few() -> None:
    """To B in two hops (1 s) or one (2 s); from B only the two hops over D are small enough: three in all."""
    candidates = {
        "base": [0, 1, 0, 2, 4, 2],
        "target": [1, 2, 2, 4, 3, 3],
        "wire_bytes": [1, 1, 2, 1, 1, 9],
        "client_cpu_s": [0.5, 0.5, 2, 1, 1, 0],
    }
    demands = {"base": [0], "target": [3], "clients": [1], "max_hops": [3], "max_wire_bytes": [5]}
    problem = two_step(
        commits=["A", "X", "B", "C", "D"],
        candidates=candidates,
        demands=demands,
        prices={"client_cpu_per_hour": 3600},
    )
    assert cheapest_within_bytes(problem, 0, np.ones(6, dtype=bool)) == (2, 3, 4)


def test_client_that_is_there_already_takes_no_hop() -> None:
    """Base = target: the empty route, whatever the limits, and never a way round."""
    demands = {"base": [1], "target": [1], "clients": [5], "max_hops": [0], "max_wire_bytes": [0]}
    assert choose_routes(two_step(demands=demands), np.ones(3, dtype=bool)) == ((),)


def test_free_cycle_does_not_trap_a_route() -> None:
    """Deltas of 0 B to and fro (downgrades): the route still ends, in as few hops as it can."""
    candidates = {"base": [0, 1, 1], "target": [1, 0, 2], "wire_bytes": [0, 0, 0]}
    assert choose_routes(two_step(candidates=candidates), np.ones(3, dtype=bool)) == ((0, 2),)


@pytest.mark.parametrize("seed", range(20))
def test_selection_keeps_only_what_its_routes_use(seed: int) -> None:
    """Nothing is built for nobody."""
    problem = random_problem(seed, **DENSE)
    selection = select(problem, _open(problem, seed))
    assert selection.build == tuple(sorted({hop for route in selection.routes for hop in route or ()}))
