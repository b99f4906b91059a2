"""System programs: run one, and say what went wrong when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from planner.errors import ToolError

# The Debian package that brings a program, for people who lack it.
DEBIAN_PACKAGES: Mapping[str, str] = {"ostree": "ostree", "cp": "coreutils"}

# A program's last words are in the last lines; more would bury the error.
_LAST_LINES = 5


def run_tool(arguments: Sequence[str], *, timeout_s: float) -> str:
    """What the program wrote to its standard output. There is no shell and no input, and its messages are English.

    Raises:
        ToolError: it is missing, failed, was ended by a signal (fact `signal`) or took longer than `timeout_s`.
    """
    program = arguments[0]
    try:
        done = subprocess.run(
            list(arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        package = DEBIAN_PACKAGES.get(program, program)
        raise ToolError("is not installed", path=program, debian_package=package) from error
    except OSError as error:
        raise ToolError("cannot be started", path=program, cause=str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise ToolError("took too long", path=program, timeout_s=timeout_s, stderr=_last_lines(error.stderr)) from error
    if done.returncode:
        raise _failure(program, done.returncode, _last_lines(done.stderr))
    return done.stdout.decode("utf-8", "replace")


def is_missing(error: ToolError) -> bool:
    """Whether the error is that the program is not installed, which says nothing about its input."""
    return "debian_package" in error.facts


def _failure(program: str, status: int, stderr: str) -> ToolError:
    if status < 0:
        return ToolError("was ended by a signal", path=program, signal=_signal_name(-status), stderr=stderr)
    return ToolError("failed", path=program, status=status, stderr=stderr)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_lines(stderr: bytes | None) -> str:
    lines = (stderr or b"").decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_LAST_LINES:])
