"""The catalogue: what is written stays written, and only a catalogue is opened."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import BusyError, InputError, SpaceError
from planner.history import databases
from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus
from planner.weigh.catalogue import Artifact, Catalogue

FIRST = Candidate(base="", target="b" * 64, codec="x")
SECOND = Candidate(base="a" * 64, target="b" * 64, codec="x")
WEIGHT = Weight(
    wire_bytes=10,
    stored_bytes=12,
    server_cpu_s=0.25,
    client_cpu_s=0.125,
    peak_memory_bytes=2**40,
    status=WeightStatus.MEASURED,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.sqlite"


def test_rows_survive_reopening(path: Path) -> None:
    """Weights, artifacts and failures, to the last field, in a fresh connection."""
    artifact = Artifact(candidate=SECOND, digest="d" * 64, wire_bytes=10)
    with Catalogue(path) as catalogue:
        catalogue.record_weight(SECOND, WEIGHT)
        catalogue.record_weight(FIRST, WEIGHT)
        catalogue.record_artifact(artifact)
        catalogue.record_failure(FIRST, "too large")
    with Catalogue(path) as catalogue:
        assert catalogue.weights() == {FIRST: WEIGHT, SECOND: WEIGHT}
        assert list(catalogue.weights()) == [FIRST, SECOND]
        assert catalogue.artifacts() == {SECOND: artifact}
        assert catalogue.failures() == {FIRST: "too large"}


def test_needs_are_kept_and_replaced(path: Path) -> None:
    needs = (
        Need(key="file:1", stored_bytes=7, server_cpu_s=0.0),
        Need(key="making:1", stored_bytes=0, server_cpu_s=2.5),
    )
    with Catalogue(path) as catalogue:
        catalogue.record_needs(FIRST, needs[::-1])
        catalogue.record_needs(SECOND, needs)
        catalogue.record_needs(SECOND, needs[:1])
    with Catalogue(path) as catalogue:
        assert catalogue.needs() == {FIRST: needs, SECOND: needs[:1]}


def test_a_catalogue_of_the_version_before_is_taken_over(path: Path) -> None:
    with Catalogue(path) as catalogue:
        catalogue.record_weight(FIRST, WEIGHT)
    older = sqlite3.connect(path)
    older.executescript("DROP TABLE needs; PRAGMA user_version = 1;")
    older.close()
    with Catalogue(path) as catalogue:
        assert catalogue.needs() == {}
        assert catalogue.weights() == {FIRST: WEIGHT}


def test_measured_and_projected_weights_stand_side_by_side(path: Path) -> None:
    """Neither replaces the other; a later one of the same status does."""
    projected = replace(WEIGHT, wire_bytes=99, status=WeightStatus.PROJECTED)
    newer = replace(WEIGHT, wire_bytes=11)
    with Catalogue(path) as catalogue:
        for weight in (WEIGHT, projected, newer):
            catalogue.record_weight(FIRST, weight)
        assert catalogue.weights() == {FIRST: newer}
        assert catalogue.weights(WeightStatus.PROJECTED) == {FIRST: projected}


def test_codec_of_another_name_is_another_candidate(path: Path) -> None:
    """A codec whose output changes gets a new name: it has no weight yet, and the old one keeps its own."""
    with Catalogue(path) as catalogue:
        catalogue.record_weight(FIRST, WEIGHT)
        assert replace(FIRST, codec="x2") not in catalogue.weights()


def test_two_connections_see_each_others_rows(path: Path) -> None:
    """Each row is committed when it is written."""
    with Catalogue(path) as one, Catalogue(path) as other:
        one.record_weight(FIRST, WEIGHT)
        assert other.weights() == {FIRST: WEIGHT}
        other.record_failure(SECOND, "no")
        assert one.failures() == {SECOND: "no"}


def test_weights_that_were_read_before_are_read_anew_once_any_is_written(path: Path) -> None:
    other = replace(WEIGHT, wire_bytes=7)
    with Catalogue(path) as first, Catalogue(path) as second:
        first.record_weight(FIRST, WEIGHT)
        first.weights().clear()
        assert first.weights() == {FIRST: WEIGHT}
        first.record_weights({FIRST: other})
        assert first.weights() == {FIRST: other}
        second.record_weight(FIRST, WEIGHT)
        assert first.weights() == {FIRST: WEIGHT}


def test_of_several_weights_all_are_kept_or_none(path: Path) -> None:
    damaged = replace(WEIGHT, wire_bytes=None)
    with Catalogue(path) as catalogue:
        with pytest.raises(sqlite3.IntegrityError):
            catalogue.record_weights({FIRST: WEIGHT, replace(FIRST, codec="other"): damaged})
        assert catalogue.weights() == {}


def test_locked_catalogue_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that writes for longer than anybody waits is named as such, not as a full disk."""
    monkeypatch.setattr(databases, "LOCK_TIMEOUT_S", 0.01)
    with Catalogue(path) as catalogue:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="locked by another run"):
            catalogue.record_weight(FIRST, WEIGHT)
        other.execute("ROLLBACK")
        other.close()
        catalogue.record_weight(FIRST, WEIGHT)
        assert catalogue.weights() == {FIRST: WEIGHT}


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look", b"SQLite format 3\0" + b"x" * 84]
)
def test_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    """And left as it was."""
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"catalogue\.sqlite: is not a catalogue"):
        Catalogue(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", [0, 1, 7])
def test_database_of_something_else_is_refused(path: Path, version: int) -> None:
    """Whatever its version number says, and without putting tables into it."""
    foreign = sqlite3.connect(path)
    foreign.executescript(f"CREATE TABLE photos (name TEXT); PRAGMA user_version = {version};")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="is not a catalogue: reason='it is a database of something else'"):
        Catalogue(path)
    assert path.read_bytes() == before


