"""Hand proven deltas over to clients, in the one order that never leaves a client with a broken update.

1. Each delta is linked into a staging folder beside the pool, synced, and renamed to its published place:
   it appears whole or not at all. What is published already is never touched: a stale index over a delta that
   was rewritten is a hard failure for a stock client.
2. The delta indexes are rebuilt once.
3. The route index is written, each file atomically: routes only name deltas that are there.
4. The summary comes last.

A run that is killed between any two steps leaves more deltas than routes, which is harmless, never the reverse.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.build.pool import EXTENSION_PATH, Pool
from planner.errors import PublishError
from planner.history.files import full_disk_as_error, sync_directory, write_atomically
from planner.publish.routes import PublishedRoute, format_index, index_path
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Artifact


class RepositoryTools(Protocol):
    """What publishing asks of the kind of repository."""

    @property
    def path(self) -> Path:
        """The repository's folder."""

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the repository."""

    def reindex(self) -> None:
        """Make the deltas that are in place findable."""

    def write_summary(self) -> None:
        """Tell clients what the refs are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a run of `publish` changed: new deltas, those already there, and route files written or removed."""

    new: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    routes_written: int
    routes_removed: int


def publish(
    tools: RepositoryTools,
    pool: Pool,
    artifacts: Sequence[Artifact],
    routes: Mapping[str, Sequence[PublishedRoute]],
) -> Published:
    """Publish artifacts, then the routes per base, then the summary. Idempotent.

    Raises:
        PublishError: a route needs a delta that is neither published nor among the artifacts.
        BuildError: an artifact's files are not what was proven; nothing was published.
        SpaceError: the disk is full; what was published before still serves.
    """
    missing = [artifact for artifact in artifacts if not is_published(tools, artifact.candidate)]
    for artifact in missing:
        pool.check(artifact)
    _check_routes(tools, artifacts, routes)
    with full_disk_as_error(tools.path):
        for artifact in missing:
            _put_in_place(tools, pool, artifact.candidate)
    if missing:
        tools.reindex()
    written, removed = _write_routes(tools.path, routes)
    tools.write_summary()
    new = {artifact.candidate for artifact in missing}
    return Published(
        new=tuple(artifact.candidate for artifact in missing),
        kept=tuple(artifact.candidate for artifact in artifacts if artifact.candidate not in new),
        routes_written=written,
        routes_removed=removed,
    )


def is_published(tools: RepositoryTools, candidate: Candidate) -> bool:
    """Whether clients can find the candidate's delta."""
    return (tools.path / tools.published_path(candidate.base, candidate.target, candidate.codec)).is_dir()


def _check_routes(
    tools: RepositoryTools, artifacts: Sequence[Artifact], routes: Mapping[str, Sequence[PublishedRoute]]
) -> None:
    """Every hop is there already or about to be."""
    coming = {tools.published_path(a.candidate.base, a.candidate.target, a.candidate.codec) for a in artifacts}
    for base, of_base in routes.items():
        for route in of_base:
            for hop in route.hops or ():
                if hop.path not in coming and not (tools.path / hop.path).is_dir():
                    raise PublishError("a route needs a delta that was not built", base=base, delta=hop.path)


def _put_in_place(tools: RepositoryTools, pool: Pool, candidate: Candidate) -> None:
    """Link one delta into staging and rename it in."""
    staging = tools.path / EXTENSION_PATH / "staging" / pool.folder(candidate).name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for file in pool.folder(candidate).iterdir():
        os.link(file, staging / file.name)
    sync_directory(staging)
    place = tools.path / tools.published_path(candidate.base, candidate.target, candidate.codec)
    place.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(place)
    sync_directory(place.parent)
    sync_directory(place.parent.parent)


def _write_routes(repository_path: Path, routes: Mapping[str, Sequence[PublishedRoute]]) -> tuple[int, int]:
    """Write what changed, remove the files of bases that nobody asks about any more; how many of each."""
    folder = repository_path / EXTENSION_PATH / "routes"
    with full_disk_as_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for base, of_base in sorted(routes.items()):
        path, text = repository_path / index_path(base), format_index(base, of_base).encode()
        if not path.exists() or path.read_bytes() != text:
            write_atomically(path, text)
            written += 1
    wanted = {(repository_path / index_path(base)).name for base in routes}
    stale = [path for path in sorted(folder.iterdir()) if path.name not in wanted]
    for path in stale:
        path.unlink()
    sync_directory(folder)
    return written, len(stale)
