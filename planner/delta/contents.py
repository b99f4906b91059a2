"""A repository's objects as the delta builder asks for them: headers and sizes are read once, contents when needed."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from planner.delta.bsdiff import Content
from planner.delta.pairing import Entry
from planner.history.objects import ObjectSets, walk_files
from planner.history.ostree import OSTreeRepository
from planner.history.ostree_objects import FileHeader
from planner.history.records import EMPTY, ObjectKind, ObjectName

HELD_BYTES = 2**28
"""Larger contents are mapped instead of held in memory."""


class Contents:
    """The objects of one repository, which may be asked about for many deltas."""

    def __init__(self, repository: OSTreeRepository) -> None:
        self.repository = repository
        self._headers: dict[str, tuple[FileHeader, int]] = {}

    def header(self, checksum: str) -> FileHeader:
        """A file's header."""
        return self._header(checksum)[0]

    def size_bytes(self, checksum: str) -> int:
        """The size of a file's content; 0 for a link."""
        return self._header(checksum)[1]

    def _header(self, checksum: str) -> tuple[FileHeader, int]:
        found = self._headers.get(checksum)
        if found is None:
            found = self._headers[checksum] = self.repository.read_header(ObjectName(ObjectKind.FILE, checksum))
        return found

    def read(self, checksum: str) -> Content:
        """A file's content, checked; nothing for a link, so that no difference from one is ever smaller than the whole.

        Large ones are mapped from a file without a name, so that memory is only taken for what is looked at.

        Raises:
            RepositoryError: it is missing or corrupt.
            SpaceError: there is no space for a copy of a large one.
        """
        name = ObjectName(ObjectKind.FILE, checksum)
        if self.size_bytes(checksum) <= HELD_BYTES:
            return self.repository.read_file(name)[1]
        with TemporaryFile(dir=self._scratch()) as file:
            self.repository.copy_file(name, file)
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _scratch(self) -> Path | None:
        """Where there is space for large files: the repository's own disk where this user may write there."""
        folder = self.repository.path / "tmp"
        return folder if os.access(folder, os.W_OK) else None

    def read_metadata(self, name: ObjectName) -> bytes:
        """A commit's, folder's or attributes' bytes, checked."""
        return self.repository.read_object(name)

    def entries(self, files: Mapping[str, str]) -> list[Entry]:
        """The regular files among these (checksums by path) with their sizes."""
        return [
            Entry(path=path, checksum=checksum, size_bytes=self.size_bytes(checksum))
            for path, checksum in files.items()
            if not self.header(checksum).is_link
        ]


class CommitContents(Contents):
    """The same with the commits that the objects belong to."""

    def __init__(self, repository: OSTreeRepository, objects: ObjectSets) -> None:
        super().__init__(repository)
        self.objects = objects
        self._files: dict[str, Mapping[str, str]] = {EMPTY: {}}

    def missing(self, base: str, target: str) -> frozenset[ObjectName]:
        """What a client on the base lacks of the target; the commit, which a superblock holds itself, left out."""
        return self.objects.missing(base, target) - {ObjectName(ObjectKind.COMMIT, target)}

    def commit_bytes(self, commit: str) -> int:
        """The size of a commit object."""
        return self.repository.object_bytes(ObjectName(ObjectKind.COMMIT, commit))

    def files(self, commit: str) -> Mapping[str, str]:
        """The files and links of a commit: checksums by path."""
        found = self._files.get(commit)
        if found is None:
            history = self.objects.history
            tree = walk_files(history, history.commits[commit].tree)
            found = {path: name.checksum for path, name in tree if name.kind is ObjectKind.FILE}
            self._files[commit] = found
        return found
