"""A certificate proves what the ascent found, and nothing that is not true, whoever wrote it."""

from __future__ import annotations

import ast
import dataclasses
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import InputError
from planner.optimize import certificate as certificate_module
from planner.optimize import certificate_faults, certificate_hops, certificate_record
from planner.optimize.ascent import Ascent, nearest_first
from planner.optimize.certificate import verify_certificate
from planner.optimize.certificate_duals import certify
from planner.optimize.certificate_record import Certificate, CohortPotentials
from planner.optimize.duals import Duals
from planner.optimize.interchange import graph_from_dict
from planner.optimize.net import lay_out
from planner.optimize.problem import Problem
from planner.units import GB, S_PER_HOUR
from tests.optimize.tiny import _walk, exhaustive, random_graph, random_problem, two_step

SEEDS = range(30)


@cache
def optimum(problem_key: tuple[str, int]) -> float:
    """What the cheapest plan of a drawn problem costs, by trying them all."""
    found = exhaustive(drawn(problem_key))
    return inf if found is None else found.cost.total


def drawn(key: tuple[str, int]) -> Problem:
    """A tiny problem by kind and seed; every kind of the format's columns is in use."""
    kind, seed = key
    if kind == "plain":
        return random_problem(seed)
    graph: Any = random_graph(seed, commits=5, candidates=8, demands=4)
    rng = np.random.default_rng(seed)
    if kind == "acyclic":
        ends = np.sort(np.array([graph["candidates"]["base"], graph["candidates"]["target"]]), axis=0)
        graph["candidates"]["base"], graph["candidates"]["target"] = ends.tolist()
    bases, targets = graph["candidates"]["base"], graph["candidates"]["target"]
    walks = [_walk(rng, np.array(bases), np.array(targets)) for _ in range(60)]
    if kind == "mirrored":
        walks = [walk for walk in walks if walk[0] == walks[0][0]]
    graph["demands"]["base"], graph["demands"]["target"] = [
        [walks[i % len(walks)][end] for i in range(4)] for end in (0, 1)
    ]
    if kind in ("mirrored", "acyclic"):
        graph["demands"]["full_pull_bytes"] = [40, 35, 30, 50]
        graph["demands"]["max_wire_bytes"] = [None] * 4
        graph["demands"]["max_hops"] = [[None, 1, 2, 3][i] for i in rng.integers(0, 4, 4)]
    return graph_from_dict(graph)


KEYS = [(kind, seed) for kind in ("plain", "mirrored", "acyclic") for seed in SEEDS]
FEW_KEYS = [(kind, seed) for kind in ("plain", "mirrored", "acyclic") for seed in range(10)]


def climbed(problem: Problem, seed: int, *, with_parts: bool = True) -> tuple[Ascent, Duals, float]:
    """An ascent after some rounds at random prices of the limits, its duals, and the bound that it claims."""
    rng, limits = np.random.default_rng(seed), problem.limits
    per_byte = float(rng.choice([0.0, 0.3, 1.0])) if limits.stored_bytes is not None else 0.0
    per_s = float(rng.choice([0.0, 0.3, 1.0])) if limits.server_cpu_s is not None else 0.0
    prices = dataclasses.replace(
        problem.prices,
        storage_per_gb=problem.prices.storage_per_gb + per_byte * GB,
        server_cpu_per_hour=problem.prices.server_cpu_per_hour + per_s * S_PER_HOUR,
    )
    priced, net = problem.replace(prices=prices), lay_out(problem)
    money = priced.money_with_parts if with_parts else priced.candidate_money
    ascent = Ascent(net, money[net.candidate], seed=seed)
    for lean in (0.0, 0.5, 1.0)[: 1 + seed % 3]:
        ascent.round(nearest_first(net), float(rng.choice([0.3, 1.0])), lean, lambda: False)
    for _ in range(seed % 4):
        ascent.climb(lambda: False)
    duals = Duals(net=net, potentials=ascent.potentials, money_per_stored_byte=per_byte, money_per_cpu_s=per_s)
    allowance = per_byte * (limits.stored_bytes or 0.0) + per_s * (limits.server_cpu_s or 0.0)
    return ascent, duals, float(ascent.values().sum()) + net.forced_money - allowance


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("with_parts", [True, False])
def test_a_certificate_proves_what_the_ascent_found_and_no_more_than_the_optimum(
    key: tuple[str, int], with_parts: bool
) -> None:
    """Hop limits, cycles, parallel candidates, full pulls, parts, prices of limits, both directions of the net."""
    problem = drawn(key)
    _, duals, value = climbed(problem, key[1], with_parts=with_parts)
    certificate = certify(problem, duals)
    proven = verify_certificate(problem, certificate)
    assert value == inf or proven == pytest.approx(max(value, 0.0), rel=1e-8, abs=1e-7)
    assert certificate.bound == proven
    assert proven <= optimum(key)


