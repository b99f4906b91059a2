"""Where refs point, as text: one line per ref, its name and its commit. OSTree's own summary tells the same its way."""

from __future__ import annotations

from collections.abc import Mapping

from planner.history.records import is_checksum

MAX_HEADS_BYTES = 10_000_000
"""A reader refuses larger files: a hundred thousand refs fit."""


def format_heads(refs: Mapping[str, str]) -> bytes:
    """The file's bytes; the same refs give the same."""
    return "".join(f"{ref} {commit}\n" for ref, commit in sorted(refs.items())).encode()


def find_head(data: bytes, ref: str) -> str | None:
    """The commit of a ref in a file that came from a server; None where it has no such line.

    >>> find_head(format_heads({"main": "0" * 64}), "main") == "0" * 64, find_head(b"main x", "main")
    (True, None)
    """
    for line in data.decode(errors="replace").splitlines():
        name, _, commit = line.partition(" ")
        if name == ref and is_checksum(commit):
            return commit
    return None
