"""`deltaplan replan`: yesterday's plan, today's graph, and what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner import graphs
from planner.optimize.interchange import parse_plan
from tests.cli.test_cli import GRAPH, deltaplan

TODAY: dict[str, Any] = {
    **GRAPH,
    "commits": ["A", "B", "C", "D"],
    "candidates": {"base": [0, 1, 2], "target": [2, 2, 3], "wire_bytes": [10, 4, 3]},
    "demands": {"base": [0, 2], "target": [2, 3], "clients": [3, 7], "full_pull_bytes": [50, 60]},
}
"""Without A -> B, with a new release D and clients on C that want it."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Today's graph, yesterday's plan and yesterday's graph."""
    today, plan, yesterday = (tmp_path / name for name in ("today.json", "plan.json", "yesterday.json"))
    yesterday.write_text(json.dumps(GRAPH))
    today.write_text(json.dumps(TODAY))
    assert deltaplan("solve", yesterday, "-o", plan).returncode == 0
    return today, plan, yesterday


def _replan(files: tuple[Path, Path, Path], output: Path, *more: object) -> Any:
    today, plan, yesterday = files
    return deltaplan("replan", today, "--previous", plan, "--previous-graph", yesterday, "-o", output, *more)


def test_replan_writes_the_plan_and_says_what_changed(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The plan is one for today's graph; the table names each delta with its cause, the last lines the money."""
    done = _replan(files, tmp_path / "new.json")
    assert done.returncode == 0, done.stderr
    plan = parse_plan((tmp_path / "new.json").read_bytes(), graphs.read_graph(files[0]))
    assert (plan.build, plan.cost.total) == ((0, 2), 51.0)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "added A → C no longer offered: A → B" in lines
    assert "added C → D new commit: D" in lines
    assert "2 deltas added, 2 dropped, 0 kept; 1 routes changed; 1 demands new, 0 gone" in lines
    assert "yesterday's plan would cost 570 today: planning again saves 519" in lines


def test_replan_as_json_has_every_change(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The plan as it was written, and the record of what changed."""
    done = _replan(files, tmp_path / "new.json", "--json", "--seed", 3)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["plan"] == json.loads((tmp_path / "new.json").read_text())
    change = document["change"]
    assert (change["standing_money"], change["money"], change["saved_money"]) == (570.0, 51.0, 519.0)
    assert [(one["base"], one["before"], one["after"]) for one in change["routes"]] == [("A", ["B", "C"], ["C"])]
    assert {(one["kind"], one["cause"]) for one in change["candidates"]} == {
        *(("added", "no longer offered"), ("added", "new commit")),
        *(("dropped", "no longer offered"),),
    }


def test_a_plan_for_another_graph_is_refused_in_one_line(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Nothing is written; the line names the plan and the graph."""
    today, plan, _ = files
    done = _replan((today, plan, today), tmp_path / "new.json")
    assert done.returncode == 3
    assert done.stderr == f"deltaplan: {plan}: is not a plan for the previous graph: previous_graph={str(today)!r}\n"
    assert not (tmp_path / "new.json").exists()


def test_plans_that_cannot_be_used_are_named(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Missing, and no plan at all."""
    today, plan, yesterday = files
    done = _replan((today, tmp_path / "missing.json", yesterday), tmp_path / "new.json")
    assert (done.returncode, "missing.json: cannot be read" in done.stderr) == (3, True)
    plan.write_text("{}")
    done = _replan(files, tmp_path / "new.json")
    assert (done.returncode, "plan.json: plan: is no plan" in done.stderr) == (3, True)
    assert done.stderr.count("\n") == 1


def test_what_cannot_be_met_today_is_an_error_of_its_own(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """No plan within the new limit: status 5, nothing written."""
    demands = {"base": [0], "target": [2], "clients": [3]}
    files[0].write_text(json.dumps({**TODAY, "demands": demands, "limits": {"stored_bytes": 5}}))
    done = _replan(files, tmp_path / "new.json")
    assert (done.returncode, "limits.stored_bytes: cannot be met" in done.stderr) == (5, True)
    assert not (tmp_path / "new.json").exists()
