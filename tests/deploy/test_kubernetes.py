"""The CronJob against the cluster's own schemas, and against the container that it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from planner.cli.app import make_app
from planner.units import parse_duration
from tests.deploy.test_container import FINAL

FILE = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "cronjob.yaml"
OBJECTS = {one["kind"]: one for one in yaml.safe_load_all(FILE.read_text())}
JOB = OBJECTS["CronJob"]["spec"]["jobTemplate"]["spec"]
POD = JOB["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "CronJob"])
def test_the_schemas_know_every_field(kind: str, version: str) -> None:
    """Strictly: a field that is not in the schema is a fault."""
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_the_schemas_would_have_found_a_wrong_field() -> None:
    wrong: dict[str, Any] = {**OBJECTS["CronJob"], "spec": {**OBJECTS["CronJob"]["spec"], "concurrency": "Forbid"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


def test_nights_do_not_overlap_and_end() -> None:
    """One at a time, and the window ends before the cluster would end the run."""
    app = typer.main.get_command(make_app(["nightly"]))
    assert CONTAINER["args"][0] == "nightly"
    taken = app.commands["nightly"].make_context("nightly", CONTAINER["args"][1:]).params  # type: ignore[attr-defined]
    assert OBJECTS["CronJob"]["spec"]["concurrencyPolicy"] == "Forbid"
    assert 0 < parse_duration(taken["window"]) < JOB["activeDeadlineSeconds"]
    assert taken["workers"] == int(CONTAINER["resources"]["limits"]["cpu"])


def test_every_folder_that_is_written_is_mounted() -> None:
    """The root is read-only: the image's folders for state, cache and temporary files are volumes."""
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in POD["volumes"]}
    assert {"/tmp", "/var/cache/deltaplan", "/var/lib/deltaplan"} <= set(mounts)
    claim = next(one for one in POD["volumes"] if one["name"] == mounts["/var/lib/deltaplan"])
    assert claim["persistentVolumeClaim"]["claimName"] == OBJECTS["PersistentVolumeClaim"]["metadata"]["name"]


def test_the_user_is_the_images() -> None:
    """And is not root."""
    context = POD["securityContext"]
    assert context["runAsNonRoot"] is True
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in FINAL
