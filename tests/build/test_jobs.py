"""Jobs in processes of their own: whatever one does, the others and the pool are none the worse."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from planner.build.builders import DELTA_FILE, StoreBuilder
from planner.build.executors import Executor, LocalExecutor
from planner.build.jobs import Failed, Made, run_jobs
from planner.build.pool import Pool
from planner.build.processes import Job, Refused
from planner.build.workshop import Report
from planner.build.workshop_notes import Built
from planner.errors import BuildError, PlannerError, RepositoryError, SpaceError, ToolError
from planner.weigh.candidates import Candidate, WeightStatus
from tests.build.worlds import World, list_paths, make_store, runs

_WAIT_S = 30.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool.of_repository(tmp_path)


def _candidates(world: World) -> list[Candidate]:
    ends = [(world.first, world.second), (world.second, world.third), ("", world.first)]
    return [Candidate(base=base, target=target, codec=codec) for base, target in ends for codec in ("zstd", "bsdiff4")]


# -- real builds ---------------------------------------------------------------------------------------------------


def test_results_do_not_depend_on_the_number_of_workers(world: World, tmp_path: Path) -> None:
    """Digests and bytes are the candidate's, not the schedule's."""
    seen = []
    for workers in (1, 3, 20):
        pool = Pool.of_repository(tmp_path / str(workers))
        outcomes = list(run_jobs(StoreBuilder(world.path), pool, _candidates(world), executor=LocalExecutor(workers)))
        assert all(isinstance(outcome, Made) for outcome in outcomes)
        made = {outcome.artifact.candidate: outcome.artifact for outcome in outcomes if isinstance(outcome, Made)}
        assert made.keys() == set(_candidates(world))
        for artifact in made.values():
            pool.check(artifact)
        assert list_paths(pool.root / "tmp") == []
        seen.append(made)
    assert seen[0] == seen[1] == seen[2]


def test_measured_weights_are_physical(world: World, pool: Pool) -> None:
    """Positive CPU, a client that does not work more than the server, and exactly the files' bytes."""
    for outcome in run_jobs(StoreBuilder(world.path), pool, _candidates(world), executor=LocalExecutor(2)):
        assert isinstance(outcome, Made)
        file_bytes = (pool.folder(outcome.artifact.candidate) / DELTA_FILE).stat().st_size
        weight = outcome.weight
        assert weight.wire_bytes == weight.stored_bytes == outcome.artifact.wire_bytes == file_bytes
        assert 0 < weight.client_cpu_s <= weight.server_cpu_s
        assert 10**6 < weight.peak_memory_bytes < 10**10
        assert weight.status is WeightStatus.MEASURED


def test_no_candidates_are_no_jobs(world: World, pool: Pool) -> None:
    """An empty list gives nothing and touches nothing."""
    assert list(run_jobs(StoreBuilder(world.path), pool, [], executor=LocalExecutor(2))) == []
    assert not pool.root.exists()


