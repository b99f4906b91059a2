"""A Dask cluster on this machine: a scheduler and workers in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

_WAIT_S = 60.0
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def dask_cluster(folder: Path, *, workers: int = 2) -> Iterator[str]:
    """The address of a scheduler; its workers, of one thread each, have nannies, as `dask worker` gives them."""
    distributed = pytest.importorskip("distributed")
    scheduler = folder / "scheduler.json"
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    processes = [
        _start(folder, "dask_scheduler", "--port", "0", "--scheduler-file", str(scheduler), *local),
        *(
            _start(folder, "dask_worker", "--scheduler-file", str(scheduler), "--nthreads", "1", *local)
            for _ in range(workers)
        ),
    ]
    try:
        address = _read_address(scheduler)
        with distributed.Client(address, set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers, timeout=_WAIT_S)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


def _start(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{program}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )


def _read_address(path: Path) -> str:
    deadline_s = time.monotonic() + _WAIT_S
    while True:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return str(msgspec.json.decode(path.read_bytes())["address"])
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
