"""Deltas of layers rebuild every byte of any tar, and damaged ones rebuild nothing."""

from __future__ import annotations

import io
import json
import random
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import PlannerError, RepositoryError
from planner.images import layer_delta
from planner.images.layer_delta import make_layer_delta, read_layer_delta, rebuild_chunks
from planner.images.layers import Workbench
from planner.images.matching import Sources
from planner.images.steps import find_steps, read_numbers, read_steps, write_numbers, write_steps
from tests.images.worlds import change, diff_id, make_files, make_tar, place

_KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE])
_NAMES = st.sampled_from(["a", "b/c", "usr/lib/libx.so.1.2", "usr/lib/libx.so.1.3", "n" * 150, "ä" * 90])
_CONTENTS = st.one_of(st.binary(max_size=2000), st.sampled_from([bytes(5000), b"text " * 900, b"text " * 900 + b"!"]))
_MEMBERS = st.tuples(_NAMES, _KINDS, _CONTENTS, st.integers(0, 2**34), st.booleans())


def delta_of(base: Sequence[bytes], target: bytes) -> bytes:
    """The target's delta from layers."""
    with tempfile.TemporaryDirectory() as folder, Workbench(Path(folder)) as bench:
        sources, placed = Sources(), []
        for tar in base:
            placed.append(place(bench, tar))
            sources.add(bench.content(), placed[-1])
        end = place(bench, target)
        before = [one for one in placed if one.diff_id != end.diff_id]
        return make_layer_delta(bench.content(), before, end, sources)


def rebuild(base: Sequence[bytes], delta: bytes) -> bytes:
    """What a client with these layers makes of a delta."""
    with tempfile.TemporaryDirectory() as folder, Workbench(Path(folder)) as bench:
        for tar in base:
            place(bench, tar)
        read = read_layer_delta(delta, "delta", max_layer_bytes=10**9)
        return b"".join(rebuild_chunks(read, bench.content(), bench.placed))


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """Tars of all kinds of member in either format, with what may follow the end."""
    buffer = io.BytesIO()
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, kind, content, mtime, has_xattr in draw(st.lists(_MEMBERS, max_size=6)):
            member = tarfile.TarInfo(name if form != tarfile.USTAR_FORMAT else name[:45])
            member.type, member.mtime, member.linkname = kind, min(mtime, 2**32), "a" if kind in b"12" else ""
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            member.pax_headers = {"SCHILY.xattr.user.x": "1"} if has_xattr and form == tarfile.PAX_FORMAT else {}
            archive.addfile(member, io.BytesIO(content) if member.size else None)
    cut = draw(st.sampled_from([None, None, None, -512, 700]))
    return buffer.getvalue()[:cut] + draw(st.sampled_from([b"", b"", bytes(512), b"behind the end", b"x" * 2000]))


@settings(max_examples=60)
@given(st.lists(tars(), max_size=3, unique=True), tars())
def test_any_tar_is_rebuilt_from_any_layers(base: list[bytes], target: bytes) -> None:
    delta = delta_of(base, target)
    assert rebuild(base, delta) == target
    assert delta_of(base, target) == delta


@settings(max_examples=30)
@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_what_is_no_tar_is_rebuilt_too(old: bytes, new: bytes) -> None:
    assert rebuild([old], delta_of([old], new)) == new


def sparse_tar() -> bytes:
    """An old GNU sparse file: two pieces of 512 bytes in a file of a megabyte, and a header that goes on."""
    member = tarfile.TarInfo("sparse")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 1024
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + b"s" * 1024 + make_tar({"after": b"the sparse file"})


def test_sparse_files_and_what_follows_them_are_found() -> None:
    old, new = make_tar({"other": b"s" * 1024, "after": b"the sparse file"}), sparse_tar()
    delta = delta_of([old], new)
    assert rebuild([old], delta) == new
    assert len(delta) < 700


def test_a_file_that_moved_between_layers_costs_its_place() -> None:
    noise = random.Random(1).randbytes(200_000)
    base = [make_tar({"a": b"1"}), make_tar({"old/place": noise})]
    assert len(delta_of(base, make_tar({"new/place": noise}))) < 800


def test_a_rebuilt_layer_costs_its_dates() -> None:
    files = make_files(3, 120)
    old, new = make_tar(files, mtime=1_700_000_000), make_tar(files, mtime=1_710_000_000)
    # Some 500 bytes are digests and frames; headers of 160 members take the rest.
    assert len(delta_of([old], new)) < 1200


def test_unused_layers_are_not_asked_for() -> None:
    noise = [random.Random(seed).randbytes(50_000) for seed in range(3)]
    base = [make_tar({f"f{k}": one}) for k, one in enumerate(noise)]
    target = make_tar({"f1": noise[1]})
    delta = delta_of(base, target + b"!")
    assert [one.diff_id for one in read_layer_delta(delta, "d", max_layer_bytes=10**9).sources] == [diff_id(base[1])]
    assert rebuild([base[1]], delta) == target + b"!"


