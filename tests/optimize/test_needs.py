"""What candidates share is paid once, whichever of them are built."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from planner.demand.cohorts import Cohort
from planner.optimize.assemble import Assembly, assemble
from planner.optimize.evaluate import Selection, evaluate
from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus
from tests.demand.histories import checksum_of, make_line

LINE = make_line(4)
TARGET = checksum_of("v4")
CANDIDATES = [Candidate(base=checksum_of(f"v{k}"), target=TARGET, codec="x") for k in (1, 2, 3)]


def weigh(needs: list[Need], own_bytes: int, own_s: float) -> Weight:
    return Weight(
        wire_bytes=own_bytes + sum(need.stored_bytes for need in needs),
        stored_bytes=own_bytes + sum(need.stored_bytes for need in needs),
        server_cpu_s=own_s + sum(need.server_cpu_s for need in needs),
        client_cpu_s=1.0,
        peak_memory_bytes=0,
        status=WeightStatus.MEASURED,
    )


def draw(seed: int) -> tuple[dict[Candidate, list[Need]], dict[Candidate, Weight]]:
    rng = random.Random(seed)
    known = [Need(key=f"file:{k}", stored_bytes=rng.randrange(1, 99), server_cpu_s=0.0) for k in range(4)]
    known += [Need(key=f"making:{k}", stored_bytes=0, server_cpu_s=rng.random()) for k in range(4)]
    needs = {one: [need for need in known if rng.random() < 0.6] for one in CANDIDATES}
    return needs, {one: weigh(needs[one], 10, 0.5) for one in CANDIDATES}


def assemble_with(
    needs: dict[Candidate, list[Need]], weights: dict[Candidate, Weight], built: tuple[Candidate, ...] = ()
) -> Assembly:
    cohorts = [Cohort(base=one.base, target=TARGET, clients=1.0) for one in CANDIDATES]
    full = {(one.base, TARGET): 10**6 for one in CANDIDATES}
    return assemble(LINE, cohorts, weights, full, needs=needs, built=built)


@pytest.mark.parametrize("seed", range(20))
def test_any_choice_pays_each_need_once(seed: int) -> None:
    needs, weights = draw(seed)
    assembly = assemble_with(needs, weights)
    for count in range(4):
        for chosen in itertools.combinations(range(3), count):
            routes = tuple((number,) if number in chosen else None for number in range(3))
            result = evaluate(assembly.problem, Selection(build=chosen, routes=routes))
            of_chosen = [assembly.candidates[number] for number in chosen]
            distinct = {need.key: need for one in of_chosen for need in needs[one]}.values()
            assert result.stored_bytes == 10 * count + sum(need.stored_bytes for need in distinct)
            assert result.server_cpu_s == pytest.approx(0.5 * count + sum(need.server_cpu_s for need in distinct))


def test_what_one_candidate_alone_needs_is_no_part() -> None:
    needs = {CANDIDATES[0]: [Need(key="file:1", stored_bytes=5, server_cpu_s=0.0)]}
    assembly = assemble_with(needs, {one: weigh(needs.get(one, []), 10, 0.5) for one in CANDIDATES})
    assert len(assembly.problem.parts) == 0
    assert sorted(assembly.problem.candidates.stored_bytes) == [10, 10, 15]


def test_needs_of_the_same_candidates_are_one_part_and_built_with_one_of_them() -> None:
    both = [Need(key=f"file:{k}", stored_bytes=k, server_cpu_s=0.0) for k in (3, 4)]
    needs = dict.fromkeys(CANDIDATES[:2], both)
    assembly = assemble_with(needs, {one: weigh(needs.get(one, []), 10, 0.5) for one in CANDIDATES}, (CANDIDATES[1],))
    parts = assembly.problem.parts
    assert (parts.stored_bytes.tolist(), parts.built.tolist(), parts.candidate.tolist()) == ([7.0], [True], [0, 1])
    assert np.array_equal(assembly.problem.candidates.stored_bytes, [10, 10, 10])
