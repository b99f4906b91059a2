"""bsdiff streams: another implementation applies them, and the plain and the compiled loops make the same ones."""

from __future__ import annotations

import bz2
import random
import struct

import bsdiff4
import numpy as np
import pytest

from planner.compiled import compiled
from planner.delta import bsdiff, bsdiff_kernels
from planner.delta.bsdiff import common_ends, diff, find_covers
from planner.errors import BuildError
from tests.delta.contents import adversarial_pairs, draw_binary, draw_pair, draw_text, edit

ADVERSARIAL = list(adversarial_pairs())
ENGINES = [{}, {"max_suffix_bytes": 0}, {"reach": 1}]


def read_triples(stream: bytes) -> list[tuple[int, bytes, bytes, int]]:
    """Each triple as (bytes added, differences, inserted bytes, seek), read by the format's document only."""
    triples, at = [], 0
    while at < len(stream):
        numbers = struct.unpack_from("<3Q", stream, at)
        added, inserted, seek = (-(number & ~(1 << 63)) if number >> 63 else number for number in numbers)
        at += 24
        assert added >= 0
        assert inserted >= 0
        triples.append((added, stream[at : at + added], stream[at + added : at + added + inserted], seek))
        at += added + inserted
    assert at == len(stream)
    return triples


def patch(old: bytes, stream: bytes) -> bytes:
    """A reference patcher."""
    new, old_at = bytearray(), 0
    for added, differences, inserted, seek in read_triples(stream):
        assert 0 <= old_at <= old_at + added <= len(old)
        new += bytes((a + b) & 255 for a, b in zip(old[old_at : old_at + added], differences, strict=True))
        new += inserted
        old_at += added + seek
    return bytes(new)


def to_bsdiff40(stream: bytes, new_bytes: int) -> bytes:
    """The same patch in the container of the bsdiff program: three blocks, each through bzip2."""

    def number(value: int) -> bytes:
        return struct.pack("<Q", abs(value) | (1 << 63 if value < 0 else 0))

    triples = read_triples(stream)
    control = b"".join(number(t[0]) + number(len(t[2])) + number(t[3]) for t in triples)
    blocks = [bz2.compress(b) for b in (control, b"".join(t[1] for t in triples), b"".join(t[2] for t in triples))]
    return b"BSDIFF40" + struct.pack("<3Q", len(blocks[0]), len(blocks[1]), new_bytes) + b"".join(blocks)


@pytest.fixture(autouse=True, scope="module")
def loaded_loops() -> None:
    """Compiled loops in all tests but the one that compares."""
    compiled(bsdiff_kernels)


@pytest.mark.parametrize(("name", "old", "new"), ADVERSARIAL, ids=[name for name, *_ in ADVERSARIAL])
@pytest.mark.parametrize("options", ENGINES, ids=["suffixes", "hashes", "near reach"])
def test_hard_pairs_are_made_again(name: str, old: bytes, new: bytes, options: dict[str, int]) -> None:
    stream = diff(old, new, **options)
    assert patch(old, stream) == new
    assert len(stream) <= len(new) + 24 * (len(find_covers(old, new, **options)) + 1)


@pytest.mark.parametrize("options", ENGINES, ids=["suffixes", "hashes", "near reach"])
@pytest.mark.parametrize("seed", range(8))
def test_random_pairs_are_made_again(seed: int, options: dict[str, int]) -> None:
    rng = random.Random(seed)
    for _ in range(150):
        old, new = draw_pair(rng)
        assert patch(old, diff(old, new, **options)) == new


def test_the_bsdiff_program_makes_the_same(tmp_path: object) -> None:
    rng = random.Random(1)
    pairs = [(old, new) for _, old, new in ADVERSARIAL] + [draw_pair(rng, 3000) for _ in range(200)]
    for old, new in pairs:
        assert bsdiff4.patch(old, to_bsdiff40(diff(old, new), len(new))) == new


