"""Recursive superblocks: written where they are new, left alone where they are not, removed with their routes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from planner.delta.superblock import read_superblock
from planner.history.gvariant_write import serialise
from planner.history.ostree_objects import COMMIT_TYPE
from planner.history.records import Commit, History, ObjectName
from planner.publish.recursive import RECURSIVE_PATH, write_recursive
from planner.publish.routes import Hop, PublishedRoute

A, B, C, D = (letter * 64 for letter in "abcd")
HISTORY = History(
    commits={
        one: Commit(checksum=one, parent=None, committed_at=datetime(2024, 1, 1, tzinfo=UTC), tree="e" * 64)
        for one in (A, B, C, D)
    },
    trees={},
    refs={},
)


class Objects:
    """As much of a repository as is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_object(self, name: ObjectName) -> bytes:
        """The same for all."""
        return serialise(COMMIT_TYPE, ({}, b"", [], "", "", 0, bytes(32), bytes(32)))


def route(*commits: str) -> PublishedRoute:
    hops = tuple(Hop(commit=one, codec="native", wire_bytes=1, path="deltas/x") for one in commits)
    return PublishedRoute(ref=None, target=commits[-1], wire_bytes=len(hops), hops=hops)


def superblocks(folder: Path) -> dict[str, tuple[int, tuple[tuple[str, str], ...]]]:
    """By base: the file's number and the hops that it names."""
    found = {}
    for path in (folder / RECURSIVE_PATH).rglob("superblock"):
        read = read_superblock(path.read_bytes())
        found[read.base] = path.stat().st_ino, read.prerequisites
    return found


def test_what_stays_is_left_alone_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    assert write_recursive(objects, HISTORY, {A: [route(C, D)], B: [route(C, D)]}) == 2
    first = superblocks(tmp_path)
    assert first[A][1] == ((A, C), (C, D))
    assert write_recursive(objects, HISTORY, {A: [route(C, D)], C: [route(B, D)]}) == 2
    second = superblocks(tmp_path)
    assert second.keys() == {A, C}
    assert second[A] == first[A]


def test_another_route_and_a_damaged_file_are_written(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    write_recursive(objects, HISTORY, {A: [route(C, D)]})
    write_recursive(objects, HISTORY, {A: [route(B, D)]})
    assert superblocks(tmp_path)[A][1] == ((A, B), (B, D))
    (path,) = (tmp_path / RECURSIVE_PATH).rglob("superblock")
    path.write_bytes(b"damaged")
    write_recursive(objects, HISTORY, {A: [route(B, D)]})
    assert superblocks(tmp_path)[A][1] == ((A, B), (B, D))
