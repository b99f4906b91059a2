"""Codecs on neighbouring releases of real packages: bytes and core-seconds to build, seconds to apply.

python benchmarks/codecs.py [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner.build.bundle import apply_bundle, encode_bundle, read_bundle
from planner.build.codecs import CODECS
from planner.build.static_delta import generate
from planner.history.objects import ObjectSets, full_pull_bytes
from planner.history.packages import fetch_packages, unpack_wheel
from planner.history.store import Store
from planner.history.trees import import_tree

PAIRS = (
    ("sqlalchemy==2.0.22", "sqlalchemy==2.0.23"),
    ("lxml==4.9.3", "lxml==4.9.4"),
    ("cryptography==41.0.5", "cryptography==41.0.6"),
    ("django==4.2.7", "django==4.2.8"),
)


def main() -> None:
    """Print one row per pair and codec."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    arguments = parser.parse_args()
    table = Table(title="Deltas between neighbouring releases")
    for name in ("pair", "codec", "delta bytes", "build s", "apply s"):
        table.add_column(name, justify="left" if name in ("pair", "codec") else "right")
    for pair in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(pair, arguments.cache, Path(folder)):
                table.add_row(" -> ".join(pair), *row)
    Console(width=120).print(table)


def measure(pair: tuple[str, str], cache: Path, scratch: Path) -> list[tuple[str, str, str, str]]:
    """Every codec on one pair, stock OSTree where it is installed, and the loose objects."""
    trees = []
    for number, wheel in enumerate(fetch_packages(pair, cache)):
        trees.append(scratch / f"tree{number}")
        unpack_wheel(wheel, trees[-1])
    store = Store.create(scratch / "store")
    base = import_tree(store, trees[0], version="1", committed_at=datetime(2024, 1, 1, tzinfo=UTC), ref="main")
    target = import_tree(
        store, trees[1], version="2", committed_at=datetime(2024, 1, 2, tzinfo=UTC), parent=base, ref="main"
    )
    objects = ObjectSets(store.read_history())
    rows = [measure_codec(store, objects, base, target, codec) for codec in CODECS]
    if shutil.which("ostree"):
        rows.append(measure_ostree(trees, scratch))
    rows.append(("loose objects", f"{full_pull_bytes(store, objects, base, target):,}", "", ""))
    return rows


def measure_codec(store: Store, objects: ObjectSets, base: str, target: str, codec: str) -> tuple[str, str, str, str]:
    """Bytes, core-seconds to build, core-seconds to apply."""
    started_s = time.process_time()
    delta = encode_bundle(store, objects, base, target, codec)
    built_s = time.process_time()
    for _ in apply_bundle(read_bundle(delta), store.read_object):
        pass
    applied_s = time.process_time()
    return codec, f"{len(delta):,}", f"{built_s - started_s:.2f}", f"{applied_s - built_s:.2f}"


def measure_ostree(trees: list[Path], scratch: Path) -> tuple[str, str, str, str]:
    """The stock static delta between the same trees; wall seconds."""
    repo = scratch / "repo"
    subprocess.run(["ostree", "init", f"--repo={repo}", "--mode=archive"], check=True)
    commits = [
        subprocess.run(
            ["ostree", "commit", f"--repo={repo}", "--branch=main", f"--tree=dir={tree}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for tree in trees
    ]
    delta = scratch / "delta"
    delta.mkdir()
    started_s = time.perf_counter()
    generate(repo, commits[0], commits[1], delta)
    wall_s = time.perf_counter() - started_s
    return "ostree (stock)", f"{sum(file.stat().st_size for file in delta.iterdir()):,}", f"{wall_s:.2f}", ""


if __name__ == "__main__":
    main()