# -- stand-ins -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Misbehaving:
    """A builder that does what the candidate's codec says; it notes its process in `notes`."""

    notes: Path

    def prepare(self, candidates: Sequence[Candidate], *, executor: Executor, report: Report) -> None:
        """Nothing."""

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """Note the process, misbehave, and leave a file behind if that did not end it."""
        (into / "half").write_bytes(b"x" * 100)
        (self.notes / str(os.getpid())).touch()
        getattr(self, f"_{codec}")()
        (into / DELTA_FILE).write_bytes(b"made")
        (into / "half").unlink()
        return Built()

    def prove(self, base: str, target: str, codec: str, delta: Path) -> float:
        """Everything is proved."""
        return 0.0

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Anywhere."""
        return f"deltas/{target}"

    def _good(self) -> None:
        pass

    def _refuse(self) -> None:
        raise BuildError("cannot be built")

    def _crash(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def _leave(self) -> None:
        os._exit(0)

    def _defect(self) -> None:
        raise RuntimeError("a defect")

    def _unpicklable(self) -> None:
        raise RepositoryError("with a fact that cannot be sent", fact=lambda: None)

    def _full_disk(self) -> None:
        raise OSError(28, "No space left on device")

    def _broken(self) -> None:
        raise RepositoryError("is missing")

    def _no_tool(self) -> None:
        raise ToolError("is not installed", path="ostree", debian_package="ostree")

    def _tool_killed(self) -> None:
        raise ToolError("was ended by a signal", path="ostree", signal="SIGKILL")

    def _io_error(self) -> None:
        raise OSError(5, "Input/output error")

    def _no_memory(self) -> None:
        raise MemoryError

    def _huge_reason(self) -> None:
        raise BuildError("x" * 1_000_000)

    def _hang(self) -> None:
        child = subprocess.Popen(["sleep", "1000"])
        (self.notes / str(child.pid)).touch()
        (self.notes / "hangs").touch()
        child.wait()


@pytest.fixture
def builder(tmp_path: Path) -> Misbehaving:
    (tmp_path / "notes").mkdir()
    return Misbehaving(tmp_path / "notes")


def _wanted(*codecs: str) -> list[Candidate]:
    return [Candidate(base="", target=f"{number:064x}", codec=codec) for number, codec in enumerate(codecs)]


def _run(builder: Misbehaving, pool: Pool, *codecs: str, workers: int = 2) -> dict[str, Made | Failed]:
    outcomes = list(run_jobs(builder, pool, _wanted(*codecs), executor=LocalExecutor(workers)))
    assert len(outcomes) == len(codecs)
    return {_codec(outcome): outcome for outcome in outcomes}


def _codec(outcome: Made | Failed) -> str:
    return outcome.artifact.candidate.codec if isinstance(outcome, Made) else outcome.candidate.codec


@pytest.mark.parametrize(
    ("codec", "is_final", "reason"),
    [
        ("refuse", True, "cannot be built"),
        ("huge_reason", True, "xxx"),
        ("crash", False, "signal 11"),
        ("tool_killed", False, "SIGKILL"),
        ("io_error", False, "Input/output error"),
        ("no_memory", False, "MemoryError"),
        ("defect", False, "process failed"),
        ("unpicklable", False, "process failed"),
        ("leave", False, "process failed"),
    ],
)
def test_a_job_that_fails_leaves_the_others_alone(
    builder: Misbehaving, pool: Pool, codec: str, is_final: bool, reason: str
) -> None:
    """Only what the candidate itself must answer for is final, and no defect of ours; nothing of the job stays."""
    outcomes = _run(builder, pool, codec, "good")
    failed, made = outcomes[codec], outcomes["good"]
    assert isinstance(failed, Failed)
    assert isinstance(made, Made)
    assert failed.is_final is is_final
    assert reason in failed.reason
    pool.check(made.artifact)
    paths = [path for path in list_paths(pool.root) if not path.startswith("notes")]
    assert paths == sorted(["good", f"good/empty-{1:064x}", f"good/empty-{1:064x}/{DELTA_FILE}", "tmp"])
    assert [path.name for path in (pool.root / "notes").rglob("*.json")] == [f"{made.artifact.digest}.json"]


@pytest.mark.parametrize(
    ("codec", "error", "text"),
    [
        ("full_disk", SpaceError, "disk is full"),
        ("broken", RepositoryError, "is missing"),
        ("no_tool", ToolError, "not installed"),
    ],
)
def test_what_is_not_the_candidates_fault_ends_the_run(
    builder: Misbehaving, pool: Pool, codec: str, error: type[PlannerError], text: str
) -> None:
    """A full disk, a broken repository and a missing program are raised, and what runs beside is ended."""
    with pytest.raises(error, match=text):
        _run(builder, pool, "hang", codec, "good")
    _expect_no_process(builder)
    assert list_paths(pool.root / "tmp") == []


def test_closing_early_leaves_no_process_and_no_litter(builder: Misbehaving, pool: Pool) -> None:
    """Programs that a job started end with it; what was made before stays."""
    with closing(run_jobs(builder, pool, _wanted("good", "hang", "hang"), executor=LocalExecutor(3))) as outcomes:
        made = next(iter(outcomes))
        _wait_for(builder.notes / "hangs")
    assert isinstance(made, Made)
    _expect_no_process(builder)
    assert list_paths(pool.root / "tmp") == []
    pool.check(made.artifact)


def test_a_killed_run_takes_its_jobs_along_and_clean_removes_its_litter(builder: Misbehaving, pool: Pool) -> None:
    """No job works on beside the next run, and nothing it left is mistaken for an artifact."""
    run = subprocess.Popen([sys.executable, "-c", _RUN, str(builder.notes), str(pool.root)])
    _wait_for(builder.notes / "hangs")
    run.kill()
    run.wait()
    _expect_no_process(builder)
    assert list_paths(pool.root / "tmp") != []
    assert [path.name for path in pool.root.iterdir()] == ["tmp"]
    pool.clean()
    assert list_paths(pool.root) == []


_RUN = """
import sys
from pathlib import Path
from planner.build.executors import LocalExecutor
from planner.build.jobs import run_jobs
from planner.build.pool import Pool
from tests.build.test_jobs import Misbehaving, _wanted
if __name__ == "__main__":
    builder, pool = Misbehaving(Path(sys.argv[1])), Pool(Path(sys.argv[2]))
    list(run_jobs(builder, pool, _wanted("hang"), executor=LocalExecutor(1)))
