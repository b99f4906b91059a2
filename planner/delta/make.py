"""Static deltas into one commit of an OSTree repository, in the format that every stock client reads.

First what goes into which part is decided, for all bases at once (`lay_out`): sizes are known and nothing is written.
Then each part is packed, once for all deltas that share it, and each delta gets its superblock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from planner.delta.bsdiff import MAX_SUFFIX_BYTES
from planner.delta.compose import Hop, compose
from planner.delta.contents import CommitContents, Contents
from planner.delta.difference_pool import DifferencePool
from planner.delta.encode import Choice, Effort, choose_sources, packing_order
from planner.delta.packing import object_bytes, pack_recipe
from planner.delta.pairing import Pairing, Sketch, pair_objects, sketch
from planner.delta.recipes import (
    LEAST_SHARED_BYTES,
    MOST_SHARED_PARTS,
    Piece,
    Recipe,
    cut,
    largest_first,
    reuse,
    share_pieces,
)
from planner.delta.superblock import (
    COMPOSED,
    NATIVE,
    ByteOrder,
    Fallback,
    PartHeader,
    Superblock,
    describe_part,
    write_superblock,
)
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.ostree_objects import CHECKSUM_BYTES
from planner.history.records import ObjectKind, ObjectName

MAX_PART_BYTES = 32 * 10**6
"""Payload of a part at most, before it is packed; the stock generator's default."""

MAX_WHOLE_BYTES = 2**30
"""Objects of at least so many bytes that no difference makes smaller are always fetched on their own: a part is held
in memory, by the server and by some clients."""

# Order in a part: what later hops replace comes first (see `packing.split_pieces`).
_METADATA, _LINK, _FILE = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A delta's files: the superblock, and the parts in order (none where the superblock holds them)."""

    superblock: bytes
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What deltas are to be like.

    `fallback_bytes`: objects of at least so many bytes that no difference makes smaller are left to be fetched on their
    own (None: only those of MAX_WHOLE_BYTES are, so that any other delta applies without its repository); `is_inline`:
    the superblock holds the parts; `budget_core_s` (for each delta) and `max_suffix_bytes` as in `choose_sources`;
    `byte_order`: of the superblock's numbers; `most_shared_parts` and `least_shared_bytes` as in `share_pieces`.
    """

    effort: Effort = Effort.BALANCED
    max_part_bytes: int = MAX_PART_BYTES
    most_shared_parts: int = MOST_SHARED_PARTS
    least_shared_bytes: int = LEAST_SHARED_BYTES
    fallback_bytes: int | None = None
    is_inline: bool = False
    budget_core_s: float | None = None
    max_suffix_bytes: int = MAX_SUFFIX_BYTES
    byte_order: ByteOrder = ByteOrder.LITTLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a delta is made of: its parts, some of them perhaps other deltas' too, and what is fetched on its own."""

    base: str
    target: str
    recipes: tuple[Recipe, ...]
    fallbacks: tuple[Fallback, ...]


Warm = Callable[[Sequence[Pairing]], None]
"""Puts the differences of pairings into the pool, perhaps on many cores."""


def make_delta(
    repository: OSTreeRepository,
    objects: ObjectSets,
    base: str,
    target: str,
    settings: Settings | None = None,
    pool: DifferencePool | None = None,
) -> Delta:
    """The delta from `base` (`EMPTY`: from nothing) to `target`; the same bytes every time.

    Raises:
        RepositoryError: an object is missing or corrupt.
    """
    settings, contents = settings or Settings(), CommitContents(repository, objects)
    with nullcontext(pool) if pool else DifferencePool() as used:
        layout = lay_out(contents, [base], target, settings, used)[0]
        parts = {recipe: pack_recipe(recipe, contents, used, settings.effort) for recipe in layout.recipes}
    return write_delta(layout, parts, contents, is_inline=settings.is_inline, byte_order=settings.byte_order)


