"""How long a large OSTree repository takes to load: `python benchmarks/history.py`.

A repository of mode archive is written to a temporary folder, straight as objects (committing with the real program
would take minutes), and read in a fresh process, so that the memory is the reader's own. Goal: 1,000 commits of
5,000 files with 20 changed files each load in a few seconds. Where `ostree` is installed, `--fsck` lets it check
what was written.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import random
import subprocess
import tempfile
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from planner.history.ostree import OSTreeRepository

# Folders by number: file f is in folder f % FOLDERS, and folder d in group d % GROUPS of the root.
FOLDERS = 200
GROUPS = 10
FIRST_COMMIT_AT_S = 1_700_000_000
FILE_HEADER = bytes(8) + (0o100644).to_bytes(4, "big") + bytes(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What one load took, measured in the process that did it."""

    load_s: float
    commits: int
    trees: int
    peak_bytes: int
    before_bytes: int


class Writer:
    """Writes a repository's objects, each new one once."""

    def __init__(self, repo: Path) -> None:
        self.objects = repo / "objects"
        for first in range(256):
            (self.objects / f"{first:02x}").mkdir(parents=True)
        for folder in ("refs/heads", "refs/remotes", "refs/mirrors", "state", "tmp"):
            (repo / folder).mkdir(parents=True)
        (repo / "config").write_text("[core]\nrepo_version=1\nmode=archive-z2\n")
        self.written: set[bytes] = set()
        self.meta = self.write(bytes(8) + (0o40755).to_bytes(4, "big"), "dirmeta")

    def write(self, data: bytes, ending: str, checksum: bytes = b"") -> bytes:
        """The checksum of an object with these bytes."""
        checksum = checksum or hashlib.sha256(data).digest()
        if checksum not in self.written:
            self.written.add(checksum)
            name = checksum.hex()
            (self.objects / name[:2] / f"{name[2:]}.{ending}").write_bytes(data)
        return checksum

    def write_file(self, content: bytes) -> bytes:
        """The checksum of a file with mode 644 and this content."""
        plain = frame([FILE_HEADER + b"\0", b""], ends=1)
        checksum = hashlib.sha256(len(plain).to_bytes(4, "big") + bytes(4) + plain + content).digest()
        header = frame([len(content).to_bytes(8, "big") + FILE_HEADER + b"\0", b""], ends=1)
        deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = deflate.compress(content) + deflate.flush()
        return self.write(len(header).to_bytes(4, "big") + bytes(4) + header + packed, "filez", checksum)

    def write_tree(self, files: dict[str, bytes], dirs: dict[str, bytes]) -> bytes:
        """The checksum of a folder."""
        file_items = [frame([name.encode() + b"\0", files[name]], ends=1) for name in sorted(files)]
        dir_items = [frame([name.encode() + b"\0", dirs[name], self.meta], ends=2) for name in sorted(dirs)]
        lists = [frame(file_items, ends=len(file_items)), frame(dir_items, ends=len(dir_items))]
        return self.write(frame(lists, ends=1), "dirtree")

    def write_commit(self, tree: bytes, parent: bytes, number: int) -> bytes:
        """The checksum of a commit without metadata."""
        subject = f"release {number}".encode() + b"\0"
        texts = [b"", parent, b"", subject, b"\0"]
        before = sum(map(len, texts))
        date = bytes(-before % 8) + (FIRST_COMMIT_AT_S + 86_400 * number).to_bytes(8, "big")
        # The ends of all members of variable size but the last, in reverse; the date, of fixed size, has none.
        ends = [sum(map(len, texts[: place + 1])) for place in range(5)]
        ends.append(before + len(date) + len(tree))
        body = b"".join(texts) + date + tree + self.meta
        assert len(body) + len(ends) < 256
        return self.write(body + bytes(reversed(ends)), "commit")


def frame(pieces: Sequence[bytes], *, ends: int) -> bytes:
    """A container of pieces that need no alignment: an array (all ends), or a tuple (all but the last, in reverse)."""
    body = b"".join(pieces)
    width = next(width for width in (1, 2, 4) if len(body) + width * ends < 256**width)
    at, places = 0, []
    for piece in pieces[:ends]:
        at += len(piece)
        places.append(at.to_bytes(width, "little"))
    return body + b"".join(places if ends == len(pieces) else places[::-1])


def write_repository(repo: Path, *, commits: int, files: int, changes: int, seed: int) -> None:
    """Write a line of commits, each with `changes` files that differ from the one before."""
    writer, draws = Writer(repo), random.Random(seed)
    folders: list[dict[str, bytes]] = [{} for _ in range(FOLDERS)]
    trees: list[bytes] = [b""] * FOLDERS
    parent = b""
    for number in range(commits):
        changed = draws.sample(range(files), changes) if number else range(files)
        for file in changed:
            folders[file % FOLDERS][f"file-{file:05}.so"] = writer.write_file(f"{file} of {number}".encode())
        for folder in {file % FOLDERS for file in changed}:
            trees[folder] = writer.write_tree(folders[folder], {})
        groups = {
            f"group-{group}": writer.write_tree(
                {}, {f"folder-{folder:03}": trees[folder] for folder in range(group, FOLDERS, GROUPS)}
            )
            for group in range(GROUPS)
        }
        parent = writer.write_commit(writer.write_tree({}, groups), parent, number)
    (repo / "refs/heads/main").write_text(parent.hex() + "\n")


def load(repo: Path) -> Loaded:
    """Load the history; for a process of its own."""
    before_bytes = _peak_bytes()
    start_s = time.perf_counter()
    history = OSTreeRepository(repo).read_history()
    return Loaded(
        load_s=time.perf_counter() - start_s,
        commits=len(history.commits),
        trees=len(history.trees),
        peak_bytes=_peak_bytes(),
        before_bytes=before_bytes,
    )


def _peak_bytes() -> int:
    # Not getrusage: its peak starts with that of the process that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Write, load and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--commits", type=int, default=1000)
    arguments.add_argument("--files", type=int, default=5000)
    arguments.add_argument("--changes", type=int, default=20)
    arguments.add_argument("--loads", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--fsck", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        write_repository(repo, commits=given.commits, files=given.files, changes=given.changes, seed=given.seed)
        if given.fsck:
            subprocess.run(["ostree", "fsck", "--quiet", f"--repo={repo}"], check=True)
        print(f"{given.commits} commits, {given.files} files, {given.changes} changed in each (all measured)")
        print(f"{'load_s':>8} {'commits':>8} {'trees':>8} {'peak_mb':>8} {'before_mb':>10}")
        for _ in range(given.loads):
            with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
                loaded = pool.submit(load, repo).result()
            megabytes = f"{loaded.peak_bytes / 10**6:8.1f} {loaded.before_bytes / 10**6:10.1f}"
            print(f"{loaded.load_s:8.2f} {loaded.commits:8} {loaded.trees:8} {megabytes}")


if __name__ == "__main__":
    main()
