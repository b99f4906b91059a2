"""Recipes: each delta gets each of its pieces once, and shared parts only where they save."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from planner.delta.recipes import Piece, Recipe, cut, share_pieces
from planner.history.records import ObjectKind, ObjectName


def piece(number: int, size_bytes: int = 1000, source: int | None = None) -> Piece:
    checksum = hashlib.sha256(str(number).encode()).hexdigest()
    start = None if source is None else hashlib.sha256(str(source).encode()).hexdigest()
    return Piece(ObjectName(ObjectKind.FILE, checksum), start, (number,), size_bytes, size_bytes // 2)


def draw_deltas(seed: int) -> list[list[Piece]]:
    rng = random.Random(seed)
    pieces = [piece(k, rng.randrange(1, 40_000), rng.choice([None, 1, 2])) for k in range(rng.randrange(1, 80))]
    return [[one for one in pieces if rng.random() < rng.random()] for _ in range(rng.randrange(1, 8))]


@pytest.mark.parametrize("seed", range(60))
def test_each_delta_gets_its_pieces_once_within_the_limit(seed: int) -> None:
    deltas, most = draw_deltas(seed), seed % 5
    parts = share_pieces(deltas, most_shared_parts=most, least_shared_bytes=seed * 300)
    for number, wanted in enumerate(deltas):
        got = Counter(one for group, pieces in parts.items() if number in group for one in pieces)
        assert got == Counter(wanted)
        assert sum(number in group and len(group) > 1 for group in parts) <= most


@pytest.mark.parametrize("seed", range(20))
def test_a_group_saves_what_it_must(seed: int) -> None:
    for group, pieces in share_pieces(draw_deltas(seed), least_shared_bytes=30_000).items():
        if len(group) > 1:
            assert (len(group) - 1) * sum(one.estimated_bytes for one in pieces) >= 30_000


def test_sharing_never_stores_more() -> None:
    for seed in range(40):
        deltas = draw_deltas(seed)
        stored_bytes = sum(one.estimated_bytes for pieces in share_pieces(deltas).values() for one in pieces)
        assert stored_bytes <= sum(one.estimated_bytes for wanted in deltas for one in wanted)


def test_the_same_object_from_another_source_is_another_piece() -> None:
    parts = share_pieces([[piece(1, 10**6, source=1)], [piece(1, 10**6, source=2)], [piece(1, 10**6)]])
    assert sorted(parts) == [(0,), (1,), (2,)]


def test_what_finds_no_part_of_its_group_uses_smaller_groups() -> None:
    big = [piece(k, 10**6) for k in range(3)]
    # With one shared part each, the pair's part takes what three have in common, and the third has its own copy.
    parts = share_pieces([[*big], [*big], [big[0]]], most_shared_parts=1)
    assert {group: len(pieces) for group, pieces in parts.items()} == {(0, 1): 3, (2,): 1}


def test_parts_are_cut_at_the_limit_and_larger_pieces_stand_alone() -> None:
    pieces = [piece(k, size) for k, size in enumerate((400, 400, 400, 5000, 10, 10))]
    assert [[one.payload_bytes for one in recipe.pieces] for recipe in cut(pieces, 1000)] == [
        [400, 400],
        [400],
        [5000],
        [10, 10],
    ]


def test_a_recipe_has_one_name_for_its_pieces_and_settings() -> None:
    one, two = Recipe((piece(1), piece(2))), Recipe((piece(2), piece(1)))
    assert one.digest("balanced") == Recipe((piece(1, 5), piece(2, 6))).digest("balanced")
    assert len({one.digest("balanced"), one.digest("quick"), two.digest("balanced"), one.digest()}) == 4
