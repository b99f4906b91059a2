"""OSTree's own static deltas: the stock tool makes them, and a stock client proves them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.build.processes import cpu_s
from planner.build.tools import is_missing, run_tool
from planner.delta.paths import SUPERBLOCK, check_names
from planner.delta.superblock import read_superblock
from planner.errors import BuildError, RepositoryError, ToolError
from planner.history.records import EMPTY, ObjectKind, ObjectName

# The stock generator takes about 1 s per MB that changed (measured: 0.5 to 1.1). One that hangs must not hold the
# night's worker.
GENERATE_TIMEOUT_S = 4 * 3600.0
# Pulling, applying and checking are bound by the disk; an hour is 100 GB at 30 MB/s.
PROVE_TIMEOUT_S = 3600.0


def generate(repository_path: Path, base: str, target: str, into: Path) -> None:
    """Write the delta's superblock and parts into the folder `into`, outside the repository's `deltas/`.

    All content is in the parts (no fallback objects), so that the delta can be applied without the repository.

    Raises:
        InputError: a name is not 64 lowercase hex digits (the base may be empty).
        ToolError: `ostree` is missing or failed; `into` may hold a part of a delta.
    """
    check_names(base, target)
    start = "--empty" if base == EMPTY else f"--from={base}"
    run_tool(
        [
            *("ostree", "static-delta", "generate", f"--repo={repository_path}", start, f"--to={target}"),
            *("--min-fallback-size=0", f"--filename={into / SUPERBLOCK}"),
        ],
        timeout_s=GENERATE_TIMEOUT_S,
    )


def prove(repository_path: Path, base: str, target: str, delta: Path, scratch: Path) -> float:
    """Apply the delta with the stock client to a repository that holds only the base, and check what results.

    The core-seconds of applying it. `scratch/bases/` keeps one such repository per base, to be hard-linked by the next
    proof; remove the folder to get the space back. Nothing else stays.

    Raises:
        BuildError: the delta is for another pair, cannot be applied (it may even end the client by a signal), or
            leaves the target incomplete or corrupt.
        InputError: a name is not 64 lowercase hex digits (the base may be empty).
        ToolError: a program is missing, or the base cannot be pulled from the repository.
    """
    check_names(base, target)
    _check_ends(delta, base, target)
    with _copy_of(_provide_base(repository_path, base, scratch), scratch) as client:
        try:
            started_s = cpu_s()
            _run_ostree("static-delta", "apply-offline", client, str(delta))
            applied_s = cpu_s()
            _run_ostree("fsck", "--quiet", client)
        except ToolError as error:
            if is_missing(error):
                raise
            facts = error.facts
            raise BuildError(
                "the stock client rejects the delta", path=str(delta), reason=error.message, **facts
            ) from error
        _check_has_target(client, target, delta)
    return applied_s - started_s


def read_ends(superblock: bytes) -> tuple[str, str]:
    """The base and target that a superblock names; the base is empty for a delta from nothing.

    Raises:
        BuildError: it is not a superblock.
    """
    try:
        found = read_superblock(superblock)
    except RepositoryError as error:
        raise BuildError("is not a delta's superblock", reason=str(error)) from error
    return found.base, found.target


def _check_ends(delta: Path, base: str, target: str) -> None:
    path = delta / SUPERBLOCK
    try:
        found = read_ends(path.read_bytes())
    except OSError as error:
        raise BuildError("cannot be read", path=str(path), cause=str(error)) from error
    if found != (base, target):
        raise BuildError("the delta is for another pair", path=str(path), got=found, expected=(base, target))


def _check_has_target(client: Path, target: str, delta: Path) -> None:
    # fsck passes over a commit that is marked partial.
    name = str(ObjectName(ObjectKind.COMMIT, target))
    is_partial = (client / "state" / f"{target}.commitpartial").exists()
    if is_partial or not (client / "objects" / name[:2] / name[2:]).exists():
        raise BuildError("the delta does not make its target", path=str(delta), target=target, is_partial=is_partial)


def _provide_base(repository_path: Path, base: str, scratch: Path) -> Path:
    path = scratch / "bases" / (base or "empty")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(scratch) as folder:
            made = _make_base(repository_path, base, folder / "repository")
            _settle_base(made, path)
    return path


def _make_base(repository_path: Path, base: str, path: Path) -> Path:
    run_tool(["ostree", "init", f"--repo={path}", "--mode=bare-user"], timeout_s=PROVE_TIMEOUT_S)
    # It lives for one night at most: its commits need no disk flushes.
    _run_ostree("config", "set", path, "core.fsync", "false")
    if base != EMPTY:
        _run_ostree("pull-local", "--depth=0", path, str(repository_path), base)
    return path


def _settle_base(made: Path, path: Path) -> None:
    try:
        made.rename(path)
    except OSError:
        # Another worker was faster; its repository is as good.
        if not path.exists():
            raise


@contextmanager
def _copy_of(repository: Path, scratch: Path) -> Iterator[Path]:
    # Hard links will do: OSTree replaces files, it never writes into one.
    with _temporary_folder(scratch) as folder:
        copy = folder / "repository"
        run_tool(["cp", "-al", "--", str(repository), str(copy)], timeout_s=PROVE_TIMEOUT_S)
        yield copy


@contextmanager
def _temporary_folder(scratch: Path) -> Iterator[Path]:
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="proof-", dir=scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _run_ostree(verb: str, option: str, repository: Path, *arguments: str) -> str:
    return run_tool(["ostree", verb, option, f"--repo={repository}", *arguments], timeout_s=PROVE_TIMEOUT_S)
