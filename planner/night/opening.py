"""Opening the night of a scenario file, with a real clock and the default folders."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from planner.build.executors import LOCAL, Executor, LocalExecutor, open_executor
from planner.build.url_executor import UrlExecutor
from planner.night.making import Reporter
from planner.night.mirroring import bring_objects
from planner.night.night import Night
from planner.scenario import Scenario, read_scenario
from planner.weigh.stock_client import BuilderName


def open_night(
    scenario: str | Path,
    *,
    work: str | Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
    builder: BuilderName | None = None,
    executor: str | Executor | None = None,
) -> Night:
    """The night of a scenario file; its methods have the names of the command's verbs.

    Args:
        scenario: the TOML file.
        work: the work folder; default: `.deltaplan/NAME` beside the scenario.
        workers: jobs at a time; default: one per core. Jobs are processes of their own, so a script that
            calls them keeps its own statements under `if __name__ == "__main__":`. A cluster has its own number.
        reporter: where progress goes; default: nowhere.
        builder: who makes the static deltas of an OSTree repository, whatever codecs the scenario names.
        executor: what runs jobs: `local` (the default), `dask:tcp://HOST:8786`, or an executor.

    Raises:
        InputError: the file cannot be read, or breaks the format; or this is no executor.
    """
    path = Path(scenario)
    read = read_scenario(path) if builder is None else read_scenario(path).built_by(builder)
    home = path.resolve().parent
    folder = (Path(work) if work else home / ".deltaplan" / read.name).resolve()
    if executor is None or isinstance(executor, str):
        executor = _open_executor(executor or LOCAL, workers or os.cpu_count() or 1, read, folder, reporter)
    return Night(
        read,
        folder,
        home=home,
        executor=executor,
        reporter=reporter,
        downloads=_downloads(),
    )


def _open_executor(text: str, workers: int, scenario: Scenario, work: Path, reporter: Reporter | None) -> Executor:
    """The executor of that name, with the scenario's guards; beside this machine where its workers have a URL only."""
    guards, url = scenario.night.guards(), scenario.executor.repository_url
    opened = open_executor(text, workers=workers, guards=guards)
    if url is None or text == LOCAL:
        return opened
    bring = partial(bring_objects, url=url, work=work, reporter=reporter)
    return UrlExecutor(elsewhere=opened, here=LocalExecutor(workers, guards), url=url, bring=bring)


def _downloads() -> Path:
    """Where fetched packages are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(cache) / "deltaplan" / "packages"
