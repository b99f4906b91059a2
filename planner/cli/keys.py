"""`deltaplan keys`: the keys that route indexes are signed with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, TerminalReporter, run_verb
from planner.publish.keys import make_keys

keys = typer.Typer(name="keys", help="Keys that route indexes and summaries are signed with.", no_args_is_help=True)


@keys.callback()
def _keys() -> None:
    """Keys that route indexes and summaries are signed with."""


@keys.command()
def new(
    path: Annotated[Path, typer.Argument(help="The private key's file; the public one is PATH.pub.")],
    as_json: JsonOption = False,
) -> None:
    """Make an ed25519 key: a private one for `[publish] signing_key`, a public one for `follow --key`."""

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        made = make_keys(path)
        return asdict(made), Text(f"{made.private} (secret), {made.public}: key {made.key_id}")

    run_verb(action, as_json=as_json)
