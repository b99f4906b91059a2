"""Nights that are killed: clients can update at once, and one rerun leaves what an undisturbed night leaves."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from planner.night.opening import open_night
from tests.night.kills import World, after, at_entry, expect_clients_served, state_of

needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")


@pytest.fixture(scope="module", params=["store", pytest.param("ostree", marks=needs_ostree)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World.make(tmp_path_factory.mktemp("killed") / request.param, request.param)
    made.second_night(made.copy("undisturbed"))
    return made


def expect_recovered(world: World, work: Path) -> None:
    """Clients are served before the rerun, and it leaves the undisturbed state."""
    assert expect_clients_served(world, work) == 3
    world.second_night(work)
    assert state_of(work) == state_of(world.home / "undisturbed")
    assert list((work / "repository/extensions/deltaplan/pool").glob("tmp/*")) == []


def test_the_second_night_changes_what_clients_read(world: World) -> None:
    """The world is one in which there is something to lose: new deltas, and one that is retired."""
    before, now = state_of(world.home / "first"), state_of(world.home / "undisturbed")
    assert {name for name in now if name.startswith("deltas/")} - set(before)
    assert {name for name in before if name.startswith("extensions/deltaplan/routes/")} <= set(now)
    assert expect_clients_served(world, world.home / "undisturbed") == 3


@pytest.mark.parametrize("is_before", [True, False])
def test_killed_at_entries_of_the_journal(world: World, is_before: bool) -> None:
    """At some entries here; `make stress` takes each of them."""
    step = 7 if world.kind == "store" else 11
    number, killed = 1 + is_before * (step // 2), 0
    while True:
        work = world.copy("work")
        if not world.run_killed(work, at_entry(number, is_before=is_before)):
            break
        killed += 1
        expect_recovered(world, work)
        number += step
    assert killed >= 2
    assert state_of(world.home / "work") == state_of(world.home / "undisturbed")


def test_killed_at_any_time(world: World) -> None:
    """Instants drawn by a seed over the time that a night takes."""
    drawn = random.Random(7)
    for _ in range(5 if world.kind == "store" else 2):
        work = world.copy("work")
        world.run_killed(work, after(drawn.uniform(0.0, 2.0)))
        expect_recovered(world, work)


def test_retirement_that_is_killed_goes_on(tmp_path: Path) -> None:
    """No grace here: each night takes what left use one state further, and in the end nothing is left of it."""
    world = World.make(tmp_path / "retiring", "store", grace="0s")
    undisturbed = world.copy("undisturbed")
    world.second_night(undisturbed)
    with_retired = state_of(undisturbed)
    for _ in range(2):
        world.second_night(undisturbed)
    settled = state_of(undisturbed)
    gone = {name for name in with_retired.keys() - settled.keys() if name.startswith("deltas/")}
    assert gone
    assert settled.keys() < with_retired.keys()
    number = 1
    while True:
        work = world.copy("work")
        world.second_night(work)
        if not world.run_killed(work, at_entry(number, is_before=number % 2 == 0)):
            break
        assert expect_clients_served(world, work) == 3
        for _ in range(2):
            world.second_night(work)
        assert state_of(work) == settled
        number += 5
    assert number > 8


def test_the_next_night_says_that_one_was_killed(world: World) -> None:
    """Where it was, and what it was making."""
    from planner.night.nightly import run_nightly  # noqa: PLC0415

    work = world.copy("work")
    assert world.run_killed(work, at_entry(9, is_before=False))
    done = run_nightly(open_night(world.home / "4.toml", work=work))
    assert any("was killed in" in note for note in done.record.notes)
