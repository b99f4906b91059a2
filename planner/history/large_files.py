"""Content of files in chunks, for those too large to hold: the same checks as `ostree_objects` makes on the whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from planner.errors import RepositoryError
from planner.history.ostree_objects import FileHeader, start_checksum

CHUNK_BYTES = 1 << 20


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """What follows in a file."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def inflate_chunks(file: BinaryIO, content_bytes: int, where: str) -> Iterator[bytes]:
    """The content packed in what follows of a `.filez` object.

    Raises:
        RepositoryError: it is corrupt, or of another size than `content_bytes`.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    made_bytes, packed = 0, b""
    try:
        while not inflate.eof and made_bytes <= content_bytes:
            packed = packed or file.read(CHUNK_BYTES)
            chunk = inflate.decompress(packed, CHUNK_BYTES)
            # All of the file may be taken in while some of the content is still to come out.
            if not packed and not chunk:
                break
            packed = inflate.unconsumed_tail
            made_bytes += len(chunk)
            if made_bytes <= content_bytes:
                yield chunk
    except zlib.error as error:
        raise RepositoryError("is corrupt", path=where, reason=str(error)) from error
    if made_bytes != content_bytes or not inflate.eof:
        raise RepositoryError("is corrupt: it has another size than it says", path=where, claimed_bytes=content_bytes)


def check_chunks(header: FileHeader, chunks: Iterator[bytes], checksum: str, where: str) -> Iterator[bytes]:
    """The same chunks; behind the last one their checksum is compared.

    Raises:
        RepositoryError: the file is corrupt.
    """
    digest = start_checksum(header)
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != checksum:
        raise RepositoryError("is corrupt: its content and attributes do not have its checksum", path=where)
