"""The journal: what a killed run was doing, which deltas wait, and what is on its way out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.night.clock import Clock, Moment, clock_shift_s, elapsed_s
from planner.night.gate import Gate
from planner.night.journal import Journal, RetirementState
from planner.weigh.candidates import Candidate

ONE = Candidate(base="a" * 64, target="b" * 64, codec="hdiffpatch")
TWO = Candidate(base="", target="b" * 64, codec="hdiffpatch")


def moment(wall_s: float = 1000.0, boot_s: float = 50.0, boot_id: str = "one") -> Moment:
    return Moment(wall_s=wall_s, boot_s=boot_s, boot_id=boot_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_a_run_that_did_not_end_is_known_by_the_next(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.dead_run() is None
        run = journal.begin_run("nightly", moment())
        journal.begin_step(run, moment(), "weigh")
        journal.begin_attempt(ONE, run)
        journal.begin_attempt(TWO, run)
        journal.end_attempt(TWO)
    with Journal(path) as journal:
        dead = journal.dead_run()
        assert dead is not None
        assert (dead.run, dead.last_step, dead.making, dead.began) == (run, "weigh", (ONE,), moment())
        second = journal.begin_run("nightly", moment())
        assert second == run + 1
        journal.end_run(second, "done")
        assert journal.dead_run() is None


def test_a_delta_that_failed_waits_for_more_and_more_nights(path: Path) -> None:
    """One night, two, four; the count is of nights, whatever the clock says."""
    with Journal(path) as journal:
        failed_in = []
        for _ in range(16):
            run = journal.begin_run("nightly", moment())
            if ONE not in journal.deferred(run):
                failed_in.append(run)
                journal.begin_attempt(ONE, run)
                journal.end_attempt(ONE, "its process was ended by signal 9")
            journal.end_run(run, "done")
        assert failed_in == [1, 3, 6, 11]
        (reason,) = journal.deferred(12).values()
        assert "signal 9" in reason


def test_a_delta_that_was_made_after_all_is_forgotten(path: Path) -> None:
    with Journal(path) as journal:
        run = journal.begin_run("nightly", moment())
        journal.begin_attempt(ONE, run)
        journal.end_attempt(ONE, "timed out")
        assert ONE in journal.deferred(run + 1)
        journal.begin_attempt(ONE, run)
        journal.end_attempt(ONE)
        assert journal.deferred(run + 1) == {}


def test_attempts_of_one_night_count_once(path: Path) -> None:
    with Journal(path) as journal:
        run = journal.begin_run("nightly", moment())
        for counts in (True, False, False):
            journal.begin_attempt(ONE, run)
            journal.end_attempt(ONE, "timed out", counts=counts)
        assert ONE in journal.deferred(run + 1)
        assert journal.deferred(run + 2) == {}


def test_a_delta_is_suspected_after_three_nights_that_were_killed_with_it(path: Path) -> None:
    """A kill speaks against nobody; three in a row with the same delta being made do."""
    with Journal(path) as journal:
        for killed in range(1, 5):
            run = journal.begin_run("nightly", moment())
            assert (ONE in journal.deferred(run)) == (killed == 4)
            journal.begin_attempt(ONE, run)


def test_what_was_ended_on_purpose_does_not_count(path: Path) -> None:
    with Journal(path) as journal:
        for _ in range(5):
            run = journal.begin_run("nightly", moment())
            journal.begin_attempt(ONE, run)
            journal.drop_attempts()
            journal.end_run(run, "failed: disk full")
        assert journal.deferred(run + 1) == {}


def test_retirement_is_kept_with_its_moment(path: Path) -> None:
    with Journal(path) as journal:
        journal.retire(ONE, RetirementState.RETIRED, 1, moment())
        journal.retire(TWO, RetirementState.RETIRED, 1, moment())
        journal.retire(TWO, RetirementState.UNLINKED, 2, moment(2000.0))
        journal.forget_retired(ONE)
    with Journal(path) as journal:
        (kept,) = journal.retired().values()
        assert (kept.candidate, kept.state, kept.run, kept.since.wall_s) == (TWO, "unlinked", 2, 2000.0)


@pytest.mark.parametrize("content", [b"no database at all, but text", b"\0" * 5000])
def test_a_file_that_is_no_journal_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a journal"):
        Journal(path)


@pytest.mark.parametrize(
    ("later", "passed_s", "shift_s"),
    [
        (moment(1600.0, 650.0), 600.0, 0.0),
        (moment(91_600.0, 650.0), 600.0, 90_000.0),
        (moment(100.0, 650.0), 600.0, -1500.0),
        (moment(5000.0, 100.0, "two"), 4000.0, 0.0),
        (moment(500.0, 700.0, "two"), 700.0, -1200.0),
    ],
)
def test_time_passes_as_it_does_although_the_clock_is_set(later: Moment, passed_s: float, shift_s: float) -> None:
    """Forward by a day, back by a quarter of an hour, over a boot, and back over a boot."""
    assert elapsed_s(moment(), later) == passed_s
    assert clock_shift_s(moment(), later) == shift_s


def test_the_gate_refuses_what_will_not_end_in_the_window(tmp_path: Path) -> None:
    """It learns from jobs how long a projected second takes, and keeps time for publishing."""
    now_s = 100.0
    gate = Gate(monotonic_s=lambda: now_s, ends_s=160.0, folder=tmp_path)
    assert gate.refuse(59.0, 0) == ""
    assert "would take" in gate.refuse(61.0, 0)
    gate.reserve_s = 10.0
    assert "would take" in gate.refuse(59.0, 0)
    for _ in range(3):
        gate.learn(1.0, 2.0)
    assert gate.refuse(24.0, 0) == ""
    assert "would take" in gate.refuse(26.0, 0)
    now_s = 161.0
    assert gate.refuse(0.0, 0) == "the window has ended"


def test_the_gate_keeps_the_disk_above_its_mark(tmp_path: Path) -> None:
    gate = Gate(monotonic_s=lambda: 0.0, folder=tmp_path, free_bytes=10**15)
    assert "free on the disk" in gate.refuse(0.0, 0)
    gate.free_bytes = gate.free - 10**9
    assert gate.refuse(0.0, 0) == ""
    assert "free on the disk" in gate.refuse(0.0, 10**10)


def test_the_machines_clocks_move_together() -> None:
    clock = Clock.of_system()
    first, second = clock.now(), clock.now()
    assert elapsed_s(first, second) < 60
    assert clock_shift_s(first, second) == 0
    assert second.iso.endswith("Z")


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    """It is named, as is a journal of a later version, and not a byte of it changes."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="is not a journal: reason='it is a database of something else'"):
        Journal(path)
    assert path.read_bytes() == before
    path.unlink()
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(InputError, match="is a journal of another version"):
        Journal(path)