def test_catalogue_of_another_version_is_refused(path: Path) -> None:
    """With both versions, so that a person knows which program to use."""
    Catalogue(path).close()
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 3")
    later.close()
    with pytest.raises(InputError, match="is a catalogue of another version: got=3, known=2"):
        Catalogue(path)


def test_place_that_cannot_hold_a_file_is_an_input_error(tmp_path: Path) -> None:
    """A folder that is not there, or a folder instead of a file."""
    for place in (tmp_path / "nowhere" / "catalogue.sqlite", tmp_path):
        with pytest.raises(InputError, match=r"cannot be opened: reason='unable to open"):
            Catalogue(place)


def test_empty_file_becomes_a_catalogue(path: Path) -> None:
    """What a run leaves behind that was killed while creating it."""
    path.touch()
    with Catalogue(path) as catalogue:
        assert catalogue.weights() == {}


def test_full_disk_is_a_space_error_and_keeps_what_was_written(path: Path) -> None:
    """The row that does not fit is absent as a whole; earlier rows are there after reopening."""
    with Catalogue(path) as catalogue:
        catalogue.record_weight(FIRST, WEIGHT)
        pages = catalogue._connection.execute("PRAGMA page_count").fetchone()[0]
        catalogue._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SpaceError, match=r"the catalogue cannot be written: reason='database or disk is full'"):
            catalogue.record_failure(SECOND, "x" * 100_000)
        assert catalogue.failures() == {}
    with Catalogue(path) as catalogue:
        assert (catalogue.weights(), catalogue.failures()) == ({FIRST: WEIGHT}, {})


_WRITE_THEN_DIE = """
import os, signal, sys
from pathlib import Path
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Catalogue
catalogue = Catalogue(Path(sys.argv[1]))
for number in range(5):
    catalogue.record_failure(Candidate(base="", target=str(number), codec="x"), "no")
catalogue._connection.execute("BEGIN IMMEDIATE")
catalogue.record_failure(Candidate(base="", target="half", codec="x"), "no")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_run_keeps_its_rows(path: Path) -> None:
    """Five rows written, a sixth never committed, then SIGKILL: five rows, and the file is in order."""
    home = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_THEN_DIE, str(path)], env={**os.environ, "PYTHONPATH": str(home)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    with Catalogue(path) as catalogue:
        assert sorted(candidate.target for candidate in catalogue.failures()) == ["0", "1", "2", "3", "4"]
        assert catalogue._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


_OPEN = """
import sys
from pathlib import Path
from planner.weigh.catalogue import Catalogue
Catalogue(Path(sys.argv[1]))
"""


def test_two_processes_may_create_it_at_once(path: Path) -> None:
    """Whoever comes second finds the tables; nobody fails."""
    home = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _OPEN, str(path)]
    started = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(home)}) for _ in range(4)]
    assert [one.wait() for one in started] == [0] * 4
    with Catalogue(path) as catalogue:
        assert catalogue.weights() == {}
