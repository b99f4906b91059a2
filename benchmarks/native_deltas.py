"""The builder under test, as a program of its own, so that nobody else's memory and seconds are in its figures.

python benchmarks/native_deltas.py build REPOSITORY INTO POOL TARGET BASE...
python benchmarks/native_deltas.py compose REPOSITORY INTO FOLDER...

Prints the core-seconds from the open repository to the files (imports done, loops compiled) and where the deltas are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import planner.delta.loaded  # noqa: F401 - compiled loops are loaded, which is not timed
from benchmarks.child_usage import Usage, run_measured
from planner.build.native_delta import write_beside
from planner.build.processes import cpu_s
from planner.delta.compose import Hop
from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.make import Settings, compose_delta, lay_out, layout_superblock, part_header
from planner.delta.packing import pack_recipe
from planner.delta.paths import SUPERBLOCK
from planner.delta.superblock import read_superblock
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaFiles:
    """A delta on disk: `superblock` and the numbered parts in a folder; parts may be links to other deltas'."""

    base: str
    folder: Path

    @property
    def superblock(self) -> Path:
        """The file that clients ask for first."""
        return self.folder / SUPERBLOCK

    @property
    def parts(self) -> list[Path]:
        """In order."""
        return sorted(
            (path for path in self.folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name)
        )

    @property
    def total_bytes(self) -> int:
        """What a client downloads."""
        return sum(path.stat().st_size for path in (self.superblock, *self.parts))


def build_native(
    repository: Path, bases: Sequence[str], target: str, into: Path, pool: Path | None = None
) -> list[DeltaFiles]:
    """The deltas from each of `bases` to one target, in the same order, in folders of their own below `into`.

    Parts that several of them share are links. With `pool`, differences are looked up and kept there.
    """
    opened = OSTreeRepository(repository)
    contents, settings = CommitContents(opened, ObjectSets(opened.read_history())), Settings()
    made, files = [], {}
    with DifferencePool(pool) as differences:
        layouts = lay_out(contents, bases, target, settings, differences)
        for layout in layouts:
            delta = DeltaFiles(base=layout.base, folder=into / layout.base)
            delta.folder.mkdir(parents=True)
            headers = []
            for number, recipe in enumerate(layout.recipes):
                path = delta.folder / str(number)
                if recipe in files:
                    path.hardlink_to(files[recipe][0])
                else:
                    data = pack_recipe(recipe, contents, differences, settings.effort)
                    path.write_bytes(data)
                    files[recipe] = path, part_header(recipe, data, contents)
                headers.append(files[recipe][1])
            delta.superblock.write_bytes(layout_superblock(layout, headers, contents))
            made.append(delta)
    return made


def run_native(
    repository: Path, bases: Sequence[str], target: str, into: Path, pool: Path | None = None
) -> tuple[list[DeltaFiles], Usage]:
    """`build_native` in a process of its own: its core-seconds alone, and the peak of the whole process."""
    report, usage = _run_apart("build", str(repository), str(into), str(pool or ""), target, *bases)
    deltas = [DeltaFiles(base=base, folder=Path(folder)) for base, folder in report["folders"].items()]
    return deltas, Usage(core_s=report["core_s"], peak_bytes=usage.peak_bytes)


def run_composed(repository: Path, hops: Sequence[DeltaFiles], into: Path) -> tuple[DeltaFiles, Usage]:
    """The composed delta of hops in a process of its own, and what it took."""
    into.mkdir(parents=True)
    report, usage = _run_apart("compose", str(repository), str(into), *(str(hop.folder) for hop in hops))
    composed = DeltaFiles(base=hops[0].base, folder=into)
    return composed, Usage(core_s=report["core_s"], peak_bytes=usage.peak_bytes)


def _run_apart(*arguments: str) -> tuple[dict[str, Any], Usage]:
    output, usage = run_measured([sys.executable, __file__, *arguments])
    report: dict[str, Any] = json.loads(output)
    return report, usage


def compose(repository: Path, folders: Sequence[Path], into: Path) -> None:
    """Write the composed delta of the deltas in some folders."""
    opened = OSTreeRepository(repository)
    hops = []
    for folder in folders:
        files = DeltaFiles(base="", folder=folder)
        superblock = read_superblock(files.superblock.read_bytes())
        hops.append(Hop(superblock, tuple(path.read_bytes() for path in files.parts)))
    ends = opened.read_commits([hops[0].superblock.base, hops[-1].superblock.target])
    write_beside(compose_delta(hops, ObjectSets(ends), Settings()), into / SUPERBLOCK)


def main() -> None:
    """Build or compose, and print as JSON what it took."""
    verb, repository, into, *others = sys.argv[1:]
    started_s = cpu_s()
    deltas: list[DeltaFiles] = []
    if verb == "compose":
        compose(Path(repository), [Path(folder) for folder in others], Path(into))
    else:
        pool, target, *bases = others
        deltas = build_native(Path(repository), bases, target, Path(into), Path(pool) if pool else None)
    core_s = cpu_s() - started_s
    print(json.dumps({"core_s": core_s, "folders": {one.base: str(one.folder) for one in deltas}}))


if __name__ == "__main__":
    main()
