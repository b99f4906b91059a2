"""The builders: one behaviour for both kinds of repository."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from planner.build.builders import DELTA_FILE, Builder, OSTreeBuilder, StoreBuilder
from planner.build.bundle import encode_bundle
from planner.build.codecs import CODECS
from planner.delta import paths
from planner.errors import BuildError, InputError
from planner.history.objects import ObjectSets
from planner.history.records import History
from planner.history.store import Store
from planner.history.trees import import_tree
from planner.weigh.stock_client import STOCK_CODEC
from tests.build.worlds import World, list_paths, make_ostree, make_store, rewrite_header, write_folder

NOWHERE = "ab" * 32

needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")

Bench = tuple[Builder, World, str]


@pytest.fixture(scope="module")
def store_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def ostree_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_ostree(tmp_path_factory.mktemp("ostree"))


@pytest.fixture(scope="module", params=[*CODECS, pytest.param(STOCK_CODEC, marks=needs_ostree)])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A builder, its world and one of its codecs."""
    if request.param == STOCK_CODEC:
        world = request.getfixturevalue("ostree_world")
        return OSTreeBuilder(world.path, tmp_path_factory.mktemp("scratch")), world, STOCK_CODEC
    world = request.getfixturevalue("store_world")
    return StoreBuilder(world.path), world, request.param


def _build(builder: Builder, base: str, target: str, codec: str, folder: Path) -> Path:
    folder.mkdir()
    builder.build(base, target, codec, folder)
    return folder


@pytest.mark.parametrize("ends", [("", "first"), ("first", "second"), ("second", "first"), ("first", "third")])
def test_what_is_built_is_proved(bench: Bench, tmp_path: Path, ends: tuple[str, str]) -> None:
    """From empty, with a script that becomes executable, and a file that becomes a symlink and back."""
    builder, world, codec = bench
    base, target = (getattr(world, end) if end else "" for end in ends)
    builder.prove(base, target, codec, _build(builder, base, target, codec, tmp_path / "delta"))


def test_building_and_proving_leave_the_repository_alone(bench: Bench, tmp_path: Path) -> None:
    builder, world, codec = bench
    before = list_paths(world.path)
    builder.prove(
        world.first, world.second, codec, _build(builder, world.first, world.second, codec, tmp_path / "delta")
    )
    assert set(list_paths(world.path)) - {".lock"} == set(before) - {".lock"}


