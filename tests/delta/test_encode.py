"""Encoding: never larger than the whole, the same every time, within its budget; parts that a decoder reads."""

from __future__ import annotations

import hashlib
import lzma
import random
from dataclasses import replace

import pytest

from planner.delta.blocks import Block, pack_block
from planner.delta.copies import read_copies
from planner.delta.difference_pool import DifferencePool, pack
from planner.delta.encode import (
    SOURCE_BYTES,
    Choice,
    Effort,
    StreamKind,
    allow_sources,
    choose_sources,
    packing_order,
    part_filters,
    project_diff_core_s,
)
from planner.delta.pairing import Pairing, Reason, Source
from planner.delta.parts import PAYLOAD_TYPE, Part, write_part
from planner.history.gvariant import parse
from tests.delta.contents import adversarial_pairs, draw_binary, draw_pair, draw_text, edit
from tests.delta.test_bsdiff import patch
from tests.delta.test_copies import run_copies

Pair = tuple[list[bytes], bytes]


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pairing(olds: list[bytes], new: bytes, path: str = "/file") -> Pairing:
    sources = tuple(Source(checksum=checksum(old), size_bytes=len(old), reason=Reason.PATH) for old in olds)
    return Pairing(checksum=checksum(new), path=path, size_bytes=len(new), sources=sources)


def choose(pairs: list[Pair], budget_core_s: float | None = None, pool: DifferencePool | None = None) -> list[Choice]:
    contents = {checksum(data): data for olds, new in pairs for data in [*olds, new]}
    pairings = [pairing(olds, new, f"/{k}") for k, (olds, new) in enumerate(pairs)]
    chosen = choose_sources(pairings, contents.__getitem__, pool or DifferencePool(), budget_core_s=budget_core_s)
    # What a choice took to make is no part of it.
    return [replace(choice, core_s=0.0) for choice in chosen]


def draw_pairs(seed: int, count: int) -> list[Pair]:
    rng = random.Random(seed)
    drawn = [draw_pair(rng, 2000) for _ in range(count)]
    return [([old, rng.randbytes(30), edit(rng, old)][: rng.randrange(4)], new) for old, new in drawn]


@pytest.mark.parametrize("seed", range(6))
def test_every_stream_makes_its_object_and_is_no_larger_than_the_whole(seed: int) -> None:
    pairs = draw_pairs(seed, 120) + [([old], new) for _, old, new in adversarial_pairs()]
    pool = DifferencePool()
    for (olds, new), item in zip(pairs, choose(pairs, pool=pool), strict=True):
        assert item.estimated_bytes <= len(pack(new))
        if item.source is None:
            assert item.payload_bytes == len(new)
            continue
        old = next(old for old in olds if checksum(old) == item.source)
        stream = pool.read_stream(item.source, item.checksum)
        if item.kind is StreamKind.COPIES:
            copies = read_copies(stream)
            assert run_copies(copies, old) == new
            assert item.payload_bytes == len(copies.literals)
        else:
            assert patch(old, stream) == new
            assert item.payload_bytes == len(stream)
            assert item.estimated_bytes == len(pack(stream)) + SOURCE_BYTES
            assert len(lzma.compress(stream)) < len(lzma.compress(new)) + 64


def test_choosing_again_gives_the_same_with_and_without_a_pool() -> None:
    pool = DifferencePool()
    one, two, three = (choose(draw_pairs(7, 60), pool=use) for use in (pool, pool, None))
    assert one == two == three


def test_what_the_pool_has_is_not_read_again() -> None:
    rng = random.Random(11)
    old = draw_binary(rng, 30_000)
    pairs: list[Pair] = [([old], edit(rng, old))]
    pool = DifferencePool()
    first = choose(pairs, pool=pool)

    def refuse(_: str) -> bytes:
        raise AssertionError

    again = choose_sources([pairing(olds, new, "/0") for olds, new in pairs], refuse, pool)
    assert [replace(choice, core_s=0.0) for choice in again] == first


def test_the_best_of_several_sources_is_taken() -> None:
    rng = random.Random(1)
    new = draw_binary(rng, 30_000)
    far = rng.randbytes(20_000) + new[:6000]
    near = edit(rng, new)
    assert choose([([far, near], new)])[0].source == checksum(near)


def test_a_source_that_does_not_help_is_not_used() -> None:
    rng = random.Random(2)
    item = choose([([rng.randbytes(5000), draw_text(rng, 300)], rng.randbytes(5000))])[0]
    assert item.source is None
    assert item.kind is StreamKind.WHOLE_BINARY


def test_packed_content_that_shares_pieces_still_gets_a_difference() -> None:
    rng = random.Random(3)
    old = rng.randbytes(60_000)
    item = choose([([old], old[:30_000] + rng.randbytes(100) + old[30_000:])])[0]
    assert item.source == checksum(old)


def test_without_budget_everything_goes_whole() -> None:
    assert all(item.source is None for item in choose(draw_pairs(4, 50), budget_core_s=0.0))


def test_projected_seconds_stay_in_the_budget_and_grow_with_it() -> None:
    pairings = [pairing(olds, new, f"/{k}") for k, (olds, new) in enumerate(draw_pairs(5, 80))]
    whole_s = sum(project_diff_core_s(s.size_bytes, p.size_bytes) for p in pairings for s in p.sources)
    for fraction in (0.0, 0.1, 0.5, 0.9, 1.1):
        allowed = allow_sources(pairings, fraction * whole_s)
        spent_s = sum(
            project_diff_core_s(source.size_bytes, p.size_bytes)
            for p in pairings
            for source in p.sources[: allowed[p.checksum]]
        )
        assert spent_s <= fraction * whole_s + 1e-12
    assert allow_sources(pairings, 2 * whole_s) == allow_sources(pairings, None)


def test_first_sources_come_before_second_ones() -> None:
    rng = random.Random(6)
    pairings = [pairing([rng.randbytes(1000), rng.randbytes(1000)], rng.randbytes(1000), f"/{k}") for k in range(4)]
    allowed = allow_sources(pairings, 5.5 * project_diff_core_s(1000, 1000))
    assert sorted(allowed.values()) == [1, 1, 1, 2]


def test_order_is_the_same_for_every_input_order_and_keeps_kinds_together() -> None:
    items = choose(draw_pairs(8, 60))
    shuffled = random.Random(9).sample(items, len(items))
    assert sorted(items, key=packing_order) == sorted(shuffled, key=packing_order)
    kinds = [item.kind for item in sorted(items, key=packing_order)]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("effort", list(Effort))
@pytest.mark.parametrize("length_bytes", [0, 1, 5, 70_000, 300_000])
def test_a_compressed_payload_is_an_xz_stream(effort: Effort, length_bytes: int) -> None:
    payload = draw_binary(random.Random(1), length_bytes)
    part = Part(modes=(), xattrs=(), payload=payload, operations=b"")

    def pack_piece(content: bytes | memoryview) -> Block:
        return pack_block(content, part_filters(len(content), effort))

    compressed = write_part(part, pack_piece)
    inside = lzma.decompress(compressed[1:], format=lzma.FORMAT_XZ)
    assert parse(PAYLOAD_TYPE, inside) == ([], [], payload, b"")
    assert compressed == write_part(part, pack_piece)


def test_a_decoder_never_needs_more_than_8_mib() -> None:
    assert part_filters(10**10)[0]["dict_size"] == 1 << 23
    assert part_filters(100)[0]["dict_size"] == 1 << 16
