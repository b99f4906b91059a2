"""A repository's objects as the delta builder asks for them: headers and sizes are read once, contents when needed."""

from __future__ import annotations

from collections.abc import Mapping

from planner.delta.pairing import Entry
from planner.history.objects import ObjectSets, walk_files
from planner.history.ostree import OSTreeRepository
from planner.history.ostree_objects import FileHeader
from planner.history.records import EMPTY, ObjectKind, ObjectName


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

    def read(self, checksum: str) -> bytes:
        """A file's content, checked; nothing for a link, so that no difference from one is ever smaller than the whole.

        Raises:
            RepositoryError: it is missing or corrupt.
        """
        return self.repository.read_file(ObjectName(ObjectKind.FILE, checksum))[1]

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

    def files(self, commit: str) -> Mapping[str, str]:
        """The files and links of a commit: checksums by path."""
        found = self._files.get(commit)
        if found is None:
            history = self.objects.history
            tree = walk_files(history, history.commits[commit].tree)
            found = {path: name.checksum for path, name in tree if name.kind is ObjectKind.FILE}
            self._files[commit] = found
        return found
