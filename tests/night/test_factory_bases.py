"""The case that the idea came from, on real packages: figures that the README gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import ToolError
from planner.history.packages import fetch_packages
from planner.night.opening import open_night
from planner.report.summary import summarize

SCENARIO = Path(__file__).resolve().parents[2] / "scenarios" / "factory-bases.toml"


@pytest.mark.network
def test_merged_trees_go_through_the_bare_new_base(tmp_path: Path) -> None:
    """Every bare base goes by B4; less than half of all-direct's storage; at most 2 % more bytes for the clients."""
    try:
        fetch_packages(["six==1.16.0"], tmp_path / "packages")
    except ToolError as error:
        pytest.skip(f"needs packages from the network: {error}")
    night = open_night(SCENARIO, work=tmp_path / "work")
    night.import_()
    night.weigh()
    plan = night.plan()
    summary = summarize(night.workspace.read_plan()[0], plan, night.history)
    bare = [row for row in summary.routes if row.base in ("B1", "B2", "B3")]
    assert len(bare) == 9
    assert all(row.route is not None and row.route[:-1] == ("B4",) for row in bare)
    ours, direct = summary.policies[0], next(row for row in summary.policies if row.name == "all_to_head")
    assert ours.stored_bytes < direct.stored_bytes / 2
    assert ours.egress_bytes <= direct.egress_bytes * 1.02
    assert ours.money <= min(row.money for row in summary.policies)
    assert plan.gap <= 1e-6
