"""From a scenario's source to commits in the repository: trees are laid out in a folder, then committed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from planner.build.tools import run_tool
from planner.errors import InputError, ToolError
from planner.history.files import full_disk_as_error
from planner.history.generator import generate_releases
from planner.history.grid import grid_commits
from planner.history.packages import fetch_packages, unpack_wheel
from planner.history.records import LAYERS_KEY, VERSION_KEY
from planner.history.store import Store
from planner.history.trees import import_tree, natural_key, unite_trees
from planner.scenario import Scenario
from planner.scenario_sections import CommitSection, SourceSection

_COMMIT_TIMEOUT_S = 3600.0
_COMMON_PLACE = "base"
"""Where all base lines of a grid have the same files."""
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)

Say = Callable[[str], None]


class Committer(Protocol):
    """Makes a folder's tree a commit."""

    def commit(self, folder: Path, section: CommitSection, parent: str | None, layers: tuple[str, ...]) -> str:
        """The new commit's checksum; the section's ref points to it afterwards."""

    def unite(self, mix: Mix, trees: tuple[str, ...]) -> str:
        """The checksum of the union of some commits, whose trees these are, as `mix` says; its ref points to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A merged commit to be made: of which commits, in order, and what is said of it."""

    name: str
    ref: str
    layers: tuple[str, ...]
    released_at: datetime
    parent: str | None


@dataclass(frozen=True, slots=True)
class StoreCommitter:
    """Commits into an embedded store."""

    store: Store

    def commit(self, folder: Path, section: CommitSection, parent: str | None, layers: tuple[str, ...]) -> str:
        """See `Committer.commit`."""
        return import_tree(
            self.store,
            folder,
            parent=parent,
            committed_at=section.released_at.astimezone(UTC),
            version=section.name,
            layers=layers,
            ref=section.ref,
        )

    def unite(self, mix: Mix, trees: tuple[str, ...]) -> str:
        """See `Committer.unite`."""
        with self.store.batch():
            return self.store.add_commit(
                unite_trees(self.store, trees),
                committed_at=mix.released_at,
                parent=mix.parent,
                subject=mix.name,
                metadata={VERSION_KEY: mix.name, LAYERS_KEY: " ".join(mix.layers)},
                ref=mix.ref,
            )


@dataclass(frozen=True, slots=True)
class OSTreeCommitter:
    """Commits into an OSTree repository with the stock tool."""

    path: Path
    signing: tuple[str, ...] = ()

    def commit(self, folder: Path, section: CommitSection, parent: str | None, layers: tuple[str, ...]) -> str:
        """See `Committer.commit`."""
        arguments = [
            *("ostree", "commit", f"--repo={self.path}", f"--branch={section.ref}", f"--tree=dir={folder}"),
            *("--owner-uid=0", "--owner-gid=0", "--no-xattrs", f"--subject={section.name}"),
            f"--timestamp=@{int(section.released_at.timestamp())}",
            f"--parent={parent or 'none'}",
            f"--add-metadata-string={VERSION_KEY}={section.name}",
        ]
        if layers:
            arguments.append(f"--add-metadata-string={LAYERS_KEY}={' '.join(layers)}")
        return run_tool([*arguments, *self.signing], timeout_s=_COMMIT_TIMEOUT_S).strip()

    def unite(self, mix: Mix, trees: tuple[str, ...]) -> str:  # noqa: ARG002 - the tool finds them
        """See `Committer.unite`."""
        arguments = [
            *("ostree", "commit", f"--repo={self.path}", f"--branch={mix.ref}", f"--subject={mix.name}"),
            *(f"--tree=ref={layer}" for layer in mix.layers),
            f"--timestamp=@{int(mix.released_at.timestamp())}",
            f"--parent={mix.parent or 'none'}",
            f"--add-metadata-string={VERSION_KEY}={mix.name}",
            f"--add-metadata-string={LAYERS_KEY}={' '.join(mix.layers)}",
            *self.signing,
        ]
        return run_tool(arguments, timeout_s=_COMMIT_TIMEOUT_S).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders that importing uses: the scenario's own (paths in it are relative to it), downloads, scratch."""

    scenario: Path
    downloads: Path
    scratch: Path


def import_source(scenario: Scenario, committer: Committer, known: Mapping[str, str], places: Places, say: Say) -> int:
    """Commit what the source has and the repository lacks; how many commits were added.

    `known` maps the versions that the repository has to their checksums.

    Raises:
        InputError: the source is wrong.
        ToolError: a program is missing or failed.
    """
    if scenario.source is None:
        return 0
    sections, lay_out = _open_source(scenario.source, places, say)
    done, heads, added = dict(known), dict[str, str](), 0
    for section in sections:
        if section.name not in done:
            with _tree_of(section, sections, lay_out, places.scratch) as folder:
                layers = tuple(done[layer] for layer in section.layers)
                say(f"commit {section.name}")
                done[section.name] = committer.commit(folder, section, heads.get(section.ref), layers)
            added += 1
        heads[section.ref] = done[section.name]
    return added


LayOut = Callable[[CommitSection, Path], None]
"""Writes a commit's own files, without its layers', into a folder."""


def _open_source(source: SourceSection, places: Places, say: Say) -> tuple[tuple[CommitSection, ...], LayOut]:
    if source.kind == "trees":
        return _tree_sections(source, places.scenario / source.path)
    if source.kind == "generator":
        return _generated_sections(source)
    if source.kind == "grid":
        return _grid_sections(source)
    return source.commits, _package_layout(source, places.downloads, say)


