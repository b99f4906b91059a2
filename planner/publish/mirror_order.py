"""Which files of a repository a mirror has, and the order in which they may appear there.

Whatever a client finds, all that it needs next is there: a file's stage is above those of the files that it leads to.
"""

from __future__ import annotations

from enum import IntEnum

from planner.build.builders import DELTA_FILE
from planner.build.pool import EXTENSION_PATH
from planner.delta.paths import SUPERBLOCK


class Stage(IntEnum):
    """Files are uploaded in this order, and removed in the reverse one."""

    CONFIG = 0
    CONTENT = 1
    TREE = 2
    COMMIT_METADATA = 3
    COMMIT = 4
    REF = 5
    PART = 6
    SUPERBLOCK = 7
    DELTA_INDEX = 8
    RECURSIVE = 9
    ROUTES = 10
    SUMMARIES = 11
    SUMMARY_INDEX_SIGNATURE = 12
    SUMMARY_INDEX = 13
    SUMMARY_SIGNATURE = 14
    SUMMARY = 15

    @property
    def is_rewritten(self) -> bool:
        """Whether files of this stage change under their names; they are all small."""
        return self not in _NEVER_REWRITTEN


_NEVER_REWRITTEN = frozenset({Stage.CONTENT, Stage.TREE, Stage.COMMIT, Stage.PART, Stage.SUPERBLOCK})

_TOP = {
    "config": Stage.CONFIG,
    "oci-layout": Stage.CONFIG,
    "summary.idx.sig": Stage.SUMMARY_INDEX_SIGNATURE,
    "summary.idx": Stage.SUMMARY_INDEX,
    "summary.sig": Stage.SUMMARY_SIGNATURE,
    "summary": Stage.SUMMARY,
    "index.json": Stage.SUMMARY,
}
_OBJECTS = {
    "filez": Stage.CONTENT,
    "file": Stage.CONTENT,
    "dirtree": Stage.TREE,
    "dirmeta": Stage.TREE,
    "commitmeta": Stage.COMMIT_METADATA,
    "commit": Stage.COMMIT,
}
_FOLDERS = {
    "blobs": Stage.CONTENT,
    "refs": Stage.REF,
    "delta-indexes": Stage.DELTA_INDEX,
    f"{EXTENSION_PATH}/recursive": Stage.RECURSIVE,
    f"{EXTENSION_PATH}/routes": Stage.ROUTES,
    "summaries": Stage.SUMMARIES,
}

# What leads to other files stands above it: while a repository is read in this order, all that a file leads to was
# there when the file was read, and is found.
AREAS = (
    "summaries",
    EXTENSION_PATH,
    "delta-indexes",
    "deltas",
    "refs",
    "blobs",
    "objects",
)
"""The folders that are read, in this order, after the files at the top."""


def find_stage(path: str) -> Stage | None:
    """The stage of a file by its path from the repository's folder; None where it is not for clients.

    >>> find_stage("objects/ab/cd.filez").name, find_stage("summary").name
    ('CONTENT', 'SUMMARY')
    >>> find_stage("extensions/deltaplan/pool/native/delta"), find_stage("refs/remotes/origin/main")
    (None, None)
    """
    words = path.split("/")
    if any(not word or word.startswith(".") for word in words) or path.startswith("refs/remotes/"):
        return None
    if len(words) == 1:
        return _TOP.get(path)
    if words[0] == "objects":
        return _OBJECTS.get(words[-1].partition(".")[2])
    if words[0] == "deltas" or path.startswith(f"{EXTENSION_PATH}/deltas/"):
        return Stage.SUPERBLOCK if words[-1] in (SUPERBLOCK, DELTA_FILE) else Stage.PART
    if path == f"{EXTENSION_PATH}/summary":
        return Stage.SUMMARY
    return next((stage for folder, stage in _FOLDERS.items() if path.startswith(f"{folder}/")), None)
