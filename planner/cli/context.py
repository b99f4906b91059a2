"""What every verb shares: its options, progress on a terminal, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from planner.weigh.stock_client import BuilderName

ScenarioArgument = Annotated[Path, typer.Argument(help="The scenario's TOML file.", show_default=False)]
WorkOption = Annotated[
    Path | None, typer.Option("--work", help="Work folder. Default: .deltaplan/NAME beside the scenario.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
GapOption = Annotated[float, typer.Option("--gap", min=0.0, help="Stop at this relative gap; 0: optimal.")]
TimeLimitOption = Annotated[
    float | None, typer.Option("--time-limit", min=0.0, help="Stop after so many seconds with the best plan.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="For ties and search order.")]
BuilderOption = Annotated[
    BuilderName | None,
    typer.Option("--builder", help="Who makes an OSTree repository's deltas. Default: the scenario's codecs."),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Jobs at a time. Default: one per core.")]
ExecutorOption = Annotated[
    str | None, typer.Option("--executor", help="`local`, or the cluster `dask:tcp://HOST:8786`. Default: local.")
]

_FILE_COLUMNS = 120
"""Width of tables in a file or a pipe, which have none of their own."""

WORKERS = os.cpu_count() or 1


class TerminalReporter:
    """Progress bars on a terminal, lines where the output is no terminal, nothing beside JSON."""

    def __init__(self, console: Console, *, is_quiet: bool) -> None:
        self._console = console
        self._is_quiet = is_quiet
        self._tasks: dict[str, Any] = {}
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=console)

    def __enter__(self) -> Self:
        if self._is_live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._progress.stop()

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._is_quiet

    def say(self, text: str) -> None:
        """One line of news."""
        if not self._is_quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def advance(self, step: str, done: int, total: int, note: str) -> None:
        """Move the step's bar, or print a line."""
        if not self._is_live:
            self.say(f"{step} {done}/{total}: {note}")
            return
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=total, note="")
        self._progress.update(self._tasks[step], completed=done, total=total, note=note)


def run_verb(action: Callable[[TerminalReporter], tuple[Any, RenderableType]], *, as_json: bool) -> None:
    """Run a verb and print its answer: a JSON document, or what a person reads. Progress goes to stderr."""
    reporter = TerminalReporter(Console(stderr=True), is_quiet=as_json)
    with reporter:
        document, view = action(reporter)
    if as_json:
        json.dump(document, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        console = Console()
        if not console.is_terminal:
            console.width = max(console.width, _FILE_COLUMNS)
        console.print(view)
