"""Whole nights over a layout of images: a cluster's nodes ask, image deltas are built, clients arrive."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from planner.errors import FollowError, InputError
from planner.follow.follower import Abilities, Trust, follow
from planner.follow.remote import FolderRemote
from planner.images.artifact import list_artifacts
from planner.images.client import ImageClient
from planner.images.documents import REF_NAME
from planner.images.layout import Layout
from planner.images.repository import ImageRepository, find_by_id
from planner.images.writing import keep_only
from planner.night.images import ImageSite
from planner.night.night import Night
from planner.night.opening import open_night
from planner.publish.signatures import SigningKey
from tests.cli.test_cli import deltaplan
from tests.images.worlds import change, everything, make_files, make_tar, write_image

SCENARIO = """
format = "deltaplan-scenario/1"
name = "images"

[repository]
kind = "oci"
path = "{layout}"

[demand]
nodes = "nodes.json"
cohorts = [{{ base = "app:v1", target = "app", clients = 5, max_hops = 1 }}]

[weigh]
rules = ["direct", "parent"]

[prices]
storage_per_gb = 1.0
server_cpu_per_hour = 0.0
egress_per_gb = 1.0
"""
RELEASES = 4


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night that was carried out up to publishing."""
    folder = tmp_path_factory.mktemp("images")
    layout, files = folder / "layout", make_files(1)
    bottom = make_tar(make_files(2))
    for number in range(1, RELEASES + 1):
        files = change(files, [f"opt/app/text{number}.py"])
        tars = [bottom, make_tar(files, mtime=number)]
        write_image(layout, f"app:v{number}", tars, created=f"2024-01-0{number}T00:00:00.123456789Z")
    held = [["app:v1"]] * 3 + [["app:v2"]] * 40 + [["app:v3"]] * 20 + [["app:v4"]]
    nodes = [{"status": {"images": [{"names": names}]}} for names in held]
    (folder / "nodes.json").write_text(json.dumps({"items": nodes}))
    (folder / "images.toml").write_text(SCENARIO.format(layout=layout))
    opened = open_night(folder / "images.toml", work=folder / "work", workers=1)
    opened.import_()
    opened.weigh()
    opened.plan()
    opened.build()
    opened.publish()
    return opened


def test_images_are_commits_in_the_order_of_their_dates(night: Night) -> None:
    history = night.history
    versions = [commit.version for commit in history.commits.values()]
    assert versions == [f"app:v{number}" for number in range(1, RELEASES + 1)]
    head = history.refs["app"]
    assert [history.commits[one].version for one in history.ancestors(head)] == ["app:v3", "app:v2", "app:v1"]
    assert head == Layout(night.site.path).find_image("app:v4").config.digest[7:]


def test_a_full_pull_is_what_a_registry_would_send(night: Night) -> None:
    base, head = night.history.resolve("app:v2"), night.history.resolve("app")
    image = Layout(night.site.path).find_image("app:v4")
    expected = image.manifest.size + image.config.size + image.layers[1].blob.size
    assert night.full_pulls[base, head] == expected


def test_every_node_arrives_by_its_route(night: Night) -> None:
    rehearsals = night.follow()
    assert {one.cohort.clients for one in rehearsals} == {3.0, 5.0, 20.0, 40.0}
    for one in rehearsals:
        assert one.followed is not None, one.error
        assert one.followed.fallback_reason is None
        assert one.followed.wire_bytes < night.full_pulls[one.cohort.base, one.cohort.target]
        assert one.followed.hops >= 1


def test_published_deltas_are_artifacts_of_the_layout(night: Night) -> None:
    artifacts = list(list_artifacts(Layout(night.site.path)))
    published = list((night.site.path / "extensions/deltaplan/deltas").glob("*/*/*"))
    assert len(artifacts) == len(published) > 0
    for artifact in artifacts:
        blob = Layout(night.site.path).blob_path(artifact.deltas[0].digest)
        assert blob.stat().st_nlink >= 2
    assert [one.name for one in Layout(night.site.path).images()] == [f"app:v{k}" for k in range(1, RELEASES + 1)]


def test_publishing_again_changes_nothing(night: Night) -> None:
    before = everything(night.site.path)
    night.publish()
    assert everything(night.site.path) == before


def client_of(night: Night, folder: Path, name: str) -> tuple[ImageClient, str]:
    """A client that holds an image."""
    base = night.history.resolve(name)
    site = night.site
    assert isinstance(site, ImageSite)
    return site.make_client(FolderRemote(site.path), folder / "client", [base], night.objects), base


def test_a_client_without_a_route_pulls_layers_it_lacks(night: Night, tmp_path: Path) -> None:
    client, base = client_of(night, tmp_path, "app:v1")
    done = follow(client, client.remote, base=base, want="app", is_ref=True, abilities=Abilities(max_wire_bytes=1))
    assert (done.hops, done.wire_bytes) == (0, night.full_pulls[base, done.target])
    assert [one.name for one in Layout(client.path).images()] == ["app"]
    assert client.current("app") == night.history.refs["app"]
    assert len(everything(client.path)) == 2 + 4


