"""Publishing that is stopped anywhere: by a kill, or by a disk that fills."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import SpaceError
from planner.publish.publisher import publish
from tests.publish.nights import (
    SECOND,
    Recorder,
    expect_served,
    publish_second,
    second_routes,
)
from tests.publish.worlds import Server


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power does not fail here: a kill or a full disk is noticed without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


STEPS = ("link", "mkdir", "write", "fsync", "rename", "replace", "unlink", "rmdir")
MOST_STEPS = 200


def _state(server: Server) -> dict[str, bytes]:
    """What clients of routes can fetch, by path."""
    roots = ("deltas", "delta-indexes", "extensions/deltaplan/routes")
    files = [path for root in roots for path in (server.path / root).rglob("*") if path.is_file()]
    return {str(path.relative_to(server.path)): path.read_bytes() for path in files}


def _expect_served_once(server: Server, scratch: Path, seen: set[object]) -> None:
    """As `expect_served`; a state that was walked before, as most steps leave it, is not walked again."""
    state = frozenset(_state(server).items())
    if state not in seen:
        expect_served(server, scratch)
        seen.add(state)


def _finished_state(yesterday: Server, tmp_path: Path) -> dict[str, bytes]:
    """What an undisturbed second night leaves."""
    path = tmp_path / "undisturbed"
    if not path.exists():
        publish_second(yesterday.copy(path))
    return _state(replace(yesterday, site=replace(yesterday.site, path=path)))


def _patch_steps(patch: pytest.MonkeyPatch, names: Sequence[str], before: Callable[[str], None]) -> None:
    for name in names:
        original = getattr(os, name)

        def stepped(
            *arguments: object, _name: str = name, _original: Callable[..., object] = original, **options: object
        ) -> object:
            before(_name)
            return _original(*arguments, **options)

        patch.setattr(os, name, stepped)


def _countdown(steps: int, stop: Callable[[], None]) -> Callable[[str], None]:
    """Call `stop` at that step and at every later one."""
    left = iter(range(steps))

    def count(name: str) -> None:
        if next(left, None) is None:
            stop()

    return count


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _publish_killed_at(server: Server, step: int) -> bool:
    """Publish the second night in a process that is killed before a step; whether it came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            count = _countdown(step, _die)
            _patch_steps(pytest.MonkeyPatch(), STEPS, count)
            tools = Recorder(server.site, before=count)
            publish(tools, server.pool, server.of(SECOND), second_routes(server))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return status == 0


def test_a_publisher_killed_at_any_step_leaves_routes_that_work(yesterday: Server, tmp_path: Path) -> None:
    """At every moment the routes that clients see can be walked, and the next run completes what this one began."""
    seen: set[object] = set()
    for step in range(MOST_STEPS):
        server = yesterday.copy(tmp_path / "repository", copy_file=os.link)
        is_finished = _publish_killed_at(server, step)
        _expect_served_once(server, tmp_path / "clients", seen)
        publish_second(server)
        assert _state(server) == _finished_state(yesterday, tmp_path)
        assert not (server.path / "extensions/deltaplan/staging").exists()
        shutil.rmtree(server.path)
        if is_finished:
            break
    assert 20 < step < MOST_STEPS - 1


def _refuse() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _publish_on_disk_that_fills(server: Server, step: int) -> bool:
    """Publish the second night on a disk that is full from a step on; whether it came to its end."""
    with pytest.MonkeyPatch.context() as patch:
        _patch_steps(patch, ("link", "mkdir", "write", "fsync", "rename", "replace"), _countdown(step, _refuse))
        try:
            publish_second(server)
        except SpaceError:
            return False
    return True


def test_a_full_disk_at_any_step_half_publishes_nothing(yesterday: Server, tmp_path: Path) -> None:
    """It is a SpaceError, what was published works, no staging is left, and a run with space completes."""
    seen: set[object] = set()
    for step in range(MOST_STEPS):
        server = yesterday.copy(tmp_path / "repository", copy_file=os.link)
        is_finished = _publish_on_disk_that_fills(server, step)
        assert not (server.path / "extensions/deltaplan/staging").exists()
        _expect_served_once(server, tmp_path / "clients", seen)
        publish_second(server)
        assert _state(server) == _finished_state(yesterday, tmp_path)
        shutil.rmtree(server.path)
        if is_finished:
            break
    assert 20 < step < MOST_STEPS - 1