def lay_out(
    contents: CommitContents,
    bases: Sequence[str],
    target: str,
    settings: Settings,
    pool: DifferencePool,
    warm: Warm | None = None,
    ready: Sequence[Recipe] = (),
) -> list[Layout]:
    """What the deltas from each of `bases` to one target are made of; differences are in the pool afterwards.

    `ready` are parts that are packed already: they are used where they fit.

    Raises:
        RepositoryError: an object is missing or corrupt.
    """
    missing = {base: contents.missing(base, target) for base in bases}
    pairings = {base: pair_files(contents, base, target, missing[base], pool) for base in bases}
    ready = largest_first(ready)
    if warm is not None and settings.budget_core_s is None:
        warm(list({(one.checksum, one.sources): one for of_base in pairings.values() for one in of_base}.values()))
    reused: list[list[Recipe]] = []
    pieces: list[list[Piece]] = []
    fallbacks: list[tuple[Fallback, ...]] = []
    for base in bases:
        chosen = choose_sources(
            pairings[base],
            contents.read,
            pool,
            budget_core_s=settings.budget_core_s,
            max_suffix_bytes=settings.max_suffix_bytes,
        )
        carried, left = _sort_out(contents, chosen, settings)
        wanted = [*_plain_pieces(contents, missing[base]), *map(_file_piece, carried)]
        found, others = reuse(wanted, ready, settings.most_shared_parts)
        reused.append(found)
        pieces.append(others)
        fallbacks.append(left)
    groups = share_pieces(
        pieces, most_shared_parts=settings.most_shared_parts, least_shared_bytes=settings.least_shared_bytes
    )
    recipes = {group: tuple(cut(of_group, settings.max_part_bytes)) for group, of_group in groups.items()}
    return [
        Layout(
            base=base,
            target=target,
            recipes=(
                *reused[number],
                *(recipe for group, made in recipes.items() if number in group for recipe in made),
            ),
            fallbacks=fallbacks[number],
        )
        for number, base in enumerate(bases)
    ]


def write_delta(
    layout: Layout,
    parts: Mapping[Recipe, bytes],
    contents: CommitContents,
    *,
    is_inline: bool = False,
    byte_order: ByteOrder = ByteOrder.LITTLE,
) -> Delta:
    """The files of a delta whose parts are packed."""
    files = tuple(parts[recipe] for recipe in layout.recipes)
    headers = [part_header(recipe, data, contents) for recipe, data in zip(layout.recipes, files, strict=True)]
    inline = dict(enumerate(files)) if is_inline else {}
    superblock = layout_superblock(layout, headers, contents, inline=inline, byte_order=byte_order)
    return Delta(superblock=superblock, parts=() if is_inline else files)


def part_header(recipe: Recipe, data: bytes, contents: Contents) -> PartHeader:
    """What superblocks say of a packed part."""
    return describe_part(data, object_bytes(recipe, contents), (piece.name for piece in recipe.pieces))


def layout_superblock(
    layout: Layout,
    headers: Sequence[PartHeader],
    contents: CommitContents,
    *,
    inline: Mapping[int, bytes] | None = None,
    byte_order: ByteOrder = ByteOrder.LITTLE,
) -> bytes:
    """The superblock of a delta whose parts have these headers, in the order of its recipes."""
    superblock = Superblock(
        codec=NATIVE,
        base=layout.base,
        target=layout.target,
        # The stock tool takes the time of day; the commit's own makes the same delta the same bytes.
        timestamp=int(contents.objects.history.commits[layout.target].committed_at.timestamp()),
        commit=contents.read_metadata(ObjectName(ObjectKind.COMMIT, layout.target)),
        parts=tuple(headers),
        fallbacks=layout.fallbacks,
        inline=inline or {},
        byte_order=byte_order,
        commit_metadata=contents.repository.read_commit_metadata(layout.target),
    )
    return write_superblock(superblock)


def compose_delta(
    hops: Sequence[Hop], objects: ObjectSets, settings: Settings, *, commit_metadata: bytes = b""
) -> Delta:
    """The composed delta of hops: see `compose`. Nothing is read from the repository.

    `commit_metadata` is what is kept beside the target's commit.

    Raises:
        BuildError: the hops do not follow each other, or one leaves an object that is needed to be fetched on its own.
        RepositoryError: a hop's part is damaged.
    """
    first, last = hops[0].superblock, hops[-1].superblock
    held, wanted = objects.of_commit(first.base), objects.missing(first.base, last.target)
    composed = compose(hops, held, wanted, settings.effort)
    header = describe_part(composed.data, composed.object_bytes, composed.objects)
    inline = {0: composed.data} if settings.is_inline else {}
    superblock = Superblock(
        codec=COMPOSED,
        base=first.base,
        target=last.target,
        timestamp=last.timestamp,
        commit=last.commit,
        parts=(header,),
        inline=inline,
        byte_order=settings.byte_order,
        commit_metadata=commit_metadata,
    )
    return Delta(superblock=write_superblock(superblock), parts=() if settings.is_inline else (composed.data,))


def pair_files(
    contents: CommitContents, base: str, target: str, missing: Collection[ObjectName], pool: DifferencePool
) -> list[Pairing]:
    """The regular files among the `missing` objects of the target, with what they may be read from.

    What both commits have at the same path is no source: releases seldom copy a file and change the copy, and sizes of
    all files cost more to read than that saves.
    """
    before, after = contents.files(base), contents.files(target)
    gone = {path: checksum for path, checksum in before.items() if after.get(path) != checksum}
    wanted = {path: name for path, name in after.items() if ObjectName(ObjectKind.FILE, name) in missing}

    def read_sketch(checksum: str) -> Sketch:
        return pool.sketch(checksum, lambda: sketch(contents.read(checksum)))

    return pair_objects(contents.entries(gone), contents.entries(wanted), read_sketch)


def _sort_out(
    contents: Contents, choices: Sequence[Choice], settings: Settings
) -> tuple[list[Choice], tuple[Fallback, ...]]:
    """The files that go into parts, and those that are fetched on their own."""
    least = MAX_WHOLE_BYTES if settings.fallback_bytes is None else min(settings.fallback_bytes, MAX_WHOLE_BYTES)
    carried: list[Choice] = []
    fallbacks: list[Fallback] = []
    for choice in choices:
        size_bytes = contents.size_bytes(choice.checksum)
        if choice.source is None and size_bytes >= least:
            name = ObjectName(ObjectKind.FILE, choice.checksum)
            loose_bytes = contents.repository.loose_bytes(name)
            fallbacks.append(Fallback(name=name, loose_bytes=loose_bytes, object_bytes=size_bytes))
        else:
            carried.append(choice)
    return carried, tuple(fallbacks)


def _plain_pieces(contents: Contents, missing: Iterable[ObjectName]) -> list[Piece]:
    """What goes whole without a question: folders, their attributes, and links."""
    pieces = []
    for name in missing:
        if name.kind is not ObjectKind.FILE:
            order: tuple[int | str, ...] = (_METADATA, name.kind)
            size_bytes = contents.repository.object_bytes(name)
        elif contents.header(name.checksum).is_link:
            order, size_bytes = (_LINK,), len(contents.header(name.checksum).link_target.encode())
        else:
            continue
        pieces.append(Piece(name, None, order, payload_bytes=size_bytes, estimated_bytes=size_bytes))
    return pieces


def _file_piece(choice: Choice) -> Piece:
    return Piece(
        ObjectName(ObjectKind.FILE, choice.checksum),
        choice.source,
        (_FILE, *packing_order(choice)),
        payload_bytes=choice.payload_bytes + (CHECKSUM_BYTES if choice.source else 0),
        estimated_bytes=choice.estimated_bytes,
        core_s=choice.core_s,
    )
