"""Workers that reach the repository by a URL only: what comes in and what comes back is checked, and the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import zstandard

from planner.build import carried, object_cache
from planner.build.builders import DELTA_FILE, Builder, OSTreeBuilder, StoreBuilder
from planner.build.carried import Carried, CarriedTask, carry, receive
from planner.build.executors import LocalExecutor, open_executor
from planner.build.jobs import Made, MakeTask, run_jobs
from planner.build.object_cache import ObjectCache, RepositoryKind
from planner.build.pool import Pool
from planner.build.url_executor import UrlExecutor
from planner.delta.superblock import NATIVE
from planner.errors import BuildError, InputError, RepositoryError
from planner.history.ostree import OSTreeRepository
from planner.history.store import Store
from planner.weigh.candidates import Candidate
from tests.build.clusters import dask_cluster
from tests.build.s3_server import s3_server
from tests.build.worlds import World, list_paths, make_ostree, make_store

needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")
KINDS = [RepositoryKind.STORE, pytest.param(RepositoryKind.OSTREE, marks=needs_ostree)]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@dataclass(frozen=True)
class AtHome:
    """Stands in for a cluster: the tasks run here, in the worker's own folders."""

    workers: int = 2

    def run(self, tasks: Iterable[Any], pool: Pool, *, preload: str = "") -> Iterator[tuple[int, Any]]:
        """As a worker does."""
        assert str(pool.root).startswith("~")
        yield from LocalExecutor(2).run(tasks, Pool(pool.root.expanduser()), preload=preload)


def url_executor(url: str, elsewhere: Any, bring: Callable[[Path], object] = lambda _: None) -> UrlExecutor:
    return UrlExecutor(elsewhere=elsewhere, here=LocalExecutor(2), url=url, bring=bring)


def make_world(kind: RepositoryKind, folder: Path) -> World:
    return make_store(folder) if kind is RepositoryKind.STORE else make_ostree(folder)


def pairs(world: World) -> list[tuple[str, str]]:
    return [(world.first, world.second), (world.second, world.third), ("", world.first)]


def files_of(pool: Pool, candidates: Sequence[Candidate]) -> dict[str, bytes]:
    """Of each delta, but for the stock tool's superblocks, which have the time in them."""
    paths = [path for one in candidates for path in pool.folder(one).iterdir()]
    kept = (path for path in paths if not (path.name == "superblock" and path.parent.parent.name == "ostree"))
    return {str(path.relative_to(pool.root)): path.read_bytes() for path in kept}


def make_all(builder: Builder, pool: Pool, wanted: Sequence[Candidate], executor: Any) -> dict[str, bytes]:
    builder.prepare(wanted, executor=executor, report=lambda *_: None)
    for outcome in run_jobs(builder, pool, wanted, executor=executor):
        assert isinstance(outcome, Made), outcome
        assert outcome.weight.server_cpu_s > 0.0
        pool.check(outcome.artifact)
    assert list_paths(pool.root / "tmp") == []
    return files_of(pool, wanted)


# -- the same deltas -----------------------------------------------------------------------------------------------


def test_workers_without_the_disk_make_the_same_of_a_store_in_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two Dask workers with a home of their own and an S3 server, against the local pool: byte for byte."""
    world = make_store(tmp_path)
    wanted = [Candidate(base=b, target=t, codec=codec) for b, t in pairs(world) for codec in ("zstd", "hdiffpatch")]
    here, there = (Pool.of_repository(tmp_path / name) for name in ("here", "there"))
    with s3_server(monkeypatch):
        upload(world.path, "s3://bucket/repository")
        with dask_cluster(tmp_path) as address:
            executor = url_executor("s3://bucket/repository", open_executor(f"dask:{address}", workers=1))
            made = make_all(StoreBuilder(world.path), there, wanted, executor)
    assert made == make_all(StoreBuilder(world.path), here, wanted, LocalExecutor(2))
    # What is there is not made again: the cluster is gone.
    assert make_all(StoreBuilder(world.path), there, wanted, executor) == made


@needs_ostree
def test_ours_are_made_at_home_and_the_stock_tools_elsewhere(tmp_path: Path) -> None:
    """Of one list; the stock tool's parts, and our deltas whole, are those of the local pool."""
    world = make_ostree(tmp_path)
    shutil.copytree(world.path, tmp_path / "copy", symlinks=True)
    wanted = [Candidate(base=b, target=t, codec=codec) for codec in (NATIVE, "ostree") for b, t in pairs(world)]
    brought: list[Path] = []
    executor = url_executor(f"file://{world.path}", AtHome(), brought.append)
    seen = []
    for path, runner in ((world.path, executor), (tmp_path / "copy", LocalExecutor(2))):
        builder = OSTreeBuilder(path, tmp_path / "scratch" / path.name)
        seen.append(make_all(builder, Pool.of_repository(path), wanted, runner))
    assert seen[0] == seen[1]
    assert brought == [world.path]


