"""The kinds of repository behind one face: read, build, publish, and make rehearsal clients."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Protocol

from planner.build.builders import Builder, OSTreeBuilder, StoreBuilder
from planner.build.executors import Executor
from planner.build.projecting import project_candidates
from planner.build.tools import run_tool
from planner.build.workshop import Report
from planner.delta.paths import SUPERBLOCK
from planner.delta.paths import relative_path as relative_delta_path
from planner.delta.superblock import read_superblock
from planner.errors import PlannerError
from planner.follow.follower import Client
from planner.follow.ostree_client import OSTreeClient
from planner.follow.remote import FolderRemote, HttpRemote, Remote
from planner.follow.store_client import StoreClient
from planner.history.encoding import relative_path
from planner.history.files import read_bounded, read_if_there, write_atomically
from planner.history.gvariant import GVariantError, parse
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import History
from planner.history.repository import Repository
from planner.history.store import Store
from planner.night.sources import Committer, OSTreeCommitter, StoreCommitter
from planner.project.quantities import Projection
from planner.publish.heads import MAX_HEADS_BYTES, format_heads, parse_heads
from planner.publish.publisher import is_delta
from planner.publish.recursive import write_recursive
from planner.publish.routes import PublishedRoute
from planner.publish.signatures import SigningKey, sign_with
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.stock_client import OSTREE_CODECS, STOCK_CODEC

_TOOL_TIMEOUT_S = 3600.0
_REMOTE_NAME = "origin"
_MOST_LOOKED_AT = 10
"""Refs that are looked at for whose repository it is."""
_MAX_SUPERBLOCK_BYTES = 10**9
_MAX_SUMMARY_BYTES = 100_000_000
_SUMMARY_TYPE = "(a(s(taya{sv}))a{sv})"
"""Source: libostree, `ostree-repo-private.h`, `OSTREE_SUMMARY_GVARIANT_STRING`."""


class Site(Protocol):
    """One repository with everything that a night needs of it."""

    @property
    def path(self) -> Path:
        """The repository's folder."""

    @property
    def repository(self) -> Repository:
        """For reading."""

    @property
    def builder(self) -> Builder:
        """For making and proving deltas."""

    @property
    def committer(self) -> Committer:
        """For importing."""

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the repository."""

    def holds(self, base: str, target: str, codec: str) -> bool:
        """Whether clients find a delta of these commits that this codec made."""

    def weigh_published(self, base: str, target: str) -> tuple[str, Weight] | None:
        """The codec and the weight of the one delta of these commits that clients may find; None where any may be."""

    def project(
        self,
        history: History,
        candidates: Sequence[Candidate],
        measured: Mapping[Candidate, Weight],
        *,
        executor: Executor,
        report: Report,
    ) -> dict[Candidate, Projection]:
        """Projected weights, given what others weighed; candidates of a codec that cannot be projected are left out."""

    def record_routes(self, history: History, routes: Mapping[str, Sequence[PublishedRoute]]) -> None:
        """Tell the routes in the repository's own format too, where it has one."""

    def clean(self) -> None:
        """Remove what only deltas that are gone were made of."""

    def reindex(self) -> None:
        """Make the deltas that are in place findable."""

    def served_heads(self) -> dict[str, str]:
        """What clients are told that the refs are; nothing where they are not told yet."""

    def write_summary(self, key: SigningKey | None = None) -> None:
        """Tell clients what the refs are; with a key, where the file is of our own format, they can check it."""

    def serve(self) -> AbstractContextManager[Remote]:
        """Serve the repository to rehearsal clients for as long as the block runs."""

    def make_client(self, remote: Remote, folder: Path, held: Sequence[str], objects: ObjectSets) -> Client:
        """A client in `folder` that holds some commits and nothing else; the first is the one it is on."""


class PlainSite:
    """What is the same for sites whose deltas have nothing in common: each is a folder, and each is measured."""

    __slots__ = ()

    path: Path

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the repository."""
        raise NotImplementedError

    def holds(self, base: str, target: str, codec: str) -> bool:
        """Whether the delta's file is there."""
        return is_delta(self.path / self.published_path(base, target, codec))

    def weigh_published(self, base: str, target: str) -> tuple[str, Weight] | None:  # noqa: ARG002
        """Nothing: each codec's deltas have a place of their own."""
        return None

    def project(
        self,
        history: History,  # noqa: ARG002
        candidates: Sequence[Candidate],  # noqa: ARG002
        measured: Mapping[Candidate, Weight],  # noqa: ARG002
        *,
        executor: Executor,  # noqa: ARG002
        report: Report,  # noqa: ARG002
    ) -> dict[Candidate, Projection]:
        """Nothing: all are measured."""
        return {}

    def record_routes(self, history: History, routes: Mapping[str, Sequence[PublishedRoute]]) -> None:
        """Nothing to do: the route index is this repository's format."""

    def clean(self) -> None:
        """Nothing to do: no two deltas have anything in common."""


@dataclass(frozen=True, slots=True)
class StoreSite(PlainSite):
    """An embedded store; created where it does not exist."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> StoreSite:
        """The site of a store, which is created where nothing is."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Store.create(path)
        Store.open(path)
        return cls(path)

    @property
    def repository(self) -> Store:
        """For reading and importing."""
        return Store.open(self.path)

    @property
    def builder(self) -> StoreBuilder:
        """For making and proving deltas."""
        return StoreBuilder(self.path)

    @property
    def committer(self) -> StoreCommitter:
        """For importing."""
        return StoreCommitter(self.repository)

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the repository."""
        return self.builder.published_path(base, target, codec)

    def reindex(self) -> None:
        """Nothing to do: a route names its deltas."""

    def served_heads(self) -> dict[str, str]:
        """The summary's lines."""
        return parse_heads(read_if_there(self.path / "summary", MAX_HEADS_BYTES))

    def write_summary(self, key: SigningKey | None = None) -> None:
        """One line per ref: its name and commit."""
        heads = format_heads(self.repository.read_refs())
        write_atomically(self.path / "summary", sign_with(heads, key))

    @contextmanager
    def serve(self) -> Iterator[Remote]:
        """The folder itself."""
        yield FolderRemote(self.path)

    def make_client(self, remote: Remote, folder: Path, held: Sequence[str], objects: ObjectSets) -> StoreClient:
        """A store that shares the commits' objects by hard links: they are never rewritten."""
        Store.create(folder)
        client = Store(folder, level=1, is_durable=False)
        for name in {name for commit in held for name in objects.of_commit(commit)}:
            place = folder / relative_path(name)
            place.parent.mkdir(exist_ok=True)
            os.link(self.path / relative_path(name), place)
        return StoreClient(client, remote)


