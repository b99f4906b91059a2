"""`deltaplan solve --certificate` and `deltaplan check`: the bound can be checked by whoever has the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from tests.cli.test_cli import GRAPH, deltaplan


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a graph, its plan and the plan's certificate."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "graph.json").write_text(json.dumps(GRAPH))
    files = folder / "graph.json", "-o", folder / "plan.json", "--certificate", folder / "certificate.json"
    done = deltaplan("solve", *files)
    assert done.returncode == 0, done.stderr
    assert "the certificate proves" in done.stdout
    return folder


@pytest.fixture
def solved(written: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Copies of the graph, the plan and the certificate, to be changed."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "graph.json", tmp_path / "plan.json", tmp_path / "certificate.json"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_check_confirms_what_solve_wrote(solved: tuple[Path, Path, Path]) -> None:
    """The plan costs what it says, and the certificate proves what it says."""
    graph, plan, certificate = solved
    done = deltaplan("check", graph, plan, "--certificate", certificate, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["is_feasible"]
    assert document["cost"] == json.loads(plan.read_text())["cost"]["total"] == 24.0
    proven = document["certificate"]["bound"]
    assert json.loads(certificate.read_text())["bound"] == proven <= 24.0
    assert document["certificate"]["gap"] == (24.0 - proven) / 24.0
    assert document["certificate"]["proves_lower_bound"] == (document["lower_bound"] <= proven + 2.4e-7)


def test_check_without_a_certificate_says_so(solved: tuple[Path, Path, Path]) -> None:
    """The bound is then only claimed."""
    done = deltaplan("check", *solved[:2])
    assert done.returncode == 0, done.stderr
    assert "no certificate" in done.stdout
    assert "certificate" not in json.loads(deltaplan("check", *solved[:2], "--json").stdout)


def test_a_bound_proved_by_branching_is_told_apart(solved: tuple[Path, Path, Path]) -> None:
    """A certificate that proves less than the plan says is no fault."""
    graph, plan, certificate = solved
    edit(certificate, cohorts=[], bound=0.0)
    done = deltaplan("check", graph, plan, "--certificate", certificate)
    assert done.returncode == 0, done.stderr
    assert "proved by branching" in done.stdout


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("plan", {"build": [1]}, "plan: is not feasible"),
        ("plan", {"graph_digest": "0"}, "belongs to another graph"),
        ("plan", {"cost": {"total": 20.0}}, "plan.cost.total: is not what the plan comes to"),
        ("plan", {"stored_bytes": 1.0}, "plan.stored_bytes"),
        ("plan", {"lower_bound": 25.0}, "plan.lower_bound: is above"),
        ("certificate", {"bound": 25.0}, "certificate.bound: is not proven"),
        ("certificate", {"graph_digest": "0"}, "belongs to another graph"),
        ("certificate", {"prices": {"money_per_cpu_s": 1.0}}, "does not limit"),
    ],
)
def test_what_is_not_so_is_one_line_and_a_status(
    solved: tuple[Path, Path, Path], file: str, changes: dict[str, Any], words: str
) -> None:
    """Of a plan as of a certificate."""
    graph, plan, certificate = solved
    edit(plan if file == "plan" else certificate, **changes)
    done = deltaplan("check", graph, plan, "--certificate", certificate)
    assert done.returncode == InputError.exit_status
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_that_are_not_there_are_named(solved: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The same as for graphs."""
    graph, plan, _ = solved
    for arguments in ((graph, tmp_path / "no"), (graph, plan, "--certificate", tmp_path / "no")):
        done = deltaplan("check", *arguments)
        assert done.returncode == InputError.exit_status
        assert "cannot be read" in done.stderr
