"""`deltaplan delta` in place of `ostree static-delta generate`: the same options, and a stock client that pulls it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.build.pool import Pool
from planner.build.workshop import Workshop
from planner.cli.app import make_app
from planner.delta.difference_pool import DifferencePool
from planner.delta.make import Delta, Settings
from planner.delta.paths import relative_path
from planner.delta.superblock import SIGNED_MAGIC, ByteOrder, read_superblock
from planner.errors import BuildError
from tests.cli.test_cli import deltaplan
from tests.delta.test_signed import PUBLIC, SECRET
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


OPTIONS = [
    (),
    ("--inline",),
    ("--disable-bsdiff",),
    ("--max-chunk-size=0",),
    ("--max-bsdiff-size=0",),
    ("--swap-endianness",),
    ("--keys-file={keys}", "--inline"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("start", ["--empty", "--from"])
def test_a_file_of_the_callers_choice_is_applied_offline(
    world: World, tmp_path: Path, options: tuple[str, ...], start: str
) -> None:
    base, target = ("", world.commits[0]) if start == "--empty" else (world.commits[0], world.commits[2])
    ends = (start,) if start == "--empty" else (f"--from={base}",)
    path = tmp_path / "made" / "superblock"
    path.parent.mkdir()
    (tmp_path / "keys").write_text(SECRET[0])
    done = run(
        "delta",
        f"--repo={world.path}",
        *ends,
        f"--to={target}",
        "--min-fallback-size=0",
        f"--filename={path}",
        *(option.format(keys=tmp_path / "keys") for option in options),
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
        ((), "names no commit"),
        (("main", f"--sign={SECRET[0]}"), "--filename: a signed delta is for apply-offline, pulling it fails"),
        (("main", "--keys-file=keys"), "--filename: a signed delta"),
        (("main", "--filename=x", "--sign=abcd"), "sign[0]: is no ed25519 secret key"),
        (("main", "--filename=x", "--keys-file=/no/such/file"), "/no/such/file: cannot be read"),
        (("main", "--filename=x", "--sign=a", "--sign-type=dummy"), "sign-type: signatures of this type"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(world: World, arguments: tuple[str, ...], reason: str) -> None:
    done = run("delta", f"--repo={world.path}", *arguments, expect=3)
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_first_commit_has_no_parent(world: World) -> None:
    done = run("delta", f"--repo={world.path}", f"--to={world.commits[0]}", expect=3)
    assert "has no parent" in done.stderr


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ((), "l"),
        (("--set-endianness=l",), "l"),
        (("--set-endianness=B",), "B"),
        (("--swap-endianness",), "B"),
        (("--set-endianness=B", "--swap-endianness"), "l"),
    ],
    ids=str,
)
def test_orders_of_bytes_are_asked_for_as_of_the_stock_tool(
    world: World, tmp_path: Path, options: tuple[str, ...], order: str
) -> None:
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    run("delta", f"--repo={world.path}", "main", f"--filename={ours}", "--inline", *options)
    run_ostree("static-delta", "generate", f"--repo={world.path}", "main", f"--filename={stock}", "--inline", *options)
    assert [read_superblock(path.read_bytes()).byte_order for path in (ours, stock)] == [ByteOrder(order)] * 2


def test_another_order_of_bytes_is_no_order(world: World) -> None:
    done = run("delta", f"--repo={world.path}", "main", "--set-endianness=b", expect=2)
    assert "set-endianness" in done.stderr


def test_the_option_counts_before_the_argument(world: World, tmp_path: Path) -> None:
    """As of the stock tool."""
    path = tmp_path / "superblock"
    run("delta", f"--repo={world.path}", "no-such-ref", f"--to={world.commits[1]}", f"--filename={path}")
    assert read_superblock(path.read_bytes()).target == world.commits[1]


def test_each_key_signs_and_none_is_shown(world: World, tmp_path: Path) -> None:
    """Those of the arguments first; the signatures take nothing from the delta, which is the same without them."""
    plain, signed = tmp_path / "plain", tmp_path / "signed"
    (tmp_path / "keys").write_text(f"{SECRET[1]}\n")
    keys = (f"--sign={SECRET[0]}", f"--keys-file={tmp_path / 'keys'}", "--sign-type=ed25519")
    run("delta", f"--repo={world.path}", "main", f"--filename={plain}", "--inline")
    done = run("delta", f"--repo={world.path}", "main", f"--filename={signed}", "--inline", *keys)
    assert not any(key in done.stdout + done.stderr for key in SECRET)
    assert signed.read_bytes().startswith(SIGNED_MAGIC)
    assert plain.read_bytes() in signed.read_bytes()
    if "sign-ed25519" in run_ostree("--version"):
        for key in PUBLIC:
            assert "OK" in run_ostree("static-delta", "verify", f"--repo={world.path}", signed, key)


def test_sizes_are_the_stock_tools_in_decimal_megabytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []

    def make_delta(*arguments: Any) -> Delta:
        asked.append(arguments[-2])
        raise BuildError("enough is known")

    monkeypatch.setattr("planner.cli.delta.make_delta", make_delta)
    sizes = ("--max-bsdiff-size=1", "--min-fallback-size=2", "--max-chunk-size=3")
    for options in ((), sizes):
        result = CliRunner().invoke(make_app(["delta"]), ["delta", f"--repo={world.path}", "main", *options])
        assert isinstance(result.exception, BuildError)
    found = [(one.max_suffix_bytes, one.fallback_bytes, one.max_part_bytes) for one in asked]
    assert found == [(128_000_000, 4_000_000, 32_000_000), (1_000_000, 2_000_000, 3_000_000)]


def test_differences_of_a_night_are_used_and_added_to(tmp_path: Path) -> None:
    """Where a night has made the pool; the delta's bytes are the same with and without it."""
    (tmp_path / "world").mkdir()
    world = make_world(tmp_path / "world", "archive")
    base, target = world.commits[:2]
    pool = Workshop(world.path, Pool.of_repository(world.path)).differences
    alone, pooled, again = (tmp_path / name / "delta" for name in ("alone", "pooled", "again"))
    for path in (alone, pooled, again):
        path.parent.mkdir()
    make = ("delta", f"--repo={world.path}", f"--from={base}", f"--to={target}", "--min-fallback-size=0")
    run(*make, f"--filename={alone}")
    assert not pool.exists()
    DifferencePool(pool).close()
    run(*make, f"--filename={pooled}")
    with DifferencePool(pool) as differences:
        assert differences.trim(0) > 0
    run(*make, f"--filename={again}")
    files = [{path.name: path.read_bytes() for path in one.parent.iterdir()} for one in (alone, pooled, again)]
    assert files[0] == files[1] == files[2]
