"""Where the bytes of a target layer's tar stand in the base's layers: headers and contents of like members.

A member that the base has at the same path, or with the same content anywhere in any layer, costs its place. Of one
that changed, covers are found by the project's own diff, from what pairing proposes by path, name and content. Headers
are compared with those of the same path: a rebuilt image has the old ones with other dates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.delta.bsdiff import MAX_INPUT_BYTES, Rows, find_covers, write_stream
from planner.delta.difference_pool import packed_bytes
from planner.delta.huge import find_huge_covers
from planner.delta.pairing import Entry, Pairing, pair_objects, share_words, sketch
from planner.images.layers import Placed
from planner.images.tars import BLOCK_BYTES, Member, list_members

# Tried of one content; the next one only while the best is not much smaller than the whole.
_MAX_SOURCES = 2
_GOOD_FRACTION = 0.5
# Content that packs no better is packed already; see `planner.delta.encode`.
_PACKED_FRACTION = 0.95
# Padding, and headers of the member behind, between two covers.
_MOST_GAP_BYTES = 2 * BLOCK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A member with the sha256 of its content, in addresses of the whole content it stands in."""

    member: Member
    checksum: str

    @property
    def header_bytes(self) -> int:
        return self.member.content_at - self.member.header_at


class Sources:
    """What the layers of a base hold, by path and by content; of equal paths the uppermost layer's counts."""

    def __init__(self) -> None:
        self.content = memoryview(b"")
        self.by_path: dict[str, _File] = {}
        self.by_content: dict[str, _File] = {}

    def add(self, content: memoryview, layer: Placed) -> None:
        """Take in a layer that is placed in a content, which holds the layers before it at the same places."""
        self.content = content
        for file in _list_files(content[layer.at : layer.end], layer.at):
            self.by_path[file.member.path] = file
            if file.member.is_regular:
                self.by_content.setdefault(file.checksum, file)

    def entries(self) -> list[Entry]:
        """Every content, at every path that has it now and the one where it was first."""
        files = [*self.by_content.values(), *(file for file in self.by_path.values() if file.member.is_regular)]
        return [_entry(file) for file in files]


def match_layer(sources: Sources, target: memoryview) -> Rows:
    """Rows (start in the base, start in the target, length), int64, ordered and apart in the target. Deterministic."""
    files = _list_files(target, 0)
    pairings = _pair(sources, files, target)
    found: list[Rows] = []
    for file in files:
        found += _match_file(sources, file, pairings.get(file.checksum))
    rows = np.concatenate(found) if found else np.zeros((0, 3), np.int64)
    return join_rows(_extend(rows, np.frombuffer(sources.content, np.uint8), np.frombuffer(target, np.uint8)))


def _list_files(content: memoryview, start: int) -> list[_File]:
    files = []
    for member in list_members(content):
        digest = hashlib.sha256(content[member.content_at : member.content_at + member.content_bytes])
        moved = replace(member, header_at=member.header_at + start, content_at=member.content_at + start)
        files.append(_File(member=moved, checksum=digest.hexdigest()))
    return files


def _entry(file: _File) -> Entry:
    return Entry(path=file.member.path, checksum=file.checksum, size_bytes=file.member.content_bytes)


def _pair(sources: Sources, files: Sequence[_File], target: memoryview) -> dict[str, Rows]:
    """Covers of each content that the base lacks, from its content's start."""
    of_target = {file.checksum: file for file in files if file.member.is_regular}

    def read(checksum: str) -> memoryview:
        file = sources.by_content.get(checksum)
        whole = sources.content if file else target
        return _content(whole, (file or of_target[checksum]).member)

    entries = [_entry(file) for file in files if file.member.is_regular]
    pairings = pair_objects(sources.entries(), entries, lambda one: sketch(read(one)), max_sources=_MAX_SOURCES)
    return {
        pairing.checksum: _cover(sources, pairing, _content(target, of_target[pairing.checksum].member))
        for pairing in pairings
        if pairing.sources
    }


def _content(whole: memoryview, member: Member) -> memoryview:
    return whole[member.content_at : member.content_at + member.content_bytes]


def _cover(sources: Sources, pairing: Pairing, new: memoryview) -> Rows:
    """The covers that leave least to be told; none where that is no less than the whole content."""
    whole_bytes = least_bytes = packed_bytes(new)
    best: Rows = np.zeros((0, 3), np.int64)
    for source in pairing.sources:
        if least_bytes < _GOOD_FRACTION * whole_bytes:
            break
        file = sources.by_content[source.checksum]
        old = _content(sources.content, file.member)
        if whole_bytes > _PACKED_FRACTION * len(new) and not share_words(old, new):
            continue
        is_huge = len(old) + len(new) > MAX_INPUT_BYTES
        rows = find_huge_covers(old, new) if is_huge else find_covers(bytes(old), bytes(new))
        told_bytes = int(len(new) - rows[:, 2].sum()) if is_huge else packed_bytes(write_stream(old, new, rows))
        if told_bytes < least_bytes:
            best, least_bytes = rows.copy(), told_bytes
            best[:, 0] += file.member.content_at
    return best


def _match_file(sources: Sources, file: _File, covers: Rows | None) -> Iterable[Rows]:
    """Rows of a member's headers, then of its content."""
    old = sources.by_path.get(file.member.path)
    if old is not None and old.header_bytes == file.header_bytes:
        yield _row(old.member.header_at, file.member.header_at, file.header_bytes)
    if not file.member.content_bytes:
        return
    same = old if old is not None and old.checksum == file.checksum else sources.by_content.get(file.checksum)
    if same is not None:
        yield _row(same.member.content_at, file.member.content_at, file.member.content_bytes)
    elif covers is not None:
        moved = covers.copy()
        moved[:, 1] += file.member.content_at
        yield moved


def _row(old_at: int, new_at: int, length_bytes: int) -> Rows:
    return np.array([[old_at, new_at, length_bytes]], np.int64)


def _extend(rows: Rows, old: NDArray[np.uint8], new: NDArray[np.uint8]) -> Rows:
    """The same rows, each going on over what is equal behind it: padding, and the end of the tar."""
    ends = np.append(rows[1:, 1], len(new))
    grown = rows.copy()
    for k in np.flatnonzero(ends > rows[:, 1] + rows[:, 2]).tolist():
        old_at, new_at = int(rows[k, 0] + rows[k, 2]), int(rows[k, 1] + rows[k, 2])
        most = min(int(ends[k]) - new_at, len(old) - old_at, _MOST_GAP_BYTES)
        differing = old[old_at : old_at + most] != new[new_at : new_at + most]
        grown[k, 2] += int(differing.argmax()) if differing.any() else most
    return grown


def join_rows(rows: Rows) -> Rows:
    """Rows that go on in both as one.

    >>> join_rows(np.array([[0, 5, 2], [2, 7, 3], [9, 10, 1]])).tolist()
    [[0, 5, 5], [9, 10, 1]]
    """
    rows = rows[rows[:, 2] > 0]
    if len(rows) < 2:
        return rows
    goes_on = (rows[1:, :2] == rows[:-1, :2] + rows[:-1, 2:]).all(axis=1)
    starts = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    joined = rows[starts].copy()
    joined[:, 2] = np.add.reduceat(rows[:, 2], starts)
    return joined
