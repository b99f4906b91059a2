"""Clients that keep layers apart: every way that they have is in the problem, and a delta costs once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import inf

import pytest

from planner.demand.cohorts import Cohort
from planner.demand.layers import layer_steps
from planner.history.records import EMPTY, LAYERS_KEY, Commit, History
from planner.optimize.assemble import FULL_PULL, Assembly, assemble
from planner.optimize.problem import Limits, Prices
from planner.optimize.replan import carry_over
from planner.optimize.solve import solve
from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus

PRICES = Prices(storage_per_gb=1e9, server_cpu_per_hour=3600.0, egress_per_gb=1e9, per_hop=0.01)

B1, B2, B3, S1, S2, M1, M2, M3 = (digit * 64 for digit in "12345678")
MIXES = {M1: (B1, S1), M2: (B3, S2), M3: (B3, S1)}


def _history() -> History:
    commits = {
        name: Commit(
            checksum=name,
            parent=None,
            committed_at=datetime(2024, 1, day, tzinfo=UTC),
            tree="0" * 64,
            metadata={LAYERS_KEY: " ".join(MIXES[name])} if name in MIXES else {},
        )
        for day, name in enumerate((B1, B2, S1, M1, B3, S2, M2, M3), start=1)
    }
    return History(commits=commits, trees={}, refs={})


def _weight(wire_bytes: int, fixed: int) -> Weight:
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=fixed,
        server_cpu_s=float(fixed),
        client_cpu_s=0.0,
        peak_memory_bytes=0,
        status=WeightStatus.MEASURED,
    )


def _candidate(base: str, target: str) -> Candidate:
    return Candidate(base=base, target=target, codec="x")


LAYERED = Cohort(base=M1, target=M2, clients=3, layers=True)
PLAIN = Cohort(base=M1, target=M2, clients=2)
FACTORY = Cohort(base=B1, target=M2, clients=2, layers=True)
SAME_PART = Cohort(base=M1, target=M3, clients=2, layers=True)
ALL = (LAYERED, PLAIN, FACTORY)
SEVERAL = (*ALL, SAME_PART)
FULL = {(M1, M2): 200, (B1, M2): 200, (M1, M3): 150, (S1, S2): 30, (EMPTY, S2): 45, (B2, B3): 1}


def _draw(rng: random.Random) -> dict[Candidate, Weight]:
    ends = [(B1, B2), (B2, B3), (B1, B3), (S1, S2), (EMPTY, S2), (M1, M2), (B1, M2), (B3, M2), (M1, B3)]
    ends += [(M1, M3), (B3, M3), (M3, M2)]
    kept = rng.sample(ends, rng.randint(4, 8))
    return {_candidate(*pair): _weight(rng.randint(1, 30), rng.randint(1, 40)) for pair in kept}


def _ways(base: str, target: str, built: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """Every simple way."""
    found, waiting = [], [(base, tuple[Candidate, ...]())]
    while waiting:
        at, way = waiting.pop()
        if at == target:
            found.append(way)
            continue
        seen = {base, *(hop.target for hop in way)}
        waiting += [(one.target, (*way, one)) for one in built if one.base == at and one.target not in seen]
    return found


def _oracle(history: History, weights: Mapping[Candidate, Weight], cohorts: Sequence[Cohort]) -> float:
    """The least money over all sets of deltas; each cohort takes its cheapest way, merged or layer by layer."""
    best = inf
    for size in range(len(weights) + 1):
        for built in itertools.combinations(weights, size):
            money = sum(weights[one].stored_bytes + weights[one].server_cpu_s for one in built)
            for cohort in cohorts:
                sent = min(_sent(cohort.base, cohort.target, built, weights), float(FULL[cohort.base, cohort.target]))
                if cohort.layers:
                    steps = [step for step in layer_steps(history, cohort.base, cohort.target) if step[0] != step[1]]
                    of_layers = [min(_sent(*step, built, weights), FULL.get(step, inf) + 0.01) for step in steps]
                    sent = min(sent, sum(of_layers))
                money += cohort.clients * sent
            best = min(best, money)
    return best


def _sent(base: str, target: str, built: Sequence[Candidate], weights: Mapping[Candidate, Weight]) -> float:
    """What one client's cheapest way costs."""
    ways = _ways(base, target, built)
    return min((sum(weights[hop].wire_bytes + 0.01 for hop in way) for way in ways), default=inf)


