"""Stock OSTree clients that follow routes over HTTP, with the reference client and with the shell script."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from planner.publish.publisher import publish
from tests.build.worlds import first_release, ostree
from tests.follow.devices import Device, Updater, endless_index, script, update_by_python, update_by_shell
from tests.follow.fakes import serve_folder
from tests.publish.worlds import CHAIN, Ends, Server, make_ostree_server

pytestmark = [
    pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree"),
    pytest.mark.skipif(shutil.which("dash") is None, reason="needs the program dash"),
]

STOPS = {0: (0, 1, 2, 3, 4), 1: (1, 2, 3, 4), 2: (2, 3, 4), 3: (3, 4)}


def _publish(server: Server, pairs: tuple[Ends, ...], ref: str = "main") -> Server:
    routes = {server.commits[base]: [server.route(*stops, ref=ref)] for base, stops in STOPS.items()}
    publish(server.site, server.pool, server.of(pairs), routes)
    return server


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Release 4 is the head of `main`; a device on nothing, 1, 2 or 3 has 4, 3, 2 or 1 hops to it."""
    pairs = ((0, 1), *CHAIN)
    return _publish(make_ostree_server(tmp_path_factory.mktemp("server"), pairs), pairs)


@pytest.fixture
def server(template: Server, tmp_path: Path) -> Server:
    """A server of the test's own, to be damaged."""
    return template.copy(tmp_path / "server")


@pytest.fixture(params=[update_by_python, update_by_shell], ids=["python", "shell"])
def update(request: pytest.FixtureRequest) -> Updater:
    """Either follower."""
    updater: Updater = request.param
    return updater


def _planned(server: Server, *stops: int) -> list[str]:
    return [hop.path for hop in server.route(*stops).hops or ()]


# -- routes that work ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [0, 1, 2, 3])
def test_every_base_reaches_the_head_by_its_route(template: Server, tmp_path: Path, update: Updater, base: int) -> None:
    """At each hop exactly the planned delta is asked for; the tree is the original, and only the target is left."""
    with serve_folder(template.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, base)
        done = update(device)
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == _planned(template, *STOPS[base])
    assert device.commits() == {template.commits[4]}
    assert device.refs() == {"origin:main": template.commits[4]}
    device.expect_whole(template, 4)
    device.expect_same_tree(template, 4, tmp_path)


def test_a_second_update_changes_nothing(template: Server, tmp_path: Path, update: Updater) -> None:
    """A device that is at the head asks for no delta and no route."""
    with serve_folder(template.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, 3)
        update(device)
        served.paths.clear()
        done = update(device)
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == []
    assert not [path for path in served.paths if "deltaplan" in path]
    device.expect_whole(template, 4)


def test_hops_may_be_on_other_branches(tmp_path: Path, update: Updater) -> None:
    """A factory image and a stage are on refs of their own, which the device keeps; a dot in a name is no pattern."""
    branches = ("factory/image", "stage", "site/v.u_x-1", "site/v.u_x-1")
    server = make_ostree_server(tmp_path, CHAIN, branches)
    server_routes = {server.commits[1]: [server.route(1, 2, 3, 4, ref=branches[3])]}
    publish(server.site, server.pool, server.of(CHAIN), server_routes)
    ostree("refs", f"--repo={server.path}", "--create=site/vxu_x-1", server.commits[3])
    ostree("summary", f"--repo={server.path}", "--update")
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "a device", served.url, server, 1, branches[0])
        done = update(device, ref=branches[3], base=server.commits[1])
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == _planned(server, 1, 2, 3, 4)
    wanted = {f"origin:{branches[0]}": server.commits[1], f"origin:{branches[3]}": server.commits[4]}
    assert device.refs() == wanted
    assert device.commits() == {server.commits[1], server.commits[4]}
    device.expect_whole(server, 4, branches[3])


