"""The history of a repository: commits and the trees they name, with trees shared between commits.

A tree maps names to checksums, as in OSTree, so two commits that share a folder share one `Tree`.
Where histories are read from is `repository.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from planner.errors import InputError

EMPTY = ""
"""The empty commit: a client that has nothing yet."""

LAYERS_KEY = "deltaplan.layers"
"""Commit metadata: the commits that a merged tree is composed of, in order, separated by spaces."""

MANIFEST_KEY = "deltaplan.manifest"
"""Commit metadata of a container image: its manifest's sha256. The commit's checksum is the image's id."""

VERSION_KEY = "version"
"""Commit metadata: the release's name; OSTree's own key."""

_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_SHORTEST_PREFIX = 8


def is_checksum(text: str) -> bool:
    """Whether `text` is a sha256 as OSTree writes it: 64 lowercase hex digits."""
    return _CHECKSUM.fullmatch(text) is not None


class ObjectKind(StrEnum):
    """The kinds of object; the values are OSTree's file endings."""

    COMMIT = "commit"
    TREE = "dirtree"
    META = "dirmeta"
    FILE = "file"


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """One object: its kind and its sha256."""

    kind: ObjectKind
    checksum: str

    def __str__(self) -> str:
        return f"{self.checksum}.{self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One folder: `files` name -> file object, `dirs` name -> tree object, `metas` the folders' own attributes."""

    files: Mapping[str, str]
    dirs: Mapping[str, str]
    metas: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One release of a file tree."""

    checksum: str
    parent: str | None
    committed_at: datetime
    tree: str
    tree_meta: str | None = None
    subject: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The release's name, if its metadata gives one."""
        version = self.metadata.get(VERSION_KEY)
        return version if isinstance(version, str) and version else None

    @property
    def layers(self) -> tuple[str, ...]:
        """The commits this tree is composed of, in order; empty for a plain commit."""
        layers = self.metadata.get(LAYERS_KEY)
        return tuple(layers.split()) if isinstance(layers, str) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Commits (oldest first, ties by checksum), the trees they reach, and refs.

    `incomplete` names commits that were seen but cannot be used (partial pulls), each with the reason.
    """

    commits: Mapping[str, Commit]
    trees: Mapping[str, Tree]
    refs: Mapping[str, str]
    incomplete: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """The commit that `name` means: a ref, a version, a checksum or a prefix of one (8 digits or more).

        The empty name is the empty commit.

        Raises:
            InputError: nothing or more than one commit has that name.
        """
        if name == EMPTY or name in self.commits:
            return name
        if name in self.refs:
            return self.refs[name]
        found = [commit.checksum for commit in self.commits.values() if commit.version == name]
        if not found and len(name) >= _SHORTEST_PREFIX:
            found = [checksum for checksum in self.commits if checksum.startswith(name)]
        if len(found) != 1:
            raise InputError("is no ref, version or commit" if not found else "names several commits", got=name)
        return found[0]

    def name_of(self, checksum: str) -> str:
        """What a person calls the commit: its version, or the first 12 digits."""
        if checksum == EMPTY:
            return "(empty)"
        commit = self.commits.get(checksum)
        return (commit.version if commit else None) or checksum[:12]

    def ancestors(self, checksum: str) -> Iterator[str]:
        """The commit's parents that are in the history, nearest first."""
        commit = self.commits.get(checksum)
        while commit and commit.parent and commit.parent in self.commits:
            yield commit.parent
            commit = self.commits[commit.parent]
