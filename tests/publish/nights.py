"""Two nights of one server, and what must hold after any run of either."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from planner.build.pool import measure_files
from planner.delta.paths import relative_path
from planner.follow.follower import follow
from planner.follow.remote import FolderRemote
from planner.follow.store_client import StoreClient
from planner.history.store import Store
from planner.publish.publisher import Published, publish
from planner.publish.routes import PublishedRoute, format_index, index_path, parse_index
from planner.publish.signatures import SigningKey
from tests.publish.worlds import Ends, Server

Routes = Mapping[str, Sequence[PublishedRoute]]

PAIRS: tuple[Ends, ...] = ((1, 2), (2, 3), (3, 4), (1, 3), (0, 1))
FIRST: tuple[Ends, ...] = ((1, 2), (2, 3), (0, 1))
SECOND: tuple[Ends, ...] = ((2, 3), (3, 4), (1, 3))


def first_routes(server: Server) -> Routes:
    commits = server.commits
    return {
        commits[1]: [server.route(1, 2, 3), server.full(3)],
        commits[2]: [server.route(2, 3)],
        "": [server.full(3), server.route(0, 1)],
    }


def second_routes(server: Server) -> Routes:
    commits = server.commits
    return {
        commits[1]: [server.route(1, 3, 4)],
        commits[2]: [server.route(2, 3, 4)],
        commits[3]: [server.route(3, 4)],
    }


def publish_first(server: Server) -> Published:
    return publish(server.site, server.pool, server.of(FIRST), first_routes(server))


def publish_second(server: Server) -> Published:
    return publish(server.site, server.pool, server.of(SECOND), second_routes(server))


def read_routes(server: Server) -> dict[str, tuple[PublishedRoute, ...]]:
    folder = server.path / "extensions/deltaplan/routes"
    names = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    bases = {name: "" if name == "empty" else name for name in names}
    return {base: parse_index((folder / name).read_text(), base) for name, base in bases.items()}


def expect_served(server: Server, scratch: Path) -> None:
    """Every route that is published names whole deltas that clients find, and leads to its target."""
    proven = {
        server.site.published_path(a.candidate.base, a.candidate.target, a.candidate.codec): a
        for a in server.artifacts.values()
    }
    for path, artifact in proven.items():
        if (server.path / path).exists():
            assert measure_files(server.path / path) == (artifact.digest, artifact.wire_bytes)
    for base, routes in read_routes(server).items():
        for number, route in enumerate(routes):
            previous = base
            for hop in route.hops or ():
                assert (server.path / hop.path).is_dir()
                _expect_found(server, previous, hop.commit)
                previous = hop.commit
            if server.codec != "ostree":
                _expect_followed(server, base, route, scratch / f"{base}-{number}")
    shutil.rmtree(scratch, ignore_errors=True)


def _expect_found(server: Server, base: str, target: str) -> None:
    """A stock client looks into the target's delta index."""
    if server.codec == "ostree":
        index = relative_path("", target).replace("deltas/", "delta-indexes/", 1) + ".index"
        assert (f"{base}-{target}" if base else target).encode() in (server.path / index).read_bytes()


def _expect_followed(server: Server, base: str, route: PublishedRoute, folder: Path) -> None:
    """A client of a store that may take nothing else than this route takes it."""
    folder.parent.mkdir(exist_ok=True)
    Store.create(folder)
    remote = _Only(server, base, route)
    client = StoreClient(Store(folder, is_durable=False), remote)
    if base:
        client.pull_in_full(base)
    done = follow(client, remote, base=base, want=route.target, is_ref=False)
    assert (done.fallback_reason, done.hops) == (None, len(route.hops or ()))
    assert client.store.read_refs() == {"pinned": route.target}


@dataclass
class _Only:
    """The remote of a base with one route."""

    server: Server
    base: str
    route: PublishedRoute

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """The index with the one route, and the deltas as they are published."""
        if path == index_path(self.base):
            return format_index(self.base, [self.route]).encode()
        return FolderRemote(self.server.path).fetch(path, max_bytes=max_bytes)


@dataclass
class Recorder:
    """A repository's tools that note when they are called."""

    tools: object
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda name: None

    def __getattr__(self, name: str) -> object:
        return getattr(self.tools, name)

    def reindex(self) -> None:
        """Note it, and do it."""
        self._do("reindex")

    def write_summary(self, key: SigningKey | None = None) -> None:
        """Note it, and do it."""
        self._do("summary", "write_summary", key)

    def _do(self, name: str, method: str | None = None, *arguments: object) -> None:
        self.before(name)
        self.calls.append(name)
        getattr(self.tools, method or name)(*arguments)
