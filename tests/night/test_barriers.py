"""Barriers, forbidden commits and old clients, with real clients: a store's, OSTree's own, and the shell script."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.follow.follower import Abilities, follow
from planner.night.night import Night
from planner.night.nightly import run_nightly
from planner.night.opening import open_night
from planner.publish.routes import index_path, parse_index, parse_waypoints
from tests.build.worlds import ostree
from tests.follow.devices import run_script

needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")

SCENARIO = """
format = "deltaplan-scenario/1"
name = "barriers"
[repository]
kind = "{kind}"
[source]
kind = "generator"
ref = "main"
seed = 5
releases = 6
files = 20
[demand]
adoption = [{{ ref = "main", clients = 5000, half_life_releases = 2 }}]
{demand}
[weigh]
rules = ["direct", "parent", "powers"]
[prices]
storage_per_gb = 10.0
egress_per_gb = 1.0
[routes]
{routes}
"""


def make_night(folder: Path, routes: str, kind: str = "store", demand: str = "") -> Night:
    folder.mkdir(exist_ok=True)
    path = folder / "barriers.toml"
    path.write_text(SCENARIO.format(kind=kind, routes=routes, demand=demand))
    return open_night(path, work=folder / "work")


def releases(night: Night) -> list[str]:
    return list(night.history.commits)


def name(night: Night, number: int) -> str:
    return night.history.name_of(releases(night)[number])


@pytest.fixture(params=["store", pytest.param("ostree", marks=needs_ostree)])
def night(request: pytest.FixtureRequest, tmp_path: Path) -> Night:
    """Six releases, the fourth of which is a barrier; published."""
    night = make_night(tmp_path, "", request.param)
    night.import_()
    night = make_night(tmp_path, f'barriers = ["{name(night, 3)}"]', request.param)
    done = run_nightly(night)
    assert done.record.exit_status == 0, done.record.faults
    assert all(one.followed and one.followed.fallback_reason is None for one in done.rehearsals)
    return night


def test_a_client_before_the_barrier_deploys_it_first(night: Night, tmp_path: Path) -> None:
    """Two updates: to the barrier, on which the ref is then, and from there to the head."""
    commits = releases(night)
    with night.site.serve() as remote:
        client = night.site.make_client(remote, tmp_path / "client", [commits[0]], night.objects)
        first = follow(client, remote, base=commits[0], want="main", is_ref=True)
        assert (first.target, first.fallback_reason) == (commits[3], None)
        second = follow(client, remote, base=commits[3], want="main", is_ref=True)
        assert (second.target, second.fallback_reason) == (commits[5], None)


def test_a_client_whose_route_fails_stops_at_the_barrier_all_the_same(night: Night, tmp_path: Path) -> None:
    """No hop is allowed here: it pulls in full, and that the barrier."""
    commits = releases(night)
    with night.site.serve() as remote:
        client = night.site.make_client(remote, tmp_path / "client", [commits[1]], night.objects)
        done = follow(client, remote, base=commits[1], want="main", is_ref=True, abilities=Abilities(max_hops=0))
        assert done.target == commits[3]
        assert done.fallback_reason is not None


def test_no_published_route_crosses_the_barrier(night: Night) -> None:
    commits = releases(night)
    for number, base in enumerate(commits[:5]):
        text = (night.site.path / index_path(base)).read_text()
        assert parse_waypoints(text) == ({"main": commits[3]} if number < 3 else {})
        for route in parse_index(text, base):
            stops = [number, *(commits.index(hop.commit) for hop in route.hops or ())]
            assert all(not at < 3 < after for at, after in pairwise(stops))


@needs_ostree
def test_the_shell_script_deploys_the_barrier_first(tmp_path: Path) -> None:
    night = make_night(tmp_path, "", "ostree")
    night.import_()
    night = make_night(tmp_path, f'barriers = ["{name(night, 3)}"]', "ostree")
    assert run_nightly(night).record.exit_status == 0
    commits = releases(night)
    with night.site.serve() as remote:
        night.site.make_client(remote, tmp_path / "client", [commits[0]], night.objects)
        ostree("refs", "--create=main", commits[0], f"--repo={tmp_path / 'client'}")
        for expected in (commits[3], commits[5]):
            done = run_script(str(tmp_path / "client"), "origin", "main")
            assert done.status == 0, done.text
            assert not done.is_fallback
            assert ostree("rev-parse", "origin:main", f"--repo={tmp_path / 'client'}").strip() == expected


@pytest.mark.parametrize("claim", ["older", "newer than the head"])
def test_a_waypoint_that_is_no_step_on_the_way_is_refused(tmp_path: Path, claim: str) -> None:
    """A hostile index that names an old commit, or one beyond the head: the client pulls the head in full."""
    night = make_night(tmp_path, "")
    night.import_()
    run_nightly(night)
    commits = releases(night)
    base, head, stop = (
        (commits[2], commits[5], commits[0]) if claim == "older" else (commits[0], commits[3], commits[5])
    )
    night.site.repository.write_ref("main", head)  # type: ignore[attr-defined]
    night.site.write_summary()
    path = night.site.path / index_path(base)
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:2], f"waypoint main {stop}", *lines[2:]]))
    with night.site.serve() as remote:
        client = night.site.make_client(remote, tmp_path / "client", [base], night.objects)
        done = follow(client, remote, base=base, want="main", is_ref=True)
    assert done.target == head
    assert "older" in str(done.fallback_reason)


def test_a_forbidden_commit_is_on_no_route(tmp_path: Path) -> None:
    """Who is on it may leave; nobody is led to it; and who wants it is an error."""
    night = make_night(tmp_path, "")
    night.import_()
    night = make_night(tmp_path, f'forbidden = ["{name(night, 4)}"]')
    done = run_nightly(night)
    assert done.record.exit_status == 0
    commits = releases(night)
    hops = {
        hop.commit
        for base in commits[:5]
        for route in parse_index((night.site.path / index_path(base)).read_text(), base)
        for hop in route.hops or ()
    }
    assert commits[5] in hops
    assert commits[4] not in hops
    assert any(one.cohort.base == commits[4] and one.followed and one.followed.hops for one in done.rehearsals)
    with pytest.raises(InputError, match="wants a commit that no route may lead to"):
        _ = make_night(tmp_path, 'forbidden = ["main"]').demand


def test_clients_of_old_versions_take_only_what_they_can_apply(tmp_path: Path) -> None:
    """Two codecs: old clients go by one alone, very old ones pull in full, and the deltas are built once for all."""
    demand = "".join(
        f'[[demand.adoption]]\nref = "main"\nclients = 9000\nhalf_life_releases = 2\nclient_version = "{version}"\n'
        for version in ("1.0", "2.0", "3.0")
    )
    routes = '[routes.minimum_version]\nhdiffpatch = "3"\n"zstd-patch-from" = "2"\n'
    night = make_night(tmp_path, routes)
    path = tmp_path / "barriers.toml"
    text = path.read_text().replace('adoption = [{ ref = "main", clients = 5000, half_life_releases = 2 }]', demand)
    path.write_text(text.replace("[weigh]", '[weigh]\ncodecs = ["hdiffpatch", "zstd-patch-from"]'))
    night = open_night(path, work=tmp_path / "work")
    done = run_nightly(night)
    assert done.record.exit_status == 0, done.record.faults
    assert done.assembly is not None
    assert done.handed is not None
    taken: dict[str | None, set[str]] = {}
    for cohort, route in zip(done.assembly.cohorts, done.handed.routes, strict=True):
        codecs = {done.assembly.candidates[row].codec for row in route or ()}
        taken.setdefault(cohort.client_version, set()).update(codecs)
    assert taken["1.0"] == set()
    assert taken["2.0"] == {"zstd-patch-from"}
    assert taken["3.0"]
    assert all(one.followed and one.followed.fallback_reason is None for one in done.rehearsals)
    assert any("too old for every codec" in note for note in night.demand.notes)
    built = done.assembly.candidates_of(done.plan.build)  # type: ignore[union-attr]
    assert len(built) == len(set(built))
