"""Hostile inputs, some thousands of those that `benchmarks/hostile.py` feeds; and that whoever counts can count."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from planner.errors import FollowError, InputError
from planner.follow.follower import follow
from planner.follow.remote import FolderRemote
from planner.follow.store_client import StoreClient
from planner.history.encoding import FileObject, encode_file, encode_tree, is_ref_name
from planner.history.records import ObjectKind, Tree
from planner.history.store import Store
from planner.publish.heads import format_heads
from tests.follow.fakes import FakeClient, FakeRemote
from tests.hostile import watch
from tests.hostile.arena import Arena
from tests.hostile.kinds import NAMES, Kind, make_kinds
from tests.hostile.store_kinds import STORE_KINDS, Attack, StoreTarget
from tests.hostile.store_world import StoreWorld, make_store_world
from tests.hostile.watch import Verdict, draw, run

INPUTS = 2000


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Every kind that can be fed here, by name."""
    return {kind.name: kind for kind in make_kinds(tmp_path_factory.mktemp("hostile"))}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_inputs_are_refused_or_harmless(kinds: dict[str, Kind], name: str, tmp_path: Path) -> None:
    """No crash, no hang, no file outside, no wrong commit; and some are accepted, or nothing would have been tried."""
    if name not in kinds:
        pytest.skip("needs the program ostree")
    kind, crashes = kinds[name], tmp_path / "crashes"
    inputs = max(round(kind.share * INPUTS), 100)
    counted = run(name, kind.start, seed=1, inputs=inputs, crashes=crashes)
    assert not crashes.exists(), crashes.read_text()
    assert counted.keys() == {Verdict.REFUSED, Verdict.ACCEPTED}
    assert sum(counted.values()) == inputs


# -- the counting ----------------------------------------------------------------------------------------------------


@dataclass
class _Misbehaving:
    """Does what it was made to do for the third input."""

    act: Callable[[], object]
    fed: int = 0

    def feed(self, rng: random.Random) -> Verdict:
        """Act, or refuse."""
        if rng.random() == draw("x", 0, 2).random():
            self.act()
        raise InputError("is refused")


def _loop() -> None:
    while True:
        time.sleep(1)


def _ask_for_memory() -> bytearray:
    return bytearray(2 * watch.MEMORY_BYTES)


def _fail() -> None:
    raise ValueError("oops")