def test_a_damaged_delta_is_replaced_by_a_full_pull(night: Night, tmp_path: Path) -> None:
    client, base = client_of(night, tmp_path, "app:v3")

    class Damaging(FolderRemote):
        def fetch(self, path: str, *, max_bytes: int) -> bytes:
            data = super().fetch(path, max_bytes=max_bytes)
            return data[:-1] + b"x" if "/deltas/" in path and "sha256-" in path else data

    damaged = ImageClient(client.path, Damaging(night.site.path))
    done = follow(damaged, damaged.remote, base=base, want="app", is_ref=True)
    assert done.fallback_reason is not None
    assert "another digest" in done.fallback_reason
    assert client.current("app") == done.target


def test_an_unknown_ref_is_an_error(night: Night, tmp_path: Path) -> None:
    client, base = client_of(night, tmp_path, "app:v3")
    with pytest.raises(FollowError, match="no such ref"):
        follow(client, client.remote, base=base, want="other", is_ref=True)


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        write_image(tmp_path / "l", name, [make_tar({name: b""})], created="no date")
    broken = Layout(tmp_path / "l").find_image("v1")
    Layout(tmp_path / "l").blob_path(broken.layers[0].blob.digest).unlink()
    history = ImageRepository(tmp_path / "l").read_history()
    assert [commit.version for commit in history.commits.values()] == ["v2"]
    assert "a blob is missing" in history.incomplete[broken.manifest.digest]


def test_a_scenario_of_images_has_no_source(tmp_path: Path) -> None:
    source = '[source]\nkind = "generator"\nreleases = 2\n'
    (tmp_path / "s.toml").write_text(SCENARIO.format(layout="l") + source)
    with pytest.raises(InputError, match="built by other programs"):
        open_night(tmp_path / "s.toml")


def test_a_real_client_is_updated_from_the_command_line(night: Night, tmp_path: Path) -> None:
    client, base = client_of(night, tmp_path, "app:v2")
    image = find_by_id(Layout(client.path), base)
    keep_only(client.path, msgspec.structs.replace(image.manifest, annotations={REF_NAME: "app"}), image)
    arguments = ("--client", client.path, "--remote", night.site.path, "--ref", "app", "--json")
    done = deltaplan("follow", *arguments)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["base"], answer["target"], answer["fallback_reason"]) == (base, night.history.refs["app"], None)
    assert answer["hops"] >= 1
    again = json.loads(deltaplan("follow", *arguments).stdout)
    assert (again["hops"], again["wire_bytes"]) == (0, 0)


@pytest.mark.parametrize(
    "created", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024", "", "2024-01-01"]
)
def test_a_date_that_is_none_is_the_oldest(tmp_path: Path, created: str) -> None:
    """Two of these cannot be told in UTC, the others have no time zone."""
    write_image(tmp_path / "l", "v1", [make_tar({"a": b""})], created=created)
    (commit,) = ImageRepository(tmp_path / "l").read_history().commits.values()
    assert commit.committed_at.timestamp() == 0


KEY = SigningKey.from_private_bytes(bytes(32))


@pytest.mark.parametrize(("create", "is_older"), [("2023-12-31T00:00:00Z", True), ("no date", True), (None, False)])
def test_a_client_does_not_go_back_to_an_older_image(
    night: Night, tmp_path: Path, create: str | None, is_older: bool
) -> None:
    """By the dates in the configs, of which the head's is fetched; an image without a date is older than any."""
    client, base = client_of(night, tmp_path, "app:v3")
    layout = tmp_path / "other"
    write_image(layout, "app:v9", [make_tar({"a": b""})], created=create or "2024-01-03T00:00:00.123456789Z")
    (layout / "extensions/deltaplan").mkdir(parents=True)
    ImageSite(layout).write_summary(KEY)
    before = everything(client.path)
    target = Layout(layout).find_image("app:v9").config.digest[7:]
    assert ImageClient(client.path, FolderRemote(layout)).head("app", (KEY.public_key(),)) == target
    served = ImageClient(client.path, FolderRemote(layout))
    if is_older:
        with pytest.raises(FollowError, match="older"):
            follow(served, served.remote, base=base, want="app", is_ref=True)
        assert everything(client.path) == before
    follow(served, served.remote, base=base, want="app", is_ref=True, trust=Trust(allow_downgrade=is_older))
    assert client.current("app") == target


def test_a_layouts_summary_is_believed_only_if_it_is_signed(night: Night, tmp_path: Path) -> None:
    client, base = client_of(night, tmp_path, "app:v3")
    with pytest.raises(FollowError, match="not signed"):
        follow(client, client.remote, base=base, want="app", is_ref=True, trust=Trust(keys=(KEY.public_key(),)))
