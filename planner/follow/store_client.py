"""A client of the embedded store: its own store, fed by deltas and loose objects from a remote one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from planner.build.builders import DELTA_FILE
from planner.build.bundle import apply_bundle, read_bundle
from planner.errors import FollowError, PlannerError, RepositoryError
from planner.follow.deadlines import left_s
from planner.follow.follower import LAYER_REF, MAX_ROUTE_BYTES
from planner.follow.heads import expect_not_older, fetch_head
from planner.follow.remote import Remote
from planner.history.encoding import decode_commit, decode_tree, relative_path
from planner.history.reading import HistoryReader
from planner.history.records import EMPTY, ObjectKind, ObjectName, is_checksum
from planner.history.store import MAX_OBJECT_BYTES, Store, unpack
from planner.history.trees import unite_trees
from planner.publish.routes import Hop
from planner.publish.signatures import PublicKey

_PINNED_REF = "pinned"
"""The client's own ref for a target that it asked for by commit."""

_MAX_COMMIT_BYTES = 10_000_000
_MAX_DELTA_BYTES = 4_000_000_000
"""A delta is held in memory whole."""

Read = Callable[[ObjectName], bytes]


@dataclass(frozen=True, slots=True)
class StoreClient:
    """A client's store and the remote that it updates from."""

    store: Store
    remote: Remote

    def head(self, ref: str, keys: Sequence[PublicKey] = ()) -> str:
        """The commit that the server's summary gives for a ref."""
        return fetch_head(self.remote, "summary", ref, keys)

    def expect_newer(self, target: str, base: str) -> None:
        """Compare the dates in two commits, each held here or fetched."""
        expect_not_older(self._committed_at(target), self._committed_at(base))

    def _committed_at(self, checksum: str) -> datetime:
        name = ObjectName(ObjectKind.COMMIT, checksum)
        try:
            data = self.store.read_object(name) if self.store.has(name) else self._fetch_commit(name)
            return decode_commit(data, checksum).committed_at
        except PlannerError as error:
            raise FollowError("a commit's date cannot be known", commit=checksum, reason=str(error)) from error

    def _fetch_commit(self, name: ObjectName) -> bytes:
        """The server's commit, checked."""
        data = unpack(self.remote.fetch(relative_path(name), max_bytes=_MAX_COMMIT_BYTES), _MAX_COMMIT_BYTES)
        if hashlib.sha256(data).hexdigest() != name.checksum:
            raise FollowError("a commit is not what was asked for", commit=name.checksum)
        return data

    def take(self, hop: Hop, base: str) -> None:
        """Apply one delta to the store; every object is checked before it is kept."""
        if hop.wire_bytes > _MAX_DELTA_BYTES:
            raise FollowError("is larger than this client takes into memory", path=hop.path, got_bytes=hop.wire_bytes)
        data = self.remote.fetch(f"{hop.path}/{DELTA_FILE}", max_bytes=hop.wire_bytes)
        try:
            bundle = read_bundle(data)
            if (bundle.base, bundle.target) != (base, hop.commit):
                raise FollowError("is another delta than announced")
            if bundle.object_bytes > MAX_ROUTE_BYTES:
                raise FollowError("makes more than this client takes", made_bytes=bundle.object_bytes)
            with self.store.batch():
                for name, content in apply_bundle(bundle, self.store.read_object):
                    left_s()
                    self.store.write_object(name.kind, content)
        except PlannerError as error:
            raise FollowError("the hop failed", path=hop.path, reason=str(error)) from error

    def holds(self, commit: str) -> bool:
        """Whether the commit is there."""
        if not is_checksum(commit):
            return commit == EMPTY
        return self.store.has(ObjectName(ObjectKind.COMMIT, commit))

    def layers(self, commit: str) -> tuple[str, ...]:
        """What the commit's metadata names, where it is all here."""
        layers = self.store.read_commit(commit).layers
        return layers if all(map(self.holds, layers)) else ()

    def unite(self, layers: Sequence[str], target: str) -> None:
        """Write the union of the layers' trees, and fetch the target's commit, which is of the same tree."""
        name = ObjectName(ObjectKind.COMMIT, target)
        try:
            data = self._fetch_commit(name)
            commit = decode_commit(data, target)
            tree = unite_trees(self.store, [self.store.read_commit(layer).tree for layer in layers])
        except PlannerError as error:
            raise FollowError("the layers cannot be united", target=target, reason=str(error)) from error
        if commit.tree != tree:
            raise FollowError("the layers' union is another tree than the target", target=target)
        self.store.write_object(ObjectKind.COMMIT, data)

    def pull_in_full(self, target: str) -> int:
        """Fetch each missing or damaged object on its own; the bytes downloaded."""
        downloaded: list[int] = []

        def read(name: ObjectName) -> bytes:
            held = self._read_held(name)
            if held is not None:
                return held
            packed = self.remote.fetch(relative_path(name), max_bytes=MAX_OBJECT_BYTES)
            data = unpack(packed, MAX_OBJECT_BYTES)
            if hashlib.sha256(data).hexdigest() != name.checksum:
                raise FollowError("a loose object is not what was asked for", object=str(name))
            self.store.write_object(name.kind, data)
            downloaded.append(len(packed))
            return data

        try:
            with self.store.batch():
                for _ in _read_commit(target, read):
                    pass
        except PlannerError as error:
            raise FollowError("the full pull failed", commit=target, reason=str(error)) from error
        return sum(downloaded)

    def _read_held(self, name: ObjectName) -> bytes | None:
        """An object that the client has, or None where it lacks it or has a damaged one, which is dropped."""
        if not self.store.has(name):
            return None
        try:
            return self.store.read_object(name)
        except RepositoryError:
            self.store.drop_object(name)
            return None

    def check(self, target: str) -> None:
        """Read every object of the target and check it against its checksum, and every name in its trees."""
        try:
            for _ in _read_commit(target, self.store.read_object):
                pass
            # Once a ref is at it, every run reads it like this: one that fails then has nothing to go back to.
            HistoryReader(self.store.read_object, self.store.list_objects()).read({"target": target}, depth=0)
        except PlannerError as error:
            raise FollowError("the commit is not whole", commit=target, reason=str(error)) from error

    def finish(self, target: str, ref: str | None, layers: Sequence[str] = ()) -> None:
        """Point the ref to the target and drop everything that no ref reaches; refs hold the layers."""
        self.store.drop_refs(LAYER_REF)
        for number, layer in enumerate(layers, start=1):
            self.store.write_ref(f"{LAYER_REF}/{number}", layer)
        self.store.write_ref(_PINNED_REF if ref is None else ref, target)
        self.store.prune(depth=0)


def _read_commit(target: str, read: Read) -> Iterator[ObjectName]:
    """Read a commit, its trees and its files, each once; `read` checks them.

    Raises:
        FollowError: a tree names something that is no checksum.
        PlannerError: whatever `read` raises.
    """
    commit = decode_commit(read(ObjectName(ObjectKind.COMMIT, target)), target)
    waiting, seen = [ObjectName(ObjectKind.TREE, commit.tree)], set[ObjectName]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        if not is_checksum(name.checksum):
            raise FollowError("a tree names an object by something else than its checksum", got=name.checksum)
        seen.add(name)
        data = read(name)
        yield name
        if name.kind is ObjectKind.TREE:
            tree = decode_tree(data, where=relative_path(name))
            waiting.extend(ObjectName(ObjectKind.TREE, child) for child in tree.dirs.values())
            waiting.extend(ObjectName(ObjectKind.FILE, file) for file in tree.files.values())