@contextmanager
def _tree_of(
    section: CommitSection, sections: tuple[CommitSection, ...], lay_out: LayOut, scratch: Path
) -> Iterator[Path]:
    """The commit's whole tree in a folder for as long as the block runs: its layers in order, then its own files."""
    by_name = {other.name: other for other in sections}

    def merge(part: CommitSection) -> None:
        for layer in part.layers:
            merge(by_name[layer])
        lay_out(part, folder)

    folder = scratch / "tree"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        merge(section)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _package_layout(source: SourceSection, cache: Path, say: Say) -> LayOut:
    """Unpacked wheels; where nothing can be fetched, generated packages of the same names and versions."""
    pins = list(dict.fromkeys(pin for commit in source.commits for pin in commit.packages))
    try:
        say(f"fetch {len(pins)} packages")
        wheels = dict(zip(pins, fetch_packages(pins, cache), strict=True))
    except ToolError as error:
        say(f"nothing can be fetched, so a seeded generator stands in for the packages ({error})")
        return _generated_packages(pins, source.seed)

    def lay_out(section: CommitSection, folder: Path) -> None:
        for pin in section.packages:
            # A part that brings a package of its layers' replaces it: nothing of the older one stays.
            shutil.rmtree(folder / _package_path(pin), ignore_errors=True)
            unpack_wheel(wheels[pin], folder / _package_path(pin))

    return lay_out


def _package_path(pin: str) -> str:
    """Where a package's files are on the device: by name, so that releases share paths."""
    return f"usr/lib/{pin.partition('==')[0]}"


def _generated_packages(pins: list[str], seed: int) -> LayOut:
    """Each package's versions as successive releases of a generated history of its own."""
    versions: dict[str, list[str]] = {}
    for pin in sorted(pins, key=natural_key):
        name, _, version = pin.partition("==")
        versions.setdefault(name, []).append(version)
    contents: dict[str, Mapping[str, bytes]] = {}
    for name, of_name in versions.items():
        releases = generate_releases(seed=_seed_of(seed, name), releases=len(of_name))
        for version, files in zip(of_name, releases, strict=True):
            contents[f"{name}=={version}"] = files

    def lay_out(section: CommitSection, folder: Path) -> None:
        for pin in section.packages:
            shutil.rmtree(folder / _package_path(pin), ignore_errors=True)
            _write_files(folder / _package_path(pin), contents[pin])

    return lay_out


def _copy(source: str, place: str) -> None:
    """Copy a file and its mode; a full disk ends the copying, where `shutil.copytree` would collect an OSError."""
    with full_disk_as_error(Path(place)):
        shutil.copy(source, place, follow_symlinks=False)


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _tree_sections(source: SourceSection, root: Path) -> tuple[tuple[CommitSection, ...], LayOut]:
    """Each sub-folder is a release of one ref, in natural order, one day apart unless `commits` says otherwise."""
    if not root.is_dir():
        raise InputError("is no folder", path="source.path", got=str(root))
    names = sorted((p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)
    sections = source.commits or _daily(names, source.ref)

    def lay_out(section: CommitSection, folder: Path) -> None:
        if not (root / section.name).is_dir():
            raise InputError("has no folder of this name", path="source.path", got=section.name)
        shutil.copytree(root / section.name, folder, symlinks=True, dirs_exist_ok=True, copy_function=_copy)

    return sections, lay_out


def _generated_sections(source: SourceSection) -> tuple[tuple[CommitSection, ...], LayOut]:
    names = [f"r{number}" for number in range(1, source.releases + 1)]
    releases = generate_releases(seed=source.seed, releases=source.releases, files=source.files)
    contents = dict(zip(names, releases, strict=True))

    def lay_out(section: CommitSection, folder: Path) -> None:
        _write_files(folder, contents[section.name])

    return _daily(names, source.ref), lay_out


def _grid_sections(source: SourceSection) -> tuple[tuple[CommitSection, ...], LayOut]:
    """A grid's releases, a day apart; parts have folders of their own, and most of a base is common to all bases."""
    commits = {one.name: one for one in grid_commits(source.bases, source.parts, source.releases)}
    lines = dict.fromkeys(one.line for one in commits.values() if one.line)

    def generate(line: str, files: int) -> list[Mapping[str, bytes]]:
        return list(generate_releases(seed=_seed_of(source.seed, line), releases=source.releases, files=files))

    own_files = max(source.files // 4, 1)
    contents = {line: generate(line, own_files) for line in lines}
    common = generate(_COMMON_PLACE, source.files)

    def lay_out(section: CommitSection, folder: Path) -> None:
        commit = commits[section.name]
        if commit.line:
            _write_files(folder / commit.line, contents[commit.line][commit.release - 1])
        if commit.line.startswith("B"):
            _write_files(folder / _COMMON_PLACE, common[commit.release - 1])

    sections = tuple(
        CommitSection(name=one.name, ref=one.ref, released_at=_day(one.release - 1), layers=one.layers)
        for one in commits.values()
    )
    return sections, lay_out


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _day(number: int) -> datetime:
    """A day of a fixed year's, so that the same source gives the same commits."""
    return _FIRST_DAY + timedelta(days=number)


def _daily(names: list[str], ref: str) -> tuple[CommitSection, ...]:
    """Releases a day apart."""
    return tuple(CommitSection(name=name, ref=ref, released_at=_day(number)) for number, name in enumerate(names))
