"""Our own static deltas as files: beside a file of the caller's choice, or where a repository's clients look."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from planner.delta.make import Delta
from planner.delta.paths import SUPERBLOCK, relative_path
from planner.errors import BuildError, InputError
from planner.history.files import write_atomically
from planner.history.records import EMPTY, History


def resolve_ends(history: History, base: str | None, target: str) -> tuple[str, str]:
    """The commits that two names mean; without a base, the target's parent.

    Raises:
        InputError: a name means no commit, both mean one, or the target has no parent in the repository.
    """
    found = history.resolve(target)
    if found == EMPTY:
        raise InputError("names no commit", path="to", got=target)
    start = history.commits[found].parent if base is None else history.resolve(base)
    if start is None or (base is None and start not in history.commits):
        raise InputError("has no parent here: name a base, or ask for a delta from nothing", path="to", got=target)
    if start == found:
        raise InputError("base and target are the same commit", got=found)
    return start, found


def write_beside(delta: Delta, path: Path) -> None:
    """Write the superblock to `path` and the parts beside it, by their number; the superblock last."""
    for number, part in enumerate(delta.parts):
        write_atomically(path.parent / str(number), part)
    write_atomically(path, delta.superblock)


def write_into(delta: Delta, repository: Path, base: str, target: str) -> Path:
    """Write the delta to where clients look, all of its files at once; its folder.

    Clients that have read an index must find what it names, so a published delta is never replaced.

    Raises:
        BuildError: another delta of these commits is there.
    """
    folder = repository / relative_path(base, target)
    if folder.exists():
        raise BuildError("a delta of these commits is there already: retire it first", path=str(folder))
    # On the repository's own file system, and where its own tools clean up.
    made = Path(tempfile.mkdtemp(prefix="deltaplan-", dir=repository / "tmp"))
    try:
        made.chmod(0o755)
        write_beside(delta, made / SUPERBLOCK)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder
