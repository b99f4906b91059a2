"""Whole nights on a Dask cluster, with an S3 server between, against nights on this machine alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from planner.build.executors import LocalExecutor
from planner.build.processes import Guards
from planner.errors import InputError
from planner.night.night import Night
from planner.night.opening import open_night
from planner.publish.mirror_order import find_stage
from tests.build.clusters import dask_cluster
from tests.build.s3_server import s3_server
from tests.night.worlds import write_world

fsspec = pytest.importorskip("fsspec")


def run_whole(night: Night) -> dict[str, bytes]:
    """All verbs in order; the deltas that were published."""
    night.import_()
    night.weigh()
    night.plan()
    night.build()
    night.publish()
    assert all(one.error is None for one in night.follow())
    deltas = night.site.path / "deltas"
    return {str(path.relative_to(deltas)): path.read_bytes() for path in deltas.rglob("*") if path.is_file()}


def for_clients(folder: Path) -> set[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in paths if find_stage(path) is not None}


def with_sections(scenario: Path, sections: Mapping[str, Mapping[str, str]]) -> Path:
    lines = [
        f"\n[{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in of.items()) for name, of in sections.items()
    ]
    scenario.write_text(scenario.read_text() + "".join(lines))
    return scenario


def test_a_night_elsewhere_publishes_what_a_night_here_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers have an S3 URL only, and homes of their own; and S3 has what clients need."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = open_night(write_world(tmp_path / "here"), work=tmp_path / "here" / "work")
    with s3_server(monkeypatch), dask_cluster(tmp_path) as address:
        sections = {
            "publish": {"mirror_url": "s3://bucket/clients"},
            "executor": {"repository_url": "s3://bucket/workers"},
        }
        scenario = with_sections(write_world(tmp_path / "there"), sections)
        there = open_night(scenario, work=tmp_path / "there" / "work", executor=f"dask:{address}")
        assert run_whole(there) == run_whole(here)
        s3 = fsspec.filesystem("s3", skip_instance_cache=True)
        uploaded = {path.removeprefix("bucket/clients/") for path in s3.find("bucket/clients")}
        assert uploaded == for_clients(there.site.path)
        brought = {path.removeprefix("bucket/workers/") for path in s3.find("bucket/workers")}
        assert {path.split("/")[0] for path in brought} == {"config", "objects"}


def test_an_unknown_executor_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no executor"):
        open_night(write_world(tmp_path), work=tmp_path / "work", executor="slurm")
    assert not (tmp_path / "work").exists()


def test_guards_come_from_the_scenario(tmp_path: Path) -> None:
    scenario = write_world(tmp_path)
    scenario.write_text(scenario.read_text() + '\n[night]\njob_memory_bytes = 10\njob_time = "2.5s"\n')
    guards = Guards(most_memory_bytes=10, most_wall_s=2.5)
    assert open_night(scenario, work=tmp_path / "work", workers=3)._executor == LocalExecutor(3, guards)
