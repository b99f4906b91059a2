"""Which objects a commit has, and which a client lacks: set questions over shared trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from planner.history.records import EMPTY, History, ObjectKind, ObjectName
from planner.history.repository import Repository


@dataclass(slots=True)
class ObjectSets:
    """Answers object questions about one history, remembering each tree it has seen.

    Memory is one frozen set per distinct tree, so releases that share folders share the sets.
    """

    history: History
    _trees: dict[str, frozenset[ObjectName]] = field(default_factory=dict)

    def of_tree(self, checksum: str) -> frozenset[ObjectName]:
        """Everything below a tree, the tree itself included."""
        known = self._trees.get(checksum)
        if known is None:
            tree = self.history.trees[checksum]
            below = {ObjectName(ObjectKind.TREE, checksum)}
            below.update(ObjectName(ObjectKind.FILE, file) for file in tree.files.values())
            below.update(ObjectName(ObjectKind.META, meta) for meta in tree.metas)
            for child in tree.dirs.values():
                below |= self.of_tree(child)
            known = self._trees[checksum] = frozenset(below)
        return known

    def of_commit(self, checksum: str) -> frozenset[ObjectName]:
        """Everything a complete client has of a commit; nothing for the empty commit."""
        if checksum == EMPTY:
            return frozenset()
        commit = self.history.commits[checksum]
        own = {ObjectName(ObjectKind.COMMIT, checksum)}
        if commit.tree_meta is not None:
            own.add(ObjectName(ObjectKind.META, commit.tree_meta))
        return self.of_tree(commit.tree) | own

    def missing(self, base: str, target: str) -> frozenset[ObjectName]:
        """What a client on `base` lacks of `target`."""
        return self.of_commit(target) - self.of_commit(base)


def full_pull_bytes(repository: Repository, objects: ObjectSets, base: str, target: str) -> int:
    """What a client on `base` downloads for `target` without any delta: each missing object on its own."""
    return sum(repository.loose_bytes(name) for name in objects.missing(base, target))


def walk_files(history: History, tree: str, prefix: str = "") -> Iterator[tuple[str, ObjectName]]:
    """Every tree and file below `tree` as (path, object): a folder, its files by name, then its sub-folders by name."""
    yield prefix or "/", ObjectName(ObjectKind.TREE, tree)
    node = history.trees[tree]
    for name in sorted(node.files):
        yield f"{prefix}/{name}", ObjectName(ObjectKind.FILE, node.files[name])
    for name in sorted(node.dirs):
        yield from walk_files(history, node.dirs[name], f"{prefix}/{name}")
