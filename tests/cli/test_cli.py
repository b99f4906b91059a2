"""The command as a program sees it: exit statuses, one-line errors, JSON, and nothing written on failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from planner import graphs
from planner.errors import (
    BuildError,
    BusyError,
    FollowError,
    InfeasibleError,
    InputError,
    PlannerError,
    PublishError,
    RepositoryError,
    SpaceError,
    ToolError,
)
from planner.optimize.evaluate import evaluate
from planner.optimize.interchange import graph_digest, parse_plan
from planner.optimize.policies import POLICIES
from tests.night.worlds import write_world

GRAPH: dict[str, Any] = {
    "format": "deltaplan-graph/1",
    "commits": ["A", "B", "C"],
    "candidates": {"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [10, 4, 4]},
    "demands": {"base": [0], "target": [2], "clients": [3], "full_pull_bytes": [50]},
    "prices": {"egress_per_gb": 1e9},
}


def deltaplan(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The graph's file."""
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(GRAPH))
    return path


def test_solve_writes_a_plan_that_the_judge_confirms(graph: Path, tmp_path: Path) -> None:
    """Every key of `deltaplan-plan/1` is there, and `evaluate` finds the same cost and totals."""
    done = deltaplan("solve", graph, "-o", tmp_path / "plan.json")
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "plan.json").read_text())
    problem = graphs.read_graph(graph)
    judged = evaluate(problem, parse_plan(json.dumps(plan), problem).selection)
    assert plan["build"] == [1, 2]
    assert plan["routes"] == [[1, 2]]
    assert plan["cost"]["total"] == judged.cost.total == 24.0
    assert (plan["stored_bytes"], plan["egress_bytes"]) == (judged.stored_bytes, judged.egress_bytes)
    assert plan["graph_digest"] == graph_digest(problem)
    assert set(plan) == {
        *("format", "build", "routes", "cost", "stored_bytes", "server_cpu_s", "egress_bytes"),
        *("lower_bound", "gap", "status", "shadow_prices", "seed", "wall_s", "graph_digest"),
    }
    assert plan["status"] == "optimal"
    assert plan["gap"] == (24.0 - plan["lower_bound"]) / 24.0 <= 1e-6
    assert plan["lower_bound"] <= 24.0


def test_solve_is_the_same_every_time_but_for_the_clock(graph: Path, tmp_path: Path) -> None:
    """The same graph, options and seed give the same plan."""
    plans = []
    for name in ("one.json", "two.json"):
        assert deltaplan("solve", graph, "-o", tmp_path / name, "--seed", 7).returncode == 0
        plan = json.loads((tmp_path / name).read_text())
        plans.append({key: value for key, value in plan.items() if key != "wall_s"})
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"surplus": 1}, 3, "surplus: is an unknown key"),
        ({"candidates": {**GRAPH["candidates"], "wire_bytes": [1, 2, -3]}}, 3, "candidates.wire_bytes[2]: is negative"),
        ({"demands": {"base": [2], "target": [0], "clients": [1]}}, 5, "demands[0]: has no route"),
        (
            {"demands": {"base": [0], "target": [2], "clients": [1]}, "limits": {"stored_bytes": 5}},
            5,
            "limits.stored_bytes: cannot be met: needed=8.0, allowed=5",
        ),
    ],
)
def test_solve_names_in_one_line_what_cannot_be_met_and_writes_nothing(
    tmp_path: Path, change: dict[str, Any], status: int, words: str
) -> None:
    """Bad input and infeasible graphs: an exit status of their own, one line, no plan file."""
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps({**GRAPH, **change}))
    done = deltaplan("solve", graph, "-o", tmp_path / "plan.json")
    assert done.returncode == status
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / "plan.json").exists()


def test_files_that_cannot_be_read_or_written_are_named(graph: Path, tmp_path: Path) -> None:
    """A missing graph, a graph that is no JSON, NaN in it, and a plan in a folder that is not there."""
    assert "missing.json: cannot be read" in deltaplan("solve", tmp_path / "missing.json", "-o", "x").stderr
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    assert "is not JSON" in deltaplan("solve", bad, "-o", "x").stderr
    bad.write_text(json.dumps(GRAPH).replace("50", "NaN"))
    assert deltaplan("solve", bad, "-o", "x").returncode == 3
    done = deltaplan("solve", graph, "-o", tmp_path / "no" / "plan.json")
    assert (done.returncode, "plan.json: cannot be written" in done.stderr) == (3, True)


