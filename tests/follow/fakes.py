"""A client and a remote in memory, for the rules; and web servers on loopback that note or misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from planner.errors import FollowError
from planner.publish.routes import Hop
from planner.publish.signatures import PublicKey

Hook = Callable[[BaseHTTPRequestHandler], bool]


@dataclass
class FakeRemote:
    """Files by path."""

    files: Mapping[str, bytes]

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """The file, or the error of a remote."""
        data = self.files.get(path)
        if data is None or len(data) > max_bytes:
            raise FollowError("cannot be fetched", path=path)
        return data


@dataclass
class FakeClient:
    """A client that holds whole commits; `broken` names commits whose delta, and `full`, whose full pull fails.

    `unions` are the targets that are made of layers, and of which.
    """

    heads: Mapping[str, str]
    held: set[str]
    refs: dict[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    broken_full: frozenset[str] = frozenset()
    damaged: set[str] = field(default_factory=set)
    unions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    dates: Mapping[str, int] = field(default_factory=dict)
    asked_keys: tuple[PublicKey, ...] = ()

    def head(self, ref: str, keys: Sequence[PublicKey] = ()) -> str:
        """What the server says."""
        self.asked_keys = tuple(keys)
        if ref not in self.heads:
            raise FollowError("no such ref", ref=ref)
        return self.heads[ref]

    def expect_newer(self, target: str, base: str) -> None:
        """By `dates`; all are alike that are not there."""
        if self.dates.get(target, 0) < self.dates.get(base, 0):
            raise FollowError("the head is older")

    def take(self, hop: Hop, base: str) -> None:
        """Hold the hop's commit, if the base is held."""
        self.calls.append(f"take {hop.commit[:1]}")
        if base not in {*self.held, ""} or hop.commit in self.broken:
            raise FollowError("the hop failed")
        self.held.add(hop.commit)

    def holds(self, commit: str) -> bool:
        """Whether it is held; nothing is held always."""
        return commit in {*self.held, ""}

    def layers(self, commit: str) -> tuple[str, ...]:
        """What it is made of, if that is held."""
        layers = self.unions.get(commit, ())
        return layers if self.held >= set(layers) else ()

    def unite(self, layers: Sequence[str], target: str) -> None:
        """Hold the target, if it is made of these."""
        self.calls.append(f"unite {''.join(layer[:1] for layer in layers)}")
        if self.unions.get(target) != tuple(layers) or not self.held >= set(layers):
            raise FollowError("the union is another tree")
        self.held.add(target)

    def pull_in_full(self, target: str) -> int:
        """Hold the target, undamaged."""
        self.calls.append(f"full {target[:1]}")
        if target in self.broken_full:
            raise FollowError("the full pull failed")
        self.held.add(target)
        self.damaged.discard(target)
        return 1000

    def check(self, target: str) -> None:
        """Whether it is held undamaged."""
        self.calls.append(f"check {target[:1]}")
        if target not in self.held or target in self.damaged:
            raise FollowError("the commit is not whole")

    def finish(self, target: str, ref: str | None, layers: Sequence[str] = ()) -> None:
        """Move the ref."""
        self.calls.append(f"finish {target[:1]}")
        self.refs[ref or "pinned"] = target
        self.held &= {target, *layers}


@dataclass
class Served:
    """A folder on a web server, and the paths that were asked for."""

    url: str
    paths: list[str]

    def superblocks(self) -> list[str]:
        """The deltas that a stock client chose, in order."""
        return [path.removesuffix("/superblock").lstrip("/") for path in self.paths if path.endswith("/superblock")]


class _Noting(SimpleHTTPRequestHandler):
    """Serves files, and notes what is asked for instead of printing it."""

    def __init__(self, *arguments: object, paths: list[str], hook: Hook, **options: object) -> None:
        self.paths = paths
        self.hook = hook
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Leave it to the hook, or send the file; a client that goes away is no error."""
        try:
            if not self.hook(self):
                super().do_GET()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Note the path."""
        if format.startswith('"%s"'):
            self.paths.append(self.path)


@contextmanager
def serve_folder(folder: Path, hook: Hook = lambda handler: False) -> Iterator[Served]:
    """Serve a folder on loopback; `hook` sees each request first, and is True where it answered itself."""
    paths: list[str] = []
    with _running(partial(_Noting, directory=str(folder), paths=paths, hook=hook)) as url:
        yield Served(url, paths)


@contextmanager
def serve(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A web server that answers every GET in its own way; its URL."""

    class Handler(BaseHTTPRequestHandler):
        """Leaves it to `answer`; a client that goes away is no error."""

        def do_GET(self) -> None:
            """Answer."""
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with _running(Handler) as url:
        yield url


@contextmanager
def _running(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
