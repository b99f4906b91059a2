"""The metrics as others read them: the official parser of OpenMetrics, and that of the older text format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_older

from planner.report.night_record import NightRecord
from planner.report.openmetrics import format_openmetrics
from tests.report.nights import BAD, GOOD, HOSTILE, HOSTILE_NIGHT, NOTHING, PLAN, large_night, step

NIGHTS = {"good": GOOD, "bad": BAD, "nothing": NOTHING, "hostile": HOSTILE_NIGHT}


def samples(record: NightRecord) -> dict[tuple[str, ...], float]:
    """The values, by name without the prefix and labels without the scenario's."""
    return {
        (sample.name.removeprefix("deltaplan_"), *_others(sample.labels)): sample.value
        for family in read_openmetrics(format_openmetrics(record))
        for sample in family.samples
    }


def _others(labels: Mapping[str, str]) -> list[str]:
    return [value for key, value in labels.items() if key != "scenario"]


@pytest.mark.parametrize("name", NIGHTS)
def test_both_parsers_read_the_same(name: str) -> None:
    """A textfile collector reads the older format: types it does not know, or time stamps, would lose the file."""
    text = format_openmetrics(NIGHTS[name])
    new, old = list(read_openmetrics(text)), list(read_older(text))
    assert [family.samples for family in new] == [family.samples for family in old]
    assert {family.type for family in new} == {"gauge"}
    assert all(family.documentation.endswith(".") for family in new)
    assert all(sample.timestamp is None for family in new for sample in family.samples)
    assert len({family.name for family in new}) == len(new) > 8
    assert text.endswith("\n# EOF\n")


def test_units_end_the_names() -> None:
    """As the format asks for."""
    for family in read_openmetrics(format_openmetrics(GOOD)):
        last = family.name.rpartition("_")[2]
        assert family.unit == (last if last in ("seconds", "bytes", "ratio") else "")


def test_the_figures_of_a_good_night() -> None:
    found = samples(GOOD)
    assert found["last_run_start_time_seconds",] == 1767232800
    assert found["last_run_end_time_seconds",] - found["last_run_start_time_seconds",] == 319
    assert found["last_run_duration_seconds",] == pytest.approx(318.5)
    assert found["window_seconds",] - found["window_left_seconds",] == pytest.approx(318.5)
    assert (found["last_run_exit_status",], found["last_run_complete",]) == (0, 1)
    assert (found["deltas", "build"], found["deltas", "keep"], found["deltas", "unlink"]) == (10, 4, 0)
    assert found["deltas_lacking",] == 0
    assert found["built_bytes",] == sum(job.wire_bytes or 0 for job in GOOD.jobs)
    assert found["step_core_seconds", "build"] == 180
    assert found["plan_cost",] >= found["plan_lower_bound",] == PLAN.lower_bound
    assert found["clients_covered",] == 2130
    assert found["client_download_bytes", "after"] == 3.2e6


def test_the_figures_of_a_bad_night() -> None:
    """One delta was made at the second attempt, and does not lack."""
    found = samples(BAD)
    assert (found["last_run_exit_status",], found["last_run_complete",]) == (6, 0)
    assert found["step_exit_status", "build"] == 6
    assert (found["jobs", "build", "made"], found["jobs", "build", "failed"], found["jobs", "build", "left"]) == (
        8,
        2,
        1,
    )
    assert found["deltas_lacking",] == 2
    assert found["window_left_seconds",] == 0


def test_ratios_are_of_what_was_projected_and_made() -> None:
    """At the median, measured by projected; without any such job there is no line."""
    jobs = [replace(GOOD.jobs[0], wire_bytes=110, projected_wire_bytes=100, core_s=1.0, projected_core_s=2.0)]
    jobs += [replace(jobs[0], projected_wire_bytes=value) for value in (None, 0)]
    found = samples(replace(GOOD, jobs=tuple(jobs)))
    assert found["size_projection_ratio",] == pytest.approx(1.1)
    assert found["core_time_projection_ratio",] == pytest.approx(0.5)
    assert ("size_projection_ratio",) not in samples(NOTHING)


def test_what_is_not_known_has_no_line() -> None:
    """No plan, no window, a time of day that is none."""
    found = samples(replace(NOTHING, started_at="yesterday"))
    names = {key[0] for key in found}
    assert names.isdisjoint({"plan_cost", "clients", "window_seconds", "last_run_start_time_seconds"})
    assert found["jobs", "build", "failed"] == 0


def test_a_gap_that_is_not_known_is_infinite() -> None:
    assert samples(replace(GOOD, plan=replace(PLAN, gap=float("inf"))))["plan_gap_ratio",] == float("inf")


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",))))
def test_labels_come_back_as_they_went_in(name: str) -> None:
    """Quotes, backslashes and line feeds."""
    text = format_openmetrics(replace(NOTHING, scenario=name, steps=(step(name, 1.0, 1.0),)))
    for read in (read_openmetrics, read_older):
        found = [sample.labels for family in read(text) for sample in family.samples]
        assert {labels["scenario"] for labels in found} == {name}
        assert name in {labels.get("step") for labels in found}


def test_a_hostile_name_ends_no_line_and_is_valid_text() -> None:
    """Half a character becomes a question mark, since no file could hold it."""
    text = format_openmetrics(HOSTILE_NIGHT)
    text.encode()
    labels = {sample.labels["scenario"] for family in read_openmetrics(text) for sample in family.samples}
    assert labels == {HOSTILE.replace("\ud800", "?")}


def test_a_large_night_has_no_more_lines() -> None:
    """A series per delta would be the end of the server that keeps them."""
    assert len(format_openmetrics(large_night(5_000)).splitlines()) < 150
