"""Mixes are composed, clients that keep layers apart fetch them one by one, and end on the server's commit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.follow.follower import LAYER_REF
from planner.history.generator import generate_releases
from planner.night.night import Night
from planner.night.opening import open_night
from tests.delta.worlds import run_ostree

SCENARIO = """
format = "deltaplan-scenario/1"
name = "mixes"

[repository]
kind = "{kind}"

[source]
kind = "trees"
path = "trees"
commits = [
    {{ name = "B1", ref = "base", released_at = 2024-01-01T00:00:00Z }},
    {{ name = "B2", ref = "base", released_at = 2024-02-01T00:00:00Z }},
    {{ name = "S1", ref = "part/s", released_at = 2024-01-10T00:00:00Z }},
    {{ name = "S2", ref = "part/s", released_at = 2024-03-10T00:00:00Z }},
]

[[mixes]]
ref = "device"
layers = ["B1", "S1"]

[[mixes]]
ref = "device"
layers = ["base", "part/s"]

[demand]
cohorts = [
    {{ base = "B1", target = "device", clients = 500, layers = true }},
    {{ base = "S1-on-B1", target = "device", clients = 700, layers = true }},
    {{ base = "B2", target = "device", clients = 90, max_hops = 1 }},
]

[weigh]
rules = ["direct", "bare-base"]

[prices]
storage_per_gb = {storage}
server_cpu_per_hour = 0.001
egress_per_gb = 1.0
"""


def write_mixes(folder: Path, kind: str = "store", storage: float = 500.0) -> Path:
    """Two bases and two parts; both parts have a file of the base's, which is theirs in the mix."""
    bases = list(generate_releases(seed=1, releases=2, files=30))
    parts = list(generate_releases(seed=2, releases=2, files=20))
    for name, place, files in (
        ("B1", "base", bases[0]),
        ("B2", "base", bases[1]),
        ("S1", "part", parts[0]),
        ("S2", "part", parts[1]),
    ):
        own = {f"{place}/{path}": data for path, data in files.items()}
        for path, content in {**own, "etc/owner": name.encode()}.items():
            target = folder / "trees" / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    scenario = folder / "mixes.toml"
    scenario.write_text(SCENARIO.format(kind=kind, storage=storage))
    return scenario


def run(night: Night) -> None:
    night.import_()
    night.compose()
    night.weigh()
    night.plan()
    night.build()
    night.publish()


@pytest.mark.parametrize("kind", ["store", "ostree"])
def test_clients_unite_layers_and_end_on_the_servers_commit(kind: str, tmp_path: Path) -> None:
    night = open_night(write_mixes(tmp_path, kind), work=tmp_path / "work")
    run(night)
    head = night.history.refs["device"]
    assert night.history.name_of(head) == "S2-on-B2"
    done = night.follow()
    assert [one.error for one in done] == [None, None, None]
    followed = [one.followed for one in done]
    layers = tuple(map(night.history.resolve, ("B2", "S2")))
    assert {one.layers for one in followed[:2] if one} == {layers}
    assert [one.fallback_reason for one in followed if one] == [None, None, None]
    assert followed[2] is not None
    assert followed[2].layers == ()
    assert {one.target for one in followed if one} == {head}


def test_a_stock_repository_keeps_its_layers_for_the_next_update(tmp_path: Path) -> None:
    """The client's refs, trees and checks after an update by layers."""
    from planner.follow.follower import Abilities, follow  # noqa: PLC0415

    night = open_night(write_mixes(tmp_path, "ostree"), work=tmp_path / "work")
    run(night)
    head, base = night.history.refs["device"], night.history.resolve("S1-on-B1")
    held = (base, *night.history.commits[base].layers)
    with night.site.serve() as remote:
        client = night.site.make_client(remote, tmp_path / "client", held, night.objects)
        done = follow(client, remote, base=base, want="device", is_ref=True, abilities=Abilities(layers=True))
    assert done.layers == tuple(map(night.history.resolve, ("B2", "S2")))
    repo = f"--repo={tmp_path / 'client'}"
    refs = {name: run_ostree("rev-parse", repo, name).strip() for name in run_ostree("refs", repo).split()}
    assert refs == {"origin:device": head, f"{LAYER_REF}/1": done.layers[0], f"{LAYER_REF}/2": done.layers[1]}
    listings = [run_ostree("ls", "-R", "-C", one, head) for one in (repo, f"--repo={night.site.path}")]
    assert listings[0] == listings[1]
    assert run_ostree("cat", repo, head, "/etc/owner") == "S2"
    run_ostree("fsck", "--quiet", repo)


@pytest.mark.parametrize("kind", ["store", "ostree"])
def test_what_no_commit_can_be_called_is_not_held(kind: str, tmp_path: Path) -> None:
    """A server's metadata may name anything as a layer; nothing of that reaches a path."""
    night = open_night(write_mixes(tmp_path, kind), work=tmp_path / "work")
    night.import_()
    base = night.history.resolve("B1")
    with night.site.serve() as remote:
        client = night.site.make_client(remote, tmp_path / "client", [base], night.objects)
        names = (base, "", "f" * 64, "../../etc/passwd", "x", base.upper())
        assert [client.holds(name) for name in names] == [True, True, False, False, False, False]


