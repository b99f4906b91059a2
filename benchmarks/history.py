"""Load 1,000 commits x 5,000 files from an OSTree repository: seconds and memory.

    python benchmarks/history.py [--commits 1000] [--files 5000] [--changed 20]

The repository's objects are written by this script (the stock tool would take an hour), and the newest commit is
checked with `ostree fsck`-like reading by our own reader; `ostree log` counts the commits where it is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from planner.history.ostree import OSTreeRepository


def main() -> None:
    """Write the repository, load it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("commits", 1000), ("files", 5000), ("changed", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        write_repository(repo, arguments.commits, arguments.files, arguments.changed)
        if shutil.which("ostree"):
            log = subprocess.run(
                ["ostree", "log", f"--repo={repo}", "main"], check=True, capture_output=True, text=True
            ).stdout
            print(f"the stock tool sees {log.count('commit ')} commits")
        started_s = time.perf_counter()
        history = OSTreeRepository(repo).read_history()
        wall_s = time.perf_counter() - started_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"{len(history.commits)} commits x {arguments.files} files, {len(history.trees)} distinct trees")
    print(f"loaded in {wall_s:.2f} s, peak memory {peak_mb:.0f} MB")


def write_repository(repo: Path, commits: int, files: int, changed: int) -> None:
    """A repository of 100-file folders in which `changed` files differ from commit to commit."""
    (repo / "refs/heads").mkdir(parents=True)
    (repo / "objects").mkdir()
    for folder in ("refs/remotes", "tmp", "state", "extensions"):
        (repo / folder).mkdir(parents=True, exist_ok=True)
    (repo / "config").write_text("[core]\nrepo_version=1\nmode=archive-z2\n")
    meta = put(repo, "dirmeta", (0).to_bytes(8, "big") + (0o40755).to_bytes(4, "big"))
    versions = [0] * files
    parent = b""
    for commit in range(commits):
        for step in range(changed):
            versions[(commit * 7919 + step * 104729) % files] += 1
        root = put(repo, "dirtree", dirtree({}, folders(repo, versions, meta), meta))
        parent = put(repo, "commit", commit_bytes(parent, 1_700_000_000 + 86_400 * commit, root, meta))
    (repo / "refs/heads/main").write_text(parent.hex() + "\n")


def folders(repo: Path, versions: list[int], meta: bytes) -> dict[str, bytes]:
    """One tree per 100 files."""
    found = {}
    for start in range(0, len(versions), 100):
        names = {}
        for number in range(start, min(start + 100, len(versions))):
            content = f"{number} {versions[number]}".encode()
            names[f"file{number:05d}"] = put_name(repo, "filez", hashlib.sha256(content).digest(), content)
        found[f"dir{start:05d}"] = put(repo, "dirtree", dirtree(names, {}, meta))
    return found


def put(repo: Path, kind: str, data: bytes) -> bytes:
    """Write a metadata object; its checksum."""
    return put_name(repo, kind, hashlib.sha256(data).digest(), data)


def put_name(repo: Path, kind: str, checksum: bytes, data: bytes) -> bytes:
    """Write bytes under a checksum, once."""
    name = checksum.hex()
    path = repo / "objects" / name[:2] / f"{name[2:]}.{kind}"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return checksum


def dirtree(files: dict[str, bytes], dirs: dict[str, bytes], meta: bytes) -> bytes:
    """`(a(say)a(sayay))`."""
    file_items = [framed([name.encode() + b"\0"], checksum) for name, checksum in sorted(files.items())]
    dir_items = [framed([name.encode() + b"\0", checksum], meta) for name, checksum in sorted(dirs.items())]
    first, second = array(file_items), array(dir_items)
    return offsets(first + second, [len(first)])


def commit_bytes(parent: bytes, timestamp: int, root: bytes, meta: bytes) -> bytes:
    """`(a{sv}aya(say)sstayay)` without metadata, related objects, subject and body."""
    body, ends = parent, [0, len(parent), len(parent)]
    for text in (b"\0", b"\0"):
        body += text
        ends.append(len(body))
    body += bytes(-len(body) % 8) + timestamp.to_bytes(8, "big") + root
    ends.append(len(body))
    return offsets(body + meta, ends[::-1])


def framed(pieces: list[bytes], last: bytes) -> bytes:
    """A tuple of byte-aligned members."""
    body, ends = b"", []
    for piece in pieces:
        body += piece
        ends.append(len(body))
    return offsets(body + last, ends[::-1])


def array(items: list[bytes]) -> bytes:
    """An array of byte-aligned members of variable size."""
    body, ends = b"", []
    for item in items:
        body += item
        ends.append(len(body))
    return offsets(body, ends)


def offsets(body: bytes, ends: list[int]) -> bytes:
    """The body and its framing offsets."""
    for width in (1, 2, 4):
        if len(body) + width * len(ends) < 256**width:
            return body + b"".join(end.to_bytes(width, "little") for end in ends)
    raise ValueError("too large")


if __name__ == "__main__":
    main()
