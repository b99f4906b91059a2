"""A delta's superblock: which commit it makes from which, and where the parts and the objects beside them are.

Numbers are in the byte order that the metadata's `ostree.endianness` gives; the timestamp is always big endian.

Source: libostree, `ostree-repo-static-delta-private.h` (OSTREE_STATIC_DELTA_SUPERBLOCK_FORMAT and its neighbours),
`ostree-repo-static-delta-core.c`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.errors import RepositoryError
from planner.history.gvariant import GVariantError, parse, split_tuple, swap
from planner.history.gvariant_write import Serialised, Variant, serialise
from planner.history.ostree_objects import CHECKSUM_BYTES, COMMIT_TYPE, read_checksum
from planner.history.records import EMPTY, ObjectKind, ObjectName

SUPERBLOCK_TYPE = f"(a{{sv}}tayay{COMMIT_TYPE}aya(uayttay)a(yaytt))"
SIGNED_TYPE = "(taya{sv})"
SIGNED_MAGIC = b"OSTSGNDT"
"""What a signed superblock begins with."""

PART_VERSION = 0
_ENDIANNESS = "ostree.endianness"
_CODE_OF = {ObjectKind.FILE: 1, ObjectKind.TREE: 2, ObjectKind.META: 3, ObjectKind.COMMIT: 4}
_KIND_OF = {code: kind for kind, code in _CODE_OF.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHeader:
    """A part: the sha256 and size of its file, the size of the objects that it makes, and these in order."""

    checksum: str
    file_bytes: int
    object_bytes: int
    objects: tuple[ObjectName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """An object that clients fetch on its own: its size as they fetch it, and as it is."""

    name: ObjectName
    loose_bytes: int
    object_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """A delta from `base` (`EMPTY`: from nothing) to `target`.

    `commit` is the target's commit object, `prerequisites` are deltas (base, target) to apply first, `inline` the files
    of parts that the superblock holds itself, by their number, `metadata` the other metadata that was read (without
    types: it is not written again).
    """

    base: str
    target: str
    timestamp: int
    commit: bytes
    parts: tuple[PartHeader, ...]
    fallbacks: tuple[Fallback, ...] = ()
    prerequisites: tuple[tuple[str, str], ...] = ()
    inline: Mapping[int, bytes] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def write_superblock(superblock: Superblock, part_path: str = "") -> bytes:
    """The bytes of a superblock, little endian; inline parts are filed under `part_path` with their number behind.

    `part_path` is `relative_path(base, target)` of the delta, with a slash at its end.
    """
    metadata = {_ENDIANNESS: Variant("y", ord("l"))}
    for number, data in sorted(superblock.inline.items()):
        # As `(yay)`: the first byte says how the rest is packed.
        metadata[f"{part_path}{number}"] = Variant("(yay)", (data[0], data[1:]))
    return serialise(
        SUPERBLOCK_TYPE,
        (
            metadata,
            swap(superblock.timestamp, 8),
            bytes.fromhex(superblock.base),
            bytes.fromhex(superblock.target),
            Serialised(superblock.commit),
            b"".join(bytes.fromhex(base + target) for base, target in superblock.prerequisites),
            [
                (
                    PART_VERSION,
                    bytes.fromhex(part.checksum),
                    part.file_bytes,
                    part.object_bytes,
                    b"".join(bytes([_CODE_OF[name.kind]]) + bytes.fromhex(name.checksum) for name in part.objects),
                )
                for part in superblock.parts
            ],
            [
                (
                    _CODE_OF[one.name.kind],
                    bytes.fromhex(one.name.checksum),
                    one.loose_bytes,
                    one.object_bytes,
                )
                for one in superblock.fallbacks
            ],
        ),
    )


def read_superblock(data: bytes, *, where: str = "") -> Superblock:
    """What a superblock says; a signed one is unwrapped, its signatures are not checked.

    Raises:
        RepositoryError: it is damaged, or names what cannot be.
    """
    if data.startswith(SIGNED_MAGIC):
        _, data, _ = _parse(SIGNED_TYPE, data, where)
    metadata, timestamp, base, target, _, before, parts, fallbacks = _parse(SUPERBLOCK_TYPE, data, where)
    order = metadata.pop(_ENDIANNESS, ord("l"))
    if order not in (ord("l"), ord("B")):
        raise RepositoryError("has an unknown byte order", path=where, got=order)
    is_swapped = order == ord("B")
    return Superblock(
        base=read_checksum(base, where) if base else EMPTY,
        target=read_checksum(target, where),
        timestamp=swap(timestamp, 8),
        commit=split_tuple(SUPERBLOCK_TYPE, data)[4],
        parts=tuple(_read_part_header(row, is_swapped, where) for row in parts),
        fallbacks=tuple(_read_fallback(row, is_swapped, where) for row in fallbacks),
        prerequisites=_read_prerequisites(before, where),
        inline=_take_inline(metadata),
        metadata=metadata,
    )


def _read_part_header(row: tuple[int, bytes, int, int, bytes], is_swapped: bool, where: str) -> PartHeader:
    version, checksum, file_bytes, object_bytes, objects = row
    version, file_bytes, object_bytes = (
        swap(number, size) if is_swapped else number
        for number, size in ((version, 4), (file_bytes, 8), (object_bytes, 8))
    )
    if version != PART_VERSION:
        raise RepositoryError("has a part of an unknown version", path=where, got=version)
    step = 1 + CHECKSUM_BYTES
    if len(objects) % step:
        raise RepositoryError("has a part with a torn list of objects", path=where)
    return PartHeader(
        checksum=read_checksum(checksum, where),
        file_bytes=file_bytes,
        object_bytes=object_bytes,
        objects=tuple(
            _object_name(objects[at], objects[at + 1 : at + step], where) for at in range(0, len(objects), step)
        ),
    )


def _read_fallback(row: tuple[int, bytes, int, int], is_swapped: bool, where: str) -> Fallback:
    code, checksum, loose_bytes, object_bytes = row
    return Fallback(
        name=_object_name(code, checksum, where),
        loose_bytes=swap(loose_bytes, 8) if is_swapped else loose_bytes,
        object_bytes=swap(object_bytes, 8) if is_swapped else object_bytes,
    )


def _read_prerequisites(data: bytes, where: str) -> tuple[tuple[str, str], ...]:
    step = 2 * CHECKSUM_BYTES
    if len(data) % step:
        raise RepositoryError("has a torn list of prerequisites", path=where)
    pairs = [data[at : at + step].hex() for at in range(0, len(data), step)]
    return tuple((pair[:step], pair[step:]) for pair in pairs)


def _take_inline(metadata: dict[str, Any]) -> dict[int, bytes]:
    """Inline parts out of the metadata: values (packing, bytes) under a path that ends in the part's number."""
    found: dict[int, bytes] = {}
    for key, value in list(metadata.items()):
        number = key.rpartition("/")[2]
        is_part = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], bytes)
        if is_part and number.isascii() and number.isdecimal() and len(number) <= 9:
            found[int(number)] = bytes([value[0]]) + value[1]
            del metadata[key]
    return found


def _object_name(code: int, checksum: bytes, where: str) -> ObjectName:
    if code not in _KIND_OF:
        raise RepositoryError("names an object of an unknown kind", path=where, got=code)
    return ObjectName(_KIND_OF[code], read_checksum(checksum, where))


def _parse(type_string: str, data: bytes, where: str) -> Any:
    try:
        return parse(type_string, data)
    except GVariantError as error:
        raise RepositoryError("is no superblock", path=where, reason=str(error)) from error
