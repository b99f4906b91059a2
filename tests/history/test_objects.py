"""Set questions over a world of two commits, small enough to count by hand.

    old:  /etc/motd (m1)   /usr/ls (l1)   /top (t1)
    new:  /etc/motd (m1)   /usr/ls (l2)   /top (t1)

`etc` is shared. Each folder has OSTree's dirmeta `p`; the commits' roots have it as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from planner.history.objects import ObjectSets, full_pull_bytes, walk_files
from planner.history.records import EMPTY, Commit, History, ObjectKind, ObjectName, Tree

COMMIT, TREE, META, FILE = ObjectKind.COMMIT, ObjectKind.TREE, ObjectKind.META, ObjectKind.FILE
SIZES = {"old": 100, "new": 100, "root1": 50, "root2": 50, "etc": 30, "usr1": 30, "usr2": 31, "p": 12}
SIZES |= {"m1": 1000, "l1": 2000, "l2": 2001, "t1": 3000}


def _commit(name: str, parent: str | None, tree: str) -> Commit:
    moment = datetime(2024, 1, 1 if parent is None else 2, tzinfo=UTC)
    return Commit(checksum=name, parent=parent, committed_at=moment, tree=tree, tree_meta="p")


WORLD = History(
    commits={"old": _commit("old", None, "root1"), "new": _commit("new", "old", "root2")},
    trees={
        "root1": Tree(files={"top": "t1"}, dirs={"usr": "usr1", "etc": "etc"}, metas=frozenset({"p"})),
        "root2": Tree(files={"top": "t1"}, dirs={"usr": "usr2", "etc": "etc"}, metas=frozenset({"p"})),
        "etc": Tree(files={"motd": "m1"}, dirs={}),
        "usr1": Tree(files={"ls": "l1"}, dirs={}),
        "usr2": Tree(files={"ls": "l2"}, dirs={}),
    },
    refs={"main": "new"},
)


class _Sizes:
    """A repository that knows sizes only."""

    path = Path()

    def read_history(self) -> History:
        return WORLD

    def read_object(self, name: ObjectName) -> bytes:
        raise AssertionError(name)

    def loose_bytes(self, name: ObjectName) -> int:
        return SIZES[name.checksum]


@pytest.fixture
def sets() -> ObjectSets:
    return ObjectSets(WORLD)


def test_a_commit_has_itself_its_trees_its_files_and_their_metas(sets: ObjectSets) -> None:
    """All eight objects of the old commit, counted by hand."""
    trees = {ObjectName(TREE, name) for name in ("root1", "etc", "usr1")}
    files = {ObjectName(FILE, name) for name in ("m1", "l1", "t1")}
    assert sets.of_commit("old") == trees | files | {ObjectName(COMMIT, "old"), ObjectName(META, "p")}
    assert sets.of_commit(EMPTY) == frozenset()


def test_a_client_lacks_only_what_changed(sets: ObjectSets) -> None:
    """The commit, the root, the folder `usr` and its file; nothing of `etc`."""
    lacking = {ObjectName(COMMIT, "new"), ObjectName(TREE, "root2"), ObjectName(TREE, "usr2"), ObjectName(FILE, "l2")}
    assert sets.missing("old", "new") == lacking
    assert sets.missing("new", "new") == frozenset()


def test_a_full_pull_is_the_sum_of_what_is_lacking(sets: ObjectSets) -> None:
    """100 + 50 + 31 + 2001; and from nothing, each object once although folders share their meta."""
    assert full_pull_bytes(_Sizes(), sets, "old", "new") == 2182
    assert full_pull_bytes(_Sizes(), sets, EMPTY, "new") == 100 + 50 + 30 + 31 + 12 + 1000 + 2001 + 3000
    assert full_pull_bytes(_Sizes(), sets, "new", "new") == 0


def test_shared_folders_share_their_sets(sets: ObjectSets) -> None:
    """The answer for a tree is made once."""
    sets.of_commit("old")
    known = sets.of_tree("etc")
    sets.of_commit("new")
    assert sets.of_tree("etc") is known


def test_walking_gives_each_tree_before_its_files_and_both_in_order_of_names() -> None:
    """A folder's files come before its folders; the root is '/'."""
    assert [(path, name.checksum) for path, name in walk_files(WORLD, "root1")] == [
        ("/", "root1"),
        ("/top", "t1"),
        ("/etc", "etc"),
        ("/etc/motd", "m1"),
        ("/usr", "usr1"),
        ("/usr/ls", "l1"),
    ]