def test_a_route_beyond_the_devices_abilities_is_not_walked(template: Server, tmp_path: Path, update: Updater) -> None:
    """Three hops are published, two are allowed: a full pull."""
    with serve_folder(template.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, 1)
        done = update(device, max_hops=2)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert served.superblocks() == []
    device.expect_whole(template, 4)


def test_a_shorter_route_is_taken_where_it_is_allowed(tmp_path: Path, server: Server, update: Updater) -> None:
    """Of several routes to one target the first that is short enough; other targets' and refs' are passed over."""
    base = server.commits[2]
    decoys = [server.route(2, 3, ref="main"), server.route(2, 3, 4, ref="mai"), server.route(2, 3, 4)]
    routes = {base: [*decoys, server.route(2, 3, 4, ref="main")], server.commits[3]: [server.route(3, 4, ref="main")]}
    publish(server.site, server.pool, [], routes)
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        done = update(device, max_hops=2)
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == _planned(server, 2, 3, 4)


@pytest.mark.parametrize("stopped_at", [1, 2])
def test_a_device_that_stopped_between_hops_goes_on(
    template: Server, tmp_path: Path, update: Updater, stopped_at: int
) -> None:
    """Commits that are there already, without a ref, are not pulled again; the route still ends at the head."""
    with serve_folder(template.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, 1)
        for release in (2, 3)[:stopped_at]:
            ostree("pull", f"--repo={device.path}", "origin", template.commits[release])
        served.paths.clear()
        done = update(device)
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == _planned(template, 1, 2, 3, 4)[stopped_at:]
    assert device.commits() == {template.commits[4]}
    device.expect_whole(template, 4)


@pytest.mark.parametrize("asked", ["superblock", "0", "summary", "routes"])
def test_a_device_that_is_killed_can_run_again(template: Server, tmp_path: Path, update: Updater, asked: str) -> None:
    """At whatever request the power fails, the ref is at the old commit, and the next run ends at the head."""
    runs: list[subprocess.Popen[bytes]] = []

    def kill(handler: BaseHTTPRequestHandler) -> bool:
        is_there = asked in handler.path and (
            len(asked) > 3 or handler.path.endswith(_planned(template, 2, 3)[0] + "/0")
        )
        if runs and is_there:
            os.killpg(runs.pop().pid, signal.SIGKILL)
        return False

    with serve_folder(template.path, kill) as served:
        device = Device.make(tmp_path / "device", served.url, template, 1)
        command = {update_by_shell: ["dash", script(), str(device.path), "origin", "main"]}.get(
            update, [sys.executable, "-c", _UPDATE, str(device.path)]
        )
        run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        runs.append(run)
        assert run.wait() == -signal.SIGKILL
        assert device.refs() == {"origin:main": template.commits[1]}
        done = update(device)
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert device.commits() == {template.commits[4]}
    device.expect_whole(template, 4)


_UPDATE = """
import sys
from pathlib import Path
from tests.follow.devices import Device, update_by_python
update_by_python(Device(Path(sys.argv[1])))
"""


# -- routes that fail ----------------------------------------------------------------------------------------------


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _remove_part(folder: Path) -> None:
    (folder / "0").unlink()


def _cut_part(folder: Path) -> None:
    _replace(folder / "0", (folder / "0").read_bytes()[:-100])


def _empty_part(folder: Path) -> None:
    _replace(folder / "0", b"")


