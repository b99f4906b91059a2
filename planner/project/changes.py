"""What a delta has to make, from the trees alone: which object from which, and what goes whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.pairing import pair_objects, sketch
from planner.history.records import EMPTY, ObjectKind, ObjectName


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a client on the base lacks: changed files as (old, new) checksums, new ones, and folders' bytes.

    `objects` counts everything, folders and attributes too, the commit excepted.
    """

    changed: tuple[tuple[str, str], ...]
    added: tuple[str, ...]
    folder_bytes: int
    objects: int


@dataclass(slots=True)
class ChangeFinder:
    """Answers for pairs of commits of one repository; trees that are the same are not walked."""

    contents: CommitContents
    pool: DifferencePool
    _sizes: dict[ObjectName, int] = field(default_factory=dict)

    def find(self, base: str, target: str) -> Changes:
        """What the delta from `base` (`EMPTY`: from nothing) to `target` has to make.

        A file at a path that the base has too is read from there, as the builder prefers; others are paired by name and
        content.

        Raises:
            RepositoryError: an object is missing or corrupt.
        """
        missing = self.contents.missing(base, target)
        commits = self.contents.objects.history.commits
        changed: dict[str, str] = {}
        moved: dict[str, str] = {}
        gone: dict[str, str] = {}
        for path, old, new in self._walk(commits[base].tree if base != EMPTY else None, commits[target].tree, ""):
            if old is not None and new is None:
                gone[path] = old
            if new is None or ObjectName(ObjectKind.FILE, new) not in missing:
                continue
            if old is not None:
                changed.setdefault(new, old)
            else:
                moved[path] = new
        moved = {path: new for path, new in moved.items() if new not in changed}
        added = self._pair(moved, gone, changed)
        plain = [name for name in missing if name.kind is not ObjectKind.FILE]
        return Changes(
            changed=tuple((old, new) for new, old in changed.items()),
            added=tuple(added),
            folder_bytes=sum(map(self._size_bytes, plain)),
            objects=len(missing),
        )

    def _walk(self, old: str | None, new: str | None, path: str) -> Iterator[tuple[str, str | None, str | None]]:
        """Files that differ, as (path, old, new); None where there is none."""
        history = self.contents.objects.history
        before, after = (history.trees[tree] if tree is not None else None for tree in (old, new))
        old_files, new_files = before.files if before else {}, after.files if after else {}
        for name in sorted(old_files.keys() | new_files.keys()):
            one, other = old_files.get(name), new_files.get(name)
            if one != other:
                yield f"{path}/{name}", one, other
        old_dirs, new_dirs = before.dirs if before else {}, after.dirs if after else {}
        for name in sorted(old_dirs.keys() | new_dirs.keys()):
            one, other = old_dirs.get(name), new_dirs.get(name)
            if one != other:
                yield from self._walk(one, other, f"{path}/{name}")

    def _pair(self, moved: dict[str, str], gone: dict[str, str], changed: dict[str, str]) -> list[str]:
        """Pair new paths with what is gone; what has no likely source."""
        if not moved or not gone:
            return list(dict.fromkeys(moved.values()))
        pairings = pair_objects(
            self.contents.entries(dict(sorted(gone.items()))),
            self.contents.entries(dict(sorted(moved.items()))),
            lambda checksum: self.pool.sketch(checksum, lambda: sketch(self.contents.read(checksum))),
        )
        for pairing in pairings:
            if pairing.sources:
                changed.setdefault(pairing.checksum, pairing.sources[0].checksum)
        return [checksum for checksum in dict.fromkeys(moved.values()) if checksum not in changed]

    def _size_bytes(self, name: ObjectName) -> int:
        found = self._sizes.get(name)
        if found is None:
            found = self._sizes[name] = self.contents.repository.object_bytes(name)
        return found
