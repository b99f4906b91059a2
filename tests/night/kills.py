"""A second night that is killed: where, what clients meet then, and what a rerun leaves.

The first night publishes three releases of a small store or OSTree repository. Then a release comes in, and the second
night is killed at some entry of its journal, or after some time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

from planner.follow.follower import follow
from planner.night.journal import Journal
from planner.night.nightly import run_nightly
from planner.night.opening import open_night

SCENARIO = """
format = "deltaplan-scenario/1"
name = "killed"
[repository]
kind = "{kind}"
[source]
kind = "generator"
ref = "main"
seed = 3
releases = {releases}
files = 25
[demand]
adoption = [{{ ref = "main", clients = 5000, half_life_releases = 2 }}]
[weigh]
rules = ["direct", "parent"]
[prices]
storage_per_gb = 2000.0
egress_per_gb = 1.0
[night]
grace = "{grace}"
drain = "{grace}"
"""

_SERVED = ("deltas", "extensions/deltaplan/routes", "extensions/deltaplan/recursive", "refs", "objects")
"""What clients read, and what must be the same after a rerun; OSTree's summary has the time of day in it."""


@dataclass(frozen=True)
class World:
    """A work folder after the first night, and the scenario of the second."""

    home: Path
    kind: str

    @classmethod
    def make(cls, home: Path, kind: str, grace: str = "3d") -> World:
        """Run the first night."""
        world = cls(home, kind)
        home.mkdir(parents=True)
        for releases in (3, 4):
            (home / f"{releases}.toml").write_text(SCENARIO.format(kind=kind, releases=releases, grace=grace))
        done = run_nightly(open_night(home / "3.toml", work=home / "first", workers=2))
        assert done.record.exit_status == 0, done.record.faults
        return world

    def copy(self, name: str) -> Path:
        """A work folder as the first night left it."""
        work = self.home / name
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.home / "first", work, symlinks=True)
        return work

    def second_night(self, work: Path) -> None:
        """The night after the release."""
        done = run_nightly(open_night(self.home / "4.toml", work=work, workers=2))
        assert done.record.exit_status == 0, done.record.faults
        assert done.record.is_complete

    def run_killed(self, work: Path, kill: Callable[[], None]) -> bool:
        """The second night in a process of its own, in which `kill` arranges its end; whether it came to that."""
        child = os.fork()
        if child == 0:
            try:
                sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
                # The process from which jobs are forked is the parent's: this one needs its own.
                forkserver._forkserver.__init__()  # type: ignore[attr-defined]
                kill()
                self.second_night(work)
                os._exit(0)
            except BaseException:
                (work / "error").write_text(traceback.format_exc())
                os._exit(3)
        _, status = os.waitpid(child, 0)
        assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, (work / "error").read_text()
        return os.WIFSIGNALED(status)


def at_entry(number: int, *, is_before: bool) -> Callable[[], None]:
    """Kill the process just before or after an entry of its journal."""

    def arrange() -> None:
        written = 0
        original = Journal.write

        def write(self: Journal, statement: str, values: Iterable[object] = ()) -> None:
            nonlocal written
            written += 1
            if written == number and is_before:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, statement, values)
            if written == number:
                os.kill(os.getpid(), signal.SIGKILL)

        Journal.write = write  # type: ignore[method-assign, assignment]

    return arrange


def after(seconds: float) -> Callable[[], None]:
    """Kill the process after some time, wherever it is."""

    def kill() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    return threading.Thread(target=kill, daemon=True).start


def expect_clients_served(world: World, work: Path) -> int:
    """Every client of the first night reaches the head that the server names, by its published route; how many."""
    first = open_night(world.home / "3.toml", work=world.home / "first")
    now = open_night(world.home / "4.toml", work=work)
    served = 0
    with now.site.serve() as remote:
        for base in first.history.commits:
            folder = work / f"client-{base[:8]}"
            client = first.site.make_client(remote, folder, [base], first.objects)
            head = client.head("main")
            assert head in {first.history.refs["main"], *now.history.commits}
            done = follow(client, remote, base=base, want="main", is_ref=True)
            assert done.target == head
            if base != head and base != first.history.refs["main"]:
                assert done.fallback_reason is None, done.fallback_reason
            served += 1
            shutil.rmtree(folder)
    return served


def state_of(work: Path) -> dict[str, str]:
    """The digest of each file that clients read."""
    root = work / "repository"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in _SERVED
        for path in sorted((root / name).rglob("*"))
        if path.is_file()
    }
