"""Content in chunks: the same bytes, the same refusals as of the whole."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import pytest

from planner.errors import RepositoryError
from planner.history.large_files import CHUNK_BYTES, check_chunks, inflate_chunks, read_chunks
from planner.history.ostree_objects import FileHeader, file_checksum

HEADER = FileHeader(uid=0, gid=0, mode=0o100644)


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("content_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5])
def test_chunks_are_the_content(content_bytes: int) -> None:
    content = (bytes(range(256)) * (content_bytes // 256 + 1))[:content_bytes]
    inflated = list(inflate_chunks(io.BytesIO(deflated(content)), content_bytes, "here"))
    assert b"".join(inflated) == content
    assert max(map(len, inflated), default=0) <= CHUNK_BYTES
    checksum = file_checksum(HEADER, content)
    assert b"".join(check_chunks(HEADER, read_chunks(io.BytesIO(content)), checksum, "here")) == content


def test_what_is_packed_best_is_whole_whatever_is_left_of_the_last_chunk() -> None:
    """Of a long run the last bytes come out when nothing is left to take in."""
    for rest_bytes in range(600):
        content_bytes = CHUNK_BYTES + rest_bytes
        chunks = inflate_chunks(io.BytesIO(deflated(bytes(content_bytes))), content_bytes, "here")
        assert sum(map(len, chunks)) == content_bytes


@pytest.mark.parametrize(
    ("packed", "claimed_bytes"),
    [
        (deflated(b"ten bytes."), 9),
        (deflated(b"ten bytes."), 11),
        (deflated(b"ten bytes.")[:-1], 10),
        (b"", 0),
        (b"\xff" * 50, 10),
        (deflated(bytes(50_000_000)), 10),
    ],
)
def test_sizes_that_lie_are_refused_in_bounded_memory(packed: bytes, claimed_bytes: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RepositoryError, match=r"^here: "):
            list(inflate_chunks(io.BytesIO(packed), claimed_bytes, "here"))
        assert tracemalloc.get_traced_memory()[1] < 5 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


def test_another_content_is_corrupt() -> None:
    with pytest.raises(RepositoryError, match="is corrupt"):
        list(check_chunks(HEADER, iter([b"a", b"b"]), file_checksum(HEADER, b"ac"), "here"))
