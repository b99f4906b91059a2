"""Bounds on what one task takes: it is ended with all its programs, and the others go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from planner.build.executors import LocalExecutor
from planner.build.pool import Pool
from planner.build.processes import Guards, Refused
from tests.build.worlds import list_paths, runs

# A process of ours that has loaded the package takes some 100 MB.
_MUCH_BYTES = 400_000_000
_HOLD = f"import time; data = bytearray({_MUCH_BYTES}); time.sleep(1000)"


@dataclass(frozen=True)
class Greedy:
    """Allocates and holds it, itself or by a program that its program starts."""

    notes: Path
    way: str

    def run(self, folder: Path) -> int:
        """Never ends by itself, but for `good`."""
        (folder / "half").touch()
        if self.way == "good":
            return 7
        if self.way == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.way == "own":
            held = bytearray(_MUCH_BYTES)
            held[::4096] = b"x" * len(held[::4096])
        if self.way == "grandchild":
            shell = subprocess.Popen(["sh", "-c", f'"{sys.executable}" -c "{_HOLD}" & echo $!; wait'], stdout=-1)
            assert shell.stdout is not None
            (self.notes / shell.stdout.readline().decode().strip()).touch()
        while True:
            time.sleep(0.1)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool.of_repository(tmp_path)


@pytest.mark.parametrize(
    ("way", "guards", "reason"),
    [
        ("own", Guards(most_memory_bytes=300_000_000), "it took more than 300 MB of memory"),
        ("grandchild", Guards(most_memory_bytes=300_000_000), "it took more than 300 MB of memory"),
        ("deaf", Guards(most_wall_s=1.0), "it ran longer than 1.0 s"),
        ("grandchild", Guards(most_memory_bytes=10**12, most_wall_s=1.0), "it ran longer than 1.0 s"),
    ],
)
def test_what_takes_too_much_is_ended_with_its_programs(
    tmp_path: Path, pool: Pool, way: str, guards: Guards, reason: str
) -> None:
    """It may be tried again, perhaps with other bounds; what runs beside it is none the worse."""
    notes = tmp_path / "notes"
    notes.mkdir()
    tasks = [Greedy(notes, way), Greedy(notes, "good")]
    outcomes = dict(LocalExecutor(2, guards).run(tasks, pool))
    assert outcomes == {0: Refused(reason=reason, is_final=False), 1: 7}
    assert list_paths(pool.root) == ["tmp"]
    deadline_s = time.monotonic() + 10
    while any(map(runs, (path.name for path in notes.iterdir()))):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_guards_that_are_kept_change_nothing(tmp_path: Path, pool: Pool) -> None:
    """A task within its bounds gives its result."""
    guards = Guards(most_memory_bytes=10**12, most_wall_s=1000.0)
    assert list(LocalExecutor(1, guards).run([Greedy(tmp_path, "good")], pool)) == [(0, 7)]