def test_content_longer_than_a_window_is_made_again() -> None:
    rng = random.Random(2)
    old = draw_binary(rng, 3 * bsdiff_kernels.WINDOW_BYTES)
    new = edit(rng, old[: len(old) // 2]) + rng.randbytes(100) + edit(rng, old)
    for options in ENGINES:
        assert patch(old, diff(old, new, **options)) == new


def test_more_anchors_than_a_window_has_rows() -> None:
    rng = random.Random(3)
    pieces = [draw_text(rng, 4) for _ in range(3 * bsdiff_kernels.WINDOW_ROWS)]
    old = b"".join(pieces)
    rng.shuffle(pieces)
    new = b"".join(pieces)
    assert patch(old, diff(old, new)) == new
    assert patch(old, diff(old, new, reach=1)) == new


def test_chosen_covers_are_ordered_apart_and_inside() -> None:
    rng = random.Random(4)
    for _ in range(300):
        old, new = draw_pair(rng)
        covers = find_covers(old, new)
        assert (covers[:, 2] > 0).all()
        assert (covers >= 0).all()
        assert (covers[:, 0] + covers[:, 2] <= len(old)).all()
        assert (covers[:, 1] + covers[:, 2] <= len(new)).all()
        assert (covers[1:, 1] >= covers[:-1, 1] + covers[:-1, 2]).all()


def test_the_plain_twin_chooses_the_same() -> None:
    rng = random.Random(6)
    fast = compiled(bsdiff_kernels)
    prices = np.array([2304, 8192, 61440])
    for number in range(40):
        old, new = (np.frombuffer(content, np.uint8) for content in draw_pair(rng, 300))
        if len(old) < 8 or len(new) < 8:
            continue
        found = [kernel.find_anchors(old, new, 8, 1 + number % 3, 4, 10, 32) for kernel in (bsdiff_kernels, fast)]
        assert (found[0] == found[1]).all()
        costs = bsdiff.prior_costs()
        covers = [k.choose_covers(old, new, found[0], costs, prices, 3) for k in (bsdiff_kernels, fast)]
        assert np.array_equal(covers[0], covers[1])
        streams = [np.zeros(len(new) + 24 * (len(covers[0]) + 2), np.uint8) for _ in range(2)]
        used = [k.write_stream(old, new, covers[0], s) for k, s in zip((bsdiff_kernels, fast), streams, strict=True)]
        assert used[0] == used[1]
        assert (streams[0] == streams[1]).all()


def test_the_same_input_gives_the_same_stream() -> None:
    rng = random.Random(7)
    old = draw_binary(rng, 30_000)
    new = edit(rng, old)
    assert len({diff(bytes(bytearray(old)), bytes(bytearray(new))) for _ in range(3)}) == 1


def test_an_edit_is_told_as_one() -> None:
    old = random.Random(8).randbytes(50_000)
    new = old[:20_000] + b"inserted" + old[20_000:40_000] + bytes([old[40_000] ^ 1]) + old[40_001:]
    for options in ENGINES:
        triples = read_triples(diff(old, new, **options))
        assert sum(len(inserted) for _, _, inserted, _ in triples) == 8
        assert sum(sum(byte != 0 for byte in differences) for _, differences, _, _ in triples) == 1
        assert len(triples) == 2


def test_what_moved_from_behind_the_change_is_found() -> None:
    rng = random.Random(9)
    one, other, last = (rng.randbytes(2000) for _ in range(3))
    triples = read_triples(diff(one + other + last, one + last + other + last))
    assert sum(len(inserted) for _, _, inserted, _ in triples) == 0


def test_common_ends_do_not_overlap() -> None:
    rng = random.Random(10)
    for _ in range(300):
        old, new = (np.frombuffer(content, np.uint8) for content in draw_pair(rng, 200))
        head, tail = common_ends(old, new)
        assert head + tail <= min(len(old), len(new))
        assert (old[:head] == new[:head]).all()
        assert tail == 0 or (old[-tail:] == new[-tail:]).all()


def test_too_large_contents_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bsdiff, "MAX_INPUT_BYTES", 10)
    with pytest.raises(BuildError, match="too large"):
        diff(b"123456", b"12345")


@pytest.mark.parametrize("container", [b"HDIFF14&\0", b"HDIFF13&\0\1\2", b""])
def test_a_container_that_is_not_known_is_refused(container: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdiffpatch.diff", lambda *_args, **_options: container)
    with pytest.raises(BuildError, match="HDiffPatch"):
        diff(b"\0one", b"\0two")


def test_covers_outside_the_content_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Eleven numbers with one cover: a step of 0 in old, of 0 in new, and a length of 100.
    container = b"HDIFF13&\0" + bytes([4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]) + bytes([0, 0, 100])
    monkeypatch.setattr("hdiffpatch.diff", lambda *_args, **_options: container)
    with pytest.raises(BuildError, match="do not fit"):
        diff(b"\0one", b"\0two")
