"""Publishing, on both kinds of repository: the order of its effects, and what is left when it is stopped anywhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from planner.errors import BuildError, PublishError
from planner.publish.publisher import Published, is_published, publish
from planner.publish.routes import MAX_INDEX_BYTES, PublishedRoute
from planner.publish.signatures import SigningKey, sign, unsigned, verify
from tests.build.worlds import list_paths, ostree
from tests.publish.nights import (
    FIRST,
    PAIRS,
    Recorder,
    Routes,
    expect_served,
    first_routes,
    publish_first,
    publish_second,
    read_routes,
    second_routes,
)
from tests.publish.worlds import Server

# -- what a whole run does -----------------------------------------------------------------------------------------


def test_publishing_hands_over_deltas_and_routes(template: Server, tmp_path: Path) -> None:
    """What is asked for is served, the counts are true, and nothing is left in staging."""
    server = template.copy(tmp_path / "repository")
    done = publish_first(server)
    assert [artifact.candidate for artifact in server.of(FIRST)] == list(done.new)
    assert (done.kept, done.routes_written, done.routes_removed) == ((), 3, 0)
    assert {base: set(routes) for base, routes in read_routes(server).items()} == {
        base: set(routes) for base, routes in first_routes(server).items()
    }
    expect_served(server, tmp_path / "clients")
    assert not (server.path / "extensions/deltaplan/staging").exists()
    assert (server.path / "summary").stat().st_size > 64


def test_the_next_night_keeps_old_deltas_and_drops_stale_routes(yesterday: Server, tmp_path: Path) -> None:
    """A client that is half-way on an old route finishes it; a base that nobody is on any more has no index."""
    server = yesterday.copy(tmp_path / "repository")
    done = publish_second(server)
    assert [candidate.target for candidate in done.new] == [server.commits[4], server.commits[3]]
    assert [candidate.target for candidate in done.kept] == [server.commits[3]]
    assert (done.routes_written, done.routes_removed) == (3, 1)
    assert read_routes(server).keys() == second_routes(server).keys()
    assert all(server.folder(ends).is_dir() for ends in PAIRS)
    expect_served(server, tmp_path / "clients")


def test_deltas_come_before_routes_and_the_summary_comes_last(
    template: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas, one reindex, routes, summary: a client never reads of what is not there."""
    server = template.copy(tmp_path / "repository")
    tools = Recorder(server.site)

    def record(name: str) -> None:
        original = getattr(os, name)

        def recorded(source: Path, place: Path, **options: object) -> None:
            parts = Path(place).relative_to(server.path).parts
            tools.calls.append(next((name for name in ("deltas", "routes") if name in parts), "other"))
            original(source, place, **options)

        monkeypatch.setattr(os, name, recorded)

    record("rename")
    record("replace")
    publish(tools, server.pool, server.of(FIRST), first_routes(server))
    calls = [call for call in tools.calls if call != "other"]
    assert calls == ["deltas"] * 3 + ["reindex"] + ["routes"] * 3 + ["summary"]


def test_deltas_are_on_the_disk_before_routes_name_them(
    template: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure there is no route without its delta: every folder above a delta is synced first."""
    server = template.copy(tmp_path / "repository")
    synced, fsync = set[Path](), os.fsync

    def record(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def stop(name: str) -> None:
        raise PermissionError(name)

    monkeypatch.setattr(os, "fsync", record)
    with pytest.raises(PublishError):
        publish(Recorder(server.site, before=stop), server.pool, server.of(FIRST), first_routes(server))
    for ends in FIRST:
        place = server.folder(ends)
        assert {folder for folder in place.parents if folder.is_relative_to(server.path)} <= synced


def _fingerprint(server: Server) -> dict[str, tuple[int, int, bytes]]:
    """Inode, time and content of every file that clients fetch, but for the summary, which has its date inside."""
    roots = ("deltas", "delta-indexes", "extensions/deltaplan/routes", "objects", "refs")
    files = [path for root in roots for path in (server.path / root).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_publishing_again_changes_nothing(yesterday: Server, tmp_path: Path) -> None:
    """No byte changes and no file is replaced: a stock client's index never disagrees with a delta."""
    server = yesterday.copy(tmp_path / "repository")
    before, tools = _fingerprint(server), Recorder(server.site)
    done = publish(tools, server.pool, server.of(FIRST), first_routes(server))
    assert (done.new, done.routes_written, done.routes_removed) == ((), 0, 0)
    assert _fingerprint(server) == before
    # A run that was killed before its reindex had nothing new left to do either.
    assert tools.calls == ["reindex", "summary"]


def test_the_next_night_rewrites_no_delta(yesterday: Server, tmp_path: Path) -> None:
    """What is published keeps its files, even if the pool holds other ones by now."""
    server = yesterday.copy(tmp_path / "repository")
    before = {path: entry for path, entry in _fingerprint(server).items() if "/deltas/" in path}
    for file in server.pool.folder(server.artifacts[2, 3].candidate).iterdir():
        file.unlink()
        file.write_bytes(b"another build")
    publish_second(server)
    assert before.items() <= _fingerprint(server).items()


def test_published_bytes_are_kept_once(yesterday: Server, template: Server, tmp_path: Path) -> None:
    """A published file is the pool's file under another name, readable by any web server."""
    server = template.copy(tmp_path / "repository")
    publish_first(server)
    for file in server.folder((1, 2)).iterdir():
        assert file.samefile(server.pool.folder(server.artifacts[1, 2].candidate) / file.name)
        assert file.stat().st_mode & 0o044 == 0o044
        assert file.parent.stat().st_mode & 0o055 == 0o055


@pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")
def test_the_stock_tool_knows_what_was_published(yesterday: Server) -> None:
    """`ostree static-delta list` names exactly the published deltas."""
    if yesterday.codec != "ostree":
        return
    listed = set(ostree("static-delta", "list", f"--repo={yesterday.path}").split())
    ends = [(yesterday.commits[base], yesterday.commits[target]) for base, target in FIRST]
    assert listed == {f"{base}-{target}" if base else target for base, target in ends}


# -- signed --------------------------------------------------------------------------------------------------------

KEY, NEXT_KEY = (SigningKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))


