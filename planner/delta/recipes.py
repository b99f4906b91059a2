"""What goes into which part: pieces that several deltas need are put into parts that these share.

A part does not say which delta it belongs to, so one file serves every client that has what its pieces are read from.
Two deltas into one target share a piece where they make the same object from the same source. Each part is a request,
so only the groups that save most get parts of their own, up to a limit for each delta.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from planner.history.records import ObjectName

MOST_SHARED_PARTS = 8
"""Shared parts of one delta at most; a request's headers are about 500 bytes, and its answer waits for a round trip."""

LEAST_SHARED_BYTES = 8192
"""What a group of pieces must save to get a part of its own: packed apart, pieces are larger by some percent."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An object as a part makes it: whole, or from the content of the file object `source`.

    Two pieces are the same if they make the same object from the same source. `order` is its place in a part,
    `payload_bytes` what it takes before packing, `estimated_bytes` after; `core_s` what its difference took.
    """

    name: ObjectName
    source: str | None
    order: tuple[int | str, ...] = field(compare=False)
    payload_bytes: int = field(compare=False)
    estimated_bytes: int = field(compare=False)
    core_s: float = field(compare=False, default=0.0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The pieces of a part, in order."""

    pieces: tuple[Piece, ...]

    def digest(self, *settings: object) -> str:
        """A name for the part that this makes with some settings: 64 hex digits."""
        digest = hashlib.sha256("\0".join(map(str, settings)).encode())
        for piece in self.pieces:
            digest.update(f"\n{piece.name}\0{piece.source or ''}".encode())
        return digest.hexdigest()

    @property
    def payload_bytes(self) -> int:
        """What the pieces take before they are packed."""
        return sum(piece.payload_bytes for piece in self.pieces)

    @property
    def core_s(self) -> float:
        """What the differences took when they were made."""
        return sum(piece.core_s for piece in self.pieces)


Group = tuple[int, ...]
"""The numbers of the deltas that need a piece, ascending."""


def share_pieces(
    deltas: Sequence[Iterable[Piece]],
    *,
    most_shared_parts: int = MOST_SHARED_PARTS,
    least_shared_bytes: int = LEAST_SHARED_BYTES,
) -> dict[Group, list[Piece]]:
    """The pieces of deltas by the group of deltas that get them from the same part; each delta's own under itself.

    >>> from planner.history.records import ObjectKind
    >>> big, small = (Piece(ObjectName(ObjectKind.FILE, c * 64), None, (), n, n) for c, n in (("a", 10**5), ("b", 9)))
    >>> {group: len(pieces) for group, pieces in share_pieces([[big, small], [big, small]]).items()}
    {(0, 1): 2}
    >>> {group: len(pieces) for group, pieces in share_pieces([[big, small], [small]]).items()}
    {(0,): 2, (1,): 1}
    """
    by_group: defaultdict[Group, list[Piece]] = defaultdict(list)
    for piece, group in _groups(deltas).items():
        by_group[group].append(piece)
    shared = _choose_groups(by_group, most_shared_parts, least_shared_bytes)
    parts: defaultdict[Group, list[Piece]] = defaultdict(list)
    for group, pieces in by_group.items():
        for served in _serve(group, shared):
            parts[served] += pieces
    return {group: sorted(pieces, key=_order) for group, pieces in sorted(parts.items())}


def largest_first(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Recipes by what their parts hold."""
    return sorted(recipes, key=lambda recipe: (-recipe.payload_bytes, recipe.digest()))


def reuse(pieces: Iterable[Piece], ready: Iterable[Recipe], most_parts: int) -> tuple[list[Recipe], list[Piece]]:
    """The first of the packed parts that hold nothing but what a delta needs; and what they leave."""
    left = dict.fromkeys(pieces)
    taken: list[Recipe] = []
    for recipe in ready:
        if len(taken) < most_parts and all(piece in left for piece in recipe.pieces):
            taken.append(recipe)
            for piece in recipe.pieces:
                del left[piece]
    return taken, list(left)


def cut(pieces: Iterable[Piece], most_payload_bytes: int) -> Iterator[Recipe]:
    """Pieces in order, as many together as a part may hold; a larger one stands alone."""
    taken: list[Piece] = []
    used_bytes = 0
    for piece in pieces:
        if taken and used_bytes + piece.payload_bytes > most_payload_bytes:
            yield Recipe(tuple(taken))
            taken, used_bytes = [], 0
        taken.append(piece)
        used_bytes += piece.payload_bytes
    if taken:
        yield Recipe(tuple(taken))


def _groups(deltas: Sequence[Iterable[Piece]]) -> dict[Piece, Group]:
    members: defaultdict[Piece, list[int]] = defaultdict(list)
    for number, pieces in enumerate(deltas):
        for piece in pieces:
            members[piece].append(number)
    return {piece: tuple(numbers) for piece, numbers in members.items()}


def _choose_groups(
    by_group: Mapping[Group, Sequence[Piece]], most_shared_parts: int, least_shared_bytes: int
) -> list[Group]:
    """The groups that save most, as long as each of their deltas may have one more part; the largest groups first."""

    def saved_bytes(group: Group) -> int:
        return (len(group) - 1) * sum(piece.estimated_bytes for piece in by_group[group])

    parts_of: defaultdict[int, int] = defaultdict(int)
    chosen = []
    for group in sorted(by_group, key=lambda group: (-saved_bytes(group), group)):
        if saved_bytes(group) >= least_shared_bytes and all(parts_of[one] < most_shared_parts for one in group):
            chosen.append(group)
            for one in group:
                parts_of[one] += 1
    return sorted(chosen, key=lambda group: (-len(group), group))


def _serve(group: Group, shared: Sequence[Group]) -> Iterator[Group]:
    """The parts that a group's pieces go into, so that each of its deltas gets them once."""
    left = set(group)
    for one in shared:
        if len(one) > 1 and left.issuperset(one):
            left.difference_update(one)
            yield one
    yield from ((one,) for one in sorted(left))


def _order(piece: Piece) -> tuple[tuple[int | str, ...], str]:
    return piece.order, str(piece.name)
