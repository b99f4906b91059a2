"""Four small releases with proven deltas between them, as a store and as an OSTree repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from planner.build.jobs import MakeTask
from planner.build.pool import Pool
from planner.history.store import Store
from planner.history.trees import import_tree
from planner.night.repositories import OSTreeSite, StoreSite
from planner.publish.routes import Hop, PublishedRoute
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Artifact
from tests.build.worlds import TEXT, Files, first_release, ostree, second_release, write_folder

Ends = tuple[int, int]
"""Base and target by the number of their release; 0 is the empty commit."""

CHAIN: tuple[Ends, ...] = ((1, 2), (2, 3), (3, 4))


@dataclass(frozen=True)
class Server:
    """A repository with releases 1 to 4 on `main`, and the deltas that were built and proven for it."""

    site: StoreSite | OSTreeSite
    commits: tuple[str, ...]
    artifacts: Mapping[Ends, Artifact]
    codec: str

    @property
    def path(self) -> Path:
        """The repository's folder."""
        return self.site.path

    @property
    def pool(self) -> Pool:
        """The repository's pool."""
        return Pool.of_repository(self.site.path)

    def copy(self, folder: Path, copy_file: Callable[[str, str], object] = shutil.copy2) -> Server:
        """The same in another place, to be changed; `os.link` will do where nothing is changed in place."""
        path = shutil.copytree(self.path, folder, symlinks=True, copy_function=copy_file)
        return replace(self, site=replace(self.site, path=Path(path)))

    def folder(self, ends: Ends) -> Path:
        """Where a delta is published."""
        return self.path / self.site.published_path(self.commits[ends[0]], self.commits[ends[1]], self.codec)

    def of(self, pairs: Iterable[Ends]) -> list[Artifact]:
        """The artifacts of some pairs."""
        return [self.artifacts[ends] for ends in pairs]

    def route(self, *stops: int, ref: str | None = None) -> PublishedRoute:
        """The route over some releases, the first of which is the base."""
        hops = tuple(self._hop(ends) for ends in pairwise(stops))
        total_bytes = sum(hop.wire_bytes for hop in hops)
        return PublishedRoute(ref=ref, target=self.commits[stops[-1]], wire_bytes=total_bytes, hops=hops)

    def full(self, target: int, ref: str | None = None) -> PublishedRoute:
        """A planned full pull; its bytes do not matter here."""
        return PublishedRoute(ref=ref, target=self.commits[target], wire_bytes=12345, hops=None)

    def _hop(self, ends: Ends) -> Hop:
        candidate = self.artifacts[ends].candidate
        return Hop(
            commit=candidate.target,
            codec=candidate.codec,
            wire_bytes=self.artifacts[ends].wire_bytes,
            path=self.site.published_path(candidate.base, candidate.target, candidate.codec),
        )


def releases() -> list[Files]:
    """Four releases, each a change of the one before; the third has again what the second dropped."""
    third = {**first_release(), "gone/old.txt": b"stays after all\n"}
    fourth = {**second_release(), "doc/readme.txt": TEXT.replace(b"line 99 ", b"line ninety-nine ")}
    return [first_release(), second_release(), third, fourth]


def make_store_server(folder: Path, pairs: Sequence[Ends] = CHAIN, codec: str = "zstd") -> Server:
    """The releases in a store."""
    store = Store.create(folder / "store")
    commits = [""]
    for day, files in enumerate(releases(), start=1):
        release = write_folder(folder / str(day), files)
        at = datetime(2024, 1, day, tzinfo=UTC)
        parent = commits[-1] or None
        commits.append(import_tree(store, release, version=str(day), committed_at=at, parent=parent, ref="main"))
    return _build(StoreSite.open(store.path), commits, pairs, codec)


def make_ostree_server(folder: Path, pairs: Sequence[Ends] = CHAIN, branches: Sequence[str] = ("main",) * 4) -> Server:
    """The releases in an OSTree repository of mode archive, as servers have it; each on its branch."""
    site = OSTreeSite.open(folder / "ostree", folder / "scratch")
    commits = [""]
    for day, (files, branch) in enumerate(zip(releases(), branches, strict=True), start=1):
        release = write_folder(folder / str(day), files)
        at = f"--timestamp=2024-01-0{day} 00:00:00Z"
        commits.append(ostree("commit", f"--repo={site.path}", f"--branch={branch}", at, str(release)).strip())
    return _build(site, commits, pairs, "ostree")


def _build(site: StoreSite | OSTreeSite, commits: Sequence[str], pairs: Sequence[Ends], codec: str) -> Server:
    pool, artifacts = Pool.of_repository(site.path), {}
    for ends in pairs:
        candidate = Candidate(base=commits[ends[0]], target=commits[ends[1]], codec=codec)
        with pool.making() as folder:
            artifacts[ends] = MakeTask(site.builder, pool, candidate).run(folder).artifact
    return Server(site, tuple(commits), artifacts, codec)
