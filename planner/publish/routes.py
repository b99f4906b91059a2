"""The route index: one small plain-text file per base, which a shell script can read.

    deltaplan-routes/1                            UTF-8, one space between words
    base 3f0c...                                  the commit a client is on, or `empty`
    waypoint device/s4 0e0e...                    whoever wants this ref deploys that commit first, and comes again
    route device/s1 8a31... 2 123456              ref (or -), end commit, hops, bytes in all
    hop 1 77b2... hdiffpatch 100000 deltas/...    number, commit after the hop, codec, bytes, the delta's folder
    hop 2 8a31... hdiffpatch 23456 deltas/...
    route device/s2 91cc... full 9876543          no route: a full pull, and its bytes
    route device/s3 5e02... layers:2 45678        layer by layer, for clients that keep them apart
    layer 1 02d1... 77b2... 1 40000               number, the layer's commit before (or `empty`) and after, hops, bytes
    hop 1 77b2... hdiffpatch 40000 deltas/...
    layer 2 c0de... 8d9f... full 5678             this layer is pulled in full
    end
    signature ed25519 3f0c... MEUC...             where the server has a key; see `signatures`

A base may have several routes to one target, for clients that may follow fewer hops: those by layers first, then the
longest, and a client takes the first that it can follow. The line `end` tells a reader that nothing was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from planner.build.pool import EXTENSION_PATH
from planner.errors import InputError
from planner.history.records import is_checksum
from planner.publish.signatures import is_signature

FORMAT = "deltaplan-routes/1"
MAX_INDEX_BYTES = 1_000_000
"""A reader refuses larger files: thousands of routes fit."""
MAX_LAYERS = 100
"""A reader refuses more: nobody composes a tree of so many."""
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
class LayerRoute:
    """How one layer comes from a commit that the client holds to the one that its target is composed of.

    `hops` is None for a full pull of `wire_bytes`.
    """

    base: str
    target: str
    wire_bytes: int
    hops: tuple[Hop, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRoute:
    """How clients on one base reach one target; `hops` is None for a full pull of `wire_bytes`.

    With `layers`, `hops` are theirs, in order, without full pulls; the client unites where they end.
    """

    ref: str | None
    target: str
    wire_bytes: int
    hops: tuple[Hop, ...] | None
    layers: tuple[LayerRoute, ...] = ()


def index_path(base: str) -> str:
    """The index file of a base, relative to the repository."""
    return f"{EXTENSION_PATH}/routes/{base or 'empty'}"


def format_index(base: str, routes: Sequence[PublishedRoute], waypoints: Mapping[str, str] | None = None) -> str:
    """The index file's text; the same routes give the same text."""
    lines = [FORMAT, f"base {base or 'empty'}"]
    lines += [f"waypoint {ref} {commit}" for ref, commit in sorted((waypoints or {}).items())]
    order = sorted(routes, key=lambda r: (r.ref or "-", r.target, -len(r.layers), -len(r.hops or ()), r.wire_bytes))
    for route in order:
        kind = "full" if route.hops is None else f"layers:{len(route.layers)}" if route.layers else str(len(route.hops))
        lines.append(f"route {route.ref or '-'} {route.target} {kind} {route.wire_bytes}")
        for number, layer in enumerate(route.layers, start=1):
            kind = "full" if layer.hops is None else str(len(layer.hops))
            lines.append(f"layer {number} {layer.base or 'empty'} {layer.target} {kind} {layer.wire_bytes}")
            lines += _hop_lines(layer.hops or ())
        if not route.layers:
            lines += _hop_lines(route.hops or ())
    return "\n".join([*lines, "end", ""])


def _hop_lines(hops: Sequence[Hop]) -> list[str]:
    return [
        f"hop {number} {hop.commit} {hop.codec} {hop.wire_bytes} {hop.path}" for number, hop in enumerate(hops, start=1)
    ]


def parse_index(text: str, base: str) -> tuple[PublishedRoute, ...]:
    """The routes in an index file that came from a server; everything is checked but a signature behind the end.

    Raises:
        InputError: it is cut off, malformed, or for another base; the error names the line.
    """
    lines = text.split("\n")
    if lines[-3:-2] == ["end"] and is_signature(lines[-2]):
        del lines[-2]
    if lines[:2] != [FORMAT, f"base {base or 'empty'}"]:
        raise InputError("is no route index of this base", path="routes:1", base=base or "empty")
    if lines[-2:] != ["end", ""]:
        raise InputError("is cut off", path=f"routes:{len(lines)}")
    return tuple(_parse_routes(lines, base, len(parse_waypoints(text))))


