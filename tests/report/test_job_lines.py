"""A job's line is one line of plain JSON, whatever the job's name holds."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

from hypothesis import given
from hypothesis import strategies as st

from planner.report.job_lines import job_line
from planner.report.night_record import JobRecord
from tests.report.nights import HOSTILE, job


def test_a_line_has_what_is_known_in_the_records_order() -> None:
    """Nothing else: a reader need not tell null from absent."""
    line = job_line(job(3, "left", "the window has ended"))
    found = json.loads(line)
    assert list(found) == [field.name for field in fields(JobRecord) if field.name in found]
    assert found == {
        key: value for key, value in asdict(job(3, "left", "the window has ended")).items() if value is not None
    }
    assert ", " not in line.replace("the window has ended", "")


@given(st.text())
def test_any_name_is_one_line_and_comes_back(name: str) -> None:
    """Line ends of all alphabets, quotes and control characters."""
    line = job_line(replace(job(0), name=name, reason=HOSTILE))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert json.loads(line)["name"] == name
    assert json.loads(line)["reason"] == HOSTILE


def test_what_is_no_number_is_not_known() -> None:
    """`NaN` and `Infinity` are no JSON."""
    found = json.loads(job_line(replace(job(0), core_s=float("nan"), projected_core_s=float("inf"))))
    assert "core_s" not in found
    assert "projected_core_s" not in found
