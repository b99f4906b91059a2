"""Pairing: planted renames are found, whatever the order of the entries; names and sketches obey their laws."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from planner.compiled import compiled
from planner.delta import pairing_kernels
from planner.delta.pairing import Entry, Pairing, Reason, Sketch, normalise_name, pair_objects, resemblance, sketch
from tests.delta.contents import draw_binary, draw_pair, draw_text, edit

Tree = dict[str, bytes]


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entries(tree: Tree) -> list[Entry]:
    return [Entry(path=path, checksum=checksum(data), size_bytes=len(data)) for path, data in tree.items()]


def pair(base: Tree, target: Tree, **options: int) -> dict[str, Pairing]:
    """The pairings by path."""
    contents = {checksum(data): data for data in [*base.values(), *target.values()]}

    def read_sketch(of: str) -> Sketch:
        return sketch(contents[of])

    return {found.path: found for found in pair_objects(entries(base), entries(target), read_sketch, **options)}


def first(base: Tree, target: Tree, path: str) -> tuple[str, Reason]:
    """The path in the base of the first source, and why."""
    source = pair(base, target)[path].sources[0]
    return next(name for name, data in base.items() if checksum(data) == source.checksum), source.reason


@pytest.fixture
def rng() -> random.Random:
    return random.Random(1)


def test_the_same_path_comes_first(rng: random.Random) -> None:
    old = draw_text(rng, 200)
    base = {"/a/file.py": old, "/b/file.py": draw_text(rng, 200)}
    assert first(base, {"/a/file.py": edit(rng, old)}, "/a/file.py") == ("/a/file.py", Reason.PATH)


@pytest.mark.parametrize(
    ("old_path", "new_path", "reason"),
    [
        ("/lib/libfoo.so.1.2", "/lib/libfoo.so.1.3", Reason.VERSIONED_PATH),
        ("/libs/libwebp-9fe2c1e1.so.7.1.8", "/libs/libwebp-a1b2c3d4.so.7.1.9", Reason.VERSIONED_PATH),
        ("/Django-4.2.7.dist-info/RECORD", "/Django-4.2.8.dist-info/RECORD", Reason.VERSIONED_PATH),
        ("/one/two/module.py", "/one/three/two/module.py", Reason.NAME),
        ("/lib/libfoo-1.0.so", "/lib64/libfoo-2.0.so", Reason.VERSIONED_NAME),
        ("/one/before.dat", "/other/after.bin", Reason.CONTENT),
    ],
)
def test_a_planted_rename_is_found(rng: random.Random, old_path: str, new_path: str, reason: Reason) -> None:
    old = draw_binary(rng, 20_000)
    base = {old_path: old} | {f"/noise/{k}.x": rng.randbytes(15_000) for k in range(5)}
    found = pair(base, {new_path: edit(rng, old)})[new_path].sources
    assert found[0].checksum == checksum(old)
    assert found[0].reason in (reason, Reason.CONTENT)


def test_many_files_that_all_moved_and_changed_find_their_own(rng: random.Random) -> None:
    base = {f"/old/{k}.dat": draw_binary(rng, 4000) for k in range(60)}
    target = {f"/new/{k * 7 % 60}.bin": edit(rng, base[f"/old/{k}.dat"]) for k in range(60)}
    found = pair(base, target)
    right = sum(
        found[f"/new/{k * 7 % 60}.bin"].sources[0].checksum == checksum(base[f"/old/{k}.dat"])
        for k in range(60)
        if f"/new/{k * 7 % 60}.bin" in found and found[f"/new/{k * 7 % 60}.bin"].sources
    )
    assert right >= 57


def test_the_nearest_namesake_comes_first(rng: random.Random) -> None:
    base = {f"/{k}/inner/__main__.py": draw_text(rng, 100 + k) for k in range(9)}
    path = "/moved/4/inner/__main__.py"
    new = edit(rng, base["/4/inner/__main__.py"])
    found = pair(base, {path: new})[path].sources
    assert checksum(base["/4/inner/__main__.py"]) in {source.checksum for source in found}


def test_unrelated_content_gets_no_source(rng: random.Random) -> None:
    base = {f"/{k}.x": rng.randbytes(5000) for k in range(8)}
    assert pair(base, {"/new.y": rng.randbytes(5000)})["/new.y"].sources == ()


def test_padding_makes_no_two_contents_alike(rng: random.Random) -> None:
    one, other = rng.randbytes(300) + bytes(9000), bytes(9000) + rng.randbytes(300)
    assert resemblance(sketch(one), sketch(other)[None])[0] < 0.06


def test_only_what_the_base_lacks_is_paired_and_once(rng: random.Random) -> None:
    kept, new = draw_text(rng, 50), draw_text(rng, 60)
    found = pair({"/kept": kept}, {"/moved": kept, "/b": new, "/a": new})
    assert list(found) == ["/a"]


def test_small_and_empty_objects_have_no_source(rng: random.Random) -> None:
    found = pair({"/a": b"one", "/b": b""}, {"/a": b"two", "/b": draw_text(rng, 100)})
    assert all(one.sources == () for one in found.values())


def test_the_order_of_entries_changes_nothing(rng: random.Random) -> None:
    base = {f"/{k % 7}/{k}.py": draw_text(rng, 80) for k in range(40)}
    target = {f"/{k % 5}/{k}.py": edit(rng, data) for k, data in enumerate(base.values())}
    shuffled = [dict(rng.sample(list(tree.items()), len(tree))) for tree in (base, target)]
    assert pair(base, target) == pair(*shuffled)


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_no_more_sources_than_asked_for_and_no_doubles(rng: random.Random, most: int) -> None:
    old = draw_text(rng, 300)
    base = {f"/{k}/name.py": edit(rng, old) for k in range(12)}
    sources = pair(base, {"/0/name.py": old}, max_sources=most)["/0/name.py"].sources
    assert len(sources) <= most
    assert len({source.checksum for source in sources}) == len(sources)


def test_names_alone_are_used_where_nothing_may_be_sketched(rng: random.Random) -> None:
    old = draw_text(rng, 300)
    assert pair({"/a.py": old}, {"/b.txt": edit(rng, old)}, max_sketched_bytes=0)["/b.txt"].sources == ()


@pytest.mark.parametrize("name", ["a", "README", "__init__.py", "deadbeef", "feedback-facade.py", "python"])
def test_names_without_versions_stay(name: str) -> None:
    assert normalise_name(name) == name


def test_normalising_twice_is_normalising_once() -> None:
    rng = random.Random(2)
    letters = "abf019.-_/so#"
    for _ in range(3000):
        name = "".join(rng.choice(letters) for _ in range(rng.randrange(20)))
        once = normalise_name(name)
        assert normalise_name(once) == once


def test_resemblance_is_a_fraction_symmetric_and_one_for_equals(rng: random.Random) -> None:
    for _ in range(200):
        one, other = (sketch(content) for content in draw_pair(rng))
        there, back = resemblance(one, other[None])[0], resemblance(other, one[None])[0]
        assert 0.0 <= there <= 1.0
        assert there == back
        assert resemblance(one, one[None])[0] == (1.0 if (one >= 0).any() else 0.0)


def test_the_plain_twin_sketches_the_same(rng: random.Random) -> None:
    for _ in range(60):
        content = np.frombuffer(draw_pair(rng)[0], np.uint8)
        buckets = [np.full(64, np.iinfo(np.int64).max) for _ in range(2)]
        pairing_kernels.sketch_content(content, buckets[0])
        compiled(pairing_kernels).sketch_content(content, buckets[1])
        assert (buckets[0] == buckets[1]).all()
