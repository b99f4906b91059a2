"""Layers unpacked within bounds, and refused where they are not what they say."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError, PlannerError, RepositoryError
from planner.images.documents import TAR
from planner.images.layers import Bounds, Compression, Workbench, unpack_chunks
from tests.images.worlds import GZIP, diff_id, hold, make_tar, pack, write_image

_SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 5000), st.booleans())
def test_members_and_frames_are_one_content(pieces: list[bytes], chunk_bytes: int, is_zstd: bool) -> None:
    packed = b"".join((_SKIPPABLE + zstd.compress(one)) if is_zstd else gzip.compress(one) for one in pieces)
    chunks = [packed[at : at + chunk_bytes] for at in range(0, len(packed), chunk_bytes)]
    kind = Compression.ZSTD if is_zstd else Compression.GZIP
    assert b"".join(unpack_chunks(chunks, kind, "layer")) == b"".join(pieces)


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.ZSTD])
def test_cut_off_or_damaged_layers_are_errors(kind: Compression) -> None:
    data = bytes(range(256)) * 50
    packed = zstd.compress(data) if kind is Compression.ZSTD else gzip.compress(data)
    for damaged in (packed[:-1], packed[: len(packed) // 2], packed + b"garbage", b"x" + packed):
        with pytest.raises(RepositoryError):
            list(unpack_chunks([damaged], kind, "layer"))


_DEFAULT = Bounds()


def unpack_all(path: Path, bounds: Bounds = _DEFAULT) -> list[bytes]:
    """The tars of an image's layers."""
    held = hold(path, "v1")
    with Workbench(path.parent, bounds) as bench:
        return [b"".join(bench.read_chunks(bench.unpack(held.layout, one))) for one in held.image.layers]


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ([(b"x", "application/vnd.oci.image.layer.nondistributable.v1.tar")], "foreign"),
        ([(b"x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")], "foreign"),
        ([(b"x", f"{TAR}+gzip+encrypted")], "encrypted"),
        ([(b"x", "application/x-unknown")], "unknown kind"),
    ],
)
def test_layers_that_cannot_be_read_are_named(tmp_path: Path, blobs: Sequence[tuple[bytes, str]], message: str) -> None:
    write_image(tmp_path / "l", "v1", [b""], blobs=blobs)
    with pytest.raises(InputError, match=message):
        unpack_all(tmp_path / "l")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    zeros = bytes(80 * 2**20)
    write_image(tmp_path / "l", "v1", [zeros], blobs=[(pack(zeros), GZIP)])
    with pytest.raises(InputError, match="bomb"):
        unpack_all(tmp_path / "l")
    assert unpack_all(tmp_path / "l", Bounds(max_ratio=2000)) == [zeros]
    with pytest.raises(InputError, match="bomb"):
        unpack_all(tmp_path / "l", Bounds(max_ratio=2000, max_layer_bytes=10**6))


def test_another_tar_than_the_diff_id_says_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [make_tar({"a": b"1"})], diff_ids=[diff_id(b"another")])
    with pytest.raises(RepositoryError, match="diff_id"):
        unpack_all(tmp_path / "l")


def test_a_blob_that_was_changed_is_refused(tmp_path: Path) -> None:
    tar = make_tar({"a": b"1"})
    write_image(tmp_path / "l", "v1", [tar], blobs=[(tar, TAR)])
    blob = tmp_path / "l" / "blobs" / "sha256" / diff_id(tar)[7:]
    blob.write_bytes(tar[:-1] + b"x")
    with pytest.raises(RepositoryError, match="another digest"):
        unpack_all(tmp_path / "l")
    blob.write_bytes(tar + b"x")
    with pytest.raises(RepositoryError, match="another size"):
        unpack_all(tmp_path / "l")
    blob.unlink()
    with pytest.raises(RepositoryError, match="missing"):
        unpack_all(tmp_path / "l")


@given(st.binary(max_size=2000))
def test_any_bytes_unpack_or_are_a_clear_error(data: bytes) -> None:
    for kind in Compression:
        try:
            list(unpack_chunks([data], kind, "layer"))
        except PlannerError:
            continue