def test_where_storage_costs_nothing_merged_deltas_are_taken(tmp_path: Path) -> None:
    """They are a little smaller than the layers' together; the plan weighs both ways for each cohort."""
    night = open_night(write_mixes(tmp_path, storage=0.0), work=tmp_path / "work")
    run(night)
    followed = [one.followed for one in night.follow()]
    assert [one.layers for one in followed if one][1:] == [(), ()]


def test_composing_again_makes_nothing_and_a_new_part_a_new_mix(tmp_path: Path) -> None:
    scenario = write_mixes(tmp_path)
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    assert list(night.compose()) == ["S1-on-B1", "S2-on-B2"]
    assert night.compose() == {}
    text = scenario.read_text()
    (tmp_path / "trees" / "S3" / "part").mkdir(parents=True)
    (tmp_path / "trees" / "S3" / "part" / "new").write_text("new")
    section = '    { name = "S3", ref = "part/s", released_at = 2024-04-10T00:00:00Z },\n]\n\n[[mixes]]'
    scenario.write_text(text.replace("]\n\n[[mixes]]", section, 1))
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    assert list(night.compose()) == ["S3-on-B2"]
    head = night.history.commits[night.history.refs["device"]]
    assert night.history.name_of(head.parent or "") == "S2-on-B2"


def _with(scenario: Path, old: str, new: str) -> Path:
    text = scenario.read_text()
    assert old in text
    scenario.write_text(text.replace(old, new))
    return scenario


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('layers = ["B1", "S1"]', 'layers = ["B1", "S9"]', "is a layer that the repository lacks"),
        ('layers = ["B1", "S1"]', f'layers = ["B1", "{"f" * 64}"]', "is a layer that the repository lacks"),
        ('layers = ["B1", "S1"]', 'layers = ["B1", "S1"]\nname = "B2"', "is a commit of other layers already"),
        ('layers = ["B1", "S1"]', 'layers = [""]', "names no commit"),
    ],
)
def test_a_mix_that_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path, old: str, new: str, words: str) -> None:
    night = open_night(_with(write_mixes(tmp_path), old, new), work=tmp_path / "work")
    night.import_()
    before = sorted(os.walk(night.site.path))
    with pytest.raises(InputError, match=words):
        night.compose()
    assert sorted(os.walk(night.site.path)) == before


@pytest.mark.parametrize("kind", ["store", "ostree"])
def test_layers_in_conflict_are_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    scenario = write_mixes(tmp_path, kind)
    (tmp_path / "trees" / "S1" / "base").write_text("a file where the base has a folder")
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    before = sorted(os.walk(night.site.path))
    with pytest.raises(InputError, match="a file in one layer and a folder in another") as caught:
        night.compose()
    assert "/base" in str(caught.value)
    assert sorted(os.walk(night.site.path)) == before


def test_an_unknown_mix_is_refused(tmp_path: Path) -> None:
    night = open_night(write_mixes(tmp_path), work=tmp_path / "work")
    night.import_()
    assert list(night.compose(["S1-on-B1"])) == ["S1-on-B1"]
    with pytest.raises(InputError, match="is no mix of the scenario"):
        night.compose(["S9-on-B9"])


def test_clients_cannot_keep_apart_what_is_no_union(tmp_path: Path) -> None:
    row = 'base = "{}", target = "{}", clients = 700'
    scenario = _with(write_mixes(tmp_path), row.format("S1-on-B1", "device"), row.format("B1", "base"))
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    night.compose()
    with pytest.raises(InputError, match="is not composed of layers"):
        night.weigh()


GRID = """
format = "deltaplan-scenario/1"
name = "grid"

[repository]
kind = "{kind}"

[source]
kind = "grid"
bases = 2
parts = 2
releases = 2
files = 20

[demand]
adoption = [{{ ref = "device/*", clients = 1000, half_life_releases = 1 }}]
factory = [
    {{ refs = ["device/*"], bases = ["base/*"], clients = 200, half_life_releases = 1, layers = true }},
    {{ refs = ["device/*"], bases = ["base/*"], clients = 100, half_life_releases = 1 }},
]

[prices]
storage_per_gb = 5.0
egress_per_gb = 1.0
"""


@pytest.mark.parametrize("kind", ["store", "ostree"])
def test_a_grid_is_planned_and_followed_by_all(kind: str, tmp_path: Path) -> None:
    """Two base lines, two parts, two releases: new devices of either kind, and those in the field."""
    scenario = tmp_path / "grid.toml"
    scenario.write_text(GRID.format(kind=kind))
    night = open_night(scenario, work=tmp_path / "work")
    run(night)
    plan = night.workspace.read_plan()[1]
    done = night.follow()
    assert plan.gap <= 1e-6
    assert len(done) == 2 + 2 * 2 * 2 * 2
    assert all(one.followed and one.followed.fallback_reason is None for one in done)
    assert any(one.followed and one.followed.layers for one in done)