def test_content_across_the_end_of_a_layer_is_told_within_each() -> None:
    """Layers that stand behind each other hold what the target has in one piece."""
    halves = [make_tar({"a": b"x" * 3000})[:3584], make_tar({"b": b"y" * 3000})]
    assert rebuild(halves, delta_of(halves, b"".join(halves))) == b"".join(halves)
    assert rebuild(halves[::-1], delta_of(halves, b"".join(halves))) == b"".join(halves)


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes, bytes]:
    files = make_files(4)
    old = make_tar(files)
    new = make_tar(change(files, list(files)[::5]), mtime=1_710_000_000)
    return old, new, delta_of([old], new)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_delta_never_gives_another_layer(pair: tuple[bytes, bytes, bytes], data: st.DataObject) -> None:
    old, new, delta = pair
    damaged = bytearray(delta)
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(delta) - 1)) :]
    else:
        damaged[data.draw(st.integers(0, len(delta) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        made = rebuild([old], bytes(damaged))
    except PlannerError:
        return
    # Only names of digests may have been damaged: whoever keeps the layer compares it with the target's.
    assert made == new


def test_a_delta_for_another_base_is_refused(pair: tuple[bytes, bytes, bytes]) -> None:
    _, _, delta = pair
    with pytest.raises(RepositoryError, match="reads a layer that the base does not have"):
        rebuild([b"another layer"], delta)


def test_a_delta_of_a_longer_layer_than_allowed_is_refused(pair: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(RepositoryError, match="longer layer than allowed"):
        read_layer_delta(pair[2], "delta", max_layer_bytes=1000)


_STEPS = st.lists(st.tuples(*[st.integers(0, 2**40)] * 4), max_size=20)


@given(_STEPS)
def test_steps_are_read_as_they_were_written(rows: list[tuple[int, int, int, int]]) -> None:
    steps = np.array(rows, np.int64).reshape(-1, 4)
    assert read_steps(write_steps(steps), len(steps), "d").tolist() == steps.tolist()


@given(st.binary(max_size=60), st.integers(0, 8))
def test_any_bytes_are_numbers_or_a_clear_error(data: bytes, count: int) -> None:
    try:
        numbers = read_numbers(data, count, "d")
    except RepositoryError:
        return
    assert len(numbers) == count
    assert (numbers >= 0).all()


@given(st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_numbers_are_read_as_they_were_written(numbers: list[int]) -> None:
    held = np.array(numbers, np.int64)
    assert read_numbers(write_numbers(held), len(numbers), "d").tolist() == numbers


def test_steps_make_the_target_whatever_the_rows() -> None:
    drawn = random.Random(7)
    old = np.frombuffer(drawn.randbytes(40_000), np.uint8)
    inside = np.frombuffer(drawn.randbytes(500), np.uint8)
    new = np.concatenate((old[:20_000], inside, old[20_000:35_000], inside))
    new[[10, 9000, 9100, 30_000]] ^= 1
    steps = find_steps(np.array([[0, 0, 20_000], [20_000, 20_500, 15_000]], np.int64), old, new)
    assert int(steps[:, 1:].sum()) == len(new)
    # Before and behind the two bytes that are near each other, and around the one in the second row.
    assert (steps[:, 1] > 4096).tolist() == [False, True, True, True, True]
    assert steps[:, 3].tolist() == [0, 0, 500, 0, 500]


def forge(
    steps: list[tuple[int, int, int, int]], *, added: bytes = b"", inserted: bytes = b"", tail: bytes = b""
) -> bytes:
    """A delta with these steps, from one layer of 100 bytes; `tail` stands behind the packed new bytes."""
    files = [layer_delta._pack([write_steps(np.array(steps, np.int64))]), layer_delta._pack([added])]
    packed, content_bytes = layer_delta._pack([inserted])
    files.append((packed + tail, content_bytes))
    made_bytes = sum(copied + added_bytes + inserted_bytes for _, copied, added_bytes, inserted_bytes in steps)
    header = {
        "target": {"diff_id": diff_id(b"target"), "layer_bytes": made_bytes},
        "sources": [{"diff_id": diff_id(bytes(100)), "layer_bytes": 100}],
        "step_count": len(steps),
        "files": [{"content_bytes": content, "packed_bytes": len(data)} for data, content in files],
    }
    return b"deltaplan-layer/1\n" + json.dumps(header).encode() + b"\n" + b"".join(data for data, _ in files)


def test_a_forged_delta_that_is_sound_is_applied() -> None:
    delta = forge([(10, 5, 2, 3)], added=b"\x01\xff", inserted=b"new")
    assert rebuild([bytes(100)], delta) == bytes(5) + b"\x01\xffnew"


@pytest.mark.parametrize("step", [(96, 5, 0, 0), (96, 0, 5, 0), (100, 1, 0, 0), (-1, 2, 0, 0), (2**61, 1, 0, 0)])
def test_steps_that_read_outside_of_their_sources_are_refused(step: tuple[int, int, int, int]) -> None:
    delta = forge([step], added=bytes(step[2]))
    with pytest.raises(RepositoryError, match="outside of its sources"):
        rebuild([bytes(100), b"another layer behind it"], delta)


def test_steps_that_make_more_than_the_layer_are_refused() -> None:
    delta = forge([(0, 5, 0, 3)], inserted=b"new").replace(b'"layer_bytes": 8', b'"layer_bytes": 7')
    with pytest.raises(RepositoryError, match="do not make its layer"):
        rebuild([bytes(100)], delta)


@pytest.mark.parametrize("tail", [b"x", bytes(4), b"x" * 100])
def test_what_stands_behind_a_packed_file_is_refused(tail: bytes) -> None:
    with pytest.raises(RepositoryError, match="packed file"):
        rebuild([bytes(100)], forge([(0, 5, 0, 3)], inserted=b"new", tail=tail))


def test_a_packed_file_that_holds_more_than_it_says_is_refused() -> None:
    delta = forge([(0, 5, 0, 3)], inserted=b"new and more")
    shorter = delta.replace(b'"content_bytes": 12', b'"content_bytes": 3')
    with pytest.raises(RepositoryError, match="goes on"):
        rebuild([bytes(100)], shorter)
