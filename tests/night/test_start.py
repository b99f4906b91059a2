"""A night's plan begins from the one before."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.night import outlook
from planner.night.opening import open_night
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.solve import Options, solve
from tests.night.worlds import write_world


def test_a_night_starts_from_the_last_plan_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to begin with, then the plan of before; a plan that was cut off while it was written is none."""
    starts = []

    def watched(problem: Problem, options: Options) -> Plan:
        starts.append(options.start)
        return solve(problem, options)

    monkeypatch.setattr(outlook, "solve", watched)
    night = open_night(write_world(tmp_path), work=tmp_path / "work")
    night.import_()
    night.weigh()
    first, second = night.plan(), night.plan()
    assert starts == [None, first.selection]
    assert second.selection == first.selection
    plan = tmp_path / "work" / "plan.json"
    plan.write_bytes(plan.read_bytes()[:100])
    night.plan()
    assert starts[2] is None
