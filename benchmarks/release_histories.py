"""Histories of real public packages, committed to archive repositories: the same pins give the same commits."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.history.packages import fetch_packages, unpack_wheel

BASE_BRANCH = "base"
"""Of what every product is merged on: its releases are bases of every other branch's newest release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A commit: the trees of its layers (releases above it in the table), and its packages over them."""

    name: str
    branch: str
    packages: tuple[str, ...]
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHistory:
    """Releases in order, the oldest first."""

    name: str
    about: str
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A branch's newest release, and those that devices come from, the oldest first."""

    name: str
    bases: tuple[str, ...]


def one_package(name: str, about: str, package: str, versions: str) -> ReleaseHistory:
    """Releases of one package, alone in their trees."""
    releases = tuple(
        Release(name=version, branch="main", packages=(f"{package}=={version}",)) for version in versions.split()
    )
    return ReleaseHistory(name=name, about=about, releases=releases)


def _on_bases() -> ReleaseHistory:
    """The commits of scenarios/factory-bases-ostree.toml."""
    bases = (("B1", "2.0.20", "6.0.1"), ("B2", "2.0.23", "6.0.1"), ("B3", "2.0.27", "6.0.1"), ("B4", "2.0.31", "6.0.2"))
    products = (
        ("S1", "B3", "aiohttp==3.9.5"),
        ("S2", "B3", "pydantic-core==2.18.2"),
        ("S1", "B4", "aiohttp==3.10.3"),
        ("S2", "B4", "pydantic-core==2.20.1"),
        ("S3", "B4", "psycopg-binary==3.2.1"),
    )
    releases = [
        Release(name=name, branch=BASE_BRANCH, packages=(f"sqlalchemy=={sqlalchemy}", f"pyyaml=={pyyaml}"))
        for name, sqlalchemy, pyyaml in bases
    ]
    releases += [
        Release(name=f"{product}-on-{base}", branch=f"device/{product.lower()}", packages=(package,), layers=(base,))
        for product, base, package in products
    ]
    return ReleaseHistory(name="merged", about="three products on four bases, mostly texts", releases=tuple(releases))


HISTORIES: Mapping[str, ReleaseHistory] = {
    history.name: history
    for history in (
        one_package("text", "mostly texts", "django", "4.2.7 4.2.8 4.2.10 5.0 5.0.2 5.0.6 5.0.8"),
        one_package("libraries", "large recompiled libraries", "lxml", "4.9.2 4.9.3 4.9.4 5.0.0 5.2.1 5.2.2"),
        one_package("binary", "one big binary", "ruff", "0.4.1 0.4.2 0.4.3 0.4.4 0.4.5"),
        _on_bases(),
        one_package("numeric", "many large recompiled libraries", "numpy", "1.26.0 1.26.1 1.26.2 1.26.3 1.26.4"),
        one_package("renamed", "libraries with hashes in their names", "pillow", "9.5.0 10.0.0 10.0.1 10.1.0 10.2.0"),
    )
}
"""By name: text-heavy, binary-heavy, one file, products merged with bases; and two that are measured on demand."""

USUAL_HISTORIES = ("text", "libraries", "binary", "merged")
"""What is measured where nothing else is asked for."""


def find_targets(history: ReleaseHistory, *, most_bases: int | None = None) -> list[Target]:
    """The newest release of each branch (of products only, where there are any), with its bases.

    Bases are the branch's older releases and all of the base branch; of more than `most_bases`, the newest.

    >>> find_targets(HISTORIES["merged"])[0]
    Target(name='S1-on-B4', bases=('B1', 'B2', 'B3', 'S1-on-B3', 'B4'))
    """
    order = {release.name: number for number, release in enumerate(history.releases)}
    newest = {release.branch: release for release in history.releases}
    if len(newest) > 1:
        newest.pop(BASE_BRANCH, None)
    targets = []
    for branch, target in newest.items():
        bases = [one for one in history.releases if one.branch in (branch, BASE_BRANCH) and one is not target]
        bases.sort(key=lambda one: (_newest_layer(one, order), order[one.name]))
        names = [one.name for one in bases]
        targets.append(Target(name=target.name, bases=tuple(names if most_bases is None else names[-most_bases:])))
    return targets


def _newest_layer(release: Release, order: Mapping[str, int]) -> int:
    return max((order[layer] for layer in release.layers), default=order[release.name])


def commit_history(history: ReleaseHistory, cache: Path, scratch: Path) -> tuple[Path, dict[str, str]]:
    """An archive repository with the history's releases, and their commits by name.

    Raises:
        ToolError: a package cannot be fetched.
    """
    repository = scratch / "repository"
    _run_ostree("init", repository, "--mode=archive")
    _run_ostree("config", repository, "set", "core.fsync", "false")
    commits: dict[str, str] = {}
    for number, release in enumerate(history.releases):
        with _unpacked(_gather_packages(release, history), cache, scratch) as tree:
            commits[release.name] = _run_ostree(
                *("commit", repository, f"--branch={release.branch}", f"--tree=dir={tree}", "--no-xattrs"),
                *("--canonical-permissions", f"--timestamp=2024-01-{number + 1:02} 00:00:00 +0000"),
            )
    return repository, commits


def _gather_packages(release: Release, history: ReleaseHistory) -> list[str]:
    """The pins of a release's layers, then its own."""
    by_name = {one.name: one for one in history.releases}
    return [pin for layer in release.layers for pin in _gather_packages(by_name[layer], history)] + [*release.packages]


@contextmanager
def _unpacked(pins: Sequence[str], cache: Path, scratch: Path) -> Iterator[Path]:
    """A tree with each package in a folder of its name, so that releases share paths."""
    tree = scratch / "tree"
    for pin, wheel in zip(pins, fetch_packages(pins, cache), strict=True):
        unpack_wheel(wheel, tree / "usr/lib" / pin.partition("==")[0])
    try:
        yield tree
    finally:
        shutil.rmtree(tree)


def _run_ostree(verb: str, repository: Path, *arguments: str) -> str:
    command = ["ostree", verb, f"--repo={repository}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
