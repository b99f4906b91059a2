"""What a program takes: its core-seconds and its peak memory, and nobody else's.

Linux starts a process's peak memory at that of the process it was started from, so everything that a benchmark has
read would be counted. A bare interpreter in between, which holds less than any program worth measuring, keeps it out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = """
import json, os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as report:
    json.dump({"core_s": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}, report)
sys.exit(1 if status else 0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """User and system seconds of a program and its children; the memory of the largest of these at its peak."""

    core_s: float
    peak_bytes: int


def run_measured(arguments: Sequence[str]) -> tuple[str, Usage]:
    """What a program wrote to its standard output, and what it took.

    Raises:
        CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "usage"
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            # A program's progress is of interest only where it fails.
            sys.stderr.write(done.stderr)
            done.check_returncode()
        return done.stdout, Usage(**json.loads(report.read_text()))
