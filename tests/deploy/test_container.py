"""The Containerfile by its linter; its packages, as apt would install them; and its files, which must be there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "container" / "Containerfile"
TEXT = FILE.read_text().replace("\\\n", " ")
FINAL = TEXT.rpartition("\nFROM ")[2]

# The extra `dev` brings it, so it stands beside the interpreter; nobody need have activated the environment.
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or ""
needs_hadolint = pytest.mark.skipif(not HADOLINT, reason="needs the program hadolint")


@needs_hadolint
def test_the_linter_has_nothing_to_say() -> None:
    """It parses the file, and the shell in it."""
    done = subprocess.run([HADOLINT, str(FILE)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@needs_hadolint
def test_the_linter_would_have_said_something() -> None:
    done = subprocess.run(
        [HADOLINT, "-"], input="FROM debian\nRUN cd x\n", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs the program apt-get")
def test_apt_knows_the_packages() -> None:
    """Of both stages, all together."""
    lists = re.findall(r"--no-install-recommends\s+([^;]+);", TEXT)
    assert len(lists) == 2
    packages = " ".join(lists).split()
    assert {"ostree", "flatpak", "bubblewrap"} <= set(packages)
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", "-qq", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_is_copied_is_there() -> None:
    """From the checkout, which is the context."""
    for words in re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE):
        assert all((ROOT / name).exists() for name in words.split()[:-1])


def test_the_base_is_an_argument_and_the_user_is_not_root() -> None:
    """So that a site pins it by its digest; both stages have the same, since one uses the other's interpreter."""
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["${BASE}", "${BASE}"]
    user = re.findall(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)
    assert user == [("10001", "10001")]
    assert FINAL.index("USER") < FINAL.index("ENTRYPOINT")
