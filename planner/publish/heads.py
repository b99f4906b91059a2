"""Where refs point, as text: one line per ref, its name and its commit; then a signature, where the server has a key.

OSTree's own summary tells the same its way.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.history.records import is_checksum

MAX_HEADS_BYTES = 10_000_000
"""A reader refuses larger files: a hundred thousand refs fit."""


def format_heads(refs: Mapping[str, str]) -> bytes:
    """The file's bytes; the same refs give the same."""
    return "".join(f"{ref} {commit}\n" for ref, commit in sorted(refs.items())).encode()


def parse_heads(data: bytes) -> dict[str, str]:
    """The commit of each ref; lines that say something else are passed over.

    >>> parse_heads(format_heads({"main": "0" * 64})) == {"main": "0" * 64}, parse_heads(b"main x")
    (True, {})
    """
    lines = (line.partition(" ") for line in data.decode(errors="replace").splitlines())
    return {name: commit for name, _, commit in lines if is_checksum(commit)}


def is_heads(data: bytes) -> bool:
    r"""Whether every line is a ref and its commit, as `format_heads` writes them.

    >>> is_heads(format_heads({"main": "0" * 64})), is_heads(b""), is_heads(b"main x\n"), is_heads(b"main")
    (True, True, False, False)
    """
    *lines, rest = data.decode(errors="replace").split("\n")
    pairs = [line.split(" ") for line in lines]
    return not rest and all(len(pair) == 2 and pair[0] and is_checksum(pair[1]) for pair in pairs)


def find_head(data: bytes, ref: str) -> str | None:
    """The commit of a ref in a file that came from a server; None where it has no such line.

    >>> find_head(format_heads({"main": "0" * 64}), "main") == "0" * 64, find_head(b"main x", "main")
    (True, None)
    """
    return parse_heads(data).get(ref)
