"""What a client believes: signed words where it has keys, no step back, and no more bytes or time than it allows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import zstandard

from planner.errors import FollowError
from planner.follow import ostree_client, store_client
from planner.follow.deadlines import finished_within, left_s
from planner.follow.follower import MAX_ROUTE_BYTES, Abilities, Followed, Trust, follow
from planner.follow.ostree_client import OSTreeClient
from planner.follow.remote import FolderRemote, Remote, open_remote
from planner.follow.store_client import StoreClient
from planner.history.encoding import relative_path
from planner.history.records import ObjectKind, ObjectName
from planner.history.store import Store
from planner.publish.heads import format_heads
from planner.publish.publisher import publish
from planner.publish.routes import Hop, PublishedRoute, format_index, index_path
from planner.publish.signatures import SigningKey, sign
from tests.build.worlds import ostree
from tests.follow.devices import Device
from tests.follow.fakes import FakeClient, FakeRemote, serve_folder
from tests.publish.worlds import CHAIN, Server, make_ostree_server, make_store_server

KEY, OTHER_KEY = (SigningKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
TRUST = Trust(keys=(KEY.public_key(),))
BASE, MIDDLE, TARGET = "a" * 64, "b" * 64, "d" * 64


def _route(*commits: str, hop_bytes: int = 10) -> PublishedRoute:
    hops = tuple(Hop(commit=c, codec="zstd", wire_bytes=hop_bytes, path=f"deltas/{c[:2]}") for c in commits)
    return PublishedRoute(ref="main", target=commits[-1], wire_bytes=hop_bytes * len(hops), hops=hops)


INDEX = format_index(BASE, [_route(MIDDLE, TARGET)]).encode()


def _client(**options: object) -> FakeClient:
    return FakeClient({"main": TARGET}, {BASE}, {"main": BASE}, **options)  # type: ignore[arg-type]


def _walk(client: FakeClient, index: bytes, trust: Trust | None = None, abilities: Abilities | None = None) -> Followed:
    remote = FakeRemote({index_path(BASE): index})
    return follow(client, remote, base=BASE, want="main", is_ref=True, abilities=abilities, trust=trust)


# -- signed indexes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [(KEY,), (OTHER_KEY, KEY), ()], ids=["the key", "two keys", "no key"])
def test_a_signed_index_is_followed(keys: tuple[SigningKey, ...]) -> None:
    """By who trusts the key, and by who asks for none; the head is asked for with the same keys."""
    client, public = _client(), tuple(key.public_key() for key in keys)
    done = _walk(client, sign(INDEX, KEY), Trust(keys=public))
    assert (done.hops, done.fallback_reason, client.refs) == (2, None, {"main": TARGET})
    assert client.asked_keys == public


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (INDEX, "not signed"),
        (sign(INDEX, OTHER_KEY), "not trusted"),
        (sign(INDEX, KEY).replace(b"zstd 10", b"zstd 11"), "not of this text"),
        (sign(format_index(MIDDLE, [_route(TARGET)]).encode(), KEY), "no route index of this base"),
        (sign(sign(INDEX, OTHER_KEY) + b"x\n", KEY), "cut off"),
    ],
    ids=["unsigned", "other key", "changed", "of another base", "more in it"],
)
def test_an_index_that_is_not_the_servers_word_means_a_full_pull(index: bytes, reason: str) -> None:
    """Not one hop of it is taken, and the reason is told."""
    client = _client()
    done = _walk(client, index, TRUST)
    assert reason in (done.fallback_reason or "")
    assert "cannot be believed" in (done.fallback_reason or "")
    assert client.calls == ["full d", "check d", "finish d"]


# -- no step back --------------------------------------------------------------------------------------------------


def test_a_head_that_is_older_is_refused_before_anything_is_taken() -> None:
    client = _client(dates={BASE: 2, TARGET: 1})
    with pytest.raises(FollowError, match="older"):
        _walk(client, INDEX)
    assert (client.calls, client.refs) == ([], {"main": BASE})


def test_who_asks_for_it_goes_back() -> None:
    """By the option, or by the commit's own name, which is nobody's word but the client's."""
    client = _client(dates={BASE: 2, TARGET: 1})
    assert _walk(client, INDEX, Trust(allow_downgrade=True)).hops == 2
    pinned = _client(dates={BASE: 2, TARGET: 1})
    done = follow(pinned, FakeRemote({}), base=BASE, want=TARGET, is_ref=False)
    assert (done.target, pinned.refs["pinned"]) == (TARGET, TARGET)


