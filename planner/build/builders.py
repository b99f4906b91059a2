"""Making and proving deltas of either kind of repository behind one protocol, for the scheduler.

A builder is made from paths only, so that it can be sent to a worker process; each process reads the history once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from planner.build import static_delta
from planner.build.bundle import Bundle, apply_bundle, encode_bundle, read_bundle
from planner.build.codecs import CODECS
from planner.build.executors import Executor
from planner.build.pool import MAX_DELTA_BYTES, Pool
from planner.build.processes import cpu_s
from planner.build.workshop import Report, Workshop
from planner.build.workshop_notes import Built
from planner.delta import paths
from planner.delta.superblock import COMPOSED, NATIVE
from planner.errors import BuildError, InputError
from planner.history.files import read_bounded, write_atomically
from planner.history.objects import ObjectSets
from planner.history.records import EMPTY, ObjectName, is_checksum
from planner.history.store import Store
from planner.weigh.candidates import Candidate
from planner.weigh.stock_client import OSTREE_CODECS

DELTA_FILE = "delta"
"""The one file of a store's delta."""


class Builder(Protocol):
    """Makes and proves the deltas of one repository; can be pickled."""

    def prepare(self, candidates: Sequence[Candidate], *, executor: Executor, report: Report) -> None:
        """Make on all cores what several of the candidates have in common, before each of them is built.

        Raises:
            PlannerError: it cannot be made.
        """

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """Write the delta's files into the empty folder `into`; they need not be on the disk yet.

        Raises:
            BuildError: the delta cannot be made within the codec's limits.
            InputError: base, target or codec is not known here.
            RepositoryError: an object is missing or corrupt.
            SpaceError: the disk is full.
            ToolError: a program is missing or failed.
        """

    def prove(self, base: str, target: str, codec: str, delta: Path) -> float:
        """Apply the delta in the folder `delta` to the base alone, and compare the result with the target.

        The core-seconds of applying it, which a client takes too.

        Raises:
            BuildError: it does not reproduce the target.
            InputError: base, target or codec is not known here.
            RepositoryError: the repository's own object is missing or corrupt.
            ToolError: a program is missing.
        """

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where the delta's folder belongs, from the repository's folder, with '/' and none at the end.

        Raises:
            InputError: base, target or codec is not known here.
        """


@dataclass(frozen=True, slots=True)
class StoreBuilder:
    """Deltas of the embedded store at `path`, with the codecs of `planner.build.codecs`."""

    path: Path

    def prepare(self, candidates: Sequence[Candidate], *, executor: Executor, report: Report) -> None:
        """Nothing: no two bundles have anything in common."""

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """Write the file `delta` into `into`; it is on the disk on return. Raises as `Builder.build`."""
        _check_pair(base, target, codec, CODECS)
        store, objects = _open_store(self.path, base, target)
        write_atomically(into / DELTA_FILE, encode_bundle(store, objects, base, target, codec))
        return Built()

    def prove(self, base: str, target: str, codec: str, delta: Path) -> float:
        """Apply the delta to the base's objects only, and compare all that it makes. Raises as `Builder.prove`."""
        _check_pair(base, target, codec, CODECS)
        store, objects = _open_store(self.path, base, target)
        bundle = _read_delta(delta / DELTA_FILE)
        found = (bundle.base, bundle.target, bundle.codec)
        if found != (base, target, codec):
            raise BuildError("is another delta", path=str(delta), got=found, expected=(base, target, codec))
        return _compare(bundle, objects, _source_reader(store, objects, base), str(delta))

    def published_path(self, base: str, target: str, codec: str) -> str:
        """`deltas/`, two and 62 digits of the target, then base and codec. Raises as `Builder.published_path`."""
        _check_pair(base, target, codec, CODECS)
        return f"deltas/{target[:2]}/{target[2:]}/{base or 'empty'}.{codec}"


