"""A Dask cluster gives what this machine gives, byte for byte, whatever happens to its workers."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from distributed import CancelledError, Client, KilledWorker

from planner.build.builders import DELTA_FILE, Builder, OSTreeBuilder, StoreBuilder
from planner.build.dask_executor import DaskExecutor, _Run
from planner.build.executors import Executor, LocalExecutor, open_executor
from planner.build.jobs import Failed, Made, MakeTask, run_jobs
from planner.build.pool import Pool
from planner.build.processes import DatabaseTask, Guards, Refused
from planner.build.workshop import Report
from planner.build.workshop_notes import Built
from planner.delta.superblock import COMPOSED, NATIVE
from planner.errors import BuildError, InputError, RepositoryError, ToolError
from planner.weigh.candidates import Candidate
from tests.build.clusters import dask_cluster
from tests.build.worlds import list_paths, make_ostree, make_store, runs

_WAIT_S = 60.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as address:
        yield address


@pytest.fixture
def executor(address: str) -> Executor:
    return open_executor(f"dask:{address}", workers=99)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool.of_repository(tmp_path)


# -- the same artifacts --------------------------------------------------------------------------------------------


def _make(builder: Builder, pool: Pool, candidates: Sequence[Candidate], executor: Executor) -> dict[str, bytes]:
    """Every file of every delta that was made."""
    builder.prepare(candidates, executor=executor, report=lambda *_: None)
    outcomes = list(run_jobs(builder, pool, candidates, executor=executor))
    assert all(isinstance(outcome, Made) for outcome in outcomes), outcomes
    for outcome in outcomes:
        assert isinstance(outcome, Made)
        pool.check(outcome.artifact)
    assert list_paths(pool.root / "tmp") == []
    folders = {candidate.codec for candidate in candidates}
    files = (path for folder in folders for path in (pool.root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(pool.root)): path.read_bytes() for path in files}


def test_a_stores_deltas_are_those_of_the_local_pool(tmp_path: Path, executor: Executor) -> None:
    """Byte for byte, from the same repository."""
    world = make_store(tmp_path)
    ends = [(world.first, world.second), (world.second, world.third), ("", world.first)]
    wanted = [Candidate(base=b, target=t, codec=codec) for b, t in ends for codec in ("zstd", "hdiffpatch")]
    here, there = (Pool.of_repository(tmp_path / name) for name in ("here", "there"))
    builder = StoreBuilder(world.path)
    assert executor.workers == 2
    made = _make(builder, there, wanted, executor)
    assert len(made) == len(wanted)
    assert made == _make(builder, here, wanted, LocalExecutor(2))


def test_our_own_static_deltas_are_those_of_the_local_pool(tmp_path: Path, executor: Executor) -> None:
    """Differences, parts and deltas, byte for byte, and a composed one of them, from copies of one repository."""
    if shutil.which("ostree") is None:
        pytest.skip("needs the program ostree")
    world = make_ostree(tmp_path)
    shutil.copytree(world.path, tmp_path / "copy", symlinks=True)
    pairs = [(world.first, world.second), (world.second, world.third), ("", world.third)]
    wanted = [Candidate(base=base, target=target, codec=NATIVE) for base, target in pairs]
    seen = []
    for path, runner in ((world.path, executor), (tmp_path / "copy", LocalExecutor(2))):
        builder = OSTreeBuilder(path, tmp_path / "scratch" / path.name)
        made = _make(builder, Pool.of_repository(path), wanted, runner)
        builder.workshop.order_composed(world.first, world.third, pairs[:2], ())
        composed = [Candidate(base=world.first, target=world.third, codec=COMPOSED)]
        seen.append(made | _make(builder, Pool.of_repository(path), composed, runner))
    assert seen[0].keys() == seen[1].keys()
    assert {path.split("/")[0] for path in seen[0]} == {NATIVE, COMPOSED}
    assert [path for path, data in seen[0].items() if data != seen[1][path]] == []


# -- workers that are lost -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counting:
    """A builder that notes each build's start and end; `deadly` ones kill their worker in the middle, once."""

    notes: Path

    def prepare(self, candidates: Sequence[Candidate], *, executor: Executor, report: Report) -> None:
        """Nothing."""

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """A delta that is the target's name."""
        self._note(f"{target}.started")
        (into / "half").touch()
        if codec == "deadly":
            kill_worker_once(self.notes / f"{target}.deadly")
        if codec == "hang":
            (self.notes / f"{os.getpid()}.hangs").touch()
            child = subprocess.Popen(["sleep", "1000"])
            (self.notes / f"{child.pid}.hangs").touch()
            child.wait()
        if codec == "refuse":
            raise BuildError("cannot be built")
        (into / "half").unlink()
        (into / DELTA_FILE).write_text(target)
        self._note(f"{target}.ended")
        return Built()

    def prove(self, base: str, target: str, codec: str, delta: Path) -> float:
        """Everything is proved."""
        return 0.0

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Anywhere."""
        return f"deltas/{target}"

    def _note(self, name: str) -> None:
        (self.notes / f"{name}.{secrets.token_hex(8)}").touch()

    def count(self, what: str) -> Counter[str]:
        """How often each target's build started or ended."""
        return Counter(path.name.split(".")[0] for path in self.notes.glob(f"*.{what}.*"))


@dataclass(frozen=True)
class DeadlyTask:
    """Makes a delta, and kills its worker once that is in the pool, before anybody knows."""

    inner: MakeTask
    notes: Path

    def run(self, folder: Path) -> Made:
        """Twice, as far as Dask knows."""
        made = self.inner.run(folder)
        kill_worker_once(self.notes / f"{self.inner.candidate.target}.deadly")
        return made


def kill_worker_once(note: Path) -> None:
    """SIGKILL to the process whose task this one is, unless that was done before."""
    if not note.exists():
        note.touch()
        worker = parent_process()
        assert worker is not None
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(1000)


@pytest.fixture
def builder(tmp_path: Path) -> Counting:
    (tmp_path / "notes").mkdir()
    return Counting(tmp_path / "notes")


def _wanted(*codecs: str) -> list[Candidate]:
    return [Candidate(base="", target=f"{number:064x}", codec=codec) for number, codec in enumerate(codecs)]


def test_a_worker_that_is_killed_costs_only_time(builder: Counting, pool: Pool, executor: Executor) -> None:
    """Its task goes to another worker; every delta is there, and none was made twice."""
    wanted = _wanted("good", "deadly", "good", "good", "refuse")
    outcomes = list(run_jobs(builder, pool, wanted, executor=executor))
    assert len(outcomes) == len(wanted)
    made = {outcome.artifact.candidate for outcome in outcomes if isinstance(outcome, Made)}
    assert made == set(wanted[:4])
    (failed,) = (outcome for outcome in outcomes if isinstance(outcome, Failed))
    assert (failed.candidate, failed.is_final) == (wanted[4], True)
    assert builder.count("started") == Counter({wanted[1].target: 2} | {wanted[k].target: 1 for k in (0, 2, 3, 4)})
    assert builder.count("ended") == Counter(candidate.target for candidate in made)
    for outcome in outcomes:
        if isinstance(outcome, Made):
            pool.check(outcome.artifact)


def test_a_delta_that_its_lost_worker_had_admitted_is_not_made_again(
    builder: Counting, pool: Pool, executor: Executor
) -> None:
    """The next try finds it in the pool, with what its making took."""
    (candidate,) = _wanted("good")
    ((_, made),) = executor.run([DeadlyTask(MakeTask(builder, pool, candidate), builder.notes)], pool)
    assert isinstance(made, Made)
    assert made.weight.server_cpu_s > 0.0
    pool.check(made.artifact)
    assert builder.count("started") == builder.count("ended") == Counter([candidate.target])


@dataclass(frozen=True)
class Whose(DatabaseTask):
    """The process that runs a task."""

    def run(self, folder: Path) -> int:
        """Its number."""
        worker = parent_process()
        assert worker is not None
        assert worker.pid is not None
        return worker.pid