def test_demands_without_a_route_pay_their_full_pull() -> None:
    """Against the direction of all candidates, in another stream, and where no hop is allowed."""
    graph = random_graph(0)
    graph.update(
        commits=["A", "B", "C", "D"],
        candidates={"base": [0, 1], "target": [1, 2], "wire_bytes": [1, 1]},
        parts={},
        demands={
            "base": [2, 0, 3, 0],
            "target": [0, 3, 2, 1],
            "clients": [1, 2, 3, 4],
            "full_pull_bytes": [9, 9, 9, 9],
            "max_hops": [None, None, 1, 0],
        },
        prices={"egress_per_gb": 1e9},
        limits={},
    )
    problem = graph_from_dict(graph)
    duals = climbed(problem, 1)[1]
    assert verify_certificate(problem, certify(problem, duals)) == pytest.approx(90.0, rel=2e-9)


def test_both_directions_are_drawn() -> None:
    """Otherwise the test above would not see mirrored nets with hop rows."""
    nets = [lay_out(drawn(key)) for key in KEYS]
    assert sum(net.is_mirrored and bool((net.cohorts.max_hops > 1).any()) for net in nets) > 8
    assert sum(not net.is_mirrored and bool((net.cohorts.max_hops > 1).any()) for net in nets) > 8
    assert sum(net.edges.is_acyclic for net in nets) > 8


def tampered(problem: Problem, certificate: Certificate, rng: np.random.Generator) -> Certificate:
    """One of many ways to lie."""
    cohorts = list(certificate.cohorts)
    k = int(rng.integers(len(cohorts))) if cohorts else -1
    way = int(rng.integers(10))
    if way == 0 or k < 0:
        return dataclasses.replace(certificate, bound=1e9, money_per_stored_byte=float(rng.choice([-1.0, 0.5, 1e9])))
    one = cohorts[k]
    if way == 1:
        return dataclasses.replace(certificate, order=rng.permutation(certificate.order))
    changes: list[dict[str, Any]] = [
        {"potentials": one.potentials * float(rng.choice([1.5, 10.0, 1e6]))},
        {"rest": one.rest * 2 + 1},
        {"potentials": one.potentials[-1:], "rest": one.rest + 1},
        {"potentials": one.potentials + rng.random(one.potentials.shape) * 10 - 1},
        {"first": int(rng.integers(0, len(certificate.order) + 1))},
        {"demands": np.r_[one.demands, rng.integers(0, len(problem.demands), 1)]},
        {"parts": np.arange(len(problem.parts)), "part_shares": rng.random(len(problem.parts)) * 9},
        {"commits": rng.permutation(len(certificate.order))[: len(one.commits)]},
    ]
    cohorts[k] = dataclasses.replace(one, **changes[way - 2])
    if rng.random() < 0.2:
        cohorts.append(one)
    return dataclasses.replace(certificate, cohorts=tuple(cohorts))


@pytest.mark.parametrize("key", KEYS)
def test_tampering_never_proves_more_than_the_optimum(key: tuple[str, int]) -> None:
    """Each lie is refused or repaired."""
    problem = drawn(key)
    honest = certify(problem, climbed(problem, key[1])[1])
    rng = np.random.default_rng(key[1])
    for _ in range(20):
        lie = honest
        for _ in range(int(rng.integers(1, 4))):
            lie = tampered(problem, lie, rng)
        assert proven_or_refused(problem, lie) <= optimum(key)


def proven_or_refused(problem: Problem, certificate: Certificate) -> float:
    """What a certificate proves; nothing where it is refused."""
    try:
        return verify_certificate(problem, certificate)
    except InputError:
        return 0.0