def _flip_part(folder: Path) -> None:
    data = bytearray((folder / "0").read_bytes())
    data[len(data) // 2] ^= 1
    _replace(folder / "0", bytes(data))


def _cut_superblock(folder: Path) -> None:
    _replace(folder / "superblock", (folder / "superblock").read_bytes()[:-9])


def _replace(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "hop"),
    [
        (_remove, 0),
        (_remove, 1),
        (_remove_part, 0),
        (_cut_part, 1),
        (_empty_part, 1),
        (_flip_part, 0),
        (_cut_superblock, 1),
    ],
)
def test_a_damaged_hop_means_a_full_pull(
    server: Server, tmp_path: Path, update: Updater, damage: Callable[[Path], None], hop: int
) -> None:
    """The head is reached all the same, with a sound repository."""
    damage(server.path / _planned(server, 2, 3, 4)[hop])
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        done = update(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert device.commits() == {server.commits[4]}
    device.expect_whole(server, 4)


def test_a_hop_that_was_retired_means_a_full_pull(server: Server, tmp_path: Path, update: Updater) -> None:
    """Also where the server's delta index knows that it is gone."""
    _remove(server.path / _planned(server, 3, 4)[0])
    server.site.reindex()
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 3)
        done = update(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    device.expect_whole(server, 4)


def test_an_endless_index_is_left_at_its_bound(template: Server, tmp_path: Path, update: Updater) -> None:
    """No hostile server fills a device's disk or memory, and the device is updated all the same."""
    sent_bytes: list[int] = []
    with serve_folder(template.path, endless_index(sent_bytes)) as served:
        device = Device.make(tmp_path / "device", served.url, template, 3)
        done = update(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert sum(sent_bytes) < 100_000_000
    device.expect_whole(template, 4)


@pytest.mark.parametrize("name", ["bin/tool", "bin/run.sh"])
def test_a_damaged_object_in_the_device_is_replaced(
    template: Server, tmp_path: Path, update: Updater, name: str
) -> None:
    """A delta must not build on the first; the second is the target's, too, and a pull alone would pass it over."""
    content = first_release()[name]
    with serve_folder(template.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, 1)
        (file,) = [path for path in (device.path / "objects").glob("*/*.file") if path.read_bytes() == content]
        with file.open("r+b") as damaged:
            damaged.write(b"damaged")
        done = update(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert device.commits() == {template.commits[4]}
    device.expect_whole(template, 4)


def test_where_nothing_works_a_new_device_has_no_ref(server: Server, tmp_path: Path, update: Updater) -> None:
    """The status says so, and nothing looks like an update."""
    shutil.rmtree(server.path / "deltas")
    shutil.rmtree(server.path / "objects")
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 0)
        assert update(device).status != 0
        assert device.refs() == {}


def test_a_broken_server_leaves_the_ref_alone(
    server: Server, template: Server, tmp_path: Path, update: Updater
) -> None:
    """Half an update is none."""
    for delta in _planned(server, 3, 4):
        _remove(server.path / delta)
    for file in (server.path / "objects").glob("*/*.filez"):
        file.unlink()
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, 2)
        done = update(device)
    assert done.status != 0
    assert device.refs() == {"origin:main": server.commits[2]}
    device.expect_whole(template, 2)


def test_a_ref_that_the_server_lacks_is_refused(template: Server, tmp_path: Path, update: Updater) -> None:
    """A ref's name is no pattern."""
    with serve_folder(template.path) as served:
        device = Device.make(tmp_path / "device", served.url, template, 3)
        for ref in ("mai", "m.in", "main|x", "main\\", "no such"):
            assert update(device, ref=ref, base=template.commits[3]).status != 0
    assert device.refs() == {"origin:main": template.commits[3]}


# -- what stock clients do by themselves ---------------------------------------------------------------------------


def test_a_stock_client_takes_the_delta_from_the_newest_commit_it_holds(tmp_path: Path) -> None:
    """The rule of `planner.weigh.stock_client`: by timestamp, not by size, and without a ref on it."""
    pairs = ((0, 4), (1, 4), (2, 4), (3, 4))
    server = make_ostree_server(tmp_path, pairs)
    publish(server.site, server.pool, server.of(pairs), {})
    for held in ((1,), (2, 1), (1, 3, 2), (3, 1)):
        with serve_folder(server.path) as served:
            device = Device.make(tmp_path / f"device{held}", served.url, server, held[0])
            for release in held[1:]:
                ostree("pull-local", f"--repo={device.path}", str(server.path), server.commits[release])
            ostree("pull", f"--repo={device.path}", "origin", "main")
        assert served.superblocks() == [_planned(server, max(held), 4)[0]]