@dataclass(frozen=True, slots=True)
class OSTreeBuilder:
    """Static deltas of the OSTree repository at `path`; proofs use the folder `scratch` (see `static_delta.prove`).

    Codecs: `native`, our own deltas, ordered in the repository's workshop by `prepare`; `composed`, several of them in
    one, ordered by `Workshop.order_composed`; `ostree`, the stock tool's.
    """

    path: Path
    scratch: Path

    @property
    def workshop(self) -> Workshop:
        """What the repository's deltas are made of."""
        return Workshop(self.path, Pool.of_repository(self.path))

    def prepare(self, candidates: Sequence[Candidate], *, executor: Executor, report: Report) -> None:
        """Differences and parts of our own deltas, in the workshop. Raises as `Builder.prepare`."""
        pairs = [(one.base, one.target) for one in candidates if one.codec == NATIVE]
        self.workshop.prepare(pairs, executor=executor, report=report)

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """Write `superblock` and its parts into `into`; not yet synced. Raises as `Builder.build`."""
        _check_pair(base, target, codec, OSTREE_CODECS)
        if codec == NATIVE:
            return self.workshop.put_together(base, target, into)
        if codec == COMPOSED:
            return self.workshop.compose(base, target, into)
        static_delta.generate(self.path, base, target, into)
        return Built()

    def prove(self, base: str, target: str, codec: str, delta: Path) -> float:
        """Let a stock client apply the delta, and check its repository. Raises as `Builder.prove`."""
        _check_pair(base, target, codec, OSTREE_CODECS)
        return static_delta.prove(self.path, base, target, delta, self.scratch)

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where OSTree clients look for the delta. Raises as `Builder.published_path`."""
        _check_pair(base, target, codec, OSTREE_CODECS)
        return paths.relative_path(base, target)


def _check_pair(base: str, target: str, codec: str, codecs: Collection[str]) -> None:
    if codec not in codecs:
        raise InputError("is not a codec of this repository", path="codec", got=codec, known=sorted(codecs))
    if not is_checksum(target):
        raise InputError("commit id is not 64 lowercase hex digits", path="target", got=target)
    if base != EMPTY and not is_checksum(base):
        raise InputError("commit id is not 64 lowercase hex digits", path="base", got=base)


def _open_store(path: Path, base: str, target: str) -> tuple[Store, ObjectSets]:
    store, objects = _read_store(path)
    if not _knows(objects, base, target):
        # A release came in since this process read the history.
        _read_store.cache_clear()
        store, objects = _read_store(path)
    if not _knows(objects, base, target):
        raise InputError("a commit is not in the store's history", path=str(path), base=base, target=target)
    return store, objects


@lru_cache(maxsize=1)
def _read_store(path: Path) -> tuple[Store, ObjectSets]:
    store = Store.open(path)
    return store, ObjectSets(store.read_history())


def _knows(objects: ObjectSets, base: str, target: str) -> bool:
    return target in objects.history.commits and (base == EMPTY or base in objects.history.commits)


def _read_delta(path: Path) -> Bundle:
    try:
        return read_bundle(read_bounded(path, MAX_DELTA_BYTES))
    except (OSError, InputError) as error:
        raise BuildError("the delta cannot be read", path=str(path), cause=str(error)) from error


def _source_reader(store: Store, objects: ObjectSets, base: str) -> Callable[[ObjectName], bytes]:
    held = objects.of_commit(base)

    def read_source(name: ObjectName) -> bytes:
        # The store has more than this client would: reading that would prove nothing.
        if name not in held:
            raise BuildError("the delta reads an object that its base lacks", object=str(name), base=base)
        return store.read_object(name)

    return read_source


def _compare(bundle: Bundle, objects: ObjectSets, read_source: Callable[[ObjectName], bytes], path: str) -> float:
    """Apply and compare; the core-seconds that it took."""
    started_s = cpu_s()
    # Each object's bytes are those that its name says, so equal names are equal bytes.
    made = {name for name, _ in apply_bundle(bundle, read_source)}
    applied_s = cpu_s()
    missing = objects.missing(bundle.base, bundle.target)
    if made != missing:
        raise BuildError(
            "the delta makes other objects than the base lacks",
            path=path,
            not_made=sorted(map(str, missing - made))[:3],
            not_missing=sorted(map(str, made - missing))[:3],
        )
    return applied_s - started_s
