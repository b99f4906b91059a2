"""The package's public face, and that the documents tell the truth about it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import planner
from planner import errors
from planner.cli.app import VERBS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", planner.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name loads, has a docstring, and is listed once."""
    assert getattr(planner, name).__doc__ or name == "POLICIES"
    assert planner.__all__.count(name) == 1


def test_unknown_names_are_attribute_errors() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = planner.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Workers import it for every job."""
    code = "import sys, planner; print([m for m in ('numpy', 'highspy', 'networkx', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_solves_a_graph_in_two_lines(tmp_path: Path) -> None:
    """What the README shows."""
    path = tmp_path / "graph.json"
    path.write_text(
        '{"format": "deltaplan-graph/1", "commits": ["A", "B"],'
        ' "candidates": {"base": [0], "target": [1], "wire_bytes": [5]},'
        ' "demands": {"base": [0], "target": [1], "clients": [2]}, "prices": {"egress_per_gb": 1e9}}'
    )
    problem = planner.read_graph(path)
    plan = planner.solve(problem)
    assert plan.gap <= 1e-6
    assert (plan.cost.total, plan.routes) == (10.0, ((0,),))
    planner.write_plan(plan, problem, tmp_path / "plan.json")
    assert (tmp_path / "plan.json").stat().st_size > 0


def test_documents_name_every_verb_and_exit_status() -> None:
    """README has the verbs; the table in docs/formats.md has each error class's status."""
    readme, formats = (ROOT / "README.md").read_text(), (ROOT / "docs" / "formats.md").read_text()
    assert all(re.search(rf"\b{verb}\b", readme) for verb in VERBS)
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", formats, re.MULTILINE)}
    statuses = {kind.exit_status for kind in errors.PlannerError.__subclasses__()}
    assert documented == statuses | {0, 2}


def test_targets_that_the_readme_names_are_in_the_makefile() -> None:
    """Every `make X` of the documents exists."""
    makefile = (ROOT / "Makefile").read_text()
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"`?make ([a-z-]+)`?", document.read_text()):
            if f"make {target}`" in document.read_text() or f"make {target} " in document.read_text():
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), (document.name, target)