def garbage(problem: Problem, rng: np.random.Generator) -> Certificate:
    """A certificate of the right shape that nobody computed."""
    commits, demands = len(problem.commits), problem.demands
    asks = np.flatnonzero(demands.base != demands.target)
    cohorts = []
    for demand in asks[rng.random(len(asks)) < 0.8].tolist():
        longest = min(int(demands.max_hops[demand]), commits - 1)
        rows = 1 if longest == 0 or rng.random() < 0.5 else longest + 1
        listed = rng.permutation(commits)[: int(rng.integers(0, commits + 1))]
        parts = np.flatnonzero(rng.random(len(problem.parts)) < 0.4)
        scale = float(rng.choice([0.5, 5.0, 20.0]))
        cohorts.append(
            CohortPotentials(
                demands=np.array([demand]),
                first=0,
                rest=float(rng.random() * scale * 2),
                commits=listed,
                potentials=rng.random((rows, len(listed))) * scale,
                parts=parts,
                part_shares=rng.random(len(parts)) * 3,
            )
        )
    limits = problem.limits
    return Certificate(
        order=rng.permutation(commits),
        cohorts=tuple(cohorts),
        money_per_stored_byte=float(rng.random()) if limits.stored_bytes is not None and rng.random() < 0.3 else 0.0,
        money_per_cpu_s=float(rng.random()) if limits.server_cpu_s is not None and rng.random() < 0.3 else 0.0,
    )


@pytest.mark.parametrize("key", KEYS)
def test_garbage_never_proves_more_than_the_optimum(key: tuple[str, int]) -> None:
    """The bound is true for any numbers whatever."""
    problem, rng = drawn(key), np.random.default_rng(key[1])
    proven = [verify_certificate(problem, garbage(problem, rng)) for _ in range(30)]
    assert max(proven) <= optimum(key)


def test_some_garbage_proves_something() -> None:
    """Otherwise the property above would say nothing."""
    proven = [
        verify_certificate(drawn(key), garbage(drawn(key), np.random.default_rng(draw)))
        for key in FEW_KEYS
        for draw in range(10)
    ]
    assert np.mean(np.array(proven) > 0.0) > 0.2


