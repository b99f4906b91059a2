"""A delta of one huge file: bytes, core-seconds, and that it is made in bounded memory.

python benchmarks/huge_file.py [--gib 3] [--data-limit-gib 1] [--no-stock] [--folder FOLDER]

A disk image of random bytes, and one in which blocks of 64 MiB have moved, some are new, bytes were put in between and
single bytes changed. Ours is `deltaplan delta` with its memory limited (RLIMIT_DATA, which leaves out mapped files, as
the system may drop these); stock is `ostree static-delta generate` with no limit. Each delta is applied by
`ostree static-delta apply-offline` to a client that has the old image; its `fsck` must be clean.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.child_usage import Usage, run_measured

_BLOCK_BYTES = 2**26
_LIMITED = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2); "
_LIMITED += "os.execv(sys.argv[2], sys.argv[2:])"


def main() -> None:
    """Print one row per builder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=3.0, help="size of the image")
    parser.add_argument("--data-limit-gib", type=float, default=1.0, help="memory allowed to our builder")
    parser.add_argument("--folder", type=Path, default=None, help="where five times the image fits")
    parser.add_argument("--no-stock", action="store_true", help="leave out the stock tool: 12 core-minutes a GiB")
    arguments = parser.parse_args()
    table = Table("builder", "bytes", "core-s", "peak MiB, mapped files included")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        repo = make_repository(Path(folder), round(arguments.gib * 2**30) // _BLOCK_BYTES)
        limit = str(round(arguments.data_limit_gib * 2**30))
        ours = [sys.executable, "-c", _LIMITED, limit, sys.executable, "-m", "planner.cli", "delta"]
        stock = ["ostree", "static-delta", "generate", "--min-fallback-size=0"]
        builders = {"deltaplan delta": ours} | ({} if arguments.no_stock else {"ostree static-delta generate": stock})
        for name, command in builders.items():
            into = Path(folder) / "delta"
            into.mkdir()
            _, usage = run_measured(
                [*command, f"--repo={repo}", "--from=old", "--to=new", f"--filename={into}/superblock"]
            )
            apply(Path(folder), repo, into)
            table.add_row(name, *row(into, usage))
            shutil.rmtree(into)
    Console().print(table)


def row(folder: Path, usage: Usage) -> tuple[str, str, str]:
    """A table's row."""
    total_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return f"{total_bytes:,}", f"{usage.core_s:.1f}", f"{usage.peak_bytes / 2**20:,.0f}"


def make_repository(folder: Path, blocks: int) -> Path:
    """A repository with the commits `old` and `new` of the image."""
    repo, tree = folder / "repo", folder / "tree"
    run("init", f"--repo={repo}", "--mode=bare-user")
    tree.mkdir()
    order = list(range(blocks))
    write_image(tree / "disk.img", order, is_changed=False)
    run("commit", f"--repo={repo}", "--branch=old", f"--tree=dir={tree}")
    random.Random(1).shuffle(order)
    order[blocks // 2] = blocks
    write_image(tree / "disk.img", order, is_changed=True)
    run("commit", f"--repo={repo}", "--branch=new", f"--tree=dir={tree}")
    shutil.rmtree(tree)
    return repo


def write_image(path: Path, order: list[int], *, is_changed: bool) -> None:
    """Blocks of random bytes, each by its number; changed: a byte in each MiB, and 100 bytes before each block."""
    with path.open("wb") as image:
        for number in order:
            block = np.random.default_rng(number).integers(0, 256, _BLOCK_BYTES, np.uint8)
            if is_changed:
                block[5 :: 2**20] ^= 255
                image.write(bytes(100))
            image.write(block.tobytes())


def apply(folder: Path, repo: Path, delta: Path) -> None:
    """Apply a delta as a stock client does."""
    client = folder / "client"
    run("init", f"--repo={client}", "--mode=bare-user")
    run("pull-local", f"--repo={client}", str(repo), "old")
    run("static-delta", "apply-offline", f"--repo={client}", str(delta))
    run("fsck", "--quiet", f"--repo={client}")
    shutil.rmtree(client)


def run(*arguments: str) -> None:
    """Run `ostree`."""
    subprocess.run(["ostree", *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
