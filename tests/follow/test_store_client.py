"""A client of the embedded store, against a real store that was published, over a folder and over the web."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from planner.build.builders import DELTA_FILE
from planner.errors import FollowError
from planner.follow.follower import Followed, follow
from planner.follow.remote import FolderRemote, HttpRemote, Remote
from planner.follow.store_client import StoreClient
from planner.history.encoding import relative_path
from planner.history.objects import ObjectSets
from planner.history.records import ObjectKind, ObjectName
from planner.history.store import Store
from planner.publish.publisher import publish
from planner.publish.routes import format_index, index_path
from tests.build.worlds import rewrite_header
from tests.follow.fakes import serve_folder
from tests.publish.worlds import CHAIN, Server, make_store_server

STOPS = {1: (1, 2, 3, 4), 2: (2, 3, 4), 3: (3, 4)}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Release 4 is the head of `main`; the older ones have routes of 3, 2 and 1 hops to it."""
    server = make_store_server(tmp_path_factory.mktemp("server"), CHAIN, "hdiffpatch")
    routes = {server.commits[base]: [server.route(*stops, ref="main")] for base, stops in STOPS.items()}
    publish(server.site, server.pool, server.of(CHAIN), {**routes, "": [server.full(4, ref="main")]})
    return server


@pytest.fixture
def server(template: Server, tmp_path: Path) -> Server:
    """A server of the test's own, to be damaged."""
    return template.copy(tmp_path / "server")


@pytest.fixture(params=["folder", "web"])
def connect(request: pytest.FixtureRequest) -> Callable[[Server], Any]:
    """How the client reaches the server."""

    @contextmanager
    def connected(server: Server) -> Iterator[Remote]:
        if request.param == "folder":
            yield FolderRemote(server.path)
        else:
            with serve_folder(server.path) as served:
                yield HttpRemote(served.url)

    return connected


def _client(server: Server, base: int, folder: Path, remote: Remote | None = None) -> StoreClient:
    """A client whose `main` is at a release, with objects of its own."""
    Store.create(folder)
    client = StoreClient(Store(folder, is_durable=False), remote or FolderRemote(server.path))
    if base:
        client.pull_in_full(server.commits[base])
        client.store.write_ref("main", server.commits[base])
    return client


def _follow(client: StoreClient, server: Server, base: int) -> Followed:
    return follow(client, client.remote, base=server.commits[base], want="main", is_ref=True)


def _tree(folder: Path) -> dict[str, tuple[str, object]]:
    def entry(path: Path) -> tuple[str, object]:
        if path.is_symlink():
            return "link", path.readlink()
        return ("folder", None) if path.is_dir() else (oct(path.stat().st_mode), path.read_bytes())

    return {str(path.relative_to(folder)): entry(path) for path in folder.rglob("*")}


def _expect_target(client: StoreClient, server: Server, tmp_path: Path) -> None:
    """The ref is at the head, the tree is the original's, and nothing else is left in the client."""
    target = server.commits[4]
    assert client.store.read_refs() == {"main": target}
    client.store.checkout(target, tmp_path / "got")
    server.site.repository.checkout(target, tmp_path / "wanted")
    assert _tree(tmp_path / "got") == _tree(tmp_path / "wanted") != {}
    held = {ObjectName(kind, checksum) for kind, names in client.store.list_objects().items() for checksum in names}
    assert held == ObjectSets(server.site.repository.read_history()).of_commit(target)
    assert list((client.store.path / "staging").iterdir()) == []


@pytest.mark.parametrize("base", [1, 2, 3])
def test_every_base_reaches_the_head_by_its_route(
    template: Server, tmp_path: Path, base: int, connect: Callable[[Server], Any]
) -> None:
    """By 3, 2 and 1 hops, with the planned bytes, to the original's tree; intermediate commits are gone."""
    with connect(template) as remote:
        client = _client(template, base, tmp_path / "client", remote)
        done = _follow(client, template, base)
    route = template.route(*STOPS[base])
    assert (done.hops, done.wire_bytes, done.fallback_reason) == (len(STOPS[base]) - 1, route.wire_bytes, None)
    _expect_target(client, template, tmp_path)


def test_a_new_client_pulls_in_full_as_planned(
    template: Server, tmp_path: Path, connect: Callable[[Server], Any]
) -> None:
    """Each object of the target is fetched once, and its bytes are counted."""
    with connect(template) as remote:
        client = _client(template, 0, tmp_path / "client", remote)
        done = _follow(client, template, 0)
    repository = template.site.repository
    objects = ObjectSets(repository.read_history()).of_commit(template.commits[4])
    assert done.wire_bytes == sum(repository.loose_bytes(name) for name in objects)
    assert done.fallback_reason is None
    _expect_target(client, template, tmp_path)


