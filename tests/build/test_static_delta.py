"""OSTree's static deltas, made and proved with the real tool."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.build import static_delta
from planner.delta import paths
from planner.errors import BuildError, InputError, PlannerError, ToolError
from tests.build.worlds import World, list_paths, make_ostree, ostree

pytestmark = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")

NOWHERE = "ab" * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_ostree(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def update(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good delta from the first to the second release. Tests that damage it take a copy."""
    folder = tmp_path_factory.mktemp("update")
    static_delta.generate(world.path, world.first, world.second, folder)
    return folder


def _generate(world: World, base: str, target: str, folder: Path) -> Path:
    folder.mkdir()
    static_delta.generate(world.path, base, target, folder)
    return folder


@pytest.mark.parametrize(
    "ends", [("", "first"), ("first", "second"), ("second", "first"), ("first", "third"), ("", "second")]
)
def test_a_generated_delta_is_proved(world: World, scratch: Path, tmp_path: Path, ends: tuple[str, str]) -> None:
    """From empty, with an executable bit and symlinks coming and going, and back again."""
    base, target = (getattr(world, end) if end else "" for end in ends)
    delta = _generate(world, base, target, tmp_path / "delta")
    assert {"superblock", "0"} <= set(list_paths(delta))
    assert static_delta.prove(world.path, base, target, delta, scratch) > 0.0


def test_generating_leaves_the_repository_alone(world: World, tmp_path: Path) -> None:
    before = list_paths(world.path)
    _generate(world, world.first, world.second, tmp_path / "delta")
    assert [path for path in list_paths(world.path) if path not in before] == []


def test_a_proof_leaves_only_the_bases(world: World, update: Path, scratch: Path, tmp_path: Path) -> None:
    """After a success as after a failure; and the kept base still holds the base alone."""
    kept = tmp_path / "scratch"
    static_delta.prove(world.path, world.first, world.second, update, kept)
    with pytest.raises(BuildError):
        static_delta.prove(world.path, world.first, world.second, _flip(update, "0", tmp_path / "bad"), kept)
    assert [path.name for path in kept.iterdir()] == ["bases"]
    assert [path.name for path in (kept / "bases").iterdir()] == [world.first]
    commits = [path for path in list_paths(kept / "bases" / world.first / "objects") if path.endswith(".commit")]
    assert commits == [f"{world.first[:2]}/{world.first[2:]}.commit"]


def _flip(delta: Path, name: str, copy: Path, at: int = -40) -> Path:
    shutil.copytree(delta, copy)
    data = bytearray((copy / name).read_bytes())
    data[at] ^= 0x10
    (copy / name).write_bytes(data)
    return copy


@pytest.mark.parametrize("at", [0, 1, 200, -40, -1])
def test_a_flipped_byte_in_a_part_is_noticed(
    world: World, update: Path, scratch: Path, tmp_path: Path, at: int
) -> None:
    with pytest.raises(BuildError, match="rejects"):
        static_delta.prove(world.path, world.first, world.second, _flip(update, "0", tmp_path / "bad", at), scratch)


def _remove_part(delta: Path) -> None:
    (delta / "0").unlink()


def _cut_part(delta: Path) -> None:
    (delta / "0").write_bytes((delta / "0").read_bytes()[:-50])


def _remove_superblock(delta: Path) -> None:
    (delta / "superblock").unlink()


def _cut_superblock(delta: Path) -> None:
    (delta / "superblock").write_bytes((delta / "superblock").read_bytes()[:-9])


def _empty_superblock(delta: Path) -> None:
    (delta / "superblock").write_bytes(b"")


