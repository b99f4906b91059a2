"""The units as systemd itself reads them, and the command line that they start."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from planner.cli.app import make_app
from planner.units import parse_duration

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
COMMAND = "/opt/deltaplan/bin/deltaplan"
SERVICE = (UNITS / "deltaplan@.service").read_text()

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs the program systemd-analyze")

MOST_EXPOSURE = 40
"""Tenths of systemd's scale from 0 to 10. What is left out, and why, is at the unit's end."""


def option(name: str) -> str:
    """The value of an option that stands once in the service."""
    found = re.findall(rf"^{name}=(.*)$", SERVICE, re.MULTILINE)
    assert len(found) == 1, name
    return str(found[0])


def verify(folder: Path, service: str) -> subprocess.CompletedProcess[str]:
    """What systemd says of the units, with a command that is there."""
    (folder / "deltaplan@.service").write_text(service.replace(COMMAND, "/bin/true"))
    shutil.copy(UNITS / "deltaplan@.timer", folder)
    command = ["systemd-analyze", "verify", "--man=no", "./deltaplan@os.timer", "./deltaplan@os.service"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """Every option, without a word."""
    done = verify(tmp_path, SERVICE)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "deltaplan" in line]) == (0, [])


@needs_systemd
def test_systemd_would_have_said_what_it_does_not_understand(tmp_path: Path) -> None:
    """So that the test above means something."""
    done = verify(tmp_path, SERVICE.replace("NoNewPrivileges=yes", "NoNewPrivilege=yes"))
    assert "NoNewPrivilege" in done.stderr


@needs_systemd
def test_the_service_is_shut_in() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager"]
    path = str(UNITS / "deltaplan@.service")
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    assert "Overall exposure level" in done.stdout


@needs_systemd
def test_bubblewrap_may_make_its_system_calls() -> None:
    """What it needs beside those of any program; its kinds of namespace are allowed too."""
    groups = [word for word in option("SystemCallFilter").split() if word.startswith("@")]
    allowed = _calls(groups)
    assert {"mount", "umount2", "pivot_root", "unshare", "clone", "setns", "prctl", "capset"} <= allowed
    assert set(option("RestrictNamespaces").split()) >= {"user", "mnt", "pid", "net", "ipc", "uts"}
    assert "AF_NETLINK" in option("RestrictAddressFamilies").split()


def _calls(groups: list[str]) -> set[str]:
    """System calls of some groups, and of the groups that they hold."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager", *groups]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    words = {line.strip() for line in done.stdout.splitlines() if line.startswith("    ") and "#" not in line}
    inner = sorted(word for word in words if word.startswith("@"))
    return words | (_calls(inner) if inner else set())


def test_the_command_line_is_one_that_deltaplan_takes() -> None:
    """The verb and its options are there, and the window is a time that ends before systemd would end the run."""
    words = shlex.split(option("ExecStart"))
    assert words[:2] == [COMMAND, "nightly"]
    app = typer.main.get_command(make_app(["nightly"]))
    taken = app.commands["nightly"].make_context("nightly", words[2:]).params  # type: ignore[attr-defined]
    assert str(taken["scenario"]) == "/etc/deltaplan/%i.toml"
    assert str(taken["work"]) == "/var/lib/" + option("StateDirectory")
    window_s, stop_s = parse_duration(taken["window"]), parse_duration(option("TimeoutStartSec"))
    assert 0 < window_s < stop_s


def test_a_stop_is_an_interrupt() -> None:
    """Which the command answers by keeping what was finished, with the status that counts as a stop."""
    assert option("KillSignal") == "SIGINT"
    assert option("SuccessExitStatus") == "130"
    assert option("KillMode") == "mixed"