@pytest.mark.parametrize("base", [TARGET, ""])
def test_the_same_commit_and_nothing_at_all_are_no_step_back(base: str) -> None:
    """Nothing is compared: a date is asked of the server only where it can matter."""

    class Undated(FakeClient):
        def expect_newer(self, target: str, base: str) -> None:
            raise AssertionError

    client = Undated({"main": TARGET}, {TARGET} - {base} | {base})
    assert follow(client, FakeRemote({}), base=base, want="main", is_ref=True).target == TARGET


# -- bounds --------------------------------------------------------------------------------------------------------


def test_a_route_that_takes_too_long_ends_in_a_full_pull() -> None:
    """The full pull has its own bounds, and time that the route used up is not taken from it."""
    left: list[float] = []

    class Waiting(FakeClient):
        def pull_in_full(self, target: str) -> int:
            left.append(left_s())
            return super().pull_in_full(target)

    client = Waiting({"main": TARGET}, {BASE}, {"main": BASE})
    done = _walk(client, INDEX, abilities=Abilities(max_route_s=0))
    assert "too long" in (done.fallback_reason or "")
    assert (done.hops, client.refs, left) == (0, {"main": TARGET}, [float("inf")])


def test_an_inner_bound_does_not_outlast_an_outer_one() -> None:
    with finished_within(1000), finished_within(10**9):
        assert left_s() <= 1000
    assert left_s() == float("inf")


def test_a_route_that_promises_too_many_bytes_is_not_followed() -> None:
    """Whoever signed it."""
    client = _client()
    index = format_index(BASE, [_route(TARGET, hop_bytes=MAX_ROUTE_BYTES + 1)]).encode()
    done = _walk(client, sign(index, KEY), TRUST)
    assert "no route" in (done.fallback_reason or "")
    assert _walk(_client(), format_index(BASE, [_route(TARGET, hop_bytes=MAX_ROUTE_BYTES)]).encode()).hops == 1


# -- a store, and its summary --------------------------------------------------------------------------------------


@dataclass
class Forged:
    """A server whose files an attacker replaced; it notes what is asked for."""

    genuine: Remote
    files: Mapping[str, bytes]
    asked: list[str] = field(default_factory=list)

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """The attacker's file, or the genuine one."""
        self.asked.append(path)
        if path not in self.files:
            return self.genuine.fetch(path, max_bytes=max_bytes)
        if len(self.files[path]) > max_bytes:
            raise FollowError("is larger than allowed", path=path)
        return self.files[path]


