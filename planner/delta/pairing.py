"""Which objects of the base are worth reading a new object from: by path, by name, then by content.

Groups of candidates are proposed from the likeliest on; a later group is asked only where the earlier ones left room.
Names come first because they are free and nearly always right. What is left are renames, mostly of libraries that carry
a version or a hash in their name: pairing those takes Pillow 10.1.0-10.2.0 from 2.31 MB to 0.94 MB.

Source: A. Broder, "On the resemblance and containment of documents" (1997); P. Li, A. Owen, C. Zhang, "One permutation
hashing" (2012): one pass fills all buckets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planner.compiled import kernels
from planner.delta import pairing_kernels
from planner.delta.bsdiff import Content

ReadContent = Callable[[str], Content]
"""The content of an object, by its checksum."""

Sketch = NDArray[np.int64]

ReadSketch = Callable[[str], Sketch]
"""The sketch of an object's content, by its checksum."""

# Eight-byte words sampled from a content, one per bucket: the standard error of a resemblance is 0.06 at most.
SKETCH_BUCKETS = 64
# Four buckets of 64. Fewer are shared by chance of format (headers, tables) as well as by descent; a source proposed in
# vain costs only its difference's seconds.
LEAST_RESEMBLANCE_FRACTION = 0.06
# A smaller object costs about as much as naming its source, 32 bytes of checksum.
LEAST_OBJECT_BYTES = 64
# Further apart in size than this, little of the one can be in the other.
MOST_SIZE_RATIO = 8
# Content of the base that is sketched at most, the largest objects first: 4 core-seconds a GB.
MAX_SKETCHED_BYTES = 1_000_000_000
# Sources proposed of one group, and namesakes ranked by folder at most: a thousand files of a tree of packages are
# called __init__.py, which says nothing about what is in them. Those in a folder of the same name are ranked first.
_NAMESAKES = 2
_MOST_NAMESAKES = 64


class Reason(StrEnum):
    """Why a source was proposed, the likeliest first."""

    PATH = "same path"
    VERSIONED_PATH = "same path but for versions and hashes"
    NAME = "same name in a near folder"
    VERSIONED_NAME = "same name but for versions and hashes"
    CONTENT = "similar content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An object at a path of a tree."""

    path: str
    checksum: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An object of the base from which a target object may be read."""

    checksum: str
    size_bytes: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """An object that the base lacks, its first path, and what it may be read from, the likeliest first."""

    checksum: str
    path: str
    size_bytes: int
    sources: tuple[Source, ...]


def pair_objects(
    base: Sequence[Entry],
    target: Sequence[Entry],
    read_sketch: ReadSketch,
    *,
    max_sources: int = 3,
    max_sketched_bytes: int = MAX_SKETCHED_BYTES,
) -> list[Pairing]:
    """Every object of the target that the base lacks, once, by path, with up to `max_sources` sources each.

    Deterministic, and independent of the order of the entries. Sketches are asked for only of objects whose names
    say nothing certain, and of those the base no longer has at the same path.
    """
    base, target = _by_path(base), _by_path(target)
    names = _BaseNames(base)
    known = {entry.checksum for entry in base}
    lacking = list({entry.checksum: entry for entry in reversed(target) if entry.checksum not in known}.values())[::-1]
    found = {entry.checksum: _take(names.propose(entry), entry, max_sources) for entry in lacking}
    unsure = [entry for entry in lacking if _wants_content(entry, found[entry.checksum], max_sources)]
    left = _objects_left(base, target) if unsure else []
    similar = _find_similar(unsure, left, read_sketch, max_sketched_bytes)
    for entry in unsure:
        both = [*found[entry.checksum], *similar[entry.checksum]]
        # Content outweighs a name found elsewhere, but not a path.
        both.sort(key=lambda source: source.reason not in (Reason.PATH, Reason.VERSIONED_PATH, Reason.CONTENT))
        found[entry.checksum] = _take(both, entry, max_sources)
    return [
        Pairing(
            checksum=entry.checksum,
            path=entry.path,
            size_bytes=entry.size_bytes,
            sources=tuple(found[entry.checksum]),
        )
        for entry in lacking
    ]


_HASH = re.compile(r"(?<=[-._])(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{6,64}(?=[-._/]|$)")
_VERSION = re.compile(r"[0-9]+(?:[._-]?(?:[0-9]+|(?:rc|alpha|beta|dev|post|a|b)(?=[0-9])))*")
_TRAILING = re.compile(r"(?:[.]#)+(?=/|$)")


@lru_cache(maxsize=1 << 16)
def normalise_name(name: str) -> str:
    """A name or path without what changes from release to release: hashes and version numbers become '#'.

    >>> normalise_name("lib/libfoo.so.1.2") == normalise_name("lib/libfoo.so.1.3.0") == normalise_name("lib/libfoo.so")
    True
    >>> normalise_name("libwebp-9fe2c1e1.so.7.1.8"), normalise_name("django-4.2.7.dist-info/RECORD")
    ('libwebp-#.so', 'django-#.dist-info/RECORD')
    """
    return _TRAILING.sub("", _VERSION.sub("#", _HASH.sub("#", name)))


def sketch(content: Content, buckets: int = SKETCH_BUCKETS) -> Sketch:
    """The least hash in each of `buckets` (a power of 2) of the content's eight-byte words; -1 where there is none."""
    empty = np.iinfo(np.int64).max
    minima = np.full(buckets, empty, np.int64)
    run = kernels(pairing_kernels, len(content))
    run.sketch_content(np.frombuffer(content, np.uint8), minima)
    minima[minima == empty] = -1
    return minima


