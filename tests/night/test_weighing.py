"""Nights that may not measure everything: what matters is probed, the rest projected, and all clients arrive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from planner.errors import RepositoryError
from planner.night.night import Night
from planner.night.opening import open_night
from planner.night.projected import judge_projections
from planner.optimize.solve import solve
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from tests.night.worlds import write_world

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")


def open_world(folder: Path, budget_core_s: float | None, kind: str = "ostree") -> Night:
    """A night over the small world with a budget for probes."""
    scenario = write_world(folder, kind)
    if budget_core_s is not None:
        text = scenario.read_text().replace("[weigh]", f"[weigh]\nprobe_core_s = {budget_core_s}")
        scenario.write_text(text)
    night = open_night(scenario, work=folder / "work")
    night.import_()
    return night


def statuses(weighed: dict[Candidate, Weight]) -> set[WeightStatus]:
    return {weight.status for weight in weighed.values()}


def test_without_a_budget_nothing_is_measured_and_everybody_arrives(tmp_path: Path) -> None:
    night = open_world(tmp_path, 0.0)
    weighing = night.weigh()
    assert weighing.measured == 0
    assert weighing.accuracy is None
    assert statuses(dict(weighing.weighed)) == {WeightStatus.PROJECTED}
    night.plan()
    assert night.build().made > 0
    night.publish()
    assert all(rehearsal.is_verified for rehearsal in night.follow())
    # What was built was measured by that, beside what was projected.
    again = night.weigh()
    assert again.accuracy is not None
    assert again.accuracy.candidates > 0
    assert again.accuracy.wire_bytes_error < 0.5
    assert statuses(dict(again.weighed)) == {WeightStatus.MEASURED, WeightStatus.PROJECTED}


def test_a_large_budget_is_spent_until_the_plan_is_stable(tmp_path: Path) -> None:
    night = open_world(tmp_path, 10_000.0)
    first = night.weigh()
    assert 0 < first.measured <= len(first.weighed) + len(first.pruned)
    # What was probed is not probed again, and hardly anything is left to be unsure of.
    again = night.weigh()
    assert again.measured <= first.measured
    assert again.accuracy is not None
    night.plan()
    night.build()
    night.publish()
    assert all(rehearsal.is_verified for rehearsal in night.follow())


def count_solves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each plan that is made for the choice of probes."""
    solves: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        solves.append(1)
        return solve(*arguments, **options)

    monkeypatch.setattr("planner.optimize.probing.solve", counted)
    return solves


def test_where_nothing_is_new_nothing_is_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = open_world(tmp_path, 1.0)
    night.weigh()
    first = night.weigh()
    solves = count_solves(monkeypatch)
    assert night.weigh() == first
    assert solves == []


@pytest.mark.parametrize("damage", [None, b"", b"{", b'{"a": 1}'])
def test_without_the_memory_of_what_is_settled_doubts_are_weighed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    night = open_world(tmp_path, 0.0)
    first, path = night.weigh(), tmp_path / "work/settled.json"
    path.unlink() if damage is None else path.write_bytes(damage)
    solves = count_solves(monkeypatch)
    assert night.weigh() == first
    assert solves


def test_the_budget_is_kept(tmp_path: Path) -> None:
    """As far as projections allow: a probe is begun only while its projected core-seconds are left."""
    night = open_world(tmp_path, 0.001)
    assert night.weigh().measured == 0


def test_projections_are_near_measurements(tmp_path: Path) -> None:
    projected = dict(open_world(tmp_path / "projected", 0.0).weigh().weighed)
    measured = dict(open_world(tmp_path / "measured", None).weigh().weighed)
    both = {(one.base, one.target) for one in projected} & {
        (one.base, one.target) for one in measured if one.codec == "native"
    }
    assert len(both) >= 3
    for base, target in both:
        one = Candidate(base=base, target=target, codec="native")
        assert projected[one].wire_bytes == pytest.approx(measured[one].wire_bytes, rel=0.5)


def test_a_store_has_no_projections_and_measures(tmp_path: Path) -> None:
    weighing = open_world(tmp_path, 0.0, "store").weigh()
    assert statuses(dict(weighing.weighed)) == {WeightStatus.MEASURED}


def test_a_damaged_content_is_named(tmp_path: Path) -> None:
    night = open_world(tmp_path, 0.0)
    for path in (night.site.path / "objects").glob("*/*.filez"):
        data = bytearray(path.read_bytes())
        data[-5] ^= 255
        path.chmod(0o644)
        path.write_bytes(data)
    with pytest.raises(RepositoryError, match="corrupt"):
        night.weigh()


def test_accuracy_is_the_median_of_what_was_measured_later() -> None:
    def weight(wire_bytes: int, server_cpu_s: float, status: WeightStatus) -> Weight:
        return Weight(
            wire_bytes=wire_bytes,
            stored_bytes=wire_bytes,
            server_cpu_s=server_cpu_s,
            client_cpu_s=0.0,
            peak_memory_bytes=0,
            status=status,
        )

    ones = [Candidate(base="", target=str(number), codec="native") for number in range(4)]
    projected = {one: weight(100, 1.0, WeightStatus.PROJECTED) for one in ones}
    measured = {one: weight(100 + 10 * number, 2.0, WeightStatus.MEASURED) for number, one in enumerate(ones[:3])}
    found = judge_projections(projected, measured)
    assert found is not None
    assert (found.candidates, found.server_cpu_error) == (3, 0.5)
    assert found.wire_bytes_error == pytest.approx(1 - 100 / 110)
    assert judge_projections(projected, {}) is None