@dataclass(frozen=True, slots=True)
class OSTreeSite:
    """An OSTree repository; created in archive mode where it does not exist."""

    path: Path
    scratch: Path
    signing: tuple[str, ...] = ()
    """What tools are told about the keys of commits and of the summary."""

    @classmethod
    def open(cls, path: Path, scratch: Path, signing: tuple[str, ...] = ()) -> OSTreeSite:
        """The site of an OSTree repository, which is created where nothing is."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            run_tool(["ostree", "init", f"--repo={path}", "--mode=archive"], timeout_s=_TOOL_TIMEOUT_S)
        return cls(path, scratch, signing)

    @property
    def repository(self) -> OSTreeRepository:
        """For reading."""
        return OSTreeRepository(self.path)

    @property
    def builder(self) -> OSTreeBuilder:
        """For making and proving deltas."""
        return OSTreeBuilder(self.path, self.scratch)

    @property
    def committer(self) -> OSTreeCommitter:
        """For importing."""
        return OSTreeCommitter(self.path, self.signing)

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the repository."""
        return self.builder.published_path(base, target, codec)

    def holds(self, base: str, target: str, codec: str) -> bool:
        """Whether a delta is there whose superblock says that this codec made it."""
        return self._published_codec(base, target) == codec

    def weigh_published(self, base: str, target: str) -> tuple[str, Weight] | None:
        """The published delta's codec, and its files' bytes; what it took to make is spent."""
        codec = self._published_codec(base, target)
        if codec is None:
            return None
        folder = self.path / self.published_path(base, target, codec)
        file_bytes = sum(path.stat().st_size for path in folder.iterdir())
        return codec, Weight(
            wire_bytes=file_bytes,
            stored_bytes=file_bytes,
            server_cpu_s=0.0,
            client_cpu_s=0.0,
            peak_memory_bytes=0,
            status=WeightStatus.MEASURED,
        )

    def _published_codec(self, base: str, target: str) -> str | None:
        folder = f"{self.path}/{_path_of(base, target)}"
        if not is_delta(folder):
            return None
        try:
            status = os.stat(f"{folder}/{SUPERBLOCK}")  # noqa: PTH116 - as in `is_delta`
        except OSError:
            return STOCK_CODEC
        return _codec_of(Path(folder) / SUPERBLOCK, (status.st_ino, status.st_mtime_ns, status.st_size))

    def project(
        self,
        history: History,
        candidates: Sequence[Candidate],
        measured: Mapping[Candidate, Weight],
        *,
        executor: Executor,
        report: Report,
    ) -> dict[Candidate, Projection]:
        """As `project_candidates` does, and raises."""
        return project_candidates(
            self.builder.workshop, history, candidates, measured, executor=executor, report=report
        )

    def record_routes(self, history: History, routes: Mapping[str, Sequence[PublishedRoute]]) -> None:
        """Recursive superblocks, beside the route index."""
        write_recursive(self.repository, history, routes)

    def clean(self) -> None:
        """Remove packed parts that no delta links to any more."""
        self.builder.workshop.clean()

    def reindex(self) -> None:
        """Rebuild `delta-indexes/`, once for all new deltas."""
        run_tool(["ostree", "static-delta", "reindex", f"--repo={self.path}"], timeout_s=_TOOL_TIMEOUT_S)

    def served_heads(self) -> dict[str, str]:
        """The summary's refs; nothing where it cannot be read."""
        try:
            refs, _ = parse(_SUMMARY_TYPE, read_if_there(self.path / "summary", _MAX_SUMMARY_BYTES))
        except GVariantError:
            return {}
        return {ref: bytes(checksum).hex() for ref, (_, checksum, _) in refs}

    def write_summary(self, key: SigningKey | None = None) -> None:  # noqa: ARG002 - its own are told in `signing`
        """The summary that clients read refs (and, before 2020.8, deltas) from.

        A Flatpak repository's has more in it, which only Flatpak's own tool writes.
        """
        if is_flatpak(self.repository):
            tool = ["flatpak", "build-update-repo", "--no-update-appstream", *self.signing, str(self.path)]
        else:
            tool = ["ostree", "summary", f"--repo={self.path}", "--update", *self.signing]
        run_tool(tool, timeout_s=_TOOL_TIMEOUT_S)

    @contextmanager
    def serve(self) -> Iterator[Remote]:
        """An HTTP server on loopback: a stock client takes no deltas from a folder."""
        handler = partial(_QuietHandler, directory=str(self.path))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield HttpRemote(f"http://127.0.0.1:{server.server_address[1]}")
            finally:
                server.shutdown()

    def make_client(self, remote: Remote, folder: Path, held: Sequence[str], objects: ObjectSets) -> OSTreeClient:  # noqa: ARG002
        """A bare-user repository that pulled the commits from here and knows the served URL as its remote."""
        assert isinstance(remote, HttpRemote)  # noqa: S101 - `serve` gave it
        run_tool(["ostree", "init", f"--repo={folder}", "--mode=bare-user"], timeout_s=_TOOL_TIMEOUT_S)
        run_tool(
            ["ostree", "remote", "add", f"--repo={folder}", "--no-gpg-verify", _REMOTE_NAME, remote.url],
            timeout_s=_TOOL_TIMEOUT_S,
        )
        for commit in filter(None, held):
            run_tool(["ostree", "pull-local", f"--repo={folder}", str(self.path), commit], timeout_s=_TOOL_TIMEOUT_S)
        return OSTreeClient(folder, _REMOTE_NAME)


def is_flatpak(repository: OSTreeRepository) -> bool:
    """Whether apps or runtimes are in a repository that Flatpak exported.

    Source: flatpak 1.14.10, `app/flatpak-builtins-build-export.c`: every such commit has the app's metadata.
    """
    refs = (commit for ref, commit in repository.read_refs().items() if ref.startswith(("app/", "runtime/")))
    return any("xa.metadata" in repository.read_commit(commit).metadata for commit in islice(refs, _MOST_LOOKED_AT))


_path_of = lru_cache(maxsize=1 << 18)(relative_delta_path)


@lru_cache(maxsize=1 << 16)
def _codec_of(superblock: Path, _version: tuple[int, int, int]) -> str:
    """Who made a published delta. A night asks often, superblocks are long, and none is ever replaced."""
    try:
        codec = read_superblock(read_bounded(superblock, _MAX_SUPERBLOCK_BYTES)).codec
    except (OSError, PlannerError):
        # Whoever made it, and however it was damaged: its place is taken.
        return STOCK_CODEC
    return codec if codec in OSTREE_CODECS else STOCK_CODEC


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line per request on the terminal."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