def resemblance(one: Sketch, others: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each row of `others` (n, buckets), the fraction of the buckets filled in either where both are the same."""
    is_filled = (one >= 0) | (others >= 0)
    same = (one == others) & is_filled
    return np.asarray(same.sum(axis=1) / np.maximum(is_filled.sum(axis=1), 1), np.float64)


def share_words(one: Content, other: Content) -> bool:
    """Whether sketches see anything in common."""
    return bool(resemblance(sketch(one), sketch(other)[None])[0] > 0.0)


class _BaseNames:
    """The base's entries by path, by name, and by what is left of both without versions."""

    def __init__(self, base: Sequence[Entry]) -> None:
        self.by_path = {entry.path: entry for entry in base}
        self.by_plain_path = _group(base, normalise_name)
        self.by_name = _group(base, _last)
        self.by_plain_name = _group(base, lambda path: normalise_name(_last(path)))
        self.by_folder = _group(base, _last_two)

    def propose(self, entry: Entry) -> Iterator[Source]:
        path, name = entry.path, _last(entry.path)
        if path in self.by_path:
            yield _source(self.by_path[path], Reason.PATH)
        plain, plain_name = normalise_name(path), normalise_name(name)
        yield from _nearest(entry, self.by_plain_path.get(plain, ()), Reason.VERSIONED_PATH)
        yield from _nearest(entry, self.by_folder.get(_last_two(path), ()), Reason.NAME)
        yield from _nearest(entry, self.by_name.get(name, ()), Reason.NAME)
        yield from _nearest(entry, self.by_plain_name.get(plain_name, ()), Reason.VERSIONED_NAME)


def _group(entries: Iterable[Entry], key: Callable[[str], str]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry.path), []).append(entry)
    return groups


def _nearest(entry: Entry, namesakes: Sequence[Entry], reason: Reason) -> Iterator[Source]:
    if len(namesakes) > _MOST_NAMESAKES:
        return
    ranked = sorted(
        namesakes,
        key=lambda other: (
            -_shared_folders(entry.path, other.path),
            abs(other.size_bytes - entry.size_bytes),
            other.path,
        ),
    )
    yield from (_source(other, reason) for other in ranked[:_NAMESAKES])


