"""Probing: the budget holds, what cannot change the plan is left alone, and what was measured is believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instances import one_stream
from planner.errors import InputError
from planner.optimize.evaluate import evaluate
from planner.optimize.probing import Effort, Round, choose_batch, probe_in_rounds
from planner.optimize.problem import IntArray, Limits, Problem
from planner.optimize.projection_errors import Measured, Outlook, Uncertainty, join_measured, nothing_measured
from planner.optimize.solve import Options, solve
from tests.optimize.tiny import random_problem, two_step

PLENTY = Effort(budget_cpu_s=1e9, rounds=6, tolerance_fraction=0.0)


def intervals(problem: Problem, wire: float | list[float] = 1.3, cpu: float | list[float] = 1.3) -> Uncertainty:
    """Intervals from 1 / factor to factor; a probe takes the projected server CPU."""
    candidates = len(problem.candidates)
    wire_factor, cpu_factor = (np.broadcast_to(np.array(one, dtype=float), candidates) for one in (wire, cpu))
    return Uncertainty(
        wire_low_factor=1 / wire_factor,
        wire_high_factor=wire_factor,
        cpu_low_factor=1 / cpu_factor,
        cpu_high_factor=cpu_factor,
        probe_cpu_s=problem.candidates.server_cpu_s,
    )


class Bench:
    """Measures true weights, and writes down what was asked."""

    def __init__(self, truth: Problem) -> None:
        self.truth, self.asked = truth, list[list[int]]()

    def __call__(self, probed: IntArray) -> Measured:
        """The true weights."""
        self.asked.append(probed.tolist())
        rows = self.truth.candidates
        return Measured(
            candidate=probed,
            wire_bytes=rows.wire_bytes[probed],
            stored_bytes=rows.stored_bytes[probed],
            server_cpu_s=rows.server_cpu_s[probed],
            probe_cpu_s=rows.server_cpu_s[probed],
        )


def turned_out(problem: Problem, seed: int, most: float = 1.3) -> Problem:
    """The problem with every weight somewhere in its interval."""
    rng, rows = np.random.default_rng(seed), problem.candidates
    wire, cpu = np.exp(rng.uniform(-np.log(most), np.log(most), (2, len(rows))))
    return problem.replace(
        candidates=replace(
            rows,
            wire_bytes=rows.wire_bytes * wire,
            stored_bytes=rows.stored_bytes * wire,
            server_cpu_s=rows.server_cpu_s * cpu,
        )
    )


def rounds_of(problem: Problem, truth: Problem, effort: Effort, uncertainty: Uncertainty | None = None) -> list[Round]:
    return list(probe_in_rounds(problem, uncertainty or intervals(problem), Bench(truth), effort))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget_fraction", [0.0, 0.03, 0.3])
def test_the_budget_is_never_exceeded_and_nothing_is_probed_twice(seed: int, budget_fraction: float) -> None:
    problem = one_stream(8, fixed_multiplier=100, seed=seed)
    budget_cpu_s = budget_fraction * float(problem.candidates.server_cpu_s.sum())
    effort = Effort(budget_cpu_s=budget_cpu_s, draws=4)
    rounds = rounds_of(problem, turned_out(problem, seed), effort)
    probed = [candidate for one in rounds for candidate in one.probed.tolist()]
    assert rounds[-1].spent_cpu_s <= budget_cpu_s
    assert len(rounds) <= effort.rounds + 1
    assert len(set(probed)) == len(probed)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_probes_the_same(seed: int) -> None:
    problem = one_stream(8, fixed_multiplier=100, seed=seed)
    runs = [rounds_of(problem, turned_out(problem, seed), Effort(budget_cpu_s=60.0, seed=seed)) for _ in range(2)]
    assert [one.probed.tolist() for one in runs[0]] == [one.probed.tolist() for one in runs[1]]
    assert [one.plan.build for one in runs[0]] == [one.plan.build for one in runs[1]]


@pytest.mark.parametrize("seed", range(20))
def test_exact_weights_are_not_probed_and_the_plan_is_stable_at_once(seed: int) -> None:
    """With low = high there is one problem only, limits and parts included: it is solved once."""
    problem = random_problem(seed).replace(limits=Limits())
    demands = problem.demands
    everybody = np.full(len(demands), 30.0)
    problem = problem.replace(
        demands=replace(demands, full_pull_bytes=everybody, max_wire_bytes=np.full(len(demands), np.inf))
    )
    bench = Bench(problem)
    (only,) = probe_in_rounds(problem, intervals(problem, 1.0, 1.0), bench, PLENTY)
    assert only.is_stable
    assert bench.asked == []
    assert only.plan.build == solve(problem).build


def test_only_what_can_change_the_plan_is_probed() -> None:
    """Direct 10 B against 4 B + 4 B: the near tie is measured, the wide interval of a way nobody takes is not."""
    graph = {
        "commits": ["A", "B", "C", "D"],
        "candidates": {
            "base": [0, 0, 1, 0, 3],
            "target": [2, 1, 2, 3, 2],
            "wire_bytes": [10, 4, 4, 400, 400],
            "server_cpu_s": [9, 1, 1, 1, 1],
        },
    }
    problem = two_step(**graph)
    bench = Bench(problem)
    rounds = list(probe_in_rounds(problem, intervals(problem, wire=[1.5, 1.5, 1.5, 4.0, 4.0]), bench, PLENTY))
    probed = {candidate for batch in bench.asked for candidate in batch}
    assert probed
    assert probed <= {0, 1, 2}
    assert rounds[-1].is_stable


def test_a_plan_that_no_interval_can_change_is_stable_at_once() -> None:
    """At 100 B the direct way is out of reach of 8 B for any error within reason."""
    problem = two_step(
        candidates={"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [100, 4, 4], "server_cpu_s": [9, 1, 1]},
        demands={"base": [0], "target": [2], "clients": [3], "full_pull_bytes": [500]},
    )
    (only,) = rounds_of(problem, problem, PLENTY)
    assert only.is_stable


@pytest.mark.parametrize("seed", range(6))
def test_after_probing_everything_the_plan_is_that_of_the_true_weights(seed: int) -> None:
    problem = one_stream(7, fixed_multiplier=100, seed=seed)
    truth = turned_out(problem, seed)
    measured = Bench(truth)(np.arange(len(problem.candidates)))
    (only,) = probe_in_rounds(problem, intervals(problem), Bench(truth), PLENTY, measured=measured)
    assert only.is_stable
    assert only.plan.build == solve(truth).build
    assert only.plan.cost == solve(truth).cost


@pytest.mark.parametrize("seed", range(6))
def test_a_stable_plan_costs_what_it_says_and_little_more_than_the_best(seed: int) -> None:
    """Probed until no draw objects, where the truth is one of the problems that the intervals speak of."""
    problem = one_stream(7, fixed_multiplier=100, seed=seed)
    outlook = Outlook(projected=problem, uncertainty=intervals(problem), measured=nothing_measured())
    truth = outlook.draw(np.random.default_rng(seed))
    effort = replace(PLENTY, rounds=10, tolerance_fraction=1e-3)
    last = rounds_of(problem, truth, effort)[-1]
    assert last.is_stable
    assert evaluate(truth, last.plan.selection).cost.total <= 1.02 * solve(truth).cost.total


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_stopped_run_goes_on_with_what_it_measured(stop_after: int) -> None:
    """Begun again with the measurements, the next plan is the one that the run stopped at, and nothing is redone."""
    problem = one_stream(8, fixed_multiplier=100, seed=3)
    truth = turned_out(problem, 3)
    effort, kept = Effort(budget_cpu_s=100.0, tolerance_fraction=0.0), nothing_measured()
    bench = Bench(truth)
    for number, stopped in enumerate(probe_in_rounds(problem, intervals(problem), bench, effort)):
        kept = join_measured(kept, Bench(truth)(stopped.probed))
        if number == stop_after:
            break
    again = Bench(truth)
    first = next(probe_in_rounds(problem, intervals(problem), again, effort, measured=kept))
    assert first.plan.cost.total == pytest.approx(stopped.plan.cost.total, rel=1e-6)
    for _ in probe_in_rounds(problem, intervals(problem), again, effort, measured=kept):
        pass
    assert not {one for batch in again.asked for one in batch} & set(kept.candidate.tolist())


def test_probes_that_are_kept_are_paid() -> None:
    """Their server CPU is not charged again; the true weights stay what they are."""
    problem = one_stream(7, fixed_multiplier=1000, seed=1)
    measured = Bench(problem)(np.arange(4))
    outlook = Outlook(projected=problem, uncertainty=intervals(problem), measured=measured, keeps_probes=True)
    expected = outlook.expected()
    assert np.flatnonzero(expected.candidates.built).tolist() == [0, 1, 2, 3]
    assert np.array_equal(expected.candidates.server_cpu_s[:4], problem.candidates.server_cpu_s[:4])


def test_a_measured_candidate_moves_those_of_its_base_and_target_only() -> None:
    """It is larger than projected: its neighbours are expected to be larger, others stay in their middle."""
    problem = one_stream(6, seed=2)
    rows = problem.candidates
    first = Bench(problem)(np.array([0]))
    larger = replace(first, wire_bytes=first.wire_bytes * 1.2)
    outlook = Outlook(projected=problem, uncertainty=intervals(problem), measured=larger)
    factor = outlook.expected().candidates.wire_bytes / rows.wire_bytes
    is_near = (rows.base == rows.base[0]) | (rows.target == rows.target[0])
    assert factor[0] == pytest.approx(1.2)
    assert (factor[is_near] > 1.0).all()
    assert factor[~is_near] == pytest.approx(1.0)
    assert (outlook.optimistic().candidates.wire_bytes[1:] < outlook.expected().candidates.wire_bytes[1:]).all()


def test_nine_in_ten_draws_lie_within_the_interval_and_its_halves_may_differ() -> None:
    problem = one_stream(6, seed=2)
    rows = len(problem.candidates)
    known = replace(intervals(problem), wire_low_factor=np.full(rows, 0.5), wire_high_factor=np.full(rows, 1.1))
    outlook = Outlook(projected=problem, uncertainty=known, measured=nothing_measured())
    rng = np.random.default_rng(0)
    drawn = np.array([outlook.draw(rng).candidates.wire_bytes for _ in range(2000)]) / problem.candidates.wire_bytes
    assert np.quantile(drawn, [0.05, 0.5, 0.95]) == pytest.approx([0.5, 1.0, 1.1], rel=0.02)


def test_a_batch_takes_its_share_of_the_budget_best_first_or_one_that_fits() -> None:
    known = intervals(two_step(), cpu=[1.1, 2.0, 1.0])  # probes of 9, 1 and 1 s
    worth = np.array([3.0, 2.0, 1.0])
    assert choose_batch(worth, known, 100.0, 1).tolist() == [0, 1, 2]
    assert choose_batch(worth, known, 4.0, 2).tolist() == [1, 2]
    assert choose_batch(worth, known, 2.0, 1).tolist() == [1]
    assert choose_batch(worth, known, 12.0, 4).tolist() == [0]
    assert choose_batch(worth, known, 0.5, 1).tolist() == []
    assert choose_batch(np.zeros(3), known, 100.0, 1).tolist() == []
    assert choose_batch(worth, known, 100.0, 0).tolist() == []


def test_a_limit_that_an_error_breaks_makes_the_plan_unstable() -> None:
    """8 B fit in a limit of 8.1 B only just: what the plan stores is measured though its money is not in doubt."""
    problem = two_step(limits={"stored_bytes": 8.1}, demands={"base": [0], "target": [2], "clients": [3]})
    bench = Bench(problem)
    rounds = list(probe_in_rounds(problem, intervals(problem), bench, PLENTY))
    assert rounds[0].most_regret_fraction == np.inf
    assert not rounds[0].is_stable
    assert {1, 2} <= {candidate for batch in bench.asked for candidate in batch}
    assert rounds[-1].is_stable


@pytest.mark.parametrize("change", [{"budget_cpu_s": -1.0}, {"budget_cpu_s": np.nan}, {"rounds": 0}, {"draws": 0}])
def test_effort_that_means_nothing_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        Effort(**{"budget_cpu_s": 1.0, **change})  # type: ignore[arg-type]


def test_intervals_without_their_middle_are_refused() -> None:
    known = intervals(two_step())
    with pytest.raises(InputError, match="wire_low_factor"):
        replace(known, wire_low_factor=np.full(3, 1.1))
    with pytest.raises(InputError, match="probe_cpu_s"):
        replace(known, probe_cpu_s=np.full(3, -1.0))


def test_options_of_single_solves_are_passed_on() -> None:
    """A gap asked for the plans holds for them."""
    problem = one_stream(10, fixed_multiplier=100, seed=4)
    effort = Effort(budget_cpu_s=50.0, draws=2)
    for one in probe_in_rounds(problem, intervals(problem), Bench(problem), effort, options=Options(gap=5e-3)):
        assert one.plan.gap <= 5e-3
