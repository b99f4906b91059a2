"""What the documents say of statuses, metrics and keys is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from planner import errors
from planner.report.night_record import DeltaRecord, JobRecord, NightRecord, PlanRecord, StepRecord
from planner.report.openmetrics import format_openmetrics
from tests.report.nights import BAD

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, REPORT = ROOT / "deploy" / "README.md", ROOT / "docs" / "nightly-report.md"


def test_every_exit_status_is_in_the_table() -> None:
    """Those of planner/errors.py, that of the base class, and those of the command itself."""
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", DEPLOY.read_text(), re.MULTILINE)}
    kinds = [errors.PlannerError, *errors.PlannerError.__subclasses__()]
    assert documented == {kind.exit_status for kind in kinds} | {0, 2, 130}


def test_every_metric_is_documented_and_no_other() -> None:
    """A name that begins with `_` continues the one before."""
    documented: set[str] = set()
    for row in re.findall(r"^\| (`deltaplan_[^|]*)\|", REPORT.read_text(), re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row)
        stem = re.sub(r"(_start_time_seconds|_duration_seconds)$", "", names[0])
        documented |= {stem + name if name.startswith("_") else name for name in names}
    made = set(re.findall(r"^# TYPE (\S+) ", format_openmetrics(BAD), re.MULTILINE))
    assert documented == made
    alerts = set(re.findall(r"deltaplan_\w+_\w+", DEPLOY.read_text()))
    assert {name for name in alerts if name.startswith("deltaplan_")} <= made


def test_every_key_of_the_record_is_documented() -> None:
    text = REPORT.read_text()
    for kind in (NightRecord, StepRecord, JobRecord, DeltaRecord, PlanRecord):
        for field in fields(kind):
            shown = (
                field.name.removesuffix("bytes_per_client") if field.name != "after_bytes_per_client" else field.name
            )
            assert re.search(rf"`{re.escape(shown)}(\[\])?`", text), field.name


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (DEPLOY, REPORT):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), target