def _shared_folders(one: str, other: str) -> int:
    """Folders that two paths share at their end and their start: what was moved keeps its nearest ones."""
    pieces, others = one.split("/")[:-1], other.split("/")[:-1]
    return _shared(pieces[::-1], others[::-1]) + _shared(pieces, others)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    return next(
        (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if normalise_name(a) != normalise_name(b)),
        min(len(one), len(other)),
    )


def _take(proposed: Iterable[Source], entry: Entry, max_sources: int) -> list[Source]:
    """The first `max_sources` different ones that are not hopeless."""
    taken: dict[str, Source] = {}
    if entry.size_bytes < LEAST_OBJECT_BYTES:
        return []
    for source in proposed:
        small, large = sorted((source.size_bytes, entry.size_bytes))
        is_sure = source.reason in (Reason.PATH, Reason.VERSIONED_PATH, Reason.CONTENT)
        if small == 0 or (large > MOST_SIZE_RATIO * small and not is_sure):
            continue
        taken.setdefault(source.checksum, source)
        if len(taken) >= max_sources:
            break
    return list(taken.values())[:max_sources]


def _wants_content(entry: Entry, sources: Sequence[Source], max_sources: int) -> bool:
    if entry.size_bytes < LEAST_OBJECT_BYTES or max_sources == 0:
        return False
    return not any(source.reason in (Reason.PATH, Reason.VERSIONED_PATH) for source in sources)


def _objects_left(base: Sequence[Entry], target: Sequence[Entry]) -> list[Entry]:
    """The base's objects that the target does not have at the same path: what was moved, changed or removed."""
    kept = {(entry.path, entry.checksum) for entry in target}
    left = [entry for entry in base if (entry.path, entry.checksum) not in kept]
    return list({entry.checksum: entry for entry in left}.values())


def _find_similar(
    unsure: Sequence[Entry],
    left: Sequence[Entry],
    read_sketch: ReadSketch,
    max_sketched_bytes: int,
) -> Mapping[str, list[Source]]:
    """For each unsure object, those left that resemble it, the most alike first."""
    similar: dict[str, list[Source]] = {entry.checksum: [] for entry in unsure}
    pool = _pool(unsure, left, max_sketched_bytes)
    if not pool:
        return similar
    sketches = np.stack([read_sketch(entry.checksum) for entry in pool])
    sizes = np.array([entry.size_bytes for entry in pool])
    for entry in unsure:
        alike = resemblance(read_sketch(entry.checksum), sketches)
        alike[(sizes > MOST_SIZE_RATIO * entry.size_bytes) | (sizes * MOST_SIZE_RATIO < entry.size_bytes)] = 0.0
        order = np.argsort(-alike, kind="stable")[: _NAMESAKES + 1]
        similar[entry.checksum] = [
            _source(pool[k], Reason.CONTENT) for k in order if alike[k] >= LEAST_RESEMBLANCE_FRACTION
        ]
    return similar


def _pool(unsure: Sequence[Entry], left: Sequence[Entry], max_sketched_bytes: int) -> list[Entry]:
    """What is sketched of the base: what is near in size to something unsure, largest first, within the limit."""
    sizes = np.array(sorted(entry.size_bytes for entry in unsure))
    pool, sketched_bytes = [], 0
    for entry in sorted(left, key=lambda entry: (-entry.size_bytes, entry.checksum)):
        low = np.searchsorted(sizes, -(-entry.size_bytes // MOST_SIZE_RATIO))
        is_near = low < len(sizes) and sizes[low] <= entry.size_bytes * MOST_SIZE_RATIO
        if entry.size_bytes >= LEAST_OBJECT_BYTES and is_near:
            sketched_bytes += entry.size_bytes
            if sketched_bytes > max_sketched_bytes:
                break
            pool.append(entry)
    return pool


def _by_path(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.path, entry.checksum))


def _source(entry: Entry, reason: Reason) -> Source:
    return Source(checksum=entry.checksum, size_bytes=entry.size_bytes, reason=reason)


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _last_two(path: str) -> str:
    return "/".join(path.rsplit("/", 2)[-2:])
