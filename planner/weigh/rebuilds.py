"""Where a line of releases was rebuilt: one release in which a far larger part of the files changed than usual.

Found from the checksums in the trees alone: no content is read, and folders that two commits share are not entered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_low

from planner.history.records import History

# A new toolchain changes the compiled files, often less than half of all: pages, translations and scripts stay. Release
# by release a few per cent change. A feature release of a quiet history may be taken for a rebuild: that costs a few
# candidates, and its deltas are larger than its neighbours' as well. Far lower, small trees would have one each month.
_LEAST_CHANGED_FRACTION = 0.2

# In a line whose releases change everything anyway (a single image, a tree of three files) no release stands out.
_LEAST_TIMES_MEDIAN = 3.0


@dataclass(slots=True)
class ChangedFiles:
    """Tells how much of a tree changed, remembering how many files each tree has."""

    history: History
    _files: dict[str, int] = field(default_factory=dict)

    def fraction(self, base: str, target: str) -> float:
        """Of the paths that are files in both commits, the part (0..1) with another file object; 0 where none are.

        Linear in the folders that differ; those that are the same are counted once in a lifetime.
        """
        commits = self.history.commits
        changed, both = self._compare(commits[base].tree, commits[target].tree)
        return changed / both if both else 0.0

    def _compare(self, base: str, target: str) -> tuple[int, int]:
        """Files below two trees that differ, and that are at the same path in both."""
        if base == target:
            return 0, self._count(base)
        old, new = self.history.trees[base], self.history.trees[target]
        changed, both = 0, 0
        for name in old.files.keys() & new.files.keys():
            both += 1
            changed += old.files[name] != new.files[name]
        for name in old.dirs.keys() & new.dirs.keys():
            changed_below, both_below = self._compare(old.dirs[name], new.dirs[name])
            changed, both = changed + changed_below, both + both_below
        return changed, both

    def _count(self, tree: str) -> int:
        """Files below a tree."""
        known = self._files.get(tree)
        if known is None:
            node = self.history.trees.get(tree)
            # A root that was never read differs from no other: how many files it has changes no fraction.
            below = sum(map(self._count, node.dirs.values())) + len(node.files) if node else 0
            known = self._files[tree] = below
        return known


def find_rebuilds(history: History, line: Sequence[str], *, most: int) -> tuple[int, ...]:
    """The places in `line` (newest first) of releases that rebuilt most of what came before; ascending.

    A release is one if at least a fifth of the files changed, and over three times as many as in the line's median
    release. Of more than `most`, those that changed most are given, the newest of equals.
    """
    changes = ChangedFiles(history)
    fractions = [changes.fraction(older, newer) for newer, older in pairwise(line)]
    if not fractions:
        return ()
    usual = _LEAST_TIMES_MEDIAN * median_low(fractions)
    found = [place for place, part in enumerate(fractions) if part >= _LEAST_CHANGED_FRACTION and part > usual]
    return tuple(sorted(sorted(found, key=lambda place: (-fractions[place], place))[:most]))
