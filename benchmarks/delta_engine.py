"""The native delta engine against `ostree static-delta generate` on neighbouring releases: bytes and core-seconds.

python benchmarks/delta_engine.py [--cache FOLDER] [--pair sqlalchemy==2.0.22,sqlalchemy==2.0.23 ...] [--effort quick]

Each pair of wheels is committed into an archive repository. Stock: the parts of `generate --min-fallback-size=0`, and
user and system seconds of the process. Ours: what `deltaplan delta` does, in this process, imports done and loops
compiled. Superblocks are left out on both sides: they list the same objects. Every delta is applied, which is not
timed.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import planner.delta.loaded  # noqa: F401 - compiled loops are loaded, which is not timed
from planner.build.static_delta import generate
from planner.delta.apply import apply_part
from planner.delta.encode import Effort
from planner.delta.make import Delta, Settings, make_delta
from planner.delta.parts import read_part
from planner.delta.superblock import read_superblock
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.packages import fetch_packages, unpack_wheel
from planner.history.records import ObjectKind, ObjectName

PAIRS = (
    ("django==4.2.7", "django==4.2.8"),
    ("django==4.2.8", "django==5.0"),
    ("sqlalchemy==2.0.22", "sqlalchemy==2.0.23"),
    ("sqlalchemy==2.0.23", "sqlalchemy==2.0.30"),
    ("lxml==4.9.3", "lxml==4.9.4"),
    ("numpy==1.26.3", "numpy==1.26.4"),
    ("pillow==10.1.0", "pillow==10.2.0"),
    ("ruff==0.4.1", "ruff==0.4.2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one engine made of a pair."""

    part_bytes: int
    core_s: float


def main() -> None:
    """Print one row per pair and effort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    parser.add_argument("--pair", action="append", help="two exact pins with a comma between them; may be repeated")
    parser.add_argument("--effort", action="append", choices=[str(effort) for effort in Effort])
    arguments = parser.parse_args()
    pairs = [tuple(pair.split(",")) for pair in arguments.pair] if arguments.pair else PAIRS
    efforts = [Effort(name) for name in arguments.effort or Effort]
    table = Table(title="Native engine against the stock generator, one core")
    for name in (
        "pair",
        "effort",
        "stock bytes",
        "bytes",
        "x",
        "stock core s",
        "core s",
        "x",
    ):
        table.add_column(name, justify="left" if name in ("pair", "effort") else "right")
    for pair in pairs:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(pair, arguments.cache, Path(folder), efforts):
                table.add_row(*row)
    Console(width=150).print(table)


def measure(pair: Sequence[str], cache: Path, scratch: Path, efforts: Sequence[Effort]) -> list[tuple[str, ...]]:
    """The pair's rows, one per effort."""
    repository, base, target = commit_wheels(fetch_packages(pair, cache), scratch)
    stock = measure_stock(repository, base, target, scratch / "stock")
    rows = []
    for effort in efforts:
        ours = measure_native(repository, base, target, effort)
        rows.append(
            (
                " -> ".join(pair),
                str(effort),
                f"{stock.part_bytes:,}",
                f"{ours.part_bytes:,}",
                f"{ours.part_bytes / stock.part_bytes:.3f}",
                f"{stock.core_s:.2f}",
                f"{ours.core_s:.2f}",
                f"{ours.core_s / stock.core_s:.2f}",
            )
        )
    return rows


def commit_wheels(wheels: Sequence[Path], scratch: Path) -> tuple[Path, str, str]:
    """An archive repository with the wheels as commits, and the two commits."""
    repository = scratch / "repository"
    run("init", f"--repo={repository}", "--mode=archive")
    commits = []
    for number, wheel in enumerate(wheels):
        tree = scratch / f"tree{number}"
        unpack_wheel(wheel, tree)
        commits.append(run("commit", f"--repo={repository}", "--branch=main", f"--tree=dir={tree}"))
        shutil.rmtree(tree)
    return repository, commits[0], commits[1]


def run(*arguments: str) -> str:
    """What `ostree` prints."""
    return subprocess.run(["ostree", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def measure_stock(repository: Path, base: str, target: str, into: Path) -> Measured:
    """The stock generator's parts, and its own process's seconds."""
    into.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    generate(repository, base, target, into)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    part_bytes = sum(path.stat().st_size for path in into.iterdir() if path.name != "superblock")
    core_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(part_bytes=part_bytes, core_s=core_s)


def measure_native(path: Path, base: str, target: str, effort: Effort) -> Measured:
    """The builder from the repository to finished parts, which are then applied."""
    started_s = time.process_time()
    repository = OSTreeRepository(path)
    objects = ObjectSets(repository.read_history())
    delta = make_delta(repository, objects, base, target, Settings(effort=effort))
    core_s = time.process_time() - started_s
    check(delta, repository, objects)
    return Measured(part_bytes=sum(map(len, delta.parts)), core_s=core_s)


def check(delta: Delta, repository: OSTreeRepository, objects: ObjectSets) -> None:
    """Apply the delta; an error if it makes other objects than its base lacks."""

    def read(checksum: str) -> bytes:
        return repository.read_object(ObjectName(ObjectKind.FILE, checksum))

    superblock = read_superblock(delta.superblock)
    made = {ObjectName(ObjectKind.COMMIT, superblock.target)}
    for header, data in zip(superblock.parts, delta.parts, strict=True):
        made |= {one.name for one in apply_part(read_part(data), header.objects, read)}
    assert made == objects.missing(superblock.base, superblock.target)


if __name__ == "__main__":
    main()
