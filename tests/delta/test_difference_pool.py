"""The pool of differences: kept, shared, bounded, and made anew when it is damaged or old."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from planner.delta.difference_pool import Difference, DifferencePool, Stream, Whole
from planner.errors import InputError, RepositoryError, SpaceError

STREAM = Difference(is_copies=False, payload_bytes=14_000, estimated_bytes=5000, core_s=1.5)
NOT_WORTH = Difference(is_copies=False, payload_bytes=0, estimated_bytes=None, core_s=0.5)


def name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_a_difference_is_kept_for_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "made" / "pool.sqlite"
    stream = random.Random(1).randbytes(5000) + bytes(9000)
    with DifferencePool(path) as one, DifferencePool(path) as other:
        assert other.find(name(1), name(2)) is None
        one.keep(name(1), name(2), Stream.of(stream), STREAM)
        found = other.find(name(1), name(2))
        assert found == STREAM
        assert other.find(name(2), name(1)) is None
    with DifferencePool(path) as later:
        assert later.read_stream(name(1), name(2)) == stream


def test_what_is_not_worth_having_is_remembered() -> None:
    with DifferencePool() as pool:
        pool.keep(name(1), name(2), None, NOT_WORTH)
        found = pool.find(name(1), name(2))
        assert found == NOT_WORTH
        with pytest.raises(RepositoryError, match="not in the pool"):
            pool.read_stream(name(1), name(2))


def test_contents_are_measured_once() -> None:
    asked = []

    def measure() -> Whole:
        asked.append(1)
        return Whole(123, is_text=True)

    def make() -> np.ndarray:
        asked.append(2)
        return np.arange(-1, 63, dtype=np.int64)

    with DifferencePool() as pool:
        assert [pool.whole(name(1), measure) for _ in range(3)] == [Whole(123, is_text=True)] * 3
        assert all((pool.sketch(name(1), make) == make()).all() for _ in range(3))
    assert asked == [1, 2, 2, 2, 2]


def test_trimming_drops_what_was_made_first() -> None:
    with DifferencePool() as pool:
        rng = random.Random(2)
        for number in range(20):
            pool.keep(name(number), name(100), Stream.of(rng.randbytes(10_000)), STREAM)
        assert pool.trim(10**9) == 0
        assert pool.trim(55_000) == 15
        assert [pool.find(name(number), name(100)) is not None for number in range(20)] == [False] * 15 + [True] * 5


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    path.write_bytes(b"no database" * 1000)
    with DifferencePool(path) as pool:
        pool.keep(name(1), name(2), Stream.of(b"stream"), STREAM)
        assert pool.read_stream(name(1), name(2)) == b"stream"


def test_a_damaged_stream_is_an_error_once_and_then_gone(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with DifferencePool(path) as pool:
        pool.keep(name(1), name(2), Stream.of(random.Random(3).randbytes(1000)), STREAM)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE differences SET packed = substr(packed, 1, 500)")
    database.close()
    with DifferencePool(path) as pool:
        with pytest.raises(RepositoryError, match="damaged"):
            pool.read_stream(name(1), name(2))
        assert pool.find(name(1), name(2)) is None


def test_another_version_of_the_engine_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with DifferencePool(path) as pool:
        pool.keep(name(1), name(2), Stream.of(b"stream"), STREAM)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 999")
    database.close()
    with DifferencePool(path) as pool:
        assert pool.find(name(1), name(2)) is None


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pool.sqlite").mkdir()
    with pytest.raises((InputError, SpaceError)):
        DifferencePool(tmp_path / "pool.sqlite")
