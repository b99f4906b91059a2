"""A newer `ostree` than the machine's: the program of a later Debian, unpacked beside the system and never installed.

The machine's apt fetches it, with the machine's mirror, proxy and keys but with folders of its own: it verifies the
index's signature and the packages' checksums, and needs no root.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.errors import ToolError
from planner.history.files import assembled_folder

RELEASE = "trixie"
"""Debian 13, with ostree 2025.2.

Clients from 2022.2 to 2023.6, Debian 12's among them, fetch nearly all objects of a delta a second time, each on its
own: they say nothing about what a delta costs on the wire.
"""

# The packages are 27 MB; more time than this means that the network hangs.
_TIMEOUT_S = 300.0
_STDERR_LINES = 5


@dataclass(frozen=True, slots=True)
class NewerOSTree:
    """The program in an unpacked file system, with the loader and the libraries that it was built for."""

    root: Path

    def run(self, *arguments: object) -> str:
        """What the program prints.

        Raises:
            ToolError: it failed; its last words are in the error.
        """
        (loader,) = self.root.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*")
        libraries = loader.parent
        # The machine's own libraries and the plug-ins for them must not get in: they are of another age. Of its
        # environment nothing is left, so that no proxy stands between the client and a server on loopback.
        environment = {"LC_ALL": "C", "GIO_MODULE_DIR": str(libraries / "gio/modules")}
        start = [loader, "--inhibit-cache", "--library-path", libraries, self.root / "usr/bin/ostree"]
        return _run([*start, *arguments], environment)

    def version(self) -> tuple[int, ...]:
        """Its version, such as (2025, 2)."""
        found = re.search(r"Version: '(\d+)\.(\d+)", self.run("--version"))
        return tuple(map(int, found.groups())) if found else ()


def newer_ostree() -> NewerOSTree:
    """The program; fetched the first time and kept in the user's cache, complete or not at all.

    Raises:
        ToolError: the packages cannot be had, or not be unpacked.
    """
    root = _cache() / RELEASE
    if not root.is_dir():
        with assembled_folder(root) as filling, tempfile.TemporaryDirectory(prefix="deltaplan-apt-") as scratch:
            for package in _fetch_with_libraries("ostree", Path(scratch)):
                _run(["dpkg-deb", "--extract", package, filling])
    return NewerOSTree(root)


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(cache) / "deltaplan" / "clients"


def _fetch_with_libraries(name: str, scratch: Path) -> list[Path]:
    """A package of the release, and every package that it depends on down to the C library, by apt's own rules."""
    apt = ["apt-get", "-qq", f"--config-file={_write_apt_folders(scratch)}"]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--no-install-recommends", "--download-only", "install", name])
    return sorted((scratch / "cache/archives").glob("*.deb"))


def _write_apt_folders(scratch: Path) -> Path:
    """Folders in which apt knows one release and thinks that nothing is installed; its configuration file."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "state/status").touch()
    uri = find_mirror(_run(["apt-get", "update", "--print-uris"]), _codename())
    # Only the index of packages: some machines fetch many more, of desktop programs and their icons.
    (scratch / "sources.list").write_text(f"deb [target=Packages] {uri} {RELEASE} main\n")
    settings = {
        "Dir::State": scratch / "state",
        "Dir::State::Lists": scratch / "state/lists",
        "Dir::State::status": scratch / "state/status",
        "Dir::Cache": scratch / "cache",
        "Dir::Cache::Archives": scratch / "cache/archives",
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": os.devnull,
        "Dir::Etc::Preferences": os.devnull,
        "Dir::Etc::PreferencesParts": os.devnull,
        "Dir::Log": scratch,
        "APT::Default-Release": "",
        "APT::Get::AllowUnauthenticated": "false",
        # An index that could not be fetched would be a warning, and its packages merely unknown.
        "APT::Update::Error-Mode": "any",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::Retries": 2,
        # To root's apt, the folders of the user who runs the tests may be closed.
        "APT::Sandbox::User": "root",
    }
    path = scratch / "apt.conf"
    # What the machine does after each update is about its own packages.
    path.write_text("#clear APT::Update;\n" + "".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return path


def find_mirror(uris: str, codename: str) -> str:
    """Where the machine gets its Debian from, in what `apt-get update --print-uris` prints.

    >>> find_mirror("'http://a.example/debian/dists/one/main/binary-amd64/Packages.xz' a.example_Packages 0", "one")
    'http://a.example/debian'

    Raises:
        ToolError: it gets no Debian of this code name.
    """
    found = re.search(rf"^'(\S+)/dists/{re.escape(codename)}/main/binary-", uris, re.MULTILINE)
    if not found:
        raise ToolError("apt has no source of the machine's own Debian release", codename=codename)
    return found[1]


def _codename() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _run(command: Sequence[object], environment: Mapping[str, str] | None = None) -> str:
    words = list(map(str, command))
    try:
        done = subprocess.run(words, env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError("did not finish", path=words[0], cause=str(error)) from error
    if done.returncode != 0:
        last_lines = done.stderr.strip().splitlines()[-_STDERR_LINES:]
        raise ToolError("failed", path=words[0], arguments=words[1:], status=done.returncode, stderr=last_lines)
    return done.stdout
