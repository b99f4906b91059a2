"""Opening the night of a scenario file, with a real clock and the default folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

from planner.night.making import Reporter
from planner.night.night import Night
from planner.scenario import read_scenario
from planner.weigh.stock_client import BuilderName


def open_night(
    scenario: str | Path,
    *,
    work: str | Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
    builder: BuilderName | None = None,
) -> Night:
    """The night of a scenario file; its methods have the names of the command's verbs.

    Args:
        scenario: the TOML file.
        work: the work folder; default: `.deltaplan/NAME` beside the scenario.
        workers: jobs at a time; default: one per core. Jobs are processes of their own, so a script that
            calls them keeps its own statements under `if __name__ == "__main__":`.
        reporter: where progress goes; default: nowhere.
        builder: who makes the static deltas of an OSTree repository, whatever codecs the scenario names.

    Raises:
        InputError: the file cannot be read, or breaks the format.
    """
    path = Path(scenario)
    read = read_scenario(path) if builder is None else read_scenario(path).built_by(builder)
    home = path.resolve().parent
    return Night(
        read,
        (Path(work) if work else home / ".deltaplan" / read.name).resolve(),
        home=home,
        workers=workers or os.cpu_count() or 1,
        reporter=reporter,
        clock=time.monotonic,
        downloads=_downloads(),
    )


def _downloads() -> Path:
    """Where fetched packages are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(cache) / "deltaplan" / "packages"
