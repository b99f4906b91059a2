"""The native delta engine against `ostree static-delta generate` on neighbouring releases: bytes and core-seconds.

python benchmarks/delta_engine.py [--cache FOLDER] [--pair sqlalchemy==2.0.22,sqlalchemy==2.0.23 ...] [--effort quick]

Each pair of wheels is committed into an archive repository. Stock: the parts of `generate --min-fallback-size=0`, and
user and system seconds of the process. Ours: reading, pairing, encoding, ordering and compressing one part with the
same operations, in this process, imports done and loops compiled. Superblocks are left out on both sides: they list the
same objects. Every stream is applied again and compared, outside the seconds.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bsdiff4.core
from rich.console import Console
from rich.table import Table

from planner.build.static_delta import generate
from planner.delta.bsdiff import diff
from planner.delta.encode import Effort, EncodedObject, compress_payload, encode_objects, order_objects
from planner.delta.pairing import Entry, ReadContent, pair_objects, sketch
from planner.history.objects import ObjectSets, walk_files
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
    """What one engine made of a pair; `spent_s` by stage: pairing, encoding, compressing."""

    part_bytes: int
    core_s: float
    spent_s: tuple[float, ...] = ()


def main() -> None:
    """Print one row per pair and effort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    parser.add_argument("--pair", action="append", help="two exact pins with a comma between them; may be repeated")
    parser.add_argument("--effort", action="append", choices=[str(effort) for effort in Effort])
    arguments = parser.parse_args()
    pairs = [tuple(pair.split(",")) for pair in arguments.pair] if arguments.pair else PAIRS
    efforts = [Effort(name) for name in arguments.effort or Effort]
    warm_up()
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
        "pair+encode+compress s",
    ):
        table.add_column(name, justify="left" if name in ("pair", "effort") else "right")
    for pair in pairs:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(pair, arguments.cache, Path(folder), efforts):
                table.add_row(*row)
    Console(width=150).print(table)


def warm_up() -> None:
    """Compile the loops, or load them compiled: once per process, not part of any pair."""
    one, other = bytes(range(256)) * 100, bytes(range(255, -1, -1)) * 100
    diff(one, other)
    diff(one, other, max_suffix_bytes=0)
    sketch(one)


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
                " + ".join(f"{spent_s:.2f}" for spent_s in ours.spent_s),
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
    """The engine from the repository to a compressed part."""
    started_s = time.process_time()
    repository = OSTreeRepository(path)
    history = repository.read_history()

    def read(checksum: str) -> bytes:
        return repository.read_object(ObjectName(ObjectKind.FILE, checksum))

    walked = [set(walk_files(history, history.commits[commit].tree)) for commit in (base, target)]
    # What both have at the same path is neither missing nor a likely source; its size would be read for nothing.
    entries = [list_entries(repository, walked[k] - walked[1 - k]) for k in (0, 1)]
    known = {name.checksum for _, name in walked[0]}
    lacking = [entry for entry in entries[1] if entry.checksum not in known]
    pairings = pair_objects(entries[0], lacking, read, read)
    paired_s = time.process_time()
    encoded = list(encode_objects(pairings, read, read))
    encoded_s = time.process_time()
    missing = sorted(ObjectSets(history).missing(base, target))
    metadata = [repository.read_object(name) for name in missing if name.kind in (ObjectKind.TREE, ObjectKind.META)]
    part = compress_payload(serialise(metadata, order_objects(encoded)), effort)
    done_s = time.process_time()
    for item in encoded:
        check(item, read)
    stages = (paired_s - started_s, encoded_s - paired_s, done_s - encoded_s)
    return Measured(part_bytes=len(part) + 1, core_s=done_s - started_s, spent_s=stages)


def list_entries(repository: OSTreeRepository, walked: Iterable[tuple[str, ObjectName]]) -> list[Entry]:
    """The files among what was walked."""
    return [
        Entry(path=path, checksum=name.checksum, size_bytes=repository.object_bytes(name))
        for path, name in walked
        if name.kind is ObjectKind.FILE
    ]


def serialise(metadata: Sequence[bytes], objects: Sequence[EncodedObject]) -> bytes:
    """A part's payload and operations, laid out as the format has them, without its container's offsets."""
    payload, operations, sources = bytearray(), bytearray(), {}
    for data in metadata:
        operations += b"S" + varint(len(data)) + varint(len(payload))
        payload += data
    for item in objects:
        place = len(payload)
        payload += item.stream
        if item.source is None:
            operations += b"S\0\0" + varint(len(item.stream)) + varint(place)
            continue
        if item.source not in sources:
            sources[item.source] = len(payload)
            payload += bytes.fromhex(item.source)
        size = varint(len(item.stream))
        operations += b"o\0\0" + size + b"r" + varint(sources[item.source]) + b"B" + varint(place) + size + b"Rc"
    return bytes(payload + operations)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first (LEB128)."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def check(item: EncodedObject, read: ReadContent) -> None:
    """Apply the stream with the reference implementation; an error if it makes something else."""
    new = read(item.checksum)
    if item.source is None:
        assert item.stream == new
        return
    old = read(item.source)
    triples, differences, extras, at = bytearray(), bytearray(), bytearray(), 0
    while at < len(item.stream):
        triples += item.stream[at : at + 24]
        added, inserted = (int.from_bytes(item.stream[at + k : at + k + 8], "little") for k in (0, 8))
        at += 24
        differences += item.stream[at : at + added]
        extras += item.stream[at + added : at + added + inserted]
        at += added + inserted
    made = bsdiff4.core.patch(old, len(new), bytes(triples), bytes(differences), bytes(extras))
    assert made == new, item.path


if __name__ == "__main__":
    main()
