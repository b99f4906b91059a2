"""Signatures: the same from plain and compiled loops, and what is lacked is what was changed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from planner.compiled import compiled
from planner.project import signature_kernels
from planner.project.signature import compare, sign
from tests.delta.contents import draw_binary, draw_text


def contents(kind: str) -> bytes:
    rng = random.Random(kind)
    return {
        "text": draw_text(rng, 3000),
        "binary": draw_binary(rng, 30_000),
        "random": rng.randbytes(20_000),
        "zeros": bytes(20_000),
        "empty": b"",
        "short": b"abc",
        "one line": b"x" * 3000,
    }[kind]


KINDS = ["text", "binary", "random", "zeros", "empty", "short", "one line"]


@pytest.mark.parametrize("kind", KINDS)
def test_plain_and_compiled_loops_sign_the_same(kind: str) -> None:
    data = np.frombuffer(contents(kind), np.uint8)
    made = []
    for run in (signature_kernels, compiled(signature_kernels)):
        prints, starts, novelties = (
            np.zeros(len(data), np.uint32),
            np.zeros(len(data), np.uint32),
            np.zeros(len(data), np.uint8),
        )
        count = run.cut_text(data, prints, starts, novelties, np.zeros(1 << 16, np.uint8))
        marks, places = np.zeros(len(data), np.uint32), np.zeros(len(data), np.uint32)
        marked = run.mark_binary(data, marks, places)
        table = np.zeros(1 << max(4, (2 * count).bit_length()), np.int32)
        run.fill_table(prints[:count], table, len(table).bit_length() - 1)
        matched = np.zeros(marked, np.int32)
        run.match_pieces(prints[:count], table, len(table).bit_length() - 1, marks[:marked], matched)
        made.append((count, marked, *map(bytes, (prints, starts, novelties, marks, places, table, matched))))
        made[-1] += (run.count_lacked(matched, novelties[:0]),)
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_content_lacks_nothing_of_itself_and_all_of_what_is_empty(kind: str) -> None:
    one = sign(contents(kind))
    assert compare(one, one).pieces == compare(one, one).runs == compare(one, one).novel_bytes == 0
    lack = compare(sign(b"\0" if not one.is_text else b""), one)
    assert lack.pieces == len(one.prints)
    assert lack.novel_bytes == one.novel_bytes


def test_pieces_of_text_cover_it_and_are_short() -> None:
    text = contents("text")
    signature = sign(text)
    lengths = np.diff(np.append(signature.starts.astype(np.int64), len(text)))
    assert lengths.sum() == len(text)
    assert lengths.max() <= signature_kernels.MOST_PIECE_BYTES
    assert (lengths[:-1] >= signature_kernels.LEAST_PIECE_BYTES).all()
    assert (signature.novelties <= lengths).all()


def test_a_content_that_is_marked_everywhere_is_no_more_work() -> None:
    """Eight bytes that are marks, over and over: rows are bounded, and what is known stays right."""
    kernels = compiled(signature_kernels)
    data = np.frombuffer(contents("random"), np.uint8)
    prints, starts = np.zeros((2, 5), np.uint32)
    assert kernels.mark_binary(data, prints, starts) == 5


def test_a_very_long_text_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.project.signature.MOST_TEXT_BYTES", 1000)
    signature = sign(contents("text"))
    assert not signature.is_text
    assert len(signature.prints) < len(contents("text")) / 20


def test_marks_of_a_binary_move_with_its_bytes() -> None:
    data = contents("random")
    before, after = sign(b"\0" + data), sign(b"\0" + bytes(1000) + data)
    assert len(before.prints) > 200
    lack = compare(before, after)
    assert lack.pieces <= 3
    found = lack.matched >= 0
    shifts = after.starts[found].astype(np.int64) - before.starts[lack.matched[found]]
    assert np.median(shifts) == 1000


@pytest.mark.parametrize("changes", [1, 5, 30])
def test_more_changes_lack_more(changes: int) -> None:
    """A changed byte is in one piece; where its neighbours are cut may change too, until a cut is the same again."""
    old, few_pieces, more_pieces = sign(contents("text")), 0, 0
    for seed in range(100):
        rng = random.Random(seed)
        text = bytearray(contents("text"))
        for at in rng.sample(range(len(text)), changes):
            text[at] ^= 1
        few = compare(old, sign(bytes(text))).pieces
        for at in rng.sample(range(len(text)), 5 * changes):
            text[at] ^= 1
        more = compare(old, sign(bytes(text))).pieces
        assert 0 < few < more
        few_pieces, more_pieces = few_pieces + few, more_pieces + more
    assert few_pieces <= 100 * changes * 2
    assert more_pieces >= 3 * few_pieces
