"""Rebuilds are found from checksums of trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.history.objects import walk_files
from planner.history.records import History, ObjectKind, Tree
from planner.weigh.rebuilds import ChangedFiles, find_rebuilds
from tests.demand.histories import make_line


def _history(releases: Sequence[dict[str, dict[str, str]]]) -> tuple[History, list[str]]:
    """A line of releases given as folder -> name -> content, and its commits, newest first.

    Equal folders share a tree.
    """
    trees: dict[str, Tree] = {}
    roots = []
    for release in releases:
        dirs = {folder: f"{folder}{sorted(files.items())}" for folder, files in release.items()}
        trees.update((dirs[folder], Tree(files=files, dirs={})) for folder, files in release.items())
        roots.append(f"root{sorted(dirs.items())}")
        trees[roots[-1]] = Tree(files={}, dirs=dirs)
    line = make_line(len(releases))
    commits = {
        name: replace(commit, tree=root) for (name, commit), root in zip(line.commits.items(), roots, strict=True)
    }
    return replace(line, commits=commits, trees=trees), list(commits)[::-1]


def _changing(counts: Sequence[int], files: int = 20) -> tuple[History, list[str]]:
    """Releases of one folder whose first so many files changed."""
    versions = [0] * files
    releases = [{"lib": {f"f{n}": f"{n}:0" for n in range(files)}}]
    for count in counts:
        versions = [version + (n < count) for n, version in enumerate(versions)]
        releases.append({"lib": {f"f{n}": f"{n}:{version}" for n, version in enumerate(versions)}})
    return _history(releases)


@pytest.mark.parametrize(
    ("counts", "places"),
    [
        ([1, 1, 12, 1, 1], (2,)),
        ([1, 1, 3, 1, 1], ()),  # over the median, but below a fifth
        ([1, 1, 4, 1, 1], (2,)),
        ([8, 8, 20, 8, 8], ()),  # not three times the median
        ([20, 20, 20], ()),
        ([0, 0, 5, 0], (1,)),
        ([20], ()),
        ([1, 20], (0,)),
        ([], ()),
    ],
)
def test_rebuild_is_far_above_the_median(counts: list[int], places: tuple[int, ...]) -> None:
    """Places are counted from the newest commit."""
    history, line = _changing(counts)
    assert find_rebuilds(history, line, most=8) == places


def test_of_too_many_rebuilds_those_that_changed_most_are_given() -> None:
    """In the line's order."""
    history, line = _changing([1, 10, 1, 20, 1, 15, 1, 1, 1])
    assert find_rebuilds(history, line, most=8) == (3, 5, 7)
    assert find_rebuilds(history, line, most=2) == (3, 5)


_files = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), max_size=4)
_releases = st.dictionaries(st.sampled_from(["bin", "lib", "etc"]), _files, max_size=3)


@given(_releases, _releases)
def test_fraction_is_that_of_all_paths_walked_one_by_one(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]
) -> None:
    """Shared folders are not entered, with the same answer."""
    history, (newer, older) = _history([old, new])
    paths = [
        {path: name for path, name in walk_files(history, history.commits[commit].tree) if name.kind is ObjectKind.FILE}
        for commit in (older, newer)
    ]
    both = paths[0].keys() & paths[1].keys()
    changed = sum(paths[0][path] != paths[1][path] for path in both)
    assert ChangedFiles(history).fraction(older, newer) == (changed / len(both) if both else 0.0)