@pytest.fixture(scope="module")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Release 4 is the head; all is signed."""
    server = make_store_server(tmp_path_factory.mktemp("server"), CHAIN)
    routes = {
        server.commits[1]: [server.route(1, 2, 3, 4, ref="main")],
        server.commits[3]: [server.route(3, 4, ref="main")],
    }
    publish(server.site, server.pool, server.of(CHAIN), routes, KEY)
    return server


def _store_client(server: Server, release: int, folder: Path, files: Mapping[str, bytes] | None = None) -> StoreClient:
    Store.create(folder)
    client = StoreClient(Store(folder, is_durable=False), FolderRemote(server.path))
    client.pull_in_full(server.commits[release])
    client.store.write_ref("main", server.commits[release])
    return replace(client, remote=Forged(client.remote, files or {}))


def _update(client: StoreClient, server: Server, release: int, trust: Trust = TRUST) -> Followed:
    return follow(client, client.remote, base=server.commits[release], want="main", is_ref=True, trust=trust)


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_signed_routes_are_followed(store_server: Server, tmp_path: Path) -> None:
    client = _store_client(store_server, 1, tmp_path / "client")
    done = _update(client, store_server, 1)
    assert (done.hops, done.fallback_reason) == (3, None)
    assert client.store.read_refs() == {"main": store_server.commits[4]}


def _heads(server: Server, release: int, ref: str = "main") -> bytes:
    return format_heads({ref: server.commits[release]})


@pytest.mark.parametrize("forge", ["unsigned", "other key", "changed", "cut off", "an index", "empty"])
def test_a_summary_that_is_not_the_servers_word_is_an_error(store_server: Server, tmp_path: Path, forge: str) -> None:
    """There is no other way to the head, so nothing is pulled; an index with the same key's signature is no summary."""
    signed = sign(_heads(store_server, 4), KEY)
    summary, ref = {
        "unsigned": (_heads(store_server, 4), "main"),
        "other key": (sign(_heads(store_server, 4), OTHER_KEY), "main"),
        "changed": (signed.replace(store_server.commits[4].encode(), store_server.commits[2].encode()), "main"),
        "cut off": (signed[:-1], "main"),
        "an index": (sign(format_index(store_server.commits[4], []).encode(), KEY), "base"),
        "empty": (b"", "main"),
    }[forge]
    client = _store_client(store_server, 3, tmp_path / "client", {"summary": summary})
    before = _everything(tmp_path)
    with pytest.raises(FollowError, match="cannot be believed"):
        follow(client, client.remote, base=store_server.commits[3], want=ref, is_ref=True, trust=TRUST)
    assert _everything(tmp_path) == before


def test_a_summary_of_last_year_is_refused(store_server: Server, tmp_path: Path) -> None:
    """It is signed, but the ref would go back; nothing changes, and with the option it goes."""
    client = _store_client(store_server, 4, tmp_path / "client", {"summary": sign(_heads(store_server, 2), KEY)})
    before = _everything(tmp_path)
    with pytest.raises(FollowError, match="--allow-downgrade"):
        _update(client, store_server, 4)
    assert _everything(tmp_path) == before
    _update(client, store_server, 4, replace(TRUST, allow_downgrade=True))
    assert client.store.read_refs() == {"main": store_server.commits[2]}


@pytest.mark.parametrize("forge", ["missing", "another", "a bomb", "no commit", "too large"])
def test_a_head_whose_date_cannot_be_known_is_refused(store_server: Server, tmp_path: Path, forge: str) -> None:
    """The commit is checked against its checksum, and little is read of one that is too large."""
    places = [relative_path(ObjectName(ObjectKind.COMMIT, store_server.commits[n])) for n in (2, 4)]
    data = {
        "missing": b"",
        "another": (store_server.path / places[0]).read_bytes(),
        "a bomb": zstandard.compress(b"\0" * 20_000_000),
        "no commit": zstandard.compress(b"{}"),
        "too large": b"x" * 20_000_000,
    }[forge]
    client = _store_client(store_server, 3, tmp_path / "client", {places[1]: data})
    before = _everything(tmp_path)
    with pytest.raises(FollowError, match="date cannot be known"):
        _update(client, store_server, 3)
    assert _everything(tmp_path) == before


def test_a_date_comes_from_the_base_that_is_held_or_from_the_server(store_server: Server, tmp_path: Path) -> None:
    """A damaged commit of the client's own is no way around the comparison."""
    client = _store_client(store_server, 3, tmp_path / "client")
    held = client.store.path / relative_path(ObjectName(ObjectKind.COMMIT, store_server.commits[3]))
    held.unlink()
    client.expect_newer(store_server.commits[4], store_server.commits[3])
    with pytest.raises(FollowError, match="older"):
        client.expect_newer(store_server.commits[2], store_server.commits[3])


