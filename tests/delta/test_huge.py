"""Contents too large to hold: blocks found anywhere, copies that make the file, and stock clients that apply them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from planner.compiled import compiled
from planner.delta import block_kernels, contents, encode, make
from planner.delta.contents import Contents
from planner.delta.copies import find_copies
from planner.delta.difference_pool import pack, packed_bytes
from planner.delta.huge import find_huge_covers
from planner.delta.make import make_delta
from planner.delta.superblock import read_superblock
from planner.errors import RepositoryError
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import ObjectKind, ObjectName
from tests.delta.contents import adversarial_pairs, draw_pair
from tests.delta.test_copies import run_copies
from tests.delta.test_make import write
from tests.delta.worlds import World, commit_tree, copy_with, run_ostree

PAIRS = [(old, new) for _, old, new in adversarial_pairs()] + [draw_pair(random.Random(k), 3000) for k in range(60)]


def moved(rng: random.Random) -> tuple[bytes, bytes]:
    """Blocks of old in another order, with new bytes and single changed ones between them."""
    old = rng.randbytes(400_000)
    pieces = [old[at : at + 50_000] for at in range(0, 400_000, 50_000)]
    rng.shuffle(pieces)
    new = bytearray(rng.randbytes(333).join(pieces))
    for at in range(7_000, len(new), 40_000):
        new[at] ^= 255
    return old, bytes(new)


@pytest.mark.parametrize("block_bytes", [16, 64, 1024])
def test_covers_are_ordered_and_apart_and_copies_make_the_file(block_bytes: int) -> None:
    for old, new in PAIRS:
        covers = find_huge_covers(memoryview(old), memoryview(new), block_bytes=block_bytes, piece_bytes=500)
        ends = covers[:, :2] + covers[:, 2:]
        assert (covers >= 0).all()
        assert (ends <= [len(old), len(new)]).all()
        assert (covers[1:, 1] >= ends[:-1, 1]).all()
        copies = find_copies(np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8), covers)
        assert run_copies(copies, old) == new


def test_moved_blocks_are_found_wherever_they_stand() -> None:
    old, new = moved(random.Random(1))
    covers = find_huge_covers(old, new)
    copied_bytes = sum(
        int((np.frombuffer(old[a : a + n], np.uint8) == np.frombuffer(new[b : b + n], np.uint8)).sum())
        for a, b, n in covers.tolist()
    )
    assert copied_bytes >= 400_000 - 11


def test_plain_and_compiled_loops_find_the_same() -> None:
    twin = compiled(block_kernels)
    for old, new in [moved(random.Random(2)), *PAIRS]:
        arrays = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
        some = arrays[0][:60_000], arrays[1][:60_000]
        assert np.array_equal(block_kernels.match_blocks(*some, 64, 11), twin.match_blocks(*some, 64, 11))


def test_runs_of_one_byte_are_one_match() -> None:
    """Sparse files: the first block of zeros would do for all, which would be a match for each."""
    old, new = bytes(100_000), bytes(90_000)
    assert find_huge_covers(old, new).tolist() == [[0, 0, 90_000]]


@pytest.mark.parametrize("length_bytes", [0, 1, 1 << 20])
def test_packed_sizes_of_long_contents_are_about_those_of_short_ones(
    monkeypatch: pytest.MonkeyPatch, length_bytes: int
) -> None:
    content = (b"".join(random.Random(3).choices([b"one ", b"two ", b"three"], k=300_000)))[:length_bytes]
    whole = len(pack(content))
    monkeypatch.setattr("planner.delta.difference_pool._PACKED_AT_ONCE_BYTES", 1000)
    assert packed_bytes(memoryview(content)) == pytest.approx(whole, rel=0.05, abs=20)


@pytest.fixture(params=["bare-user", "archive"])
def images(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Commits in which the blocks of an image move, then another image is new; bounds that make both of them huge."""
    monkeypatch.setattr(encode, "MAX_INPUT_BYTES", 300_000)
    monkeypatch.setattr(contents, "HELD_BYTES", 100_000)
    monkeypatch.setattr(make, "MAX_WHOLE_BYTES", 200_000)
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    run_ostree("init", f"--repo={repo}", f"--mode={request.param}")
    old, new = moved(random.Random(4))
    tree.mkdir()
    (tree / "disk.img").write_bytes(old)
    one = commit_tree(repo, tree, "one")
    (tree / "disk.img").write_bytes(new)
    two = commit_tree(repo, tree, "two")
    (tree / "other.img").write_bytes(random.Random(5).randbytes(250_000))
    return World(path=repo, commits=(one, two, commit_tree(repo, tree, "three")))


def test_a_stock_client_applies_copies(images: World, tmp_path: Path) -> None:
    base, target = images.commits[:2]
    delta = make_delta(images.repository, ObjectSets(images.repository.read_history()), base, target)
    assert sum(map(len, delta.parts)) < 10_000
    client = copy_with(images, (base,), tmp_path)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", write(delta, tmp_path / "delta").parent)
    run_ostree("fsck", "--quiet", f"--repo={client}")


def test_what_is_new_and_huge_is_fetched_on_its_own(images: World) -> None:
    base, target = images.commits[1:]
    delta = make_delta(images.repository, ObjectSets(images.repository.read_history()), base, target)
    fallbacks = read_superblock(delta.superblock).fallbacks
    assert [one.object_bytes for one in fallbacks] == [250_000]
    assert fallbacks[0].loose_bytes == images.repository.loose_bytes(fallbacks[0].name)
    assert abs(fallbacks[0].loose_bytes - 250_000) < 500


def test_large_contents_are_mapped_and_checked(images: World) -> None:
    repository = images.repository
    of_target = ObjectSets(repository.read_history()).of_commit(images.commits[2])
    for name in of_target:
        if name.kind is ObjectKind.FILE:
            content = Contents(repository).read(name.checksum)
            assert isinstance(content, memoryview)
            assert bytes(content) == repository.read_file(name)[1]
            assert not list((images.path / "tmp").glob("tmp*"))
            spoil(repository, name)
            with pytest.raises(RepositoryError, match="is corrupt"):
                Contents(repository).read(name.checksum)


def spoil(repository: OSTreeRepository, name: ObjectName) -> None:
    """Change a byte in the middle of an object."""
    path = next((repository.path / "objects" / name.checksum[:2]).glob(f"{name.checksum[2:]}.file*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