def shared_part(**changes: object) -> Problem:
    """Both clients of A and of B want C; the two direct candidates share one part of 10 money."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["A", "B", "C"],
        "candidates": {"base": [0, 1], "target": [2, 2], "wire_bytes": [1, 1], "stored_bytes": [0, 0]},
        "parts": {"stored_bytes": [10], "candidate": [0, 1], "part": [0, 0]},
        "demands": {"base": [0, 1], "target": [2, 2], "clients": [1, 1], "full_pull_bytes": [99, 99]},
        "prices": {"egress_per_gb": 1e9, "storage_per_gb": 1e9},
    }
    return graph_from_dict({**graph, **changes})


def part_certificate(shares: tuple[float, float], money: tuple[float, float]) -> Certificate:
    cohorts = [
        CohortPotentials(
            demands=np.array([k]),
            first=0,
            rest=money[k],
            commits=np.array([2]),
            potentials=np.zeros((1, 1)),
            parts=np.array([0]),
            part_shares=np.array([shares[k]]),
        )
        for k in range(2)
    ]
    return Certificate(order=np.arange(3), cohorts=tuple(cohorts))


def test_cohorts_pay_a_part_together_once() -> None:
    """Shares of 6 and 4 beside a hop of 1 each prove the optimum, 12; more than 10 in all is scaled back."""
    problem = shared_part()
    assert verify_certificate(problem, part_certificate((6.0, 4.0), (7.0, 5.0))) == pytest.approx(12.0)
    assert verify_certificate(problem, part_certificate((10.0, 10.0), (11.0, 11.0))) <= 12.0


def test_a_part_that_a_route_needs_twice_is_shared_by_half() -> None:
    """A -> B -> C with the same part in both hops: a share of 10 on each would be paid twice by one plan."""
    problem = shared_part(
        candidates={"base": [0, 1], "target": [1, 2], "wire_bytes": [1, 1], "stored_bytes": [0, 0]},
        demands={"base": [0], "target": [2], "clients": [1], "full_pull_bytes": [99]},
    )
    one = CohortPotentials(
        demands=np.array([0]),
        first=0,
        rest=22.0,
        commits=np.array([1, 2]),
        potentials=np.array([[11.0, 0.0]]),
        parts=np.array([0]),
        part_shares=np.array([10.0]),
    )
    assert verify_certificate(problem, Certificate(order=np.arange(3), cohorts=(one,))) <= 12.0
    halved = dataclasses.replace(one, rest=12.0, potentials=np.array([[6.0, 0.0]]), part_shares=np.array([5.0]))
    assert verify_certificate(problem, Certificate(order=np.arange(3), cohorts=(halved,))) == pytest.approx(12.0)
    cyclic = Certificate(order=np.arange(3)[::-1], cohorts=(dataclasses.replace(halved, first=0),))
    assert verify_certificate(problem, cyclic) == pytest.approx(12.0)


def one_cohort(**changes: Any) -> Certificate:
    """A certificate of `two_step` that proves 30 where nothing but hops costs: 24 for the route over B."""
    cohort = CohortPotentials(
        demands=np.array([0]), first=0, rest=24.0, commits=np.array([1, 2]), potentials=np.array([[12.0, 0.0]])
    )
    own = {key: changes.pop(key) for key in list(changes) if key in CohortPotentials.__slots__}
    return dataclasses.replace(
        Certificate(order=np.arange(3), cohorts=(dataclasses.replace(cohort, **own),)), **changes
    )


def test_the_hand_checked_world() -> None:
    """3 clients over two hops of 4 B at 1 a byte: 24, and the certificate says just that."""
    assert verify_certificate(two_step(), one_cohort()) == pytest.approx(24.0, rel=2e-9)
    assert verify_certificate(two_step(), Certificate(order=np.arange(3))) == 0.0


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"order": np.array([0, 1, 1])}, "order"),
        ({"money_per_stored_byte": 1.0}, "prices.money_per_stored_byte"),
        ({"money_per_cpu_s": -1.0}, "prices.money_per_cpu_s"),
        ({"money_per_cpu_s": float("nan")}, "prices.money_per_cpu_s"),
        ({"demands": np.array([0, 0])}, "cohorts[0].demands"),
        ({"demands": np.array([1])}, "cohorts[0].demands"),
        ({"demands": np.zeros(0, dtype=np.int64)}, "cohorts[0].demands"),
        ({"first": 4}, "cohorts[0].first"),
        ({"first": 2}, "cohorts[0].commits"),
        ({"commits": np.array([1, 3])}, "cohorts[0].commits"),
        ({"rest": inf}, "cohorts[0].rest"),
        ({"rest": -1.0}, "cohorts[0].rest"),
        ({"potentials": np.array([[12.0, np.nan]])}, "cohorts[0].potentials"),
        ({"potentials": np.array([[12.0]])}, "cohorts[0].potentials"),
        ({"potentials": np.array([[12.0, 0.0]] * 2)}, "cohorts[0].potentials"),
        ({"parts": np.array([0]), "part_shares": np.array([1.0])}, "cohorts[0].parts"),
        ({"part_shares": np.array([1.0])}, "cohorts[0].part_shares"),
    ],
)
def test_what_is_malformed_is_refused_with_its_path(changes: dict[str, Any], path: str) -> None:
    """Too few hop rows, prices of limits that are not there, numbers that are none."""
    with pytest.raises(InputError) as caught:
        verify_certificate(two_step(), one_cohort(**changes))
    assert caught.value.path == path


def test_a_cohort_twice_is_refused() -> None:
    """It would be counted twice."""
    honest = one_cohort()
    with pytest.raises(InputError, match="in another cohort"):
        verify_certificate(two_step(), dataclasses.replace(honest, cohorts=honest.cohorts * 2))


def test_noise_on_free_candidates_costs_no_more_than_itself() -> None:
    """Dividing by the ratio would leave nothing where the fixed money is 0."""
    problem = two_step(prices={"egress_per_gb": 1e9})
    noisy = one_cohort(rest=24.0 + 1e-11)
    assert verify_certificate(problem, noisy) == pytest.approx(24.0, rel=2e-9)


def test_the_verifier_shares_no_code_with_what_finds_bounds() -> None:
    """It imports the problem and the errors, NumPy, and itself."""
    allowed = {"__future__", "dataclasses", "numpy", "planner.errors", "planner.optimize.problem"}
    modules = (certificate_module, certificate_hops, certificate_record, certificate_faults)
    allowed |= {module.__name__ for module in modules}
    for module in modules:
        tree = ast.parse(Path(str(module.__file__)).read_text())
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert names <= allowed