"""


def test_a_delta_that_is_there_with_its_note_is_not_made_again(builder: Misbehaving, pool: Pool) -> None:
    """A try whose worker was lost may have come that far; a damaged delta, or one without its note, is made again."""
    first = _run(builder, pool, "good")["good"]
    assert isinstance(first, Made)
    for path in builder.notes.iterdir():
        path.unlink()
    assert _run(builder, pool, "good")["good"] == first
    assert list(builder.notes.iterdir()) == []
    (pool.folder(first.artifact.candidate) / DELTA_FILE).write_bytes(b"MADE")
    assert isinstance(_run(builder, pool, "good")["good"], Made)
    shutil.rmtree(pool.root / "notes")
    assert isinstance(_run(builder, pool, "good")["good"], Made)
    assert len(list(builder.notes.iterdir())) == 2
    pool.check(first.artifact)


def test_jobs_run_apart_from_the_caller(builder: Misbehaving, pool: Pool) -> None:
    """Each job has a process of its own, and none of them is this one."""
    _run(builder, pool, "good", "refuse", "crash", workers=1)
    processes = {int(path.name) for path in builder.notes.iterdir()}
    assert len(processes) == 3
    assert os.getpid() not in processes
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\1\0half an answer"])
def test_an_answer_that_is_cut_off_is_no_answer(sent: bytes) -> None:
    """A process may be killed while it answers."""
    here, there = multiprocessing.Pipe(duplex=False)
    os.write(there.fileno(), sent)
    there.close()
    dead = SimpleNamespace(join=lambda: None, exitcode=-signal.SIGKILL)
    job: Job[None] = Job(number=0, process=dead, results=here, resources=ExitStack())  # type: ignore[arg-type]
    assert job.end() == Refused(reason="its process was ended by signal 9", is_final=False)
    here.close()


def _wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline_s, path
        time.sleep(0.01)


def _expect_no_process(builder: Misbehaving) -> None:
    """Every process that was noted ends; one that nobody reaps counts as ended."""
    for path in builder.notes.iterdir():
        deadline_s = time.monotonic() + _WAIT_S
        while path.name.isdigit() and runs(path.name):
            assert time.monotonic() < deadline_s, path
            time.sleep(0.01)
