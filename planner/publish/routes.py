"""The route index: one small plain-text file per base, which a shell script can read.

    deltaplan-routes/1                            UTF-8, one space between words
    base 3f0c...                                  the commit a client is on, or `empty`
    route device/s1 8a31... 2 123456              ref (or -), end commit, hops, bytes in all
    hop 1 77b2... hdiffpatch 100000 deltas/...    number, commit after the hop, codec, bytes, the delta's folder
    hop 2 8a31... hdiffpatch 23456 deltas/...
    route device/s2 91cc... full 9876543          no route: a full pull, and its bytes
    end

A base may have several routes to one target, for clients that may follow fewer hops: longest first, and a
client takes the first that it can follow. The last line tells a reader that nothing was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.build.pool import EXTENSION_PATH
from planner.errors import InputError
from planner.history.records import is_checksum

FORMAT = "deltaplan-routes/1"
MAX_INDEX_BYTES = 1_000_000
"""A reader refuses larger files: thousands of routes fit."""
MAX_HOPS = 64
"""A reader refuses longer routes: nobody plans them, and each hop costs the client a commit's worth of disk."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_REF = re.compile(r"-|\w[\w.+-]*(/\w[\w.+-]*)*")  # OSTree takes letters of any script
_PATH = re.compile(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]*(/[A-Za-z0-9_+=-][A-Za-z0-9._+=-]*)*")
_COUNT = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One delta of a route: the commit it ends on, and where its files are."""

    commit: str
    codec: str
    wire_bytes: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRoute:
    """How clients on one base reach one target; `hops` is None for a full pull of `wire_bytes`."""

    ref: str | None
    target: str
    wire_bytes: int
    hops: tuple[Hop, ...] | None


def index_path(base: str) -> str:
    """The index file of a base, relative to the repository."""
    return f"{EXTENSION_PATH}/routes/{base or 'empty'}"


def format_index(base: str, routes: Sequence[PublishedRoute]) -> str:
    """The index file's text; the same routes give the same text."""
    lines = [FORMAT, f"base {base or 'empty'}"]
    for route in sorted(routes, key=lambda r: (r.ref or "-", r.target, -len(r.hops or ()), r.wire_bytes)):
        kind = "full" if route.hops is None else str(len(route.hops))
        lines.append(f"route {route.ref or '-'} {route.target} {kind} {route.wire_bytes}")
        lines += [
            f"hop {number} {hop.commit} {hop.codec} {hop.wire_bytes} {hop.path}"
            for number, hop in enumerate(route.hops or (), start=1)
        ]
    return "\n".join([*lines, "end", ""])


def parse_index(text: str, base: str) -> tuple[PublishedRoute, ...]:
    """The routes in an index file that came from a server; everything is checked.

    Raises:
        InputError: it is cut off, malformed, or for another base; the error names the line.
    """
    lines = text.split("\n")
    if lines[:2] != [FORMAT, f"base {base or 'empty'}"]:
        raise InputError("is no route index of this base", path="routes:1", base=base or "empty")
    if lines[-2:] != ["end", ""]:
        raise InputError("is cut off", path=f"routes:{len(lines)}")
    return tuple(_parse_routes(lines, base))


def _parse_routes(lines: list[str], base: str) -> Iterator[PublishedRoute]:
    number = 2
    while number < len(lines) - 2:
        words = lines[number].split(" ")
        where = f"routes:{number + 1}"
        if len(words) != 5 or words[0] != "route" or not _REF.fullmatch(words[1]) or not is_checksum(words[2]):
            raise InputError("is no route line", path=where, got=lines[number][:200])
        ref, target, wire_bytes = (None if words[1] == "-" else words[1]), words[2], _count(words[4], where)
        number += 1
        if words[3] == "full":
            yield PublishedRoute(ref=ref, target=target, wire_bytes=wire_bytes, hops=None)
            continue
        count = _count(words[3], where)
        if count > MAX_HOPS or number + count > len(lines) - 2:
            raise InputError("has too many hops", path=where, got=count)
        hops = tuple(_parse_hop(lines[number + i], i + 1, f"routes:{number + i + 1}") for i in range(count))
        number += count
        if (hops[-1].commit if hops else base) != target or sum(hop.wire_bytes for hop in hops) != wire_bytes:
            raise InputError("does not end at its target with its bytes", path=where)
        yield PublishedRoute(ref=ref, target=target, wire_bytes=wire_bytes, hops=hops)


def _parse_hop(line: str, expected: int, where: str) -> Hop:
    words = line.split(" ")
    if (
        len(words) != 6
        or words[:2] != ["hop", str(expected)]
        or not is_checksum(words[2])
        or not _NAME.fullmatch(words[3])
        or not _PATH.fullmatch(words[5])
    ):
        raise InputError("is no hop line", path=where, got=line[:200])
    return Hop(commit=words[2], codec=words[3], wire_bytes=_count(words[4], where), path=words[5])


def _count(word: str, where: str) -> int:
    if not _COUNT.fullmatch(word):
        raise InputError("is no count", path=where, got=word[:40])
    return int(word)
