"""Hand proven deltas over to clients, in the one order that never leaves a client with a broken update.

1. Each delta is linked into a staging folder beside the pool, synced, and renamed to its published place:
   it appears whole or not at all. What is published already is never touched: a stale index over a delta that
   was rewritten is a hard failure for a stock client.
2. The delta indexes are rebuilt once, always: a run that was killed here left deltas that nobody finds yet.
3. The route index is written, each file atomically: routes only name deltas that are there and on the disk. Routes to
   the heads that the summary still names stay in it.
4. The summary is written.
5. The route index is written again without the routes to the heads before.

A run that is killed between any two steps leaves more deltas than routes, which is harmless, never the reverse.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.build.builders import DELTA_FILE
from planner.build.pool import EXTENSION_PATH, Pool
from planner.delta.paths import SUPERBLOCK
from planner.errors import BuildError, InputError, PublishError
from planner.history.files import full_disk_as_error, sync_directory, write_atomically
from planner.publish.routes import MAX_INDEX_BYTES, PublishedRoute, format_index, index_path, parse_index
from planner.publish.signatures import SigningKey, sign_with
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Artifact


class RepositoryTools(Protocol):
    """What publishing asks of the kind of repository."""

    @property
    def path(self) -> Path:
        """The repository's folder."""

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the repository."""

    def holds(self, base: str, target: str, codec: str) -> bool:
        """Whether clients find a delta of these commits that this codec made."""

    def reindex(self) -> None:
        """Make the deltas that are in place findable."""

    def served_heads(self) -> dict[str, str]:
        """What clients are told that the refs are; nothing where they are not told yet."""

    def write_summary(self, key: SigningKey | None = None) -> None:
        """Tell clients what the refs are; with a key, where the file is of our own format, they can check it."""


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
    key: SigningKey | None = None,
    *,
    passing: Mapping[str, Sequence[PublishedRoute]] | None = None,
    waypoints: Mapping[str, Mapping[str, str]] | None = None,
) -> Published:
    """Publish artifacts, then the routes per base, then the summary. Idempotent.

    `passing` are routes of the state before, for clients that read the summary just before it is replaced. `waypoints`
    are, by base and ref, commits that clients must deploy first. With a key
    the route indexes are signed, those of an earlier night or key again, and so is a summary of ours.

    Raises:
        PublishError: a route needs a delta that is neither published nor among the artifacts, or clients would
            refuse it, and nothing was published; or the system refused a step.
        BuildError: an artifact's files are not what was proven; they were dropped, and nothing was published.
        SpaceError: the disk is full; what was published before still serves.
        ToolError: a program is missing or failed; what was published before still serves.
    """
    missing = [artifact for artifact in artifacts if not is_published(tools, artifact.candidate)]
    for artifact in missing:
        _check_artifact(pool, artifact)
        _check_place(tools, artifact.candidate)
    _check_hops(tools, artifacts, routes)
    stops = waypoints or {}
    indexes = {base: _format_index(base, routes.get(base, ()), stops.get(base), key) for base in {*routes, *stops}}
    between = {
        base: _format_index(base, [*routes.get(base, ()), *old], stops.get(base), key)
        for base, old in (passing or {}).items()
    }
    try:
        with full_disk_as_error(tools.path):
            _put_all_in_place(tools, pool, [artifact.candidate for artifact in missing])
            tools.reindex()
            written, removed = _write_indexes(tools.path, indexes | between)
            tools.write_summary(key)
            if between:
                _write_indexes(tools.path, indexes)
    except OSError as error:
        raise PublishError("the system refused", path=str(tools.path), reason=str(error)) from error
    new = {artifact.candidate for artifact in missing}
    return Published(
        new=tuple(artifact.candidate for artifact in missing),
        kept=tuple(artifact.candidate for artifact in artifacts if artifact.candidate not in new),
        routes_written=written,
        routes_removed=removed,
    )


def is_published(tools: RepositoryTools, candidate: Candidate) -> bool:
    """Whether clients can find the candidate's delta."""
    return tools.holds(candidate.base, candidate.target, candidate.codec)