def parse_waypoints(text: str) -> dict[str, str]:
    """For each ref that has one, the commit to deploy before the ref's head.

    Raises:
        InputError: such a line is malformed, or there are two for one ref.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[2:], start=3):
        words = line.split(" ")
        if words[0] != "waypoint":
            break
        if len(words) != 3 or not _REF.fullmatch(words[1]) or not is_checksum(words[2]) or words[1] in found:
            raise InputError("is no waypoint line", path=f"routes:{number}", got=line[:200])
        found[words[1]] = words[2]
    return found


def _parse_routes(lines: list[str], base: str, waypoints: int) -> Iterator[PublishedRoute]:
    reader = _Lines(lines, 2 + waypoints)
    while reader.number < reader.end:
        words = reader.words()
        if len(words) != 5 or words[0] != "route" or not _REF.fullmatch(words[1]) or not is_checksum(words[2]):
            raise InputError("is no route line", path=reader.where, got=" ".join(words)[:200])
        ref, target, wire_bytes = (None if words[1] == "-" else words[1]), words[2], _count(words[4], reader.where)
        where = reader.where
        if words[3] == "full":
            yield PublishedRoute(ref=ref, target=target, wire_bytes=wire_bytes, hops=None)
            continue
        layers = reader.layers(words[3].removeprefix("layers:")) if words[3].startswith("layers:") else ()
        hops = tuple(hop for layer in layers for hop in layer.hops or ()) if layers else reader.hops(words[3])
        ends_well = bool(layers) or (hops[-1].commit if hops else base) == target
        total_bytes = sum(one.wire_bytes for one in (layers or hops))
        if not ends_well or len(hops) > MAX_HOPS or total_bytes != wire_bytes:
            raise InputError("does not end at its target with its bytes", path=where)
        yield PublishedRoute(ref=ref, target=target, wire_bytes=wire_bytes, hops=hops, layers=layers)


@dataclass(slots=True)
class _Lines:
    """An index's lines between its head and its end, read one by one."""

    lines: list[str]
    number: int = 2

    @property
    def end(self) -> int:
        """The number of the line `end`."""
        return len(self.lines) - 2

    @property
    def where(self) -> str:
        """The line that was read last."""
        return f"routes:{self.number}"

    def words(self) -> list[str]:
        """The next line's words."""
        self.number += 1
        return self.lines[self.number - 1].split(" ")

    def hops(self, word: str) -> tuple[Hop, ...]:
        """The next hops, as many as `word` says."""
        count = self._count_lines(word, MAX_HOPS, "has too many hops")
        return tuple(_parse_hop(" ".join(self.words()), i + 1, self.where) for i in range(count))

    def layers(self, word: str) -> tuple[LayerRoute, ...]:
        """The next layers with their hops, as many as `word` says, which is one at least."""
        count = self._count_lines(word, MAX_LAYERS, "has too many layers")
        if not count:
            raise InputError("has no layers", path=self.where)
        return tuple(self._layer(number) for number in range(1, count + 1))

    def _layer(self, number: int) -> LayerRoute:
        words = self.words() if self.number < self.end else []
        if (
            len(words) != 6
            or words[:2] != ["layer", str(number)]
            or not (words[2] == "empty" or is_checksum(words[2]))
            or not is_checksum(words[3])
        ):
            raise InputError("is no layer line", path=self.where, got=" ".join(words)[:200])
        base, where = "" if words[2] == "empty" else words[2], self.where
        wire_bytes = _count(words[5], where)
        if words[4] == "full":
            return LayerRoute(base=base, target=words[3], wire_bytes=wire_bytes, hops=None)
        hops = self.hops(words[4])
        if (hops[-1].commit if hops else base) != words[3] or sum(hop.wire_bytes for hop in hops) != wire_bytes:
            raise InputError("does not end at its layer's commit with its bytes", path=where)
        return LayerRoute(base=base, target=words[3], wire_bytes=wire_bytes, hops=hops)

    def _count_lines(self, word: str, most: int, message: str) -> int:
        count = _count(word, self.where)
        if count > most or self.number + count > self.end:
            raise InputError(message, path=self.where, got=count)
        return count


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
