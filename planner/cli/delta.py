"""`deltaplan delta`: one static delta of an OSTree repository, in place of `ostree static-delta generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from planner.build import native_delta
from planner.cli.context import JsonOption, TerminalReporter, run_verb
from planner.delta.encode import Effort
from planner.delta.make import MAX_PART_BYTES, Delta, Settings, make_delta
from planner.delta.paths import relative_path
from planner.errors import InputError
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY
from planner.units import MB, format_bytes

_FALLBACK_MB, _CHUNK_MB = 4, MAX_PART_BYTES // MB


def delta(  # noqa: PLR0913, PLR0917 - one parameter per option
    target: Annotated[str, typer.Option("--to", help="The commit to make: a ref, a version or a checksum.")],
    repository: Annotated[Path, typer.Option("--repo", help="The OSTree repository.")] = Path(),
    base: Annotated[str | None, typer.Option("--from", help="The commit to start from. Default: the parent.")] = None,
    is_empty: Annotated[bool, typer.Option("--empty", help="From nothing.")] = False,
    is_inline: Annotated[bool, typer.Option("--inline", help="Put the parts into the superblock.")] = False,
    skips_existing: Annotated[
        bool, typer.Option("--if-not-exists", "-n", help="Do nothing where the repository has this delta.")
    ] = False,
    is_whole: Annotated[bool, typer.Option("--disable-bsdiff", help="Send changed files whole.")] = False,
    fallback_mb: Annotated[
        int, typer.Option("--min-fallback-size", min=0, help="Larger whole files, in MB, are fetched apart; 0: none.")
    ] = _FALLBACK_MB,
    chunk_mb: Annotated[
        int, typer.Option("--max-chunk-size", min=0, help="Parts hold at most so many MB before they are packed.")
    ] = _CHUNK_MB,
    filename: Annotated[
        Path | None, typer.Option("--filename", help="Write the superblock here and the parts beside it.")
    ] = None,
    effort: Annotated[Effort, typer.Option("--effort", help="Core-seconds spent on packing.")] = Effort.BALANCED,
    as_json: JsonOption = False,
) -> None:
    """Make one static delta, for stock clients, without weighing it against others."""
    if is_empty and base is not None:
        raise InputError("a delta is either from a commit or from nothing", path="--empty", got=base)
    settings = Settings(
        effort=effort,
        max_part_bytes=chunk_mb * MB,
        fallback_bytes=fallback_mb * MB or None,
        is_inline=is_inline,
        budget_core_s=0.0 if is_whole else None,
    )

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        opened = OSTreeRepository(repository)
        history = opened.read_history()
        ends = native_delta.resolve_ends(history, EMPTY if is_empty else base, target)
        if filename is None and skips_existing and (repository / relative_path(*ends)).exists():
            return {"base": ends[0], "target": ends[1], "is_new": False}, Text("the repository has this delta")
        made = make_delta(opened, ObjectSets(history), *ends, settings)
        if filename is None:
            path = native_delta.write_into(made, repository, *ends)
        else:
            native_delta.write_beside(made, filename)
            path = filename
        return _document(made, *ends, path), Text(_line(made, path))

    run_verb(action, as_json=as_json)


def _document(made: Delta, base: str, target: str, path: Path) -> dict[str, Any]:
    return {
        "base": base,
        "target": target,
        "is_new": True,
        "path": str(path),
        "superblock_bytes": len(made.superblock),
        "part_bytes": [len(part) for part in made.parts],
    }


def _line(made: Delta, path: Path) -> str:
    total = len(made.superblock) + sum(map(len, made.parts))
    return f"{path}: {format_bytes(total)} in {1 + len(made.parts)} files"
