"""Planning for the nights to come: what is kept for them, and what is left for them to make."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.horizon import replay
from planner.demand.cohorts import Cohort
from planner.history.records import Commit, History
from planner.optimize.ahead import solve_ahead
from planner.optimize.assemble import Assembly, assemble
from planner.optimize.evaluate import evaluate
from planner.optimize.forecast import Forecast, forecast, grow
from planner.optimize.horizon import extend
from planner.optimize.problem import Limits, Prices
from planner.optimize.solve import Options, solve
from planner.weigh.candidates import Candidate, Weight, WeightStatus

V1, V2, V3 = (digit * 64 for digit in "123")
PRICES = Prices(storage_per_gb=1e9, server_cpu_per_hour=3600.0, egress_per_gb=1e9)


def _history() -> History:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    commits = {
        name: Commit(checksum=name, parent=parent, committed_at=start + timedelta(days=day), tree="0" * 64)
        for day, (name, parent) in enumerate(((V1, None), (V2, V1), (V3, V2)))
    }
    return History(commits=commits, trees={}, refs={"main": V3})


def _weight(wire_bytes: int, stored_bytes: int, core_s: float) -> Weight:
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=stored_bytes,
        server_cpu_s=core_s,
        client_cpu_s=0.0,
        peak_memory_bytes=0,
        status=WeightStatus.MEASURED,
    )


def _one(base: str, target: str) -> Candidate:
    return Candidate(base=base, target=target, codec="x")


WEIGHED = {
    _one(V1, V2): _weight(5, 2, 40.0),
    _one(V2, V3): _weight(5, 2, 40.0),
    _one(V1, V3): _weight(8, 3, 40.0),
}
COHORTS = (
    Cohort(base=V1, target=V3, clients=40.0, ref="main"),
    Cohort(base=V2, target=V3, clients=60.0, ref="main"),
)
FULL = {(V1, V3): 100, (V2, V3): 90}


def _assemble(
    weighed: Mapping[Candidate, Weight] = WEIGHED,
    cohorts: Sequence[Cohort] = COHORTS,
    built: Collection[Candidate] = (),
    prices: Prices = PRICES,
    limits: Limits | None = None,
) -> Assembly:
    return assemble(_history(), cohorts, weighed, FULL, built=built, prices=prices, limits=limits)


def _forecast(releases: int = 2, share: float = 0.7, cohorts: Sequence[Cohort] = COHORTS) -> Forecast:
    return forecast(_history(), cohorts, WEIGHED, FULL, releases=releases, updating_share=share)


def test_no_releases_change_nothing() -> None:
    """The same problem, the same plan."""
    assembly = _assemble()
    assert extend(assembly, _forecast(0)).problem is assembly.problem
    plan, ahead = solve(assembly.problem), solve_ahead(assembly, _forecast(0), Options())
    assert (ahead.selection, ahead.lower_bound, ahead.status) == (plan.selection, plan.lower_bound, plan.status)


def test_tonights_rows_keep_their_numbers_and_their_cost() -> None:
    """What a selection of tonight costs is the same in both problems, whatever is shared with later."""
    assembly = _assemble(built={_one(V2, V3)})
    ahead = extend(assembly, _forecast(3))
    now = len(assembly.problem.demands)
    alone = ahead.problem.replace(demands=_first(ahead.problem.demands, now), limits=assembly.problem.limits)
    selection = solve(assembly.problem).selection
    assert evaluate(alone, selection).cost.total == pytest.approx(evaluate(assembly.problem, selection).cost.total)


def _first(demands: object, count: int) -> object:
    return replace(demands, **{name: getattr(demands, name)[:count] for name in demands.__slots__})  # type: ignore[attr-defined, type-var]


def test_as_many_clients_ask_in_every_period_and_a_share_is_left_behind() -> None:
    found = _forecast(3, share=0.75)
    assert [sum(one.clients for one in asking) for asking in found.cohorts] == pytest.approx([100.0] * 3)
    left = {(one.base, period): one.clients for period, asking in enumerate(found.cohorts, 1) for one in asking}
    assert left[V1, 1] == pytest.approx(10.0)
    assert left[V1, 2] == pytest.approx(2.5)
    assert left[V3, 1] == pytest.approx(75.0)
    assert {one.target for one in found.cohorts[2]} == {"main +3"}
    assert not any(one.base in (V1, V2) for one in _forecast(1, share=1.0).cohorts[0])


def test_coming_steps_weigh_the_median_of_past_ones_and_grow_with_distance() -> None:
    found = _forecast(2).weighed
    assert found[_one(V3, "main +1")].wire_bytes == 5
    assert found[_one("main +1", "main +2")].wire_bytes == 5
    assert found[_one(V1, "main +1")].wire_bytes == round(grow(8, 5, 1))
    assert 8 < grow(8, 5, 1) < grow(8, 5, 2) < 18
    doubled = {one: replace(weight, wire_bytes=2 * weight.wire_bytes) for one, weight in WEIGHED.items()}
    scaled = forecast(_history(), COHORTS, doubled, FULL, releases=2, updating_share=0.7).weighed
    assert all(abs(scaled[one].wire_bytes - 2 * found[one].wire_bytes) <= 1 for one in found)


def _waiting(storage_per_gb: float, releases: int) -> tuple[Candidate, ...]:
    """What is kept tonight, when nobody asks from V2 tonight, but those who are on it then will."""
    prices = replace(PRICES, storage_per_gb=storage_per_gb)
    cohorts = (Cohort(base=V1, target=V3, clients=10.0, ref="main", max_hops=1),)
    weighed = {_one(V1, V3): _weight(5, 1, 1.0), _one(V2, V3): _weight(1, 1, 900.0)}
    assembly = _assemble(weighed, cohorts, built={_one(V2, V3), _one(V1, V3)}, prices=prices)
    later = Cohort(base=V2, target="main +1", clients=50.0, ref="main")
    found = forecast(_history(), cohorts, WEIGHED, FULL, releases=releases, updating_share=0.5)
    if releases:
        pulls = {**found.full_pull_bytes, (V2, "main +1"): 95.0}
        step = {_one(V3, "main +1"): _weight(1, 1, 1.0)}
        found = replace(found, cohorts=((later,),), full_pull_bytes=pulls, weighed=step)
    plan = solve_ahead(assembly, found, Options())
    return assembly.candidates_of(plan.build)


def test_a_published_delta_that_only_the_future_uses_is_kept_where_storage_is_cheap() -> None:
    assert _one(V2, V3) not in _waiting(1e9, 0)
    assert _one(V2, V3) in _waiting(1e9, 1)
    assert _one(V2, V3) not in _waiting(1e13, 1)


def test_what_only_the_future_uses_and_can_be_made_then_is_not_made_tonight() -> None:
    """V2's clients come later: their delta is chosen, and nothing is built for them tonight."""
    cohorts = COHORTS[:1]
    assembly = _assemble({_one(V1, V3): WEIGHED[_one(V1, V3)], _one(V2, V3): WEIGHED[_one(V2, V3)]}, cohorts)
    later = Cohort(base=V2, target="main +1", clients=500.0, ref="main")
    found = _forecast(1, cohorts=cohorts)
    pulls = {**found.full_pull_bytes, (V2, "main +1"): 95.0}
    step = {_one(V3, "main +1"): _weight(1, 1, 1.0)}
    found = replace(found, cohorts=((*found.cohorts[0], later),), full_pull_bytes=pulls, weighed=step)
    ahead = extend(assembly, found)
    whole = solve(ahead.problem)
    used = {row for route in whole.routes for row in route or ()}
    assert used - set(range(len(assembly.candidates)))
    assert assembly.candidates_of(ahead.tonight(whole.selection).build) == (_one(V1, V3),)


def test_the_same_forecast_gives_the_same_plan_and_tonights_limits_hold() -> None:
    assembly = _assemble(built={_one(V1, V2), _one(V2, V3)}, limits=Limits(stored_bytes=4.0, server_cpu_s=50.0))
    plans = [solve_ahead(assembly, _forecast(3), Options()) for _ in range(2)]
    assert plans[0].selection == plans[1].selection
    assert plans[0].evaluation.is_feasible
    assert plans[0].lower_bound <= plans[0].cost.total


@pytest.mark.parametrize("seed", [1, 2])
def test_eight_nights_cost_less_with_a_horizon(seed: int) -> None:
    """The nights' money together: storage night by night, core-seconds of what was made, bytes that were sent."""
    without, ahead = replay(seed=seed, nights=8, releases=0), replay(seed=seed, nights=8, releases=3)
    assert ahead.total <= without.total * (1 + 1e-9)
