"""Nights that look ahead: the same verbs, and what earlier nights made is a candidate again."""

from __future__ import annotations

from pathlib import Path

from planner.night.opening import open_night
from tests.night.worlds import write_world


def test_a_night_with_a_horizon_publishes_what_all_clients_can_follow(tmp_path: Path) -> None:
    scenario = write_world(tmp_path)
    scenario.write_text(scenario.read_text() + "\n[horizon]\nreleases = 2\nupdating_share = 0.5\n")
    for _ in range(2):
        night = open_night(scenario, work=tmp_path / "work")
        night.import_()
        night.weigh()
        plan = night.plan()
        night.build()
        night.publish()
        assert plan.evaluation.is_feasible
        assert plan.lower_bound <= plan.cost.total
        assert [one.error for one in night.follow()] == [None] * 4
    assert "3 periods" in plan.method


def test_what_an_earlier_night_made_is_planned_with_though_no_rule_proposes_it(tmp_path: Path) -> None:
    """B1 to B3 was of use when B3 was wanted; now the device is, and only direct deltas are proposed."""
    scenario = write_world(tmp_path, demand="base,target,clients\nB1,B3,900\n")
    text = scenario.read_text().replace('["direct", "parent", "bare-base"]', '["direct"]')
    scenario.write_text(text.replace("storage_per_gb = 200.0", "storage_per_gb = 0.0"))
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    night.weigh()
    night.plan()
    night.build()
    night.publish()
    (tmp_path / "demand.csv").write_text("base,target,clients\nB1,device,900\nB3,device,900\n")
    for releases in (0, 1):
        scenario.write_text(scenario.read_text().partition("\n[horizon]")[0] + f"\n[horizon]\nreleases = {releases}\n")
        night = open_night(scenario, work=tmp_path / "work")
        night.weigh()
        night.plan()
        ends = {(one.base, one.target) for one in night.workspace.read_plan()[0].candidates}
        pair = night.history.resolve("B1"), night.history.resolve("B3")
        assert (pair in ends) == bool(releases)
