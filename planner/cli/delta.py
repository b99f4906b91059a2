"""`deltaplan delta`: one static delta of an OSTree repository, in place of `ostree static-delta generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from planner.build import native_delta
from planner.build.signing import ED25519, read_keys, sign_delta
from planner.build.workshop import open_differences
from planner.cli.context import JsonOption, TerminalReporter, run_verb
from planner.delta.bsdiff import MAX_SUFFIX_BYTES
from planner.delta.encode import Effort
from planner.delta.make import MAX_PART_BYTES, Delta, Settings, make_delta
from planner.delta.paths import relative_path
from planner.delta.superblock import ByteOrder
from planner.errors import InputError
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY
from planner.units import MB, format_bytes

_FALLBACK_MB, _BSDIFF_MB, _CHUNK_MB = 4, MAX_SUFFIX_BYTES // MB, MAX_PART_BYTES // MB


def delta(  # noqa: PLR0913, PLR0917 - one parameter per option
    to: Annotated[
        str | None, typer.Argument(metavar="TO", help="The commit to make: a ref, a version or a checksum.")
    ] = None,
    target: Annotated[str | None, typer.Option("--to", help="The same; counts if both are given.")] = None,
    repository: Annotated[Path, typer.Option("--repo", help="The OSTree repository.")] = Path(),
    base: Annotated[str | None, typer.Option("--from", help="The commit to start from. Default: the parent.")] = None,
    is_empty: Annotated[bool, typer.Option("--empty", help="From nothing.")] = False,
    is_inline: Annotated[bool, typer.Option("--inline", help="Put the parts into the superblock.")] = False,
    skips_existing: Annotated[
        bool, typer.Option("--if-not-exists", "-n", help="Do nothing where the repository has this delta.")
    ] = False,
    is_whole: Annotated[bool, typer.Option("--disable-bsdiff", help="Send changed files whole.")] = False,
    byte_order: Annotated[
        ByteOrder, typer.Option("--set-endianness", help="Order of the superblock's bytes.")
    ] = ByteOrder.LITTLE,
    is_swapped: Annotated[bool, typer.Option("--swap-endianness", help="The other order of bytes.")] = False,
    fallback_mb: Annotated[
        int,
        typer.Option(
            "--min-fallback-size", min=0, help="Larger whole files, in MB, are fetched apart; 0: none, for offline use."
        ),
    ] = _FALLBACK_MB,
    bsdiff_mb: Annotated[
        int,
        typer.Option("--max-bsdiff-size", min=0, help="Old and new of more MB together are compared by hashed words."),
    ] = _BSDIFF_MB,
    chunk_mb: Annotated[
        int, typer.Option("--max-chunk-size", min=0, help="Parts hold at most so many MB before they are packed.")
    ] = _CHUNK_MB,
    filename: Annotated[
        Path | None, typer.Option("--filename", help="Write the superblock here and the parts beside it.")
    ] = None,
    sign: Annotated[
        list[str] | None,
        typer.Option("--sign", metavar="KEY_ID", help="Sign with this secret key, which others see in `ps`."),
    ] = None,
    sign_type: Annotated[str, typer.Option("--sign-type", help="The kind of signature.")] = ED25519,
    keys_file: Annotated[
        Path | None,
        typer.Option("--keys-file", help="Sign with the secret keys in this file, one a line. Needs --filename."),
    ] = None,
    effort: Annotated[Effort, typer.Option("--effort", help="Core-seconds spent on packing.")] = Effort.BALANCED,
    as_json: JsonOption = False,
) -> None:
    """Make one static delta, for stock clients, without weighing it against others."""
    if is_empty and base is not None:
        raise InputError("a delta is either from a commit or from nothing", path="--empty", got=base)
    wanted = target or to
    if not wanted:
        raise InputError("names no commit", path="to")
    is_signed = bool(sign) or keys_file is not None
    if is_signed and filename is None:
        # Stock clients do not unwrap what they pull: they fail, and do not fall back to loose objects.
        raise InputError("a signed delta is for apply-offline, pulling it fails: name a file for it", path="--filename")
    settings = Settings(
        effort=effort,
        max_part_bytes=chunk_mb * MB,
        fallback_bytes=fallback_mb * MB or None,
        is_inline=is_inline,
        budget_core_s=0.0 if is_whole else None,
        max_suffix_bytes=bsdiff_mb * MB,
        byte_order=byte_order.other if is_swapped else byte_order,
    )

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        keys = read_keys(sign or (), keys_file, sign_type) if is_signed else []
        opened = OSTreeRepository(repository)
        history = opened.read_history()
        ends = native_delta.resolve_ends(history, EMPTY if is_empty else base, wanted)
        if filename is None and skips_existing and (repository / relative_path(*ends)).exists():
            return {"base": ends[0], "target": ends[1], "is_new": False}, Text("the repository has this delta")
        with open_differences(repository, settings) as pool:
            made = make_delta(opened, ObjectSets(history), *ends, settings, pool)
        if keys:
            made = sign_delta(made, keys)
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