def test_databases_are_not_used_across_machines(
    pool: Pool, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a worker is on another machine, tasks that use one run here."""
    assert os.getpid() not in dict(executor.run([Whose(), Whose()], pool)).values()
    monkeypatch.setattr("planner.build.dask_executor._is_on_this_machine", lambda _: False)
    assert list(executor.run([Whose()], pool)) == [(0, os.getpid())]


# -- being ended ---------------------------------------------------------------------------------------------------


def test_closing_early_leaves_no_process_and_no_litter(builder: Counting, pool: Pool, executor: Executor) -> None:
    """Dask cannot stop a thread; the processes of cancelled tasks are gone with their programs when the run ends."""
    with closing(run_jobs(builder, pool, _wanted("good", "hang", "hang", "hang"), executor=executor)) as outcomes:
        assert isinstance(next(outcomes), Made)
        _wait_until(lambda: bool(list(builder.notes.glob("*.hangs"))))
    assert [path.name for path in builder.notes.glob("*.hangs") if runs(path.name.split(".")[0])] == []
    _wait_until(lambda: list_paths(pool.root / "tmp") == [])


def test_tasks_end_with_their_client(builder: Counting, pool: Pool, address: str) -> None:
    """A night that is killed leaves nothing that works on beside the next one."""
    run = subprocess.Popen([sys.executable, "-c", _RUN, str(builder.notes), str(pool.root), address])
    _wait_until(lambda: bool(list(builder.notes.glob("*.hangs"))))
    run.kill()
    run.wait()
    _wait_until(lambda: not any(runs(path.name.split(".")[0]) for path in builder.notes.glob("*.hangs")))
    _wait_until(lambda: list_paths(pool.root / "tmp") == [])


_RUN = """
import sys
from pathlib import Path
from planner.build.executors import open_executor
from planner.build.jobs import run_jobs
from planner.build.pool import Pool
from tests.build.test_dask_executor import Counting, _wanted
if __name__ == "__main__":
    builder, pool = Counting(Path(sys.argv[1])), Pool(Path(sys.argv[2]))
    list(run_jobs(builder, pool, _wanted("hang"), executor=open_executor(f"dask:{sys.argv[3]}", workers=1)))
"""


def test_guards_hold_on_workers(builder: Counting, pool: Pool, address: str) -> None:
    """A task that runs for too long is ended by its worker."""
    executor = open_executor(f"dask:{address}", workers=1, guards=Guards(most_wall_s=1.0))
    outcomes = dict(executor.run([MakeTask(builder, pool, _wanted("hang")[0])], pool))
    assert outcomes == {0: Refused(reason="it ran longer than 1.0 s", is_final=False)}


@pytest.mark.parametrize(
    ("error", "tries", "outcome"),
    [
        (KilledWorker("key", None, 3), 1, Refused(reason="its workers were lost, one after the other", is_final=False)),
        (CancelledError(), 1, None),
        (CancelledError(), 3, Refused(reason="its worker was lost 3 times", is_final=False)),
        (RepositoryError("is missing"), 1, RepositoryError),
        (ModuleNotFoundError("planner"), 1, BuildError),
    ],
)
def test_lost_tasks_are_tried_again_but_not_for_ever(pool: Pool, error: Exception, tries: int, outcome: object) -> None:
    """What Dask says of a task: None is tried again, what is not the task's fault is raised."""

    def fail(**_: object) -> None:
        raise error

    future = SimpleNamespace(result=fail)
    run: Any = _Run(None, DaskExecutor("tcp://nowhere:1"), iter(()), pool, "", tries={0: tries})
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            run._judge(0, future)
    else:
        assert run._judge(0, future) == outcome


# -- what cannot be ------------------------------------------------------------------------------------------------


def test_a_scheduler_that_dies_ends_the_run_and_its_tasks(builder: Counting, pool: Pool, tmp_path: Path) -> None:
    """Nobody would come back for their outcomes."""
    (tmp_path / "cluster").mkdir()
    with dask_cluster(tmp_path / "cluster", workers=1) as address:
        executor = replace(cast("Any", open_executor(f"dask:{address}", workers=1)), patience_s=3.0)
        with closing(executor.run([MakeTask(builder, pool, one) for one in _wanted("good", "hang")], pool)) as outcomes:
            assert isinstance(next(outcomes)[1], Made)
            _wait_until(lambda: bool(list(builder.notes.glob("*.hangs"))))
            with Client(address, set_as_default=False) as client:
                scheduler = client.run_on_scheduler(os.getpid)
            os.kill(scheduler, signal.SIGKILL)
            with pytest.raises(ToolError, match=r"scheduler is gone|no worker is left"):
                next(outcomes)
        _wait_until(lambda: not any(runs(path.name.split(".")[0]) for path in builder.notes.glob("*.hangs")))


def test_no_tasks_need_no_cluster(pool: Pool) -> None:
    assert list(open_executor("dask:tcp://127.0.0.1:9", workers=1).run([], pool)) == []


def test_a_scheduler_that_does_not_answer_is_a_clear_error(world_task: MakeTask, pool: Pool) -> None:
    executor = cast("Any", open_executor("dask:tcp://127.0.0.1:9", workers=1))
    with pytest.raises(ToolError, match="scheduler does not answer"):
        list(replace(executor, patience_s=0.5).run([world_task], pool))


@pytest.fixture
def world_task(builder: Counting, pool: Pool) -> MakeTask:
    return MakeTask(builder, pool, _wanted("good")[0])


@pytest.mark.parametrize("text", ["", "slurm", "dask", "dask:", "dask:somewhere", "tcp://127.0.0.1:1"])
def test_other_executors_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no executor"):
        open_executor(text, workers=1)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.build.executors.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'delta-planner\[dask\]'"):
        open_executor("dask:tcp://127.0.0.1:1", workers=1)


def test_the_local_executor_has_the_workers_that_were_asked_for() -> None:
    guards = Guards(most_wall_s=1.0)
    assert open_executor("local", workers=3, guards=guards) == LocalExecutor(3, guards)


def _wait_until(is_so: object) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    assert callable(is_so)
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