def test_a_route_downloads_its_deltas_and_nothing_else(template: Server, tmp_path: Path) -> None:
    """The head and its commit, the index of the base, one file per hop: no other loose object."""
    with serve_folder(template.path) as served:
        client = _client(template, 1, tmp_path / "client")
        client = StoreClient(client.store, HttpRemote(served.url))
        _follow(client, template, 1)
    deltas = [f"/{hop.path}/{DELTA_FILE}" for hop in template.route(1, 2, 3, 4).hops or ()]
    head = relative_path(ObjectName(ObjectKind.COMMIT, template.commits[4]))
    assert served.paths == ["/summary", f"/{head}", f"/{index_path(template.commits[1])}", *deltas]


# -- deltas that are not what was announced ----------------------------------------------------------------------


def _remove(server: Server, file: Path) -> None:
    file.unlink()


def _flip(server: Server, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    _replace(file, bytes(data))


def _cut(server: Server, file: Path) -> None:
    _replace(file, file.read_bytes()[:-1])


def _grow(server: Server, file: Path) -> None:
    _replace(file, file.read_bytes() + b"x")


def _exchange(server: Server, file: Path) -> None:
    _replace(file, (server.folder((1, 2)) / DELTA_FILE).read_bytes())


def _empty(server: Server, file: Path) -> None:
    _replace(file, b"")


def _replace(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [_remove, _flip, _cut, _grow, _exchange, _empty])
def test_a_delta_that_is_not_the_announced_one_means_a_full_pull(
    server: Server, tmp_path: Path, connect: Callable[[Server], Any], damage: Callable[[Server, Path], None]
) -> None:
    """After one hop that worked; the reason is told and the target is reached all the same."""
    damage(server, server.folder((3, 4)) / DELTA_FILE)
    with connect(server) as remote:
        client = _client(server, 2, tmp_path / "client", remote)
        done = _follow(client, server, 2)
    assert done.hops == 1
    assert done.fallback_reason
    _expect_target(client, server, tmp_path)


def _claim_another_base(header: dict[str, Any]) -> None:
    header["base"] = "ab" * 32


def _claim_another_target(header: dict[str, Any]) -> None:
    header["target"] = header["base"]


def _claim_terabytes(header: dict[str, Any]) -> None:
    header["blocks"][0][2][0][2] = 2**40


def _claim_another_object(header: dict[str, Any]) -> None:
    header["blocks"][0][2][0][1] = b"\xab" * 32


def _claim_another_source(header: dict[str, Any]) -> None:
    header["blocks"][0][1][0][1] = b"\xab" * 32


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (_claim_another_base, "another delta than announced"),
        (_claim_another_target, "target's commit is not in it"),
        (_claim_terabytes, "larger than its codec allows"),
        (_claim_another_object, "other bytes than the object's"),
        (_claim_another_source, "is missing"),
    ],
)
def test_a_forged_delta_means_a_full_pull(
    server: Server, tmp_path: Path, forge: Callable[[dict[str, Any]], None], reason: str
) -> None:
    """A hostile server announces it with its true bytes; nothing that it makes is kept."""
    file = server.folder((3, 4)) / DELTA_FILE
    _replace(file, rewrite_header(file.read_bytes(), forge))
    artifact = replace(server.artifacts[3, 4], wire_bytes=file.stat().st_size)
    announced = replace(server, artifacts={**server.artifacts, (3, 4): artifact}).route(2, 3, 4, ref="main")
    index = server.path / index_path(server.commits[2])
    _replace(index, format_index(server.commits[2], [announced]).encode())
    client = _client(server, 2, tmp_path / "client")
    done = _follow(client, server, 2)
    assert done.hops == 1
    assert reason in (done.fallback_reason or "")
    _expect_target(client, server, tmp_path)


def test_a_delta_larger_than_announced_is_not_read_to_its_end(server: Server, tmp_path: Path) -> None:
    """The route's bytes bound what is downloaded, whatever the file's length."""
    with (server.folder((3, 4)) / DELTA_FILE).open("ab") as file:
        file.truncate(2**40)
    client = _client(server, 3, tmp_path / "client")
    assert "larger than" in (_follow(client, server, 3).fallback_reason or "")
    _expect_target(client, server, tmp_path)


# -- what is damaged already ---------------------------------------------------------------------------------------


