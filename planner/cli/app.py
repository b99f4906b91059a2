"""The command `deltaplan`: its verbs, and how errors leave it."""

from __future__ import annotations

import sys

import typer

from planner.cli import build, explain, follow, import_, nightly, plan, publish, show, solve, weigh
from planner.errors import PlannerError

app = typer.Typer(
    name="deltaplan",
    help="Decides which direct and recursive deltas an update server should build, builds and proves them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for name, verb in (
    ("import", import_.import_),
    ("weigh", weigh.weigh),
    ("solve", solve.solve),
    ("plan", plan.plan),
    ("explain", explain.explain),
    ("build", build.build),
    ("publish", publish.publish),
    ("follow", follow.follow),
    ("nightly", nightly.nightly),
    ("show", show.show),
):
    app.command(name)(verb)

_INTERRUPTED = 130


def main() -> None:
    """Run the command; a planned error is one line on stderr and an exit status of its own."""
    try:
        app()
    except PlannerError as error:
        text = " ".join(str(error).split("\n"))
        sys.stderr.write(f"deltaplan: {text}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.stderr.write("deltaplan: interrupted; what was finished is kept\n")
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)