def _assemble(weights: Mapping[Candidate, Weight], cohorts: Sequence[Cohort] = ALL) -> Assembly:
    return assemble(_history(), cohorts, weights, FULL, prices=PRICES)


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_plans_cost_what_trying_all_ways_finds(first: int) -> None:
    for seed in range(first, first + 10):
        weights = _draw(random.Random(seed))
        plan = solve(_assemble(weights, SEVERAL).problem)
        assert plan.gap <= 1e-6, seed
        assert plan.cost.total == pytest.approx(_oracle(_history(), weights, SEVERAL), rel=1e-6), seed


def test_a_layer_without_deltas_is_pulled_in_full() -> None:
    """It is a row without a delta, which nobody builds."""
    weights = {_candidate(B1, B3): _weight(5, 5)}
    assembly = _assemble(weights, [LAYERED])
    plan = solve(assembly.problem)
    (route,) = plan.routes
    assert route is not None
    assert [assembly.candidates[hop] for hop in route] == [
        _candidate(B1, B3),
        Candidate(base=S1, target=S2, codec=FULL_PULL),
    ]
    assert assembly.candidates_of(plan.build) == (_candidate(B1, B3),)
    assert (plan.evaluation.stored_bytes, plan.evaluation.egress_bytes) == (5, 3 * (5 + 30))


BY_LAYERS = {_candidate(B1, B3): _weight(5, 5), _candidate(S1, S2): _weight(2, 3), _candidate(EMPTY, S2): _weight(6, 4)}


def test_a_delta_that_several_walks_use_is_built_once() -> None:
    assembly = _assemble(BY_LAYERS)
    plan = solve(assembly.problem)
    assert sorted(assembly.candidates_of(plan.build)) == sorted(BY_LAYERS)
    assert len(plan.build) > 3
    assert (plan.evaluation.stored_bytes, plan.evaluation.server_cpu_s) == (12, 12)
    walked = [tuple(assembly.candidates[hop] for hop in route or ()) for route in plan.routes]
    assert walked == [(_candidate(B1, B3), _candidate(S1, S2)), (), (_candidate(B1, B3), _candidate(EMPTY, S2))]


def test_what_copies_share_with_others_is_paid_once() -> None:
    """A part's file that two deltas need, one of which has copies."""
    needs = {one: [Need(key="file", stored_bytes=3, server_cpu_s=0.0)] for one in list(BY_LAYERS)[:2]}
    assembly = assemble(_history(), [LAYERED], BY_LAYERS, FULL, needs=needs, prices=PRICES)
    plan = solve(assembly.problem)
    assert plan.evaluation.stored_bytes == 5 + 3 - 3


def test_limits_count_each_delta_once() -> None:
    assembly = assemble(_history(), ALL, BY_LAYERS, FULL, prices=PRICES, limits=Limits(stored_bytes=12))
    plan = solve(assembly.problem)
    assert plan.evaluation.stored_bytes == 12
    assert plan.gap <= 1e-6


def test_layers_that_stay_are_not_walked() -> None:
    history = _history()
    same = Commit(
        checksum="9" * 64,
        parent=None,
        committed_at=datetime(2024, 1, 3, tzinfo=UTC),
        tree="0" * 64,
        metadata={LAYERS_KEY: f"{B1} {S2}"},
    )
    history = History(commits={**history.commits, same.checksum: same}, trees={}, refs={})
    cohort = Cohort(base=same.checksum, target=M2, clients=1, layers=True)
    full = {(same.checksum, M2): 100}
    plan = solve(assemble(history, [cohort], BY_LAYERS, full, prices=PRICES).problem)
    assert plan.evaluation.stored_bytes == 5


def test_yesterdays_plan_carries_over() -> None:
    assembly = _assemble(BY_LAYERS)
    plan = solve(assembly.problem)
    carried = carry_over(assembly.problem, plan, _assemble(BY_LAYERS, ALL[::-1]).problem)
    assert carried.start is not None
    assert set(carried.start.build) == set(plan.build)


def test_without_layers_nothing_is_added() -> None:
    assembly = _assemble(BY_LAYERS, [PLAIN])
    assert len(assembly.problem.candidates) == len(assembly.candidates) == len(BY_LAYERS)
    assert not len(assembly.problem.parts)