def test_every_error_class_has_an_exit_status_of_its_own() -> None:
    """A script can tell them apart, and from success, a defect (1) and wrong usage (2)."""
    classes = [
        *(InputError, RepositoryError, InfeasibleError, BuildError, PublishError, FollowError),
        *(ToolError, BusyError, SpaceError),
    ]
    statuses = {kind.exit_status for kind in classes}
    assert len(statuses) == len(classes)
    assert statuses.isdisjoint({0, 1, 2, 130})
    assert all(issubclass(kind, PlannerError) for kind in classes)


def test_the_verbs_of_a_night_one_by_one(tmp_path: Path) -> None:
    """Each verb in order, each with --json that parses, then show, explain and a real client's follow."""
    scenario, work = write_world(tmp_path), tmp_path / "work"

    def verb(name: str, *arguments: object) -> Any:
        done = deltaplan(name, scenario, *arguments, "--work", work, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert verb("import")["added"] == 5
    weighed = verb("weigh")
    assert {row["status"] for row in weighed["kept"]} == {"measured"}
    assert all(row["reason"] for row in weighed["pruned"])
    plan = verb("plan")
    assert [row["name"] for row in plan["policies"]] == ["this plan", *POLICIES]
    assert len(verb("build")["ready"]) == plan["policies"][0]["deltas"]
    assert len(verb("publish")["new"]) == plan["policies"][0]["deltas"]
    assert [one["error"] for one in verb("follow")] == [None] * 4
    assert verb("show") == plan
    ways = verb("explain", "B1")
    assert ways[0]["alternatives"][0]["kind"] == "planned"
    verdict = verb("explain", "B1", "S-on-B3")
    assert verdict["verdicts"][0]["change_money"] > 0


def test_a_person_reads_tables_and_programs_read_nothing_else_on_stdout(tmp_path: Path) -> None:
    """The last line of a night says that every base reached its target; progress is on stderr only."""
    scenario, work = write_world(tmp_path), tmp_path / "work"
    done = deltaplan("nightly", scenario, "--work", work)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("every base reached the target: 4 of 4 verified (longest route: 2 hops)")
    assert "proven gap 0.00%" in done.stdout
    assert "Against what peers would build" in done.stdout
    assert "weigh 1/" in done.stderr
    again = deltaplan("nightly", scenario, "--work", work, "--json")
    assert json.loads(again.stdout)["night"]["jobs"] == []


def test_a_client_of_the_store_is_updated_in_place(tmp_path: Path) -> None:
    """`follow --client`: from B1, held under the ref that it wants, to the product's newest tree."""
    from planner.history.store import Store  # noqa: PLC0415
    from planner.night.opening import open_night  # noqa: PLC0415

    scenario, work = write_world(tmp_path), tmp_path / "work"
    assert deltaplan("nightly", scenario, "--work", work).returncode == 0
    night = open_night(scenario, work=work)
    base = night.history.resolve("B1")
    client_path = tmp_path / "client"
    with night.site.serve() as remote:
        client = night.site.make_client(remote, client_path, [base], night.objects)
    Store.open(client_path).write_ref("device", base)
    done = deltaplan("follow", "--client", client_path, "--remote", work / "repository", "--ref", "device", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["hops"], document["fallback_reason"]) == (2, None)
    client.store.checkout(night.history.refs["device"], tmp_path / "tree")
    original = {p.relative_to(tmp_path / "trees/S-on-B3"): p for p in (tmp_path / "trees/S-on-B3").rglob("*")}
    for name, path in original.items():
        if path.is_file():
            assert (tmp_path / "tree" / name).read_bytes() == path.read_bytes()


def test_a_client_with_keys_asks_for_signed_routes_and_does_not_go_back(tmp_path: Path) -> None:
    """`--key` of any of several files, and `--allow-downgrade`; a refusal has the status of not arriving."""
    from planner.history.store import Store  # noqa: PLC0415
    from planner.night.opening import open_night  # noqa: PLC0415

    scenario, work = write_world(tmp_path), tmp_path / "work"
    for name in ("key", "other"):
        assert deltaplan("keys", "new", tmp_path / name).returncode == 0
    scenario.write_text(f'{scenario.read_text()}\n[publish]\nsigning_key = "key"\n')
    assert deltaplan("nightly", scenario, "--work", work).returncode == 0
    night = open_night(scenario, work=work)
    newest, older = night.history.resolve("device"), night.history.resolve("B3")
    with night.site.serve() as remote:
        night.site.make_client(remote, tmp_path / "client", [newest], night.objects)
    store = Store.open(tmp_path / "client")
    store.write_ref("base", newest)
    update = ("follow", "--client", store.path, "--remote", work / "repository", "--ref", "base")
    unknown = deltaplan(*update, "--key", tmp_path / "other.pub")
    assert (unknown.returncode, "not trusted" in unknown.stderr) == (8, True)
    keys = ("--key", tmp_path / "other.pub", "--key", tmp_path / "key.pub")
    refused = deltaplan(*update, *keys)
    assert (refused.returncode, "--allow-downgrade" in refused.stderr) == (8, True)
    assert store.read_refs() == {"base": newest}
    done = deltaplan(*update, *keys, "--allow-downgrade")
    assert done.returncode == 0, done.stderr
    assert store.read_refs() == {"base": older}


def _break(scenario: Path, old: str, new: str) -> None:
    text = scenario.read_text()
    assert old in text
    scenario.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "small"', 'name = "small"\nsurplus = 1', "unknown field `surplus`"),
        ("egress_per_gb = 1.0", "egress_per_gb = -1.0", "prices.egress_per_gb"),
        ("egress_per_gb = 1.0", "egress_per_gb = nan", "prices.egress_per_gb"),
        ("egress_per_gb = 1.0", "egress_per_gb = inf", "prices.egress_per_gb"),
        ('"bare-base"', '"bear-base"', "weigh.rules[2]: is no candidate rule"),
        ('codecs = []', 'codecs = ["zip"]', "weigh.codecs[0]: is no codec of this repository"),
        ('codecs = []', 'codecs = []\nmost_candidates = 0', "weigh.most_candidates"),
        ('layers = ["B3"]', 'layers = ["B9"]', "source.commits[4].layers: is no commit above this one"),
        ('ref = "device", released_at = 2024-01-10', 'ref = "../x", released_at = 2024-01-10', "source.commits[2].ref"),
        ("[demand]", "[demand", "small.toml"),
    ],
)  # fmt: skip
def test_scenario_faults_are_named_with_their_path(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Unknown keys, negative and impossible numbers, unknown rules, codecs and layers, hostile refs, broken TOML."""
    scenario = write_world(tmp_path)
    _break(scenario, old, new)
    done = deltaplan("nightly", scenario, "--work", tmp_path / "work")
    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_bad_demand_rows_are_all_named_by_line(tmp_path: Path) -> None:
    """Negative, NaN, unknown target and a short row, in one message; nothing was planned."""
    demand = "base,target,clients\nB1,device,-3\nB1,device,nan\nB1,nowhere,4\nB1,device\n"
    scenario = write_world(tmp_path, demand=demand)
    done = deltaplan("nightly", scenario, "--work", tmp_path / "work")
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    for words in (
        "demand.csv:2.clients: is negative",
        "demand.csv:3.clients: is not finite",
        "demand.csv:4.target",
        "demand.csv:5",
    ):
        assert words in last


def test_missing_ostree_is_named_with_its_package(tmp_path: Path) -> None:
    """On a machine without the program: its name, the Debian package, and an exit status of its own."""
    scenario = write_world(tmp_path, kind="ostree")
    done = deltaplan("import", scenario, "--work", tmp_path / "work", PATH="/nonexistent")
    assert done.returncode == 9
    assert "ostree: is not installed: debian_package='ostree'" in done.stderr
