"""Encoding: never larger than the whole, the same every time, within its budget; parts that a decoder reads."""

from __future__ import annotations

import hashlib
import lzma
import random

import pytest

from planner.delta.encode import (
    SOURCE_BYTES,
    Effort,
    EncodedObject,
    StreamKind,
    allow_sources,
    encode_objects,
    estimate_bytes,
    order_objects,
    part_filters,
    project_diff_core_s,
)
from planner.delta.pairing import Pairing, Reason, Source
from planner.delta.parts import PAYLOAD_TYPE, Part, write_part
from planner.history.gvariant import parse
from tests.delta.contents import adversarial_pairs, draw_binary, draw_pair, draw_text, edit
from tests.delta.test_bsdiff import patch

Pair = tuple[list[bytes], bytes]


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pairing(olds: list[bytes], new: bytes, path: str = "/file") -> Pairing:
    sources = tuple(Source(checksum=checksum(old), size_bytes=len(old), reason=Reason.PATH) for old in olds)
    return Pairing(checksum=checksum(new), path=path, size_bytes=len(new), sources=sources)


def encode(pairs: list[Pair], budget_core_s: float | None = None) -> list[EncodedObject]:
    contents = {checksum(data): data for olds, new in pairs for data in [*olds, new]}
    read = contents.__getitem__
    pairings = [pairing(olds, new, f"/{k}") for k, (olds, new) in enumerate(pairs)]
    return list(encode_objects(pairings, read, read, budget_core_s=budget_core_s))


def draw_pairs(seed: int, count: int) -> list[Pair]:
    rng = random.Random(seed)
    drawn = [draw_pair(rng, 2000) for _ in range(count)]
    return [([old, rng.randbytes(30), edit(rng, old)][: rng.randrange(4)], new) for old, new in drawn]


@pytest.mark.parametrize("seed", range(6))
def test_every_stream_makes_its_object_and_is_no_larger_than_the_whole(seed: int) -> None:
    pairs = draw_pairs(seed, 120) + [([old], new) for _, old, new in adversarial_pairs()]
    for (olds, new), item in zip(pairs, encode(pairs), strict=True):
        assert item.estimated_bytes <= estimate_bytes(new)
        if item.source is None:
            assert item.stream == new
        else:
            old = next(old for old in olds if checksum(old) == item.source)
            assert patch(old, item.stream) == new
            assert item.estimated_bytes == estimate_bytes(item.stream) + SOURCE_BYTES
            assert len(lzma.compress(item.stream)) < len(lzma.compress(new)) + 64


def test_encoding_again_gives_the_same() -> None:
    assert encode(draw_pairs(7, 60)) == encode(draw_pairs(7, 60))


def test_the_best_of_several_sources_is_taken() -> None:
    rng = random.Random(1)
    new = draw_binary(rng, 30_000)
    far = rng.randbytes(20_000) + new[:6000]
    near = edit(rng, new)
    assert encode([([far, near], new)])[0].source == checksum(near)


def test_a_source_that_does_not_help_is_not_used() -> None:
    rng = random.Random(2)
    item = encode([([rng.randbytes(5000), draw_text(rng, 300)], rng.randbytes(5000))])[0]
    assert item.source is None
    assert item.kind is StreamKind.WHOLE_BINARY


def test_packed_content_that_shares_pieces_still_gets_a_difference() -> None:
    rng = random.Random(3)
    old = rng.randbytes(60_000)
    item = encode([([old], old[:30_000] + rng.randbytes(100) + old[30_000:])])[0]
    assert item.source == checksum(old)


def test_without_budget_everything_goes_whole() -> None:
    assert all(item.source is None for item in encode(draw_pairs(4, 50), budget_core_s=0.0))


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
    items = encode(draw_pairs(8, 60))
    shuffled = random.Random(9).sample(items, len(items))
    assert order_objects(items) == order_objects(shuffled)
    kinds = [item.kind for item in order_objects(items)]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("effort", list(Effort))
@pytest.mark.parametrize("length_bytes", [0, 1, 5, 70_000])
def test_a_compressed_payload_is_an_xz_stream(effort: Effort, length_bytes: int) -> None:
    payload = draw_binary(random.Random(1), length_bytes)
    part = Part(modes=(), xattrs=(), payload=payload, operations=b"")
    compressed = write_part(part, part_filters(len(payload), effort))
    inside = lzma.decompress(compressed[1:], format=lzma.FORMAT_XZ)
    assert parse(PAYLOAD_TYPE, inside) == ([], [], payload, b"")
    assert compressed == write_part(part, part_filters(len(payload), effort))


def test_a_decoder_never_needs_more_than_64_mib() -> None:
    assert part_filters(10**10)[0]["dict_size"] == 1 << 26
    assert part_filters(100)[0]["dict_size"] == 1 << 16
