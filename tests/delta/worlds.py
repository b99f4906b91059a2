"""A real OSTree history for delta tests: text and binaries that change, move, link, lose and gain bits."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from planner.history.ostree import OSTreeRepository

_XATTR = "user.deltaplan.test"


_LONG_TARGET = "/".join(f"folder{n}" for n in range(30))


@dataclass(frozen=True)
class World:
    """A repository of mode bare-user, and its commits, oldest first."""

    path: Path
    commits: tuple[str, ...]

    @property
    def repository(self) -> OSTreeRepository:
        """The repository, opened anew."""
        return OSTreeRepository(self.path)


def run_ostree(*arguments: object) -> str:
    done = subprocess.run(["ostree", *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout


def make_world(folder: Path, mode: str = "bare-user") -> World:
    """Three commits: every kind of change, then a small one."""
    repo, tree = folder / "repo", folder / "tree"
    run_ostree("init", f"--repo={repo}", f"--mode={mode}")
    rng = random.Random(7)
    text = "".join(f"line {n} {rng.random()}\n" for n in range(3000))
    blob = rng.randbytes(200_000)
    _write(tree / "usr/share/doc/long.txt", text.encode())
    _write(tree / "usr/lib/libthing.so.1.2", blob)
    _write(tree / "usr/lib/gone.bin", rng.randbytes(5000))
    _write(tree / "usr/bin/tool", b"#!/bin/sh\necho one\n", mode=0o755)
    _write(tree / "usr/empty", b"")
    (tree / "usr/link").symlink_to("bin/tool")
    (tree / "usr/becomes-a-file").symlink_to(_LONG_TARGET)
    commits = [commit_tree(repo, tree, "one")]

    _write(tree / "usr/share/doc/long.txt", text.replace("line 17 ", "line seventeen ").encode())
    changed = bytearray(blob)
    for at in range(1000, 150_000, 9973):
        changed[at : at + 8] = rng.randbytes(8)
    (tree / "usr/lib/libthing.so.1.2").unlink()
    _write(tree / "usr/lib/libthing.so.1.3", bytes(changed[:100_000] + b"inserted" * 50 + changed[100_000:]))
    (tree / "usr/lib/gone.bin").unlink()
    _write(tree / "usr/bin/tool", b"#!/bin/sh\necho two\n", mode=0o4755)
    _write(tree / "usr/new/deep/folder/file.py", text[:20_000].encode())
    (tree / "usr/link").unlink()
    (tree / "usr/link").symlink_to("new/deep")
    (tree / "usr/becomes-a-file").unlink()
    _write(tree / "usr/becomes-a-file", _LONG_TARGET.encode() * 3)
    commits.append(commit_tree(repo, tree, "two"))

    _write(tree / "usr/bin/tool", b"#!/bin/sh\necho three\n", mode=0o755)
    _write(tree / "usr/share/doc/long.txt", text.replace("line 2", "LINE 2").encode())
    commits.append(commit_tree(repo, tree, "three"))
    return World(path=repo, commits=tuple(commits))


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    # Not every file system keeps extended attributes; where it does, they are part of the checksum.
    if path.name == "tool":
        try:
            os.setxattr(path, _XATTR, b"\0value")
        except OSError:
            return


def commit_tree(repo: Path, tree: Path, subject: str) -> str:
    """Commit a folder to the branch `main`; the commit's checksum."""
    return run_ostree("commit", f"--repo={repo}", "--branch=main", f"--subject={subject}", f"--tree=dir={tree}").strip()


def copy_with(world: World, commits: tuple[str, ...], folder: Path) -> Path:
    """A client's repository that has only these commits."""
    client = folder / "client"
    run_ostree("init", f"--repo={client}", "--mode=bare-user")
    for commit in commits:
        run_ostree("pull-local", f"--repo={client}", world.path, commit)
    return client
