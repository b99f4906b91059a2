"""Where a delta's files are: in its folder, and in a repository."""

from __future__ import annotations

import base64

from planner.errors import InputError
from planner.history.records import EMPTY, is_checksum

SUPERBLOCK = "superblock"
"""The file that clients ask for first; parts beside it are numbered from 0."""


def relative_path(base: str, target: str) -> str:
    """Where a client looks for the delta, from the repository's folder.

    Raises:
        InputError: a name is not 64 lowercase hex digits (the base may be empty).

    Source: libostree, ostree-core.c, _ostree_get_relative_static_delta_path.

    >>> relative_path("", "ff" * 32)
    'deltas/__/________________________________________8'
    """
    check_names(base, target)
    name = _modified_base64(target)
    if base != EMPTY:
        name = f"{_modified_base64(base)}-{name}"
    return f"deltas/{name[:2]}/{name[2:]}"


def check_names(base: str, target: str) -> None:
    """Refuse what is no commit: names become arguments and file names.

    Raises:
        InputError: a name is not 64 lowercase hex digits (the base may be empty).
    """
    for name, checksum in (("base", base), ("target", target)):
        if not is_checksum(checksum) and not (name == "base" and checksum == EMPTY):
            raise InputError("commit id is not 64 lowercase hex digits", path=name, got=checksum)


def _modified_base64(checksum: str) -> str:
    return base64.b64encode(bytes.fromhex(checksum)).decode().rstrip("=").replace("/", "_")
