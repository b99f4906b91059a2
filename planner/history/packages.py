"""Real release histories from the Python package index: the adapter to pip, and a careful unzip."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from planner.errors import InputError, ToolError
from planner.history.encoding import is_safe_name
from planner.history.files import assembled_folder, full_disk_as_error

# One interpreter and one machine, so that the same pins give the same wheels wherever this runs.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
_PYTHON = "3.11"

# The largest wheels are some hundred megabytes; more time than this means that the network hangs.
_FETCH_TIMEOUT_S = 300.0

_PIN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([0-9][A-Za-z0-9._!+-]*)")
_STDERR_LINES = 5

# A wheel is bounded before it fills the disk; torch, the largest in common use, unpacks to 1.6 GB.
_MAX_UNPACKED_BYTES = 2 * 10**9
_MAX_ENTRIES = 200_000
_CHUNK_BYTES = 2**20


def fetch_packages(requirements: Sequence[str], cache: Path) -> list[Path]:
    """The wheels of exact pins such as `sqlalchemy==2.0.22`, in the same order; fetched only if not in `cache`.

    Wheels are for CPython 3.11 on x86-64 Linux, without their dependencies. Each is kept in a folder of its own,
    which appears only when complete.

    Raises:
        InputError: a requirement is not `name==version`; nothing was fetched.
        ToolError: pip could not fetch one; those before it are in the cache. A caller without a network can use
            `generator` instead.
        SpaceError: the disk is full.
    """
    homes = [cache / _home_name(requirement) for requirement in requirements]
    for requirement, home in zip(requirements, homes, strict=True):
        if not home.is_dir():
            with assembled_folder(home) as folder:
                _fetch_wheel(requirement, folder)
    return [_only_wheel(home) for home in homes]


def unpack_wheel(wheel: Path, folder: Path, *, max_unpacked_bytes: int = _MAX_UNPACKED_BYTES) -> None:
    """Unpack a wheel (or any zip file) into a new or empty folder, which appears only when complete.

    Files that the archive calls executable get mode 755, the others 644.

    Raises:
        InputError: the archive is damaged, too large, or has an entry that is not simply a file or folder below
            `folder`: an absolute path, `..`, a link, a name that is there twice.
        SpaceError: the disk is full; nothing was left.
    """
    try:
        with _open_archive(wheel) as archive, assembled_folder(folder) as filling:
            entries = archive.infolist()
            _check_entries(entries, max_unpacked_bytes)
            for entry in entries:
                _unpack_entry(archive, entry, filling)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError("is not a usable zip file", path=str(wheel), cause=str(error)) from error


def _home_name(requirement: str) -> str:
    pin = _PIN.fullmatch(requirement)
    if not pin:
        raise InputError("is not an exact pin such as six==1.16.0", path="requirements", got=requirement)
    name = re.sub("[-_.]+", "-", pin[1]).lower()
    return f"{name}=={pin[2]}"


def _fetch_wheel(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--python-version", _PYTHON, "--implementation", "cp"]
    command += [f"--platform={platform}" for platform in _PLATFORMS]
    command += ["--dest", str(folder), "--", requirement]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_FETCH_TIMEOUT_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError("pip did not finish", requirement=requirement, cause=str(error)) from error
    if done.returncode != 0 or not list(folder.glob("*.whl")):
        last_lines = done.stderr.strip().splitlines()[-_STDERR_LINES:]
        raise ToolError("pip cannot fetch", requirement=requirement, status=done.returncode, stderr=last_lines)


def _only_wheel(home: Path) -> Path:
    wheels = list(home.glob("*.whl"))
    if len(wheels) != 1:
        raise InputError("does not hold one wheel: remove it to fetch it again", path=str(home), found=len(wheels))
    return wheels[0]


def _open_archive(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except OSError as error:
        raise InputError("cannot be read", path=str(wheel), cause=error.strerror) from error


def _check_entries(entries: Sequence[zipfile.ZipInfo], max_unpacked_bytes: int) -> None:
    if len(entries) > _MAX_ENTRIES:
        raise InputError("has too many entries", got=len(entries), most=_MAX_ENTRIES)
    # zipfile stops reading an entry at the size that it declares, so the declared sizes bound the real ones.
    total_bytes = sum(entry.file_size for entry in entries)
    if total_bytes > max_unpacked_bytes:
        raise InputError("unpacks to more than is allowed", got_bytes=total_bytes, max_bytes=max_unpacked_bytes)
    for entry in entries:
        _check_entry(entry)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    # `filename` is cut at a NUL and has its separators changed; the name to judge is what the archive holds.
    pieces = entry.orig_filename.removesuffix("/").split("/")
    if "\\" in entry.orig_filename or not all(map(is_safe_name, pieces)):
        raise InputError("has a path that is not allowed", path=entry.orig_filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError("is neither a file nor a folder", path=entry.orig_filename, mode=oct(kind))


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    path = folder / PurePosixPath(entry.filename)
    try:
        if entry.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with full_disk_as_error(path), archive.open(entry) as source, path.open("xb") as out:
            while chunk := source.read(_CHUNK_BYTES):
                out.write(chunk)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError("is there twice, or as a file and a folder", path=entry.filename) from error
    path.chmod(0o755 if entry.external_attr >> 16 & stat.S_IXUSR else 0o644)
