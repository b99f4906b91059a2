"""`deltaplan delta` in place of `ostree static-delta generate`: the same options, and a stock client that pulls it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from planner.delta.paths import relative_path
from planner.delta.superblock import read_superblock
from tests.cli.test_cli import deltaplan
from tests.delta.worlds import World, copy_with, make_world, run_ostree


def run(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """The command, with the exit status that is expected."""
    done = deltaplan(*arguments)
    assert done.returncode == expect, done.stderr
    return done


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), "archive")


def test_the_default_is_from_the_parent_into_the_repository(tmp_path: Path) -> None:
    world = make_world(tmp_path, "archive")
    base, target = world.commits[1:]
    done = run("delta", f"--repo={world.path}", "--to=main", "--json")
    found = json.loads(done.stdout)
    folder = world.path / relative_path(base, target)
    assert (found["base"], found["target"], found["path"], found["is_new"]) == (base, target, str(folder), True)
    assert found["part_bytes"] == [(folder / "0").stat().st_size]
    assert sorted(path.name for path in folder.iterdir()) == ["0", "superblock"]
    assert not list((world.path / "tmp").glob("deltaplan-*"))
    shown = run_ostree("static-delta", "show", f"--repo={world.path}", f"{base}-{target}")
    assert f"To: {target}" in shown
    again = run("delta", f"--repo={world.path}", "--to=main", expect=6)
    assert "is there already" in again.stderr
    assert json.loads(run("delta", f"--repo={world.path}", "--to=main", "-n", "--json").stdout)["is_new"] is False


@pytest.mark.parametrize("options", [(), ("--inline",), ("--disable-bsdiff",), ("--max-chunk-size=0",)], ids=str)
@pytest.mark.parametrize("start", ["--empty", "--from"])
def test_a_file_of_the_callers_choice_is_applied_offline(
    world: World, tmp_path: Path, options: tuple[str, ...], start: str
) -> None:
    base, target = ("", world.commits[0]) if start == "--empty" else (world.commits[0], world.commits[2])
    ends = (start,) if start == "--empty" else (f"--from={base}",)
    path = tmp_path / "made" / "superblock"
    path.parent.mkdir()
    done = run(
        "delta",
        f"--repo={world.path}",
        *ends,
        f"--to={target}",
        "--min-fallback-size=0",
        f"--filename={path}",
        *options,
    )
    superblock = read_superblock(path.read_bytes())
    assert (superblock.base, superblock.target) == (base, target)
    assert bool(superblock.inline) == ("--inline" in options) == (len(list(path.parent.iterdir())) == 1)
    assert (len(superblock.parts) > 1) == ("--max-chunk-size=0" in options)
    assert str(path) in done.stdout
    client = copy_with(world, (base,) if base else (), tmp_path)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", path.parent)
    run_ostree("fsck", "--quiet", f"--repo={client}")
    assert run_ostree("ls", "-RCX", f"--repo={client}", target) == run_ostree(
        "ls", "-RCX", f"--repo={world.path}", target
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--to=nothing",), "is no ref"),
        (("--to=main", "--from=main"), "the same commit"),
        (("--to=main", "--from=main", "--empty"), "either from a commit"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(world: World, arguments: tuple[str, ...], reason: str) -> None:
    done = run("delta", f"--repo={world.path}", *arguments, expect=3)
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_first_commit_has_no_parent(world: World) -> None:
    done = run("delta", f"--repo={world.path}", f"--to={world.commits[0]}", expect=3)
    assert "has no parent" in done.stderr
