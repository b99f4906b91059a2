"""Two small releases, written by hand so that every pairing can be checked by eye, as a store and as OSTree."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from planner.build.bundle import MAGIC
from planner.history.store import Store
from planner.history.trees import import_tree

Files = dict[str, bytes]

TEXT = b"".join(b"line %d of a file that hardly changes\n" % number for number in range(400))
BINARY = random.Random(1).randbytes(20_000)


def first_release() -> Files:
    """A text, a binary, a script, a file that will move, one that will vanish, and two equal ones."""
    return {
        "bin/tool": BINARY,
        "bin/run.sh": b"#!/bin/sh\nexec tool\n",
        "doc/readme.txt": TEXT,
        "lib/python3.10/module.py": TEXT[:5000] + b"# module\n",
        "gone/old.txt": b"vanishes\n",
        "same/a": b"equal\n",
        "same/b": b"equal\n",
        "empty": b"",
    }


def second_release() -> Files:
    """The same with edits, a moved folder and a new file."""
    files = first_release()
    files["bin/tool"] = BINARY[:9000] + b"patched" + BINARY[9000:]
    files["doc/readme.txt"] = TEXT.replace(b"line 77 ", b"line seventy-seven ")
    files["lib/python3.11/module.py"] = files.pop("lib/python3.10/module.py") + b"# more\n"
    del files["gone/old.txt"]
    files["new/fresh.txt"] = b"was never there\n"
    return files


def write_folder(
    folder: Path, files: Files, *, executables: tuple[str, ...] = (), links: dict[str, str] | None = None
) -> Path:
    """The files on disk."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name in executables else 0o644)
    for name, target in (links or {}).items():
        (folder / name).symlink_to(target)
    return folder


@dataclass(frozen=True)
class World:
    """A repository with three releases: the third equals the first but for one file."""

    path: Path
    first: str
    second: str
    third: str


def write_releases(folder: Path) -> list[Path]:
    """The three releases as folders; the second makes a script executable and turns a file into a link."""
    second = second_release()
    del second["same/b"]
    return [
        write_folder(folder / "1", first_release()),
        write_folder(folder / "2", second, executables=("bin/run.sh",), links={"same/b": "a", "dangling": "no/where"}),
        write_folder(folder / "3", {**first_release(), "gone/old.txt": b"stays after all\n"}),
    ]


def make_store(folder: Path) -> World:
    """The releases in a store."""
    store = Store.create(folder / "store")
    commits: list[str] = []
    for day, release in enumerate(write_releases(folder / "releases"), start=1):
        at = datetime(2024, 1, day, tzinfo=UTC)
        parent = commits[-1] if commits else None
        commits.append(import_tree(store, release, version=str(day), committed_at=at, parent=parent, ref="main"))
    return World(store.path, *commits)


def make_ostree(folder: Path) -> World:
    """The releases in an OSTree repository of mode archive, as servers have it."""
    path = folder / "ostree"
    ostree("init", f"--repo={path}", "--mode=archive")
    commits = [
        ostree(
            "commit", f"--repo={path}", "--branch=main", f"--timestamp=2024-01-0{day} 00:00:00Z", str(release)
        ).strip()
        for day, release in enumerate(write_releases(folder / "releases"), start=1)
    ]
    return World(path, *commits)


def ostree(*arguments: str) -> str:
    """Run the stock tool, for what the tests compare with."""
    done = subprocess.run(
        ["ostree", *arguments], check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    return done.stdout


def list_paths(folder: Path) -> list[str]:
    """Every path below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def runs(process: str) -> bool:
    """Whether a process runs; one that nobody reaps does not."""
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rewrite_header(delta: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The same delta with another header."""
    start = len(MAGIC) + 4
    end = start + int.from_bytes(delta[len(MAGIC) : start], "little")
    header = msgspec.msgpack.decode(zstandard.decompress(delta[start:end]))
    change(header)
    packed = zstandard.compress(msgspec.msgpack.encode(header))
    return MAGIC + len(packed).to_bytes(4, "little") + packed + delta[end:]
