"""Sizes of full pulls, remembered: each pair is measured once, and the file may be lost or damaged at any time."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.history.pull_sizes import recall_pull_bytes

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
SIZES = {(A, B): 10, ("", B): 20, (B, C): 2**40}


class Gauge:
    """Measures, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, base: str, target: str) -> int:
        """See `Measure`."""
        self.asked.append((base, target))
        return SIZES[base, target]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "objects").mkdir()
    return tmp_path


def recall(folder: Path, gauge: Gauge, pairs: list[tuple[str, str]], **options: int) -> dict[tuple[str, str], int]:
    return recall_pull_bytes(folder / "pulls.sqlite", folder / "objects", pairs, gauge, **options)


def test_each_pair_is_measured_once(folder: Path) -> None:
    gauge = Gauge()
    assert recall(folder, gauge, [(A, B), ("", B)]) == {(A, B): 10, ("", B): 20}
    assert recall(folder, gauge, list(SIZES)) == SIZES
    assert gauge.asked == [(A, B), ("", B), (B, C)]


def test_the_order_is_that_of_the_pairs(folder: Path) -> None:
    recall(folder, Gauge(), [(B, C)])
    assert list(recall(folder, Gauge(), [("", B), (B, C), (A, B)])) == [("", B), (B, C), (A, B)]


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_file_is_begun_anew(folder: Path, damage: bytes) -> None:
    recall(folder, Gauge(), list(SIZES))
    (folder / "pulls.sqlite").write_bytes(damage)
    gauge = Gauge()
    assert recall(folder, gauge, list(SIZES)) == SIZES
    assert len(gauge.asked) == len(SIZES)


def test_a_deleted_file_costs_measuring_only(folder: Path) -> None:
    recall(folder, Gauge(), list(SIZES))
    (folder / "pulls.sqlite").unlink()
    assert recall(folder, Gauge(), list(SIZES)) == SIZES


def test_a_repository_that_was_made_anew_is_measured_anew(folder: Path) -> None:
    recall(folder, Gauge(), list(SIZES))
    (folder / "objects").rename(folder / "old")  # else the system may give the new folder the old one's number
    (folder / "objects").mkdir()
    gauge = Gauge()
    recall(folder, gauge, [(A, B)])
    assert gauge.asked == [(A, B)]


def test_it_stays_small(folder: Path) -> None:
    recall(folder, Gauge(), [(A, B), ("", B)], most_pairs=2)
    assert recall(folder, Gauge(), [(B, C)], most_pairs=2) == {(B, C): 2**40}
    gauge = Gauge()
    recall(folder, gauge, [(B, C), (A, B)], most_pairs=2)
    assert gauge.asked == [(A, B)]
