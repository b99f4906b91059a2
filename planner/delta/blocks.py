"""The .xz container, block by block: what is packed once can stand in many files.

A block is packed by itself, so a file may be put together of blocks that other files hold already. Any decoder of the
format reads them one after the other; clients of OSTree do.

Source: The .xz File Format 1.2.1 (tukaani.org), sections 2.1 (stream), 3 (block), 4 (index) and 5.3.1 (LZMA2).
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from planner.delta.numbers import read_number, write_number
from planner.errors import RepositoryError

_MAGIC, _FOOTER_MAGIC = b"\xfd7zXZ\0", b"YZ"
_FLAGS = bytes([0, lzma.CHECK_CRC32])
_EDGE_BYTES = 12
"""Of a stream's header, and of its footer."""
_CHECK_BYTES = 4
_LZMA2 = 0x21

Filters = Sequence[Mapping[str, Any]]
"""One LZMA2 filter, as the `lzma` module takes it, with its `dict_size`."""


@dataclass(frozen=True, slots=True)
class Block:
    """A packed piece of a file: its bytes in the file, those that its index counts, and its content's size."""

    data: bytes
    unpadded_bytes: int
    content_bytes: int


def pack_block(content: bytes | memoryview, filters: Filters) -> Block:
    """Content as one block."""
    packed = lzma.compress(content, lzma.FORMAT_RAW, filters=[dict(one) for one in filters])
    return wrap_block(content, packed, filters[0]["dict_size"])


def wrap_block(content: bytes | memoryview, packed: bytes, dictionary_bytes: int) -> Block:
    """The block of a content that is packed as an LZMA2 stream with such a dictionary."""
    header = _block_header(dictionary_bytes)
    check = zlib.crc32(content).to_bytes(_CHECK_BYTES, "little")
    unpadded_bytes = len(header) + len(packed) + _CHECK_BYTES
    return Block(_pad(header + packed) + check, unpadded_bytes, len(content))


def join_blocks(blocks: Sequence[Block]) -> bytes:
    """The .xz file of blocks in order.

    >>> filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    >>> lzma.decompress(join_blocks([pack_block(b"one ", filters), pack_block(b"after another", filters)]))
    b'one after another'
    """
    index = _index(blocks)
    backward = (len(index) // 4 - 1).to_bytes(4, "little") + _FLAGS
    return b"".join(
        (
            *(_MAGIC, _FLAGS, _crc32(_FLAGS)),
            *(block.data for block in blocks),
            *(index, _crc32(backward), backward, _FOOTER_MAGIC),
        )
    )


def is_of_blocks(data: bytes) -> bool:
    """Whether bytes begin as the files of `join_blocks` do; the stock tool's have another kind of checksum."""
    return data.startswith(_MAGIC + _FLAGS)


def split_blocks(data: bytes, *, where: str = "") -> list[Block]:
    """The blocks of an .xz file that `join_blocks` made.

    Raises:
        RepositoryError: it is not such a file; the blocks' content is not looked at.
    """
    footer = data[-_EDGE_BYTES:]
    if len(data) < 2 * _EDGE_BYTES or not is_of_blocks(data) or footer[8:] != _FLAGS + _FOOTER_MAGIC:
        raise RepositoryError("is no .xz file of blocks with CRC32", path=where)
    end = len(data) - _EDGE_BYTES
    start = end - 4 * (1 + int.from_bytes(footer[4:8], "little"))
    if start < _EDGE_BYTES:
        raise RepositoryError("has an index that begins before the file", path=where)
    blocks, at = [], _EDGE_BYTES
    for unpadded_bytes, content_bytes in _read_index(data[start:end], where):
        padded_bytes = unpadded_bytes + -unpadded_bytes % 4
        blocks.append(Block(data[at : at + padded_bytes], unpadded_bytes, content_bytes))
        at += padded_bytes
    # What is not told apart by the index here would be told apart wrongly: the sizes must meet at the index.
    if at != start or _index(blocks) != data[start:end]:
        raise RepositoryError("has an index that does not fit its blocks", path=where)
    return blocks


def _index(blocks: Sequence[Block]) -> bytes:
    numbers = (len(blocks), *chain.from_iterable((block.unpadded_bytes, block.content_bytes) for block in blocks))
    index = _pad(b"\0" + b"".join(map(write_number, numbers)))
    return index + _crc32(index)


def _read_index(index: bytes, where: str) -> list[tuple[int, int]]:
    numbers, at = [], 1
    count, at = read_number(index, at, where)
    if count > len(index):
        raise RepositoryError("has an index that does not fit its blocks", path=where)
    for _ in range(2 * count):
        number, at = read_number(index, at, where)
        numbers.append(number)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _block_header(dictionary_bytes: int) -> bytes:
    # Of two sizes for each power of two, the least that is enough.
    code = next(code for code in range(41) if (2 | code & 1) << (code // 2 + 11) >= dictionary_bytes)
    header = bytes([2, 0, _LZMA2, 1, code, 0, 0, 0])
    return header + _crc32(header)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")