def test_a_commit_that_is_not_at_the_url_ends_the_run(tmp_path: Path) -> None:
    """It is no fault of the candidate's; nothing is kept."""
    world = make_store(tmp_path)
    pool = Pool.of_repository(tmp_path)
    wanted = [Candidate(base="", target="0" * 64, codec="zstd")]
    with pytest.raises(RepositoryError, match="missing at the URL"):
        list(run_jobs(StoreBuilder(world.path), pool, wanted, executor=url_executor(f"file://{world.path}", AtHome())))
    assert not pool.folder(wanted[0]).exists()


def upload(folder: Path, url: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    files, root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
    for path in (folder / "objects").rglob("*.*"):
        files.put_file(str(path), f"{root}/{path.relative_to(folder)}")


# -- what comes in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_repository_of_two_commits_is_made_of_what_is_fetched_once(tmp_path: Path, kind: RepositoryKind) -> None:
    """It reads as the one at the URL; the second one is made of the cache, with the URL gone."""
    world = make_world(kind, tmp_path)
    cache = ObjectCache(tmp_path / "cache", f"file://{world.path}", kind)
    cache.make_repository([world.first, world.third], tmp_path / "made")
    read = Store.open if kind is RepositoryKind.STORE else OSTreeRepository
    for path in (tmp_path / "made", tmp_path / "again"):
        if path.name == "again":
            world.path.rename(tmp_path / "gone")
            cache.make_repository([world.first, world.third], path)
        names = [name for name in list_paths(path / "objects") if "." in name]
        assert names
        assert all((path / "objects" / name).samefile(tmp_path / "cache" / "objects" / name) for name in names)
        assert sum(name.endswith(".commit") for name in names) == 2
        if kind is RepositoryKind.OSTREE:
            assert OSTreeRepository(path).read_commits([world.first, world.third]).commits.keys() == {
                world.first,
                world.third,
            }
        else:
            assert read(path).read_history().commits.keys() == {world.first, world.third}
    assert list_paths(tmp_path / "cache" / "incoming") == []


@needs_ostree
def test_signatures_come_along_and_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock tool puts them into deltas; they may be added to, so they are asked for each time."""
    world = make_ostree(tmp_path)
    beside = world.path / "objects" / world.first[:2] / f"{world.first[2:]}.commitmeta"
    cache = ObjectCache(tmp_path / "cache", f"file://{world.path}", RepositoryKind.OSTREE)
    for number, signatures in enumerate([b"", b"signed", b"signed twice"]):
        if signatures:
            beside.write_bytes(signatures)
        cache.make_repository([world.first, world.second], tmp_path / str(number))
        made = OSTreeRepository(tmp_path / str(number))
        assert made.read_commit_metadata(world.first) == signatures
        assert made.read_commit_metadata(world.second) == b""
    monkeypatch.setattr(object_cache, "_MAX_SIGNATURES_BYTES", 5)
    with pytest.raises(RepositoryError, match="larger than allowed"):
        cache.make_repository([world.first], tmp_path / "made")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["flip", "cut", "other", "longer"])
def test_no_object_is_taken_that_has_not_its_checksum(tmp_path: Path, kind: RepositoryKind, damage: str) -> None:
    """Whatever object it is: nothing is kept of it, and no repository is made."""
    world = make_world(kind, tmp_path)
    url = f"file://{world.path}"
    for number, path in enumerate(sorted((world.path / "objects").rglob("*.*"))):
        data = path.read_bytes()
        others = (one.read_bytes() for one in path.parent.parent.rglob(f"*{path.suffix}"))
        bad = {
            "flip": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
            "cut": data[:-1],
            "other": next((other for other in others if other != data), b"other"),
            "longer": data + b"x" * 1000,
        }[damage]
        cache = ObjectCache(tmp_path / str(number), url, kind)
        try:
            path.write_bytes(bad)
            cache.make_repository([world.first, world.second, world.third], tmp_path / f"made {number}")
        except RepositoryError:
            assert not (tmp_path / str(number) / path.relative_to(world.path)).exists()
            assert not (tmp_path / f"made {number}").exists()
        else:
            # Bytes behind a whole file, or unused bits in it, are not content.
            assert path.suffix == ".filez"
            assert damage in ("longer", "flip", "cut")
        finally:
            path.write_bytes(data)


def test_a_tree_that_names_paths_leads_nowhere(tmp_path: Path) -> None:
    """Checksums are all that is taken from the network into paths."""
    store = Store.create(tmp_path / "store")
    tree = store.write_object(object_cache.ObjectKind.TREE, b'{"files":{"a":"../../../etc/passwd"},"dirs":{}}')
    body = f'{{"tree":"{tree.checksum}","parent":null,"time":"2024-01-01T00:00:00Z","subject":"","metadata":{{}}}}'
    commit = store.write_object(object_cache.ObjectKind.COMMIT, body.encode())
    cache = ObjectCache(tmp_path / "cache", f"file://{store.path}", RepositoryKind.STORE)
    with pytest.raises(RepositoryError):
        cache.make_repository([commit.checksum], tmp_path / "made")
    with pytest.raises(RepositoryError, match="not the name of an object"):
        cache.make_repository(["../../etc/passwd"], tmp_path / "made")


def test_large_objects_come_in_pieces_and_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece's size is asked for; a frame that claims more than is allowed is not unpacked."""
    world = make_store(tmp_path)
    url = f"file://{world.path}"
    monkeypatch.setattr(object_cache, "_PIECE_BYTES", 100)
    ObjectCache(tmp_path / "cache", url, RepositoryKind.STORE).make_repository([world.first], tmp_path / "made")
    form = object_cache._FORMS[RepositoryKind.STORE]
    monkeypatch.setitem(object_cache._FORMS, RepositoryKind.STORE, replace(form, most_file_bytes=1000))
    with pytest.raises(RepositoryError, match="larger than allowed"):
        ObjectCache(tmp_path / "other", url, RepositoryKind.STORE).make_repository([world.first], tmp_path / "second")
    monkeypatch.undo()
    bomb = zstandard.compress(b"\0" * 2**28)
    for path in (world.path / "objects").rglob("*.dirtree"):
        path.write_bytes(bomb)
    with pytest.raises(RepositoryError, match="more than is allowed"):
        ObjectCache(tmp_path / "third", url, RepositoryKind.STORE).make_repository([world.first], tmp_path / "made 3")


def test_unknown_urls_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        ObjectCache(tmp_path, "nothing://x", RepositoryKind.STORE).make_repository(["0" * 64], tmp_path / "made")


# -- what comes back -----------------------------------------------------------------------------------------------


@pytest.fixture
def answer(tmp_path: Path) -> tuple[Carried, Candidate, Pool]:
    """What a worker sends, and where it is to go."""
    world = make_store(tmp_path)
    pool = Pool.of_repository(tmp_path)
    candidate = Candidate(base=world.first, target=world.second, codec="zstd")
    task = replace(
        cast("CarriedTask", carry(MakeTask(StoreBuilder(world.path), pool, candidate), "x")), url=f"file://{world.path}"
    )
    with Pool(carried.worker_pool(task.url).root.expanduser()).making() as folder:
        return task.run(folder), candidate, pool


def test_what_comes_back_is_admitted_with_its_note(answer: tuple[Carried, Candidate, Pool]) -> None:
    sent, candidate, pool = answer
    assert receive(sent, candidate, pool) == sent.made
    pool.check(sent.made.artifact)
    assert pool.find_note(candidate) is not None


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".", "summary", "1" * 7, "٣", "delta/x"])
def test_no_file_comes_back_under_another_name(answer: tuple[Carried, Candidate, Pool], name: str) -> None:
    sent, candidate, pool = answer
    with pytest.raises(BuildError, match="no delta has"):
        receive(replace(sent, files=((name, b"x"),)), candidate, pool)
    assert not pool.folder(candidate).exists()


def test_what_was_changed_on_its_way_is_refused(answer: tuple[Carried, Candidate, Pool]) -> None:
    sent, candidate, pool = answer
    ((name, data),) = sent.files
    assert name == DELTA_FILE
    other = replace(candidate, target="0" * 64)
    for files, wanted in (
        (((name, data + b"x"),), candidate),
        (((name, data), ("1", b"")), candidate),
        (sent.files, other),
    ):
        with pytest.raises(BuildError, match="another delta than it proved"):
            receive(replace(sent, files=files), wanted, pool)
        assert not pool.folder(wanted).exists()
    assert list_paths(pool.root / "tmp") == []


def test_what_needs_the_workshop_stays(tmp_path: Path) -> None:
    """Our own deltas and composed ones are put together of what is there; other tasks are none of a worker's."""
    builder, pool = OSTreeBuilder(tmp_path, tmp_path), Pool(tmp_path)
    for codec, is_out in (("native", False), ("composed", False), ("ostree", True)):
        task = MakeTask(builder, pool, Candidate(base="", target="0" * 64, codec=codec))
        assert (carry(task, "s3://x") is not None) == is_out
    assert carry(object(), "s3://x") is None
    assert str(carried.CACHES).startswith("~")
