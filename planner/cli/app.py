"""The command `deltaplan`: its verbs, and how errors leave it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from planner.errors import PlannerError, SpaceError

VERBS = {
    "import": "import_",
    "compose": "compose",
    "weigh": "weigh",
    "solve": "solve",
    "check": "check",
    "replan": "replan",
    "plan": "plan",
    "explain": "explain",
    "build": "build",
    "delta": "delta",
    "publish": "publish",
    "follow": "follow",
    "nightly": "nightly",
    "show": "show",
    "image": "image",
    "keys": "keys",
}
"""Each verb's module in this package; the function in it, or the command of several verbs, has the same name."""

_INTERRUPTED = 130


def make_app(verbs: Sequence[str] = tuple(VERBS)) -> typer.Typer:
    """The command with some verbs: loading them all takes a second that `deltaplan solve` need not spend."""
    app = typer.Typer(
        name="deltaplan",
        help="Decides which direct and recursive deltas an update server should build, builds and proves them.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_deltaplan)
    for verb in verbs:
        found = getattr(import_module(f"planner.cli.{VERBS[verb]}"), VERBS[verb])
        if isinstance(found, typer.Typer):
            app.add_typer(found)
        else:
            app.command(verb)(found)
    return app


def _deltaplan() -> None:
    """Decides which direct and recursive deltas an update server should build, builds and proves them."""


def main() -> None:
    """Run the command; a planned error is one line on stderr and an exit status of its own."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        make_app([verb] if verb in VERBS else tuple(VERBS))()
    except PlannerError as error:
        text = " ".join(str(error).split("\n"))
        sys.stderr.write(f"deltaplan: {text}\n")
        sys.exit(error.exit_status)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.stderr.write(f"deltaplan: the disk is full: {error.filename}\n")
        sys.exit(SpaceError.exit_status)
    except KeyboardInterrupt:
        sys.stderr.write("deltaplan: interrupted; what was finished is kept\n")
        sys.exit(_INTERRUPTED)
