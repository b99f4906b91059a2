"""A Flatpak repository that the stock tools export, and a stock client in folders of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from planner.history.generator import generate_releases
from tests.delta.worlds import run_ostree

RUNTIME, APP, LOCALE = (
    "runtime/org.example.Platform/x86_64/1",
    "app/org.example.App/x86_64/stable",
    "runtime/org.example.App.Locale/x86_64/stable",
)
RELEASES = 4

_NAMES = {
    "rt": (
        "[Runtime]\nname=org.example.Platform\nruntime=org.example.Platform/x86_64/1\n"
        "sdk=org.example.Platform/x86_64/1\n"
    ),
    "app": (
        "[Application]\nname=org.example.App\nruntime=org.example.Platform/x86_64/1\n"
        "sdk=org.example.Platform/x86_64/1\ncommand=run\n"
    ),
    "locale": "[Runtime]\nname=org.example.App.Locale\n\n[ExtensionOf]\nref=app/org.example.App/x86_64/stable\n",
}


def run_flatpak(*arguments: object, home: Path | None = None) -> str:
    """What the tool printed; with `home` everything that it keeps for a user is in that folder."""
    own = {} if home is None else {name: str(home / name) for name in _USER_FOLDERS}
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "", **own}
    done = subprocess.run(
        ["flatpak", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_USER_FOLDERS = ("HOME", "FLATPAK_USER_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")


def write_repository(folder: Path) -> Path:
    """A runtime, and releases of an app and of its translations, each exported as its maker would."""
    repo = folder / "repo"
    contents = list(islice(generate_releases(seed=5, releases=RELEASES, files=60), RELEASES))
    for name, files in (("rt", "usr"), ("app", "files"), ("locale", "usr")):
        (folder / name / "files").mkdir(parents=True)
        (folder / name / files).mkdir(exist_ok=True)
        (folder / name / "export").mkdir()
        (folder / name / "metadata").write_text(_NAMES[name])
    (folder / "rt" / "usr" / "base").write_bytes(b"base " * 10_000)
    _export(repo, folder / "rt", "1", 1, "--runtime")
    for number, files in enumerate(contents, start=1):
        _write(folder / "app" / "files", {**files, "bin/run": b"#!/bin/sh\necho run\n"})
        (folder / "app" / "files" / "bin" / "run").chmod(0o755)
        _export(repo, folder / "app", "stable", number)
        _write(
            folder / "locale" / "usr",
            {f"{name}/words": b"%d %s\n" % (number, name.encode()) * 900 for name in ("de", "fr")},
        )
        _export(repo, folder / "locale", "stable", number, "--runtime")
    run_flatpak("build-update-repo", repo)
    return repo


def _export(repo: Path, folder: Path, branch: str, day: int, *options: str) -> None:
    when = f"--timestamp=2024-01-{day:02}T00:00:00Z"
    run_flatpak("build-export", "--no-update-summary", "--arch=x86_64", when, *options, repo, folder, branch)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def commits_of(repo: Path, ref: str) -> list[str]:
    """The commits of a ref, oldest first."""
    lines = run_ostree("log", f"--repo={repo}", ref).splitlines()
    return [line.split()[1] for line in lines if line.startswith("commit ")][::-1]


SCENARIO = """
format = "deltaplan-scenario/1"
name = "flatpak"

[repository]
kind = "ostree"
path = "{repo}"

[demand]
adoption = [
    {{ ref = "app/*", clients = 1000, half_life_releases = 2, max_hops = 1 }},
    {{ ref = "runtime/*", clients = 800, half_life_releases = 2 }},
]

[weigh]
rules = ["direct", "parent", "window"]

[prices]
storage_per_gb = 0.82
server_cpu_per_hour = 0.05
egress_per_gb = 0.01

[limits]
stored_bytes = 2_000_000
server_cpu_s = 600
"""


def write_scenario(folder: Path, repo: Path) -> Path:
    """A scenario over all of the repository's apps and runtimes."""
    path = folder / "flatpak.toml"
    path.write_text(SCENARIO.format(repo=repo))
    return path


@dataclass(frozen=True)
class Device:
    """A user's installation that knows the repository as `example`."""

    home: Path

    @classmethod
    def make(cls, home: Path, url: str, commit: str) -> Device:
        """One that has a release of the app installed."""
        home.mkdir(parents=True)
        device = cls(home)
        device.run("remote-add", "--no-gpg-verify", "example", url)
        device.run("install", "-y", "--noninteractive", "--no-related", "example", "org.example.App//stable")
        device.run("update", "-y", "--noninteractive", "--no-related", f"--commit={commit}", "org.example.App")
        assert device.commit() == commit
        return device

    def run(self, verb: str, *arguments: object) -> str:
        """One command of the user's."""
        return run_flatpak("--user", verb, *arguments, home=self.home)

    def update(self) -> None:
        """As a user does."""
        self.run("update", "-y", "--noninteractive", "--no-related", "org.example.App")

    def commit(self) -> str:
        """What is deployed."""
        return self.run("info", "--show-commit", "org.example.App").strip()

    def files(self) -> Mapping[str, bytes]:
        """The deployed app's files."""
        root = Path(self.run("info", "--show-location", "org.example.App").strip()) / "files"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.name != ".ref"
        }


def delta_paths(paths: Sequence[str]) -> set[str]:
    """The deltas whose superblocks and parts were asked for."""
    return {path.strip("/").rsplit("/", 1)[0] for path in paths if path.startswith("/deltas/")}
