"""Making a delta on a machine that does not share the repository's disk, and bringing it home."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from planner.build.builders import DELTA_FILE, Builder, OSTreeBuilder, StoreBuilder
from planner.build.jobs import Made, MakeTask
from planner.build.object_cache import ObjectCache, RepositoryKind
from planner.build.pool import MAX_DELTA_BYTES, Pool
from planner.delta.paths import SUPERBLOCK
from planner.errors import BuildError
from planner.history.files import read_bounded
from planner.history.records import EMPTY
from planner.weigh.candidates import Candidate
from planner.weigh.stock_client import STOCK_CODEC

CACHES = Path("~/.cache/deltaplan/repositories")
"""On a worker: a folder for each URL. Any may be removed while no night runs."""

_PART = re.compile("[0-9]{1,6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A delta that was made and proven elsewhere: its files, by name, and what it took."""

    made: Made
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class CarriedTask:
    """As `MakeTask`, on a machine that reaches the repository by a URL only."""

    repository: Path
    """At home."""
    url: str
    kind: RepositoryKind
    candidate: Candidate

    def run(self, folder: Path) -> Carried:
        """Fetch what is lacking of both commits, build and prove, in a folder of `worker_pool`.

        Raises:
            BuildError: it could not be built, or did not reproduce its target.
            InputError: the URL is of no known kind, or the library for it is not installed.
            RepositoryError: an object is missing at the URL, or corrupt there.
            SpaceError: the disk is full.
        """
        one, path = self.candidate, folder / "repository"
        # The folder is in `worker_pool`, whose `~` is expanded by now.
        cache = ObjectCache(folder.parents[2], self.url, self.kind)
        cache.make_repository([commit for commit in (one.base, one.target) if commit != EMPTY], path)
        is_store = self.kind is RepositoryKind.STORE
        builder: Builder = StoreBuilder(path) if is_store else OSTreeBuilder(path, folder / "scratch")
        pool = Pool(folder / "pool")
        with pool.making() as making:
            made = MakeTask(builder, pool, one).run(making)
        files = sorted(pool.folder(one).iterdir())
        return Carried(made=made, files=tuple((file.name, read_bounded(file, MAX_DELTA_BYTES)) for file in files))


def worker_pool(url: str) -> Pool:
    """On a worker: the pool in which nothing stays but while a delta is made, beside what is kept of the URL."""
    return Pool(CACHES / hashlib.sha256(url.encode()).hexdigest()[:16] / "pool")


def carry(task: object, url: str) -> CarriedTask | None:
    """The same task for a machine that has the URL only; None where what it needs is in the repository's workshop."""
    if not isinstance(task, MakeTask):
        return None
    if isinstance(task.builder, StoreBuilder):
        return CarriedTask(task.builder.path, url, RepositoryKind.STORE, task.candidate)
    if isinstance(task.builder, OSTreeBuilder) and task.candidate.codec == STOCK_CODEC:
        return CarriedTask(task.builder.path, url, RepositoryKind.OSTREE, task.candidate)
    return None


def receive(carried: Carried, candidate: Candidate, pool: Pool) -> Made:
    """Admit a delta that was made elsewhere: its files are digested once more.

    Raises:
        BuildError: it is another delta, or not what was proven.
        SpaceError: the disk is full.
    """
    with pool.making() as folder:
        for name, data in carried.files:
            if name not in (SUPERBLOCK, DELTA_FILE) and not _PART.fullmatch(name):
                raise BuildError("a worker sent a file that no delta has", got=name[:100])
            (folder / name).write_bytes(data)
        found = pool.measure(candidate, folder)
        if found != carried.made.artifact:
            raise BuildError("a worker sent another delta than it proved", got=found.digest)
        pool.admit(candidate, folder, note=msgspec.json.encode(carried.made))
    return carried.made
