"""The pool: proven deltas on the repository's own file system, outside the place where clients look.

    <repository>/extensions/deltaplan/pool/<codec>/<base or 'empty'>-<target>/   one proven delta
    <repository>/extensions/deltaplan/pool/notes/<codec>/<base>-<target>/<digest>.json   what its making took
    <repository>/extensions/deltaplan/pool/tmp/                                 deltas being made; nothing counts here
    <repository>/extensions/deltaplan/pool/workshop/                            see `workshop.py`

A folder gets its name only after its delta was applied and gave the target, so a killed run leaves nothing
that could be mistaken for an artifact. Publishing links from here: the bytes are kept once.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.errors import BuildError, InputError
from planner.history.files import (
    digest_file,
    full_disk_as_error,
    read_bounded,
    sync_directory,
    sync_file,
    write_atomically,
)
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Artifact

EXTENSION_PATH = "extensions/deltaplan"
"""This program's own area in a repository; OSTree leaves `extensions/` to others."""

MAX_DELTA_BYTES = 2**31
"""A delta's file is read into memory; one that is larger than this saves nobody anything."""

_MAX_NOTE_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool of one repository."""

    root: Path

    @classmethod
    def of_repository(cls, repository_path: Path) -> Pool:
        """The repository's pool; nothing is created yet."""
        return cls(repository_path / EXTENSION_PATH / "pool")

    def folder(self, candidate: Candidate) -> Path:
        """Where the candidate's proven delta is, or would be."""
        return self.root / candidate.codec / f"{candidate.base or 'empty'}-{candidate.target}"

    def has(self, artifact: Artifact) -> bool:
        """Whether the artifact's files are here with the right total size; `check` reads them."""
        folder = self.folder(artifact.candidate)
        return folder.is_dir() and sum(file.lstat().st_size for file in folder.iterdir()) == artifact.wire_bytes

    def check(self, artifact: Artifact) -> None:
        """Read the artifact's files once more.

        Raises:
            BuildError: they are not what was proven.
        """
        folder = self.folder(artifact.candidate)
        if not folder.is_dir() or measure_files(folder) != (artifact.digest, artifact.wire_bytes):
            raise BuildError("the files in the pool are not those that were proven", path=str(folder))

    @property
    def workshop(self) -> Path:
        """The folder of what several deltas are made of; a cache."""
        return self.root / "workshop"

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A new empty folder to make a delta in; it is gone when the block ends.

        Raises:
            SpaceError: the disk is full, here or inside the block.
        """
        with full_disk_as_error(self.root):
            (self.root / "tmp").mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.root / "tmp"))
        try:
            with full_disk_as_error(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def admit(self, candidate: Candidate, made: Path, *, note: bytes | None = None) -> Artifact:
        """Give a proven delta its place, synced; the artifact that is there afterwards.

        A note is on the disk before its delta has its name, so `find_note` finds every delta that was admitted with
        one: such a delta, from a worker that was believed lost and was faster, stays, and this one is not taken.
        Whatever else is there, left by an earlier, unrecorded run, is replaced.
        """
        artifact = self.measure(candidate, made)
        for file in made.iterdir():
            sync_file(file)
        sync_directory(made)
        folder = self.folder(candidate)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if note is not None:
            place = self._note(artifact)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, note)
        while not _rename(made, folder):
            if note is not None and self.find_note(candidate) is not None:
                return self.measure(candidate, folder)
            shutil.rmtree(folder, ignore_errors=True)
        sync_directory(folder.parent)
        return artifact

    def measure(self, candidate: Candidate, folder: Path) -> Artifact:
        """What the files in a folder are as an artifact.

        Raises:
            BuildError: as `measure_files`.
        """
        digest, wire_bytes = measure_files(folder)
        return Artifact(candidate=candidate, digest=digest, wire_bytes=wire_bytes)

    def find_note(self, candidate: Candidate) -> bytes | None:
        """What was noted of the delta that is here, whose files are read; None where it has no note, or is not here."""
        try:
            return read_bounded(self._note(self.measure(candidate, self.folder(candidate))), _MAX_NOTE_BYTES)
        except (OSError, BuildError, InputError):
            return None

    def _notes(self, candidate: Candidate) -> Path:
        return self.root / "notes" / self.folder(candidate).relative_to(self.root)

    def _note(self, artifact: Artifact) -> Path:
        # By digest: of two deltas of the same commits that were made at once, each keeps its own.
        return self._notes(artifact.candidate) / f"{artifact.digest}.json"

    def clean(self) -> None:
        """Remove what dead runs left in the making; only the holder of the lock may call this."""
        shutil.rmtree(self.root / "tmp", ignore_errors=True)

    def empty(self) -> None:
        """Remove all that can be made again; published deltas have links of their own.

        Only the holder of the lock may call this.
        """
        shutil.rmtree(self.root, ignore_errors=True)

    def discard(self, candidate: Candidate) -> None:
        """Remove a delta from the pool; a published link to it stays."""
        shutil.rmtree(self.folder(candidate), ignore_errors=True)
        shutil.rmtree(self._notes(candidate), ignore_errors=True)


def _rename(made: Path, folder: Path) -> bool:
    """Whether the folder has its new name; not where another that is not empty has it."""
    try:
        made.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def measure_files(folder: Path) -> tuple[str, int]:
    """One digest over the names, sizes and contents of a delta's files, and their total bytes.

    Raises:
        BuildError: the folder holds something else than regular files, or nothing.
    """
    digest, total_bytes = hashlib.sha256(), 0
    files = sorted(folder.iterdir())
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise BuildError("a delta is made of regular files only", path=str(file))
        size_bytes = file.stat().st_size
        digest.update(f"{file.name}\0{size_bytes}\0{digest_file(file)}\n".encode())
        total_bytes += size_bytes
    if not files:
        raise BuildError("the delta has no files", path=str(folder))
    return digest.hexdigest(), total_bytes