def test_a_delta_that_memory_cannot_hold_is_not_fetched(store_server: Server, tmp_path: Path) -> None:
    """The index promised its bytes."""
    client = _store_client(store_server, 3, tmp_path / "client")
    hop = (store_server.route(3, 4).hops or ())[0]
    with pytest.raises(FollowError, match="into memory"):
        client.take(replace(hop, wire_bytes=2**33), store_server.commits[3])
    assert isinstance(client.remote, Forged)
    assert client.remote.asked == []


def test_a_delta_that_makes_too_much_is_not_applied(
    store_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so before anything is unpacked."""
    monkeypatch.setattr(store_client, "MAX_ROUTE_BYTES", 10)
    client = _store_client(store_server, 3, tmp_path / "client")
    before = _everything(tmp_path)
    with pytest.raises(FollowError, match="makes more"):
        client.take((store_server.route(3, 4).hops or ())[0], store_server.commits[3])
    assert _everything(tmp_path) == before


def test_time_is_looked_at_between_objects(store_server: Server, tmp_path: Path) -> None:
    """A delta of many objects cannot go on for ever."""
    client = _store_client(store_server, 3, tmp_path / "client")
    with finished_within(0), pytest.raises(FollowError, match="too long"):
        client.take((store_server.route(3, 4).hops or ())[0], store_server.commits[3])
    assert not client.holds(store_server.commits[4])


def test_programs_are_not_started_when_time_is_up(tmp_path: Path) -> None:
    """Nor do they run for longer than what is left."""
    with finished_within(0), pytest.raises(FollowError, match="too long"):
        OSTreeClient(tmp_path, "origin").remote_url()


def test_programs_are_given_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than one pull may take, where more is left."""
    given: list[float] = []

    def note(arguments: list[str], *, timeout_s: float) -> str:
        given.append(timeout_s)
        return ""

    monkeypatch.setattr(ostree_client, "run_tool", note)
    with finished_within(1000):
        OSTreeClient(tmp_path, "origin").remote_url()
    OSTreeClient(tmp_path, "origin").remote_url()
    assert 0 < given[0] <= 1000
    assert given[1] == ostree_client.PULL_TIMEOUT_S


# -- OSTree --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")
def test_a_stock_client_does_not_go_back_either(tmp_path: Path) -> None:
    """The older commit that was looked at is dropped again, one that was held stays, and with the option it goes."""
    server = make_ostree_server(tmp_path, CHAIN, ("main", "main", "other", "main"))
    publish(server.site, server.pool, server.of(CHAIN), {server.commits[3]: [server.route(3, 4, ref="main")]}, KEY)
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 3)
        client, remote = OSTreeClient(device.path, "origin"), open_remote(served.url)
        ostree("refs", f"--repo={server.path}", "--create=main", "--force", server.commits[2])
        server.site.write_summary()
        before = {path for path in _everything(device.path) if "/objects/" in path or "/state/" in path}
        for _ in range(2):
            with pytest.raises(FollowError, match="--allow-downgrade"):
                follow(client, remote, base=server.commits[3], want="main", is_ref=True, trust=TRUST)
            assert {path for path in _everything(device.path) if "/objects/" in path or "/state/" in path} == before
            assert device.refs() == {"origin:main": server.commits[3]}
        ostree("refs", f"--repo={server.path}", "--create=main", "--force", server.commits[4])
        server.site.write_summary()
        done = follow(client, remote, base=server.commits[3], want="main", is_ref=True, trust=TRUST)
        assert (done.hops, done.fallback_reason) == (1, None)
        device.expect_whole(server, 4)
        ostree("refs", f"--repo={server.path}", "--create=main", "--force", server.commits[2])
        server.site.write_summary()
        follow(client, remote, base=server.commits[4], want="main", is_ref=True, trust=Trust(allow_downgrade=True))
        device.expect_whole(server, 2)
