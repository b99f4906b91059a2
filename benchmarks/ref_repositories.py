"""Repositories of many refs by seed, written straight as objects: committing with the real program would take an hour.

The mix is that of a Flatpak server: of twenty refs fourteen are small, five medium and one is large. Refs come in
families of ten whose trees share a folder. The releases to come of the refs that change are written as well, but no ref
points to them yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from benchmarks.history import FIRST_COMMIT_AT_S, Writer
from planner.history.generator import generate_releases
from planner.history.store import Store
from planner.history.trees import write_files

_FAMILY = 10
_DAY_S = 86_400
_COMING = "coming.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many refs and releases, and the fraction of the refs (0..1) that has a release to come."""

    refs: int
    releases: int
    changed_fraction: float
    seed: int

    def changed(self) -> set[int]:
        """The refs with a release to come, by number: evenly spread over the sizes."""
        count = max(1, round(self.refs * self.changed_fraction))
        return {(place * self.refs) // count + place % 20 for place in range(count)} & set(range(self.refs))


class Commits(Protocol):
    """Writes commits of one kind of repository."""

    def commit(self, files: Mapping[str, bytes], parent: str | None, number: int, ref: str) -> str:
        """The checksum of a new commit."""


class StoreCommits:
    """Commits of an embedded store."""

    def __init__(self, path: Path) -> None:
        Store.create(path)
        self._store = Store(path, is_durable=False)

    def commit(self, files: Mapping[str, bytes], parent: str | None, number: int, ref: str) -> str:
        """See `Commits.commit`."""
        with self._store.batch():
            return self._store.add_commit(
                write_files(self._store, files),
                committed_at=datetime.fromtimestamp(FIRST_COMMIT_AT_S + number * _DAY_S, tz=UTC),
                parent=parent,
                subject=f"{ref} {number}",
            )


class OSTreeCommits:
    """Commits of an archive repository."""

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path)
        self._known: dict[bytes, bytes] = {}

    def commit(self, files: Mapping[str, bytes], parent: str | None, number: int, ref: str) -> str:  # noqa: ARG002
        """See `Commits.commit`."""
        tree = self._write_tree({tuple(path.split("/")): content for path, content in files.items()})
        return self._writer.write_commit(tree, bytes.fromhex(parent or ""), number).hex()

    def _write_tree(self, files: Mapping[tuple[str, ...], bytes]) -> bytes:
        own = {path[0]: self._write_file(content) for path, content in files.items() if len(path) == 1}
        below: dict[str, dict[tuple[str, ...], bytes]] = {}
        for (name, *rest), content in files.items():
            if rest:
                below.setdefault(name, {})[tuple(rest)] = content
        return self._writer.write_tree(own, {name: self._write_tree(some) for name, some in below.items()})

    def _write_file(self, content: bytes) -> bytes:
        # One release's contents are nearly all those of the one before.
        if content not in self._known:
            self._known[content] = self._writer.write_file(content)
        return self._known[content]

    def forget(self) -> None:
        """No later commit has these contents."""
        self._known.clear()


def write_repository(path: Path, kind: str, shape: Shape) -> None:
    """Write a repository of a kind, `store` or `ostree`, and what each changed ref's next commit is."""
    commits: StoreCommits | OSTreeCommits = StoreCommits(path) if kind == "store" else OSTreeCommits(path)
    changed, coming = shape.changed(), {}
    for family in range(0, shape.refs, _FAMILY):
        shared = list(generate_releases(seed=shape.seed + family, releases=shape.releases + 1, files=8))
        for number in range(family, min(family + _FAMILY, shape.refs)):
            releases = shape.releases + (number in changed)
            ref, parent = ref_name(number), None
            for release, files in enumerate(_releases(number, shape.seed, releases, shared)):
                if release == shape.releases:
                    coming[ref] = commits.commit(files, parent, release, ref)
                else:
                    parent = commits.commit(files, parent, release, ref)
            assert parent is not None
            point(path, kind, ref, parent)
            if isinstance(commits, OSTreeCommits):
                commits.forget()
    (path.parent / _COMING).write_text(json.dumps(coming))


def ref_name(number: int) -> str:
    """The ref of a number."""
    return f"app/org.example.App{number:04}/x86_64/stable"


def point(path: Path, kind: str, ref: str, commit: str) -> None:
    """Point a ref to a commit."""
    place = path / "refs" / ("heads" if kind == "ostree" else ".") / ref
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_text(f"{commit}\n")


def release(path: Path, kind: str, folder: Path) -> int:
    """Point the refs that change to their next commits; how many."""
    coming: dict[str, str] = json.loads((folder / _COMING).read_text())
    for ref, commit in coming.items():
        point(path, kind, ref, commit)
    return len(coming)


def _releases(
    number: int, seed: int, releases: int, shared: Sequence[Mapping[str, bytes]]
) -> Iterator[Mapping[str, bytes]]:
    """The releases of a ref, with its family's folder of the same release."""
    files, median_bytes = _size(number)
    own = generate_releases(
        seed=seed * 1_000_003 + number, releases=releases, files=files, median_bytes=median_bytes, binary_fraction=0.4
    )
    for release_number, contents in enumerate(own):
        common = shared[release_number // 4]
        yield {**contents, **{f"common/{name}": content for name, content in common.items()}}


def _size(number: int) -> tuple[int, int]:
    """Files of a ref's first release, and their median bytes."""
    lot = number % 20
    if lot < 14:
        return 15, 4_000
    return (60, 8_000) if lot < 19 else (150, 30_000)


def stored_bytes(path: Path) -> tuple[int, int]:
    """How many objects there are, and their bytes."""
    sizes = [file.lstat().st_size for file in (path / "objects").rglob("*") if file.is_file()]
    return len(sizes), sum(sizes)