def _publish_signed(server: Server, key: SigningKey | None) -> Published:
    return publish(server.site, server.pool, server.of(FIRST), first_routes(server), key)


def _signed_files(server: Server) -> list[Path]:
    """What a server with a key signs; OSTree's summary is signed by its own tool."""
    routes = sorted((server.path / "extensions/deltaplan/routes").iterdir())
    return routes if server.codec == "ostree" else [*routes, server.path / "summary"]


def test_with_a_key_every_index_and_our_summary_are_signed(yesterday: Server, tmp_path: Path) -> None:
    """Those that were there without, too; what is signed is what was there, and clients without keys read on."""
    server = yesterday.copy(tmp_path / "repository")
    before = {path: path.read_bytes() for path in _signed_files(server)}
    done = _publish_signed(server, KEY)
    assert (done.new, done.routes_written, done.routes_removed) == ((), 3, 0)
    assert len(before) == (3 if server.codec == "ostree" else 4)
    for path, text in before.items():
        assert path.read_bytes() == sign(text, KEY)
        assert verify(path.read_bytes(), [KEY.public_key()]) == text
    expect_served(server, tmp_path / "clients")


def test_signing_again_changes_nothing_and_another_key_everything(yesterday: Server, tmp_path: Path) -> None:
    """An index whose signature was damaged is written again, and so are all when signing ends."""
    server = yesterday.copy(tmp_path / "repository")
    _publish_signed(server, KEY)
    before = _fingerprint(server)
    assert _publish_signed(server, KEY).routes_written == 0
    assert _fingerprint(server) == before
    damaged = _signed_files(server)[0]
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"AAAAA==\n")
    assert _publish_signed(server, KEY).routes_written == 1
    assert _publish_signed(server, NEXT_KEY).routes_written == 3
    for path in _signed_files(server):
        verify(path.read_bytes(), [NEXT_KEY.public_key()])
    assert _publish_signed(server, None).routes_written == 3
    assert all(unsigned(path.read_bytes()) == path.read_bytes() for path in _signed_files(server))


# -- what is refused -----------------------------------------------------------------------------------------------


def _expect_refused(server: Server, routes: Routes, error: type[Exception], text: str) -> None:
    before = list_paths(server.path)
    with pytest.raises(error, match=text):
        publish(server.site, server.pool, server.of(FIRST), routes)
    changed = {path for path in set(before) ^ set(list_paths(server.path)) if "/pool/" not in path}
    assert changed == set()


def test_a_tampered_delta_is_refused_and_can_be_made_again(template: Server, tmp_path: Path) -> None:
    """Nothing is published, and the files are dropped although their size is right, so that `build` makes them."""
    server = template.copy(tmp_path / "repository")
    artifact = server.artifacts[2, 3]
    file = next(server.pool.folder(artifact.candidate).iterdir())
    file.write_bytes(bytes(reversed(file.read_bytes())))
    assert server.pool.has(artifact)
    _expect_refused(server, {}, BuildError, "not those that were proven")
    assert not server.pool.has(artifact)
    _expect_refused(server, {}, BuildError, "not those that were proven")


def test_a_route_over_a_missing_delta_is_refused(template: Server, tmp_path: Path) -> None:
    """Also where a dead generator left the delta's folder empty."""
    server = template.copy(tmp_path / "repository")
    routes = {server.commits[3]: [server.route(3, 4)]}
    _expect_refused(server, routes, PublishError, "was not built")
    server.folder((3, 4)).mkdir(parents=True)
    _expect_refused(server, routes, PublishError, "was not built")


def test_routes_that_clients_would_refuse_are_refused(template: Server, tmp_path: Path) -> None:
    """A ref with a space, a route that ends elsewhere, and an index above the readers' limit."""
    server = template.copy(tmp_path / "repository")
    base = server.commits[1]
    _expect_refused(server, {base: [server.full(3, ref="a b")]}, PublishError, "clients would refuse")
    elsewhere = PublishedRoute(ref=None, target=server.commits[4], wire_bytes=0, hops=())
    _expect_refused(server, {base: [elsewhere]}, PublishError, "clients would refuse")
    many = [server.full(3, ref=f"{number:0200}") for number in range(MAX_INDEX_BYTES // 200)]
    _expect_refused(server, {base: many}, PublishError, "too many routes")


def test_remains_of_a_dead_generator_are_no_delta(template: Server, tmp_path: Path) -> None:
    """A folder without the file that clients fetch first is not published, and makes way."""
    server = template.copy(tmp_path / "repository")
    place = server.folder((1, 2))
    place.mkdir(parents=True)
    (place / "7").write_bytes(b"a part that its superblock left behind")
    assert not is_published(server.site, server.artifacts[1, 2].candidate)
    publish_first(server)
    assert is_published(server.site, server.artifacts[1, 2].candidate)
    expect_served(server, tmp_path / "clients")


def test_what_the_system_refuses_is_a_publish_error(yesterday: Server, tmp_path: Path) -> None:
    """A file in a folder's place is reported, and what was published before still serves."""
    server = yesterday.copy(tmp_path / "repository")
    (server.path / "extensions/deltaplan/staging").write_bytes(b"in the way")
    with pytest.raises(PublishError, match="refused"):
        publish_second(server)
    assert read_routes(server).keys() == first_routes(server).keys()
    expect_served(server, tmp_path / "clients")