def test_a_flipped_byte_is_noticed(bench: Bench, tmp_path: Path) -> None:
    builder, world, codec = bench
    delta = _build(builder, world.first, world.second, codec, tmp_path / "delta")
    path = delta / ("0" if codec == STOCK_CODEC else DELTA_FILE)
    good = path.read_bytes()
    for at in range(0, len(good), max(1, len(good) // 7)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(BuildError):
            builder.prove(world.first, world.second, codec, delta)


@pytest.mark.parametrize("ends", [("first", "third"), ("third", "second"), ("second", "first"), ("", "second")])
def test_a_delta_of_another_pair_is_noticed(bench: Bench, tmp_path: Path, ends: tuple[str, str]) -> None:
    builder, world, codec = bench
    delta = _build(builder, world.first, world.second, codec, tmp_path / "delta")
    base, target = (getattr(world, end) if end else "" for end in ends)
    with pytest.raises(BuildError, match="another"):
        builder.prove(base, target, codec, delta)


def test_an_empty_folder_is_no_delta(bench: Bench, tmp_path: Path) -> None:
    builder, world, codec = bench
    with pytest.raises(BuildError, match="cannot be read"):
        builder.prove(world.first, world.second, codec, tmp_path)


def test_an_unknown_codec_is_refused(bench: Bench, tmp_path: Path) -> None:
    builder, world, _ = bench
    for codec in ("xdelta3", "", "../x"):
        with pytest.raises(InputError, match="codec"):
            builder.build(world.first, world.second, codec, tmp_path)
        with pytest.raises(InputError, match="codec"):
            builder.published_path(world.first, world.second, codec)


@pytest.mark.parametrize("name", ["../../x", "main", "A" * 64])
def test_what_is_no_checksum_becomes_no_path(bench: Bench, name: str) -> None:
    builder, world, codec = bench
    with pytest.raises(InputError, match="base"):
        builder.published_path(name, world.second, codec)
    with pytest.raises(InputError, match="target"):
        builder.published_path(world.first, name, codec)


def test_published_paths_are_distinct_and_inside(bench: Bench) -> None:
    builder, world, codec = bench
    commits = [world.first, world.second, world.third]
    paths = {
        builder.published_path(base, target, codec) for base in ["", *commits] for target in commits if base != target
    }
    assert len(paths) == 9
    assert all(path.startswith("deltas/") and ".." not in path and not path.endswith("/") for path in paths)


def test_builders_work_in_other_processes(bench: Bench, tmp_path: Path) -> None:
    builder, world, codec = bench
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_build, builder, world.first, world.second, codec, tmp_path / "delta").result()
        pool.submit(builder.prove, world.first, world.second, codec, tmp_path / "delta").result()
    assert pickle.loads(pickle.dumps(builder)) == builder


# -- the store's ---------------------------------------------------------------------------------------------------


def test_a_stores_published_path(store_world: World) -> None:
    builder, target = StoreBuilder(store_world.path), store_world.second
    start = f"deltas/{target[:2]}/{target[2:]}"
    assert builder.published_path(store_world.first, target, "zstd") == f"{start}/{store_world.first}.zstd"
    assert builder.published_path("", target, "bsdiff4") == f"{start}/empty.bsdiff4"


def test_a_commit_that_is_not_in_the_history_is_refused(store_world: World, tmp_path: Path) -> None:
    builder = StoreBuilder(store_world.path)
    for base, target in ((NOWHERE, store_world.second), (store_world.first, NOWHERE)):
        with pytest.raises(InputError, match="not in the store"):
            builder.build(base, target, "zstd", tmp_path)


def test_a_release_that_came_in_later_is_found(tmp_path: Path) -> None:
    """The history is kept between calls, but not beyond its use."""
    world = make_store(tmp_path)
    builder = StoreBuilder(world.path)
    _build(builder, world.first, world.second, "zstd", tmp_path / "a")
    folder = write_folder(tmp_path / "4", {"only": b"this\n"})
    at = datetime(2024, 2, 1, tzinfo=UTC)
    new = import_tree(Store.open(world.path), folder, version="4", committed_at=at, parent=world.third, ref="main")
    builder.prove(world.third, new, "zstd", _build(builder, world.third, new, "zstd", tmp_path / "b"))


def _write_delta_with_names_of(store: Store, objects: ObjectSets, names: tuple[str, str, str], folder: Path) -> None:
    """A delta that was made from another base, under the name of the one that is asked for."""
    made_from, named, target = names
    delta = encode_bundle(store, _Renamed(objects.history, made_from, named), named, target, "hdiffpatch")
    (folder / DELTA_FILE).write_bytes(delta)


class _Renamed(ObjectSets):
    """Object sets in which one commit's name stands for another's content."""

    def __init__(self, history: History, made_from: str, named: str) -> None:
        commits = {**history.commits, named: history.commits[made_from]}
        super().__init__(History(commits=commits, trees=history.trees, refs=history.refs))


def test_a_delta_that_reads_what_its_base_lacks_is_noticed(store_world: World, tmp_path: Path) -> None:
    """The store has the object, so only the rule about sources can notice."""
    store = Store.open(store_world.path)
    objects = ObjectSets(store.read_history())
    names = (store_world.second, store_world.first, store_world.third)
    _write_delta_with_names_of(store, objects, names, tmp_path)
    with pytest.raises(BuildError, match="its base lacks"):
        StoreBuilder(store_world.path).prove(store_world.first, store_world.third, "hdiffpatch", tmp_path)


def test_a_delta_that_makes_more_than_is_missing_is_noticed(store_world: World, tmp_path: Path) -> None:
    store = Store.open(store_world.path)
    good = encode_bundle(store, ObjectSets(store.read_history()), "", store_world.second, "zstd")
    (tmp_path / DELTA_FILE).write_bytes(good)
    builder = StoreBuilder(store_world.path)
    builder.prove("", store_world.second, "zstd", tmp_path)
    forged = rewrite_header(good, lambda header: header.__setitem__("base", store_world.first))
    (tmp_path / DELTA_FILE).write_bytes(forged)
    with pytest.raises(BuildError, match="other objects"):
        builder.prove(store_world.first, store_world.second, "zstd", tmp_path)


# -- OSTree's ------------------------------------------------------------------------------------------------------


@needs_ostree
def test_an_ostree_delta_is_published_where_clients_look(ostree_world: World, tmp_path: Path) -> None:
    builder = OSTreeBuilder(ostree_world.path, tmp_path)
    expected = paths.relative_path(ostree_world.first, ostree_world.second)
    assert builder.published_path(ostree_world.first, ostree_world.second, STOCK_CODEC) == expected