@pytest.mark.parametrize("damage", [_remove_part, _cut_part, _remove_superblock, _cut_superblock, _empty_superblock])
def test_a_damaged_delta_is_noticed(
    world: World, update: Path, scratch: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    bad = Path(shutil.copytree(update, tmp_path / "bad"))
    damage(bad)
    with pytest.raises(BuildError):
        static_delta.prove(world.path, world.first, world.second, bad, scratch)


@pytest.mark.parametrize("ends", [("first", "third"), ("third", "second"), ("second", "first"), ("", "second")])
def test_a_delta_of_another_pair_is_noticed(world: World, update: Path, scratch: Path, ends: tuple[str, str]) -> None:
    base, target = (getattr(world, end) if end else "" for end in ends)
    with pytest.raises(BuildError, match="another pair"):
        static_delta.prove(world.path, base, target, update, scratch)


def test_a_from_empty_delta_does_not_pass_for_an_update(world: World, scratch: Path, tmp_path: Path) -> None:
    """It would apply well, but clients would not find it where it claims to belong."""
    delta = _generate(world, "", world.second, tmp_path / "delta")
    with pytest.raises(BuildError, match="another pair"):
        static_delta.prove(world.path, world.first, world.second, delta, scratch)


def test_parts_of_another_delta_are_noticed(world: World, update: Path, scratch: Path, tmp_path: Path) -> None:
    other = _generate(world, world.first, world.third, tmp_path / "other")
    shutil.copy(update / "superblock", other / "superblock")
    with pytest.raises(BuildError, match="rejects"):
        static_delta.prove(world.path, world.first, world.second, other, scratch)


def test_a_client_that_is_ended_by_a_signal_is_a_build_error(
    world: World, update: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the client, since the versions differ in what ends them."""
    static_delta.prove(world.path, world.first, world.second, update, scratch)  # makes the base with the real tool
    fake = tmp_path / "bin" / "ostree"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nkill -ABRT $$\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    with pytest.raises(BuildError, match="SIGABRT"):
        static_delta.prove(world.path, world.first, world.second, update, scratch)


def test_a_client_that_reports_success_without_the_target_is_noticed(
    world: World, update: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static_delta.prove(world.path, world.first, world.second, update, scratch)
    fake = tmp_path / "bin" / "ostree"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    with pytest.raises(BuildError, match="does not make its target"):
        static_delta.prove(world.path, world.first, world.second, update, scratch)


def test_a_missing_client_says_nothing_about_the_delta(
    world: World, update: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static_delta.prove(world.path, world.first, world.second, update, scratch)
    (tmp_path / "cp").symlink_to(shutil.which("cp") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="not installed"):
        static_delta.prove(world.path, world.first, world.second, update, scratch)


def test_a_base_that_the_repository_lacks_is_a_tool_error(world: World, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="failed"):
        _generate(world, NOWHERE, world.second, tmp_path / "delta")


@pytest.mark.parametrize("name", ["", "../../x", "--help", "A" * 64, "ab" * 32 + "\n", "main"])
def test_what_is_no_checksum_never_reaches_a_command(world: World, tmp_path: Path, name: str) -> None:
    for attempt in (
        paths.relative_path,
        lambda base, target: static_delta.generate(world.path, base, target, tmp_path),
    ):
        with pytest.raises(InputError, match="target"):
            attempt(world.first, name)
        if name:
            with pytest.raises(InputError, match="base"):
                attempt(name, world.first)


# -- the published place -------------------------------------------------------------------------------------------


@pytest.fixture
def own_world(world: World, tmp_path: Path) -> World:
    """A copy to publish in."""
    path = Path(shutil.copytree(world.path, tmp_path / "own", symlinks=True))
    return World(path, world.first, world.second, world.third)


@pytest.mark.parametrize("ends", [("", "first"), ("first", "second"), ("second", "third")])
def test_the_published_path_is_the_stock_generators(own_world: World, ends: tuple[str, str]) -> None:
    base, target = (getattr(own_world, end) if end else "" for end in ends)
    start = f"--from={base}" if base else "--empty"
    ostree("static-delta", "generate", f"--repo={own_world.path}", start, f"--to={target}")
    made = [path for path in own_world.path.glob("deltas/*/*") if path.is_dir()]
    assert [str(path.relative_to(own_world.path)) for path in made] == [paths.relative_path(base, target)]


def test_a_delta_renamed_in_is_listed_after_reindex(own_world: World, tmp_path: Path) -> None:
    delta = _generate(own_world, own_world.first, own_world.second, tmp_path / "delta")
    place = own_world.path / paths.relative_path(own_world.first, own_world.second)
    place.parent.mkdir(parents=True)
    delta.rename(place)
    ostree("static-delta", "reindex", f"--repo={own_world.path}")
    listed = ostree("static-delta", "list", f"--repo={own_world.path}").split()
    assert listed == [f"{own_world.first}-{own_world.second}"]
    index = own_world.path / "delta-indexes" / paths.relative_path("", own_world.second).removeprefix("deltas/")
    assert index.with_name(index.name + ".index").is_file()


# -- superblocks ---------------------------------------------------------------------------------------------------


def test_a_superblocks_ends_are_read(world: World, update: Path, tmp_path: Path) -> None:
    initial = _generate(world, "", world.first, tmp_path / "delta")
    assert static_delta.read_ends((update / "superblock").read_bytes()) == (world.first, world.second)
    assert static_delta.read_ends((initial / "superblock").read_bytes()) == ("", world.first)


@given(data=st.binary(max_size=300))
def test_noise_has_no_ends_or_wrong_ones(data: bytes) -> None:
    try:
        base, target = static_delta.read_ends(data)
    except PlannerError:
        return
    assert (len(base), len(target)) in {(0, 64), (64, 64)}