def is_delta(folder: Path | str) -> bool:
    """Whether the file is there that clients fetch first: a dead generator leaves an empty folder."""
    # A night asks about each of 10^5 pairs, most of which have no delta: Paths would take ten times as long.
    return any(os.path.isfile(f"{folder}/{name}") for name in (SUPERBLOCK, DELTA_FILE))  # noqa: PTH113


def _check_artifact(pool: Pool, artifact: Artifact) -> None:
    try:
        pool.check(artifact)
    except BuildError:
        # Its size may be right; only without it does the next build make it again.
        pool.discard(artifact.candidate)
        raise


def _check_place(tools: RepositoryTools, candidate: Candidate) -> None:
    """Nobody's delta is there: a stale index over one that was rewritten is a hard failure for clients."""
    place = tools.path / tools.published_path(candidate.base, candidate.target, candidate.codec)
    if is_delta(place):
        raise PublishError("another delta of these commits is there: retire it first", path=str(place))


def _check_hops(
    tools: RepositoryTools, artifacts: Sequence[Artifact], routes: Mapping[str, Sequence[PublishedRoute]]
) -> None:
    """Every hop is there already or about to be."""
    coming = {tools.published_path(a.candidate.base, a.candidate.target, a.candidate.codec) for a in artifacts}
    for base, of_base in routes.items():
        for route in of_base:
            for hop in route.hops or ():
                if hop.path not in coming and not is_delta(tools.path / hop.path):
                    raise PublishError("a route needs a delta that was not built", base=base, delta=hop.path)


def _format_index(
    base: str, routes: Sequence[PublishedRoute], waypoints: Mapping[str, str] | None, key: SigningKey | None
) -> bytes:
    """The index file's bytes, which were read as clients will read them."""
    data = sign_with(format_index(base, routes, waypoints).encode(), key)
    try:
        parse_index(data.decode(), base)
    except InputError as error:
        raise PublishError("clients would refuse the routes", base=base, reason=str(error)) from error
    if len(data) > MAX_INDEX_BYTES:
        raise PublishError("has too many routes for one index", base=base, got=len(data), max_bytes=MAX_INDEX_BYTES)
    return data


def _put_all_in_place(tools: RepositoryTools, pool: Pool, candidates: Sequence[Candidate]) -> None:
    staging = tools.path / EXTENSION_PATH / "staging"
    try:
        for candidate in candidates:
            _put_in_place(tools, pool.folder(candidate), staging / pool.folder(candidate).name, candidate)
    finally:
        # What a killed run left in it, too: links to deltas that the pool may have dropped since.
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(tools: RepositoryTools, proven: Path, staging: Path, candidate: Candidate) -> None:
    """Link one delta into staging and rename it in, down to the disk."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for file in proven.iterdir():
        os.link(file, staging / file.name)
    sync_directory(staging)
    place = tools.path / tools.published_path(candidate.base, candidate.target, candidate.codec)
    place.parent.mkdir(parents=True, exist_ok=True)
    # What a retired delta or a dead generator left: no client finds it, but the name would be taken.
    shutil.rmtree(place, ignore_errors=True)
    staging.rename(place)
    for folder in place.relative_to(tools.path).parents:
        sync_directory(tools.path / folder)


def _write_indexes(repository_path: Path, indexes: Mapping[str, bytes]) -> tuple[int, int]:
    """Write what changed, remove the files of bases that nobody asks about any more; how many of each."""
    folder = repository_path / EXTENSION_PATH / "routes"
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for base, data in sorted(indexes.items()):
        path = repository_path / index_path(base)
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path, data)
            written += 1
    wanted = {(repository_path / index_path(base)).name for base in indexes}
    stale = [path for path in sorted(folder.iterdir()) if path.name not in wanted]
    for path in stale:
        path.unlink()
    sync_directory(folder)
    return written, len(stale)
