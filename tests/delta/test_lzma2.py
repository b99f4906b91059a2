"""LZMA2 streams: liblzma reads them, and the plain and the compiled loops make the same ones."""

from __future__ import annotations

import lzma
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.compiled import compiled
from planner.delta import lzma2, lzma_match_kernels, lzma_stream_kernels

DICTIONARY_BYTES = 1 << 22


@pytest.fixture(scope="module", autouse=True)
def _compile() -> None:
    """Large streams take minutes in plain Python."""
    compiled(lzma_match_kernels)
    compiled(lzma_stream_kernels)


def unpack(packed: bytes, dictionary_bytes: int = DICTIONARY_BYTES) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": dictionary_bytes}]
    return lzma.decompress(packed, lzma.FORMAT_RAW, filters=filters)


def pack(data: bytes, dictionary_bytes: int = DICTIONARY_BYTES, **effort: int) -> bytes:
    packed = lzma2.encode(data, dictionary_bytes=dictionary_bytes, **effort)
    assert unpack(packed, dictionary_bytes) == data
    return packed


def pack_stock(data: bytes) -> bytes:
    preset = 9 | lzma.PRESET_EXTREME
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "pb": 0, "dict_size": DICTIONARY_BYTES}]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def draw_islands(rng: random.Random, size_bytes: int, mean_gap: float) -> bytes:
    """As the differences of a recompiled library: few values, and stretches that come again with a change or two."""
    data = bytearray()
    values = [bytes([rng.choice((16, 32, 48, 64, 240, rng.randrange(1, 256)))]) for _ in range(24)]
    values += [rng.randbytes(2) for _ in range(6)]
    while len(data) < size_bytes:
        if len(data) > 1000 and rng.random() < 0.1:
            start = rng.randrange(len(data) - 500)
            data += data[start : start + rng.randrange(20, 500)]
        data += bytes(int(rng.expovariate(1 / mean_gap))) + rng.choice(values)
    return bytes(data[:size_bytes])


def draw_text(rng: random.Random, size_bytes: int) -> bytes:
    words = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(500)]
    text = bytearray()
    while len(text) < size_bytes:
        text += rng.choice(words) + b" "
    return bytes(text[:size_bytes])


@pytest.mark.parametrize("data", [b"", b"a", b"\0", b"ab", b"\0a", b"a\0", bytes(4), b"aaaa", bytes(273), bytes(274)])
def test_the_shortest_streams_are_read(data: bytes) -> None:
    assert len(pack(data)) <= len(data) + 4


# Pieces that meet at runs of all lengths about those that the format and the encoder treat apart.
_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([1, 2, 3, 16, 17, 18, 272, 273, 274, 546, 600]).map(bytes),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 90)).map(lambda piece: piece[0] * piece[1]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=40), st.lists(st.integers(0, 39), max_size=20), st.integers(0, 4))
def test_liblzma_reads_any_stream(pieces: list[bytes], again: list[int], lc: int) -> None:
    again = [place for place in again if place < len(pieces)]
    pack(b"".join(pieces + [pieces[place] for place in again]), dictionary_bytes=4096, lc=lc)


@pytest.mark.parametrize("mean_gap", [1.0, 8.0, 60.0, 300.0])
def test_liblzma_reads_islands(mean_gap: float) -> None:
    pack(draw_islands(random.Random(int(mean_gap)), 600_000, mean_gap))


@pytest.mark.parametrize("size_bytes", [(1 << 21) - 1, 1 << 21, (1 << 21) + 1, 5_000_000])
def test_a_chunk_holds_two_mebibytes_at_most(size_bytes: int) -> None:
    assert len(pack(bytes(size_bytes))) < 3000
    pack(b"x" + bytes(size_bytes) + b"y")


def test_what_does_not_shrink_is_kept_as_it_is() -> None:
    rng = random.Random(1)
    noise = rng.randbytes(300_000)
    assert len(pack(noise)) <= len(noise) + 3 * (len(noise) // 60_000 + 1) + 1
    # Plain chunks first, between and last: the state of packed ones ends at each.
    islands = draw_islands(rng, 200_000, 60)
    pack(noise[:90_000] + islands + noise[90_000:200_000] + islands + draw_text(rng, 80_000) + noise[200_000:])


@pytest.mark.parametrize("dictionary_bytes", [4096, 1 << 16])
def test_no_match_is_from_before_the_dictionary(dictionary_bytes: int) -> None:
    rng = random.Random(2)
    islands = draw_islands(rng, 150_000, 40)
    data = islands + draw_text(rng, 100_000) + islands + rng.randbytes(70_000) + islands
    pack(data, dictionary_bytes=dictionary_bytes)


@pytest.mark.parametrize("period", [1, 2, 7, 8, 272, 273, 274, 3000, 100_000])
def test_periodic_content_takes_little(period: int) -> None:
    rng = random.Random(period)
    once = bytes(rng.choice((0, 0, 0, rng.randrange(256))) for _ in range(period))
    assert len(pack((once * (900_000 // period + 1))[:900_000])) < 600 + 1.1 * len(pack(once))


@pytest.mark.parametrize("mean_gap", [60.0, 150.0, 400.0])
def test_sparse_streams_are_as_small_as_liblzma_makes_them(mean_gap: float) -> None:
    data = draw_islands(random.Random(3), 1_500_000, mean_gap)
    assert lzma2.is_sparse(data)
    assert len(pack(data)) <= 1.01 * len(pack_stock(data))


def test_less_effort_is_read_too() -> None:
    data = draw_islands(random.Random(4), 300_000, 50)
    assert len(pack(data)) <= len(pack(data, depth=1, tries=0))


def test_the_same_data_gives_the_same_bytes() -> None:
    data = draw_islands(random.Random(5), 300_000, 50)
    assert pack(data) == pack(data) == pack(bytes(bytearray(data)))


def test_plain_and_compiled_loops_make_the_same_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(6)
    streams = [
        draw_islands(rng, 9000, 20),
        draw_text(rng, 2000) + bytes(700) + rng.randbytes(500),
        bytes(100_000),
        # Past a chunk of packed bytes.
        rng.randbytes(3000) + draw_islands(rng, 3000, 2),
    ]
    fast = [pack(data) for data in streams]
    monkeypatch.setattr(lzma2, "kernels", lambda module, steps: SimpleNamespace(**vars(module)))
    with np.errstate(all="raise"):
        assert [pack(data) for data in streams] == fast


def test_only_what_is_mostly_zeros_is_sparse() -> None:
    assert lzma2.is_sparse(b"")
    assert lzma2.is_sparse(bytes(1000) + b"island")
    assert not lzma2.is_sparse(draw_text(random.Random(7), 1000))