def _damage(store: Store, name: ObjectName) -> None:
    path = store.path / relative_path(name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    _replace(path, bytes(data))


def _objects_of(server: Server, kind: str) -> ObjectName:
    """A file of release 3: a delta's source, or one that release 4 has, too."""
    objects = ObjectSets(server.site.repository.read_history())
    third, fourth = objects.of_commit(server.commits[3]), objects.of_commit(server.commits[4])
    names = third - fourth if kind == "source" else third & fourth
    return max((name for name in names if name.kind is ObjectKind.FILE), key=server.site.repository.loose_bytes)


@pytest.mark.parametrize("kind", ["source", "kept"])
def test_a_damaged_object_in_the_client_is_replaced(template: Server, tmp_path: Path, kind: str) -> None:
    """A delta must not build on it, and a target that shares it is not whole: the full pull fetches it again."""
    client = _client(template, 3, tmp_path / "client")
    _damage(client.store, _objects_of(template, kind))
    done = _follow(client, template, 3)
    assert done.fallback_reason
    _expect_target(client, template, tmp_path)


@pytest.mark.parametrize("base", [0, 3])
def test_a_damaged_server_costs_the_client_nothing(server: Server, tmp_path: Path, base: int) -> None:
    """Where neither the route nor the loose objects are good, the client keeps its ref and every object behind it."""
    client = _client(server, base, tmp_path / "client")
    _remove(server, server.folder((3, 4)) / DELTA_FILE)
    _damage(
        server.site.repository, ObjectName(ObjectKind.TREE, server.site.repository.read_commit(server.commits[4]).tree)
    )
    with pytest.raises(FollowError, match="neither the route"):
        _follow(client, server, base)
    assert client.store.read_refs() == ({"main": server.commits[base]} if base else {})
    if base:
        client.check(server.commits[base])


def test_a_loose_object_that_is_another_one_is_refused(server: Server, tmp_path: Path) -> None:
    """A whole object under another's name is not kept under either."""
    client = _client(server, 0, tmp_path / "client")
    places = [server.path / relative_path(ObjectName(ObjectKind.COMMIT, server.commits[n])) for n in (3, 4)]
    _replace(places[1], places[0].read_bytes())
    with pytest.raises(FollowError, match="not what was asked for"):
        client.pull_in_full(server.commits[4])
    assert not any(client.store.list_objects().values())


def test_a_loose_object_that_claims_too_much_is_refused(server: Server, tmp_path: Path) -> None:
    """A frame of a few bytes that would fill the memory is not unpacked."""
    client = _client(server, 0, tmp_path / "client")
    path = server.path / relative_path(ObjectName(ObjectKind.COMMIT, server.commits[4]))
    bomb = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(b"\0" * 2**25))
    claimed = (2**25).to_bytes(4, "little")
    assert claimed in bomb
    _replace(path, bytes(bomb).replace(claimed, (2**31).to_bytes(4, "little"), 1))
    with pytest.raises(FollowError, match="full_pull"):
        _follow(client, server, 0)


@pytest.mark.parametrize("name", ["../../escaped", "/etc/passwd", "x" * 64, ""])
def test_a_tree_that_names_a_path_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    """Only checksums become file names, whatever a tree with a valid checksum of its own says."""
    store = server.site.repository
    tree = store.write_object(ObjectKind.TREE, b'{"dirs":{},"files":{"a":"%s"}}' % name.encode()).checksum
    head = store.add_commit(tree, committed_at=datetime(2024, 2, 1, tzinfo=UTC), ref="main")
    (server.path / "summary").unlink()
    (server.path / "summary").write_text(f"main {head}\n")
    client = _client(server, 3, tmp_path / "client")
    with pytest.raises(FollowError):
        _follow(client, server, 3)
    assert client.store.read_refs() == {"main": server.commits[3]}


@pytest.mark.parametrize("summary", ["", "main", "main x", "main {commit}x", "Main {commit}", " main {commit}"])
def test_a_summary_without_the_ref_is_refused(server: Server, tmp_path: Path, summary: str) -> None:
    """A cut-off or forged line gives no head, and nothing is pulled."""
    (server.path / "summary").unlink()
    (server.path / "summary").write_text(summary.format(commit=server.commits[4]))
    client = _client(server, 3, tmp_path / "client")
    with pytest.raises(FollowError, match="no such ref"):
        _follow(client, server, 3)


# -- a client that is stopped --------------------------------------------------------------------------------------

MOST_STEPS = 200


def _follow_killed_at(client: StoreClient, server: Server, step: int) -> bool:
    """Follow in a process that is killed before it gives its n-th file a name or removes it; whether it finished."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            left = iter(range(step))
            for name in ("replace", "unlink"):
                _kill_when_used_up(name, left)
            _follow(client, server, 1)
            status = 0
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(waited) in (0, -signal.SIGKILL)
    return waited == 0


def _kill_when_used_up(name: str, left: Iterator[int]) -> None:
    original = getattr(os, name)

    def counted(*arguments: object, **options: object) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        original(*arguments, **options)

    setattr(os, name, counted)


def test_a_client_killed_at_any_step_can_run_again(template: Server, tmp_path: Path) -> None:
    """Its ref is at a whole commit at every moment, and the next run ends at the target with nothing left over."""
    for step in range(MOST_STEPS):
        folder = tmp_path / str(step)
        folder.mkdir()
        client = _client(template, 1, folder / "client")
        is_finished = _follow_killed_at(client, template, step)
        now = Store.open(folder / "client").read_refs()["main"]
        client.check(now)
        follow(client, client.remote, base=now, want="main", is_ref=True)
        _expect_target(client, template, folder)
        if is_finished:
            break
    assert 10 < step < MOST_STEPS - 1


def test_a_full_disk_is_reported_and_changes_nothing(
    template: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client keeps its commit, and with space the same call works."""
    client = _client(template, 2, tmp_path / "client")

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(FollowError, match="disk is full"):
            _follow(client, template, 2)
    assert client.store.read_refs() == {"main": template.commits[2]}
    client.check(template.commits[2])
    assert _follow(client, template, 2).fallback_reason is None
    _expect_target(client, template, tmp_path)
