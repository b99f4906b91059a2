"""Blocks of .xz files: any decoder reads what is put together of them, and damage is seen."""

from __future__ import annotations

import lzma
import random

import pytest

from planner.delta.blocks import join_blocks, pack_block, split_blocks
from planner.delta.encode import part_filters
from planner.errors import RepositoryError
from tests.delta.contents import draw_text


def draw_pieces(seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.choice([rng.randbytes, lambda n: draw_text(rng, n)])(rng.randrange(70_000)) for _ in range(count)]


def pack_pieces(pieces: list[bytes]) -> bytes:
    return join_blocks([pack_block(piece, part_filters(len(piece))) for piece in pieces])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
def test_a_decoder_reads_the_blocks_in_order(count: int) -> None:
    pieces = draw_pieces(count, count)
    assert lzma.decompress(pack_pieces(pieces), format=lzma.FORMAT_XZ) == b"".join(pieces)


def test_blocks_of_several_files_make_a_new_one() -> None:
    one, two = draw_pieces(1, 3), draw_pieces(2, 4)
    blocks = [split_blocks(pack_pieces(pieces)) for pieces in (one, two)]
    mixed = [blocks[1][3], blocks[0][1], blocks[1][0]]
    assert lzma.decompress(join_blocks(mixed)) == two[3] + one[1] + two[0]
    assert [block.content_bytes for block in mixed] == [len(two[3]), len(one[1]), len(two[0])]


def test_what_the_usual_tool_packs_is_split_too() -> None:
    text = draw_text(random.Random(3), 5000)
    data = lzma.compress(text, check=lzma.CHECK_CRC32)
    assert join_blocks(split_blocks(data)) == data


def test_damage_is_an_error_or_an_equal_file() -> None:
    data = pack_pieces(draw_pieces(5, 3))
    rng = random.Random(6)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        # Around the edges, where the sizes are.
        at = rng.choice([rng.randrange(24), len(data) - 1 - rng.randrange(64)])
        damaged[at] ^= 1 << rng.randrange(8)
        end = rng.choice([len(data), rng.randrange(len(data))])
        try:
            found = split_blocks(bytes(damaged[:end]))
        except RepositoryError:
            refused += 1
        else:
            # Blocks' own headers and the footer's checksum are the decoder's to check.
            assert sum(len(block.data) for block in found) < len(data)
    assert refused > 250