@pytest.mark.parametrize(
    ("act", "verdict"),
    [
        (_loop, Verdict.HUNG),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), Verdict.CRASHED),
        (_ask_for_memory, Verdict.CRASHED),
        (_fail, Verdict.CRASHED),
        (lambda: os._exit(0), Verdict.CRASHED),
    ],
    ids=["hangs", "is killed", "memory", "raises", "leaves"],
)
def test_what_misbehaves_is_counted_and_the_rest_is_fed(
    act: Callable[[], object], verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it takes the process with it; which input it was is told."""
    monkeypatch.setattr(watch, "TIMEOUT_S", 0.3)
    counted = run("x", lambda: _Misbehaving(act), seed=0, inputs=6, crashes=tmp_path / "crashes")
    assert counted == {Verdict.REFUSED: 5, verdict: 1}
    assert "x 0 2" in (tmp_path / "crashes").read_text()


def test_an_arena_sees_what_happens_around_it(tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "file").write_text("x")
    arena = Arena(tmp_path / "template", tmp_path / "surroundings")
    arena.prepare()
    (arena.client / "file").write_text("changed")
    assert arena.is_around_untouched()
    arena.restore()
    assert (arena.client / "file").read_text() == "x"
    for hurt in (
        lambda: (arena.surroundings / "new").write_text(""),
        lambda: (arena.surroundings / "neighbour").write_text("changed"),
        (arena.surroundings / "neighbour").unlink,
    ):
        hurt()
        assert not arena.is_around_untouched()
        arena.restore()
        assert arena.is_around_untouched()


@pytest.fixture(scope="module")
def store_world(tmp_path_factory: pytest.TempPathFactory) -> StoreWorld:
    return make_store_world(tmp_path_factory.mktemp("world"))


def _genuine(world: StoreWorld) -> Attack:
    return STORE_KINDS["ref's name"](_Main(), world)


class _Main(random.Random):
    """Draws the ref `main`."""

    def choice(self, seq: object) -> object:  # type: ignore[override]
        return seq[0]  # type: ignore[index]

    def random(self) -> float:
        return 0.0


def test_a_client_that_ends_elsewhere_is_wrong(store_world: StoreWorld, tmp_path: Path) -> None:
    """The judge is given another head than the server's, and then the right one."""
    for head, verdict in ((store_world.commits[1], Verdict.WRONG), (store_world.commits[2], Verdict.ACCEPTED)):

        def attack(_: random.Random, world: StoreWorld, head: str = head) -> Attack:
            found = _genuine(world)
            return Attack(found.files, head)

        target = StoreTarget(store_world, tmp_path / "surroundings", attack)
        assert target.feed(random.Random(0)) == verdict


def test_a_client_whose_objects_are_damaged_is_wrong(store_world: StoreWorld, tmp_path: Path) -> None:
    """Its ref is where it was."""
    template = tmp_path / "template"
    shutil.copytree(store_world.template, template)
    next((template / "objects").rglob("*.file")).write_bytes(b"")
    damaged = StoreWorld(store_world.commits, {}, store_world.deltas, template)
    target = StoreTarget(damaged, tmp_path / "surroundings", lambda rng, world: Attack({}, None))
    assert target.feed(random.Random(0)) == Verdict.WRONG


# -- what was found --------------------------------------------------------------------------------------------------


def test_a_ref_that_is_no_file_name_is_no_ref() -> None:
    """It ended in an OSError, with everything downloaded."""
    assert [is_ref_name(text) for text in ("x" * 255, "x" * 256, "a/" + "x" * 256, "x/" * 600 + "x")] == [
        True,
        False,
        False,
        False,
    ]


def test_a_ref_without_a_name_is_not_the_clients_own(store_world: StoreWorld, tmp_path: Path) -> None:
    """It was taken for no ref at all, and the client was pinned to what nobody asked for."""
    target = StoreTarget(
        store_world, tmp_path / "surroundings", lambda rng, world: Attack(_genuine(world).files, None, ref="")
    )
    with pytest.raises(FollowError, match="no such ref"):
        follow(FakeClient({}, {"a" * 64}), FakeRemote({}), base="a" * 64, want="", is_ref=True)
    assert target.feed(random.Random(0)) == Verdict.REFUSED


@pytest.mark.parametrize("name", ["..", "a/b", "", "x" * 300])
def test_a_commit_that_cannot_be_unpacked_does_not_move_the_ref(
    store_world: StoreWorld, tmp_path: Path, name: str
) -> None:
    """All its objects have their checksums; the client found out when the ref was at it."""
    server, client = Store.create(tmp_path / "server"), tmp_path / "client"
    leaf = server.write_object(ObjectKind.FILE, encode_file(FileObject(content=b"x")))
    tree = server.write_object(ObjectKind.TREE, encode_tree(Tree(files={name: leaf.checksum}, dirs={})))
    head = server.add_commit(tree.checksum, committed_at=datetime(2025, 1, 1, tzinfo=UTC), ref="main")
    (server.path / "summary").write_bytes(format_heads({"main": head}))
    shutil.copytree(store_world.template, client)
    taker = StoreClient(Store.open(client), FolderRemote(server.path))
    with pytest.raises(FollowError, match="not whole"):
        follow(taker, taker.remote, base=store_world.commits[0], want="main", is_ref=True)
    assert taker.store.read_refs() == {"main": store_world.commits[0]}
    assert taker.store.read_history().refs == {"main": store_world.commits[0]}
