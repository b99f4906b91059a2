"""A delta's superblock: which commit it makes from which, and where the parts and the objects beside them are.

The sizes and versions of parts and the sizes of fallbacks are in the byte order that the metadata's
`ostree.endianness` gives. Everything else is the same in both: the timestamp and what parts hold (modes are big endian,
bsdiff streams little), and GVariant's own offsets.

Source: libostree, `ostree-repo-static-delta-private.h` (OSTREE_STATIC_DELTA_SUPERBLOCK_FORMAT and its neighbours),
`ostree-repo-static-delta-core.c`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from planner.delta.paths import relative_path
from planner.errors import RepositoryError
from planner.history.gvariant import GVariantError, parse, split_tuple, swap
from planner.history.gvariant_write import Serialised, Variant, serialise
from planner.history.ostree_objects import CHECKSUM_BYTES, COMMIT_TYPE, read_checksum
from planner.history.records import EMPTY, ObjectKind, ObjectName

SUPERBLOCK_TYPE = f"(a{{sv}}tayay{COMMIT_TYPE}aya(uayttay)a(yaytt))"
SIGNED_TYPE = "(taya{sv})"
SIGNED_MAGIC = b"OSTSGNDT"
"""What a signed superblock begins with."""

COMMIT_METADATA = "commitmeta"
"""The last name of the metadata's key for what is kept beside the commit."""

PART_VERSION = 0
_ENDIANNESS = "ostree.endianness"
NATIVE, COMPOSED = "native", "composed"
"""What superblocks of ours say of how they were made: of differences of contents, or of several deltas."""

_CODEC = "deltaplan.codec"
"""Metadata of ours, which clients pass over: a published delta says by which builder it was made."""

_CODE_OF = {ObjectKind.FILE: 1, ObjectKind.TREE: 2, ObjectKind.META: 3, ObjectKind.COMMIT: 4}
_KIND_OF = {code: kind for kind, code in _CODE_OF.items()}


class ByteOrder(StrEnum):
    """In which order a superblock has the bytes of its numbers."""

    LITTLE = "l"
    BIG = "B"

    @property
    def other(self) -> ByteOrder:
        """The one that this is not."""
        return ByteOrder.BIG if self is ByteOrder.LITTLE else ByteOrder.LITTLE


_ORDER_OF = {ord(order): order for order in ByteOrder}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHeader:
    """A part: the sha256 and size of its file, the size of the objects that it makes, and these in order."""

    checksum: str
    file_bytes: int
    object_bytes: int
    objects: tuple[ObjectName, ...]


def describe_part(data: bytes, object_bytes: int, objects: Iterable[ObjectName]) -> PartHeader:
    """The header of a part's file."""
    return PartHeader(
        checksum=hashlib.sha256(data).hexdigest(),
        file_bytes=len(data),
        object_bytes=object_bytes,
        objects=tuple(objects),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """An object that clients fetch on its own: its size as they fetch it, and as it is."""

    name: ObjectName
    loose_bytes: int
    object_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """A delta from `base` (`EMPTY`: from nothing) to `target`.

    `commit` is the target's commit object; `commit_metadata` what is kept beside it, such as signatures (an `a{sv}`,
    empty for nothing; only for writing: when read it is a row of `metadata`). `prerequisites` are deltas (base, target)
    to apply first, `inline` the files of parts that the superblock holds itself, by their number, `metadata` the other
    metadata that was read (without types: it is not written again), `codec` which builder made it (empty: another's).
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
    byte_order: ByteOrder = ByteOrder.LITTLE
    commit_metadata: bytes = b""
    codec: str = ""


def write_superblock(superblock: Superblock) -> bytes:
    """The bytes of a superblock; inline parts and commit metadata are filed under the delta's path, a name behind."""
    part_path = f"{relative_path(superblock.base, superblock.target)}/"
    order = superblock.byte_order
    metadata = {_ENDIANNESS: Variant("y", ord(order))}
    if superblock.codec:
        metadata[_CODEC] = Variant("s", superblock.codec)
    for number, data in sorted(superblock.inline.items()):
        # As `(yay)`: the first byte says how the rest is packed.
        metadata[f"{part_path}{number}"] = Variant("(yay)", (data[0], data[1:]))
    if superblock.commit_metadata:
        metadata[f"{part_path}{COMMIT_METADATA}"] = Variant("a{sv}", Serialised(superblock.commit_metadata))
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
                    _in_order(PART_VERSION, 4, order),
                    bytes.fromhex(part.checksum),
                    _in_order(part.file_bytes, 8, order),
                    _in_order(part.object_bytes, 8, order),
                    b"".join(bytes([_CODE_OF[name.kind]]) + bytes.fromhex(name.checksum) for name in part.objects),
                )
                for part in superblock.parts
            ],
            [
                (
                    _CODE_OF[one.name.kind],
                    bytes.fromhex(one.name.checksum),
                    _in_order(one.loose_bytes, 8, order),
                    _in_order(one.object_bytes, 8, order),
                )
                for one in superblock.fallbacks
            ],
        ),
    )


def write_signed(superblock: bytes, signatures: Mapping[str, Sequence[bytes]]) -> bytes:
    """The bytes of a signed superblock: the superblock's own as they are, and signatures of exactly these by type.

    Only offline commands unwrap it. A client that pulls takes it for a superblock, finds no commit in it and gives up
    ("Invalid checksum of length 0 expected 32"), without falling back to loose objects.
    """
    magic = int.from_bytes(SIGNED_MAGIC, "little")
    rows = {f"ostree.sign.{name}": Variant("aay", values) for name, values in signatures.items()}
    return serialise(SIGNED_TYPE, (magic, superblock, rows))


def read_superblock(data: bytes, *, where: str = "") -> Superblock:
    """What a superblock says; a signed one is unwrapped, its signatures are not checked.

    Raises:
        RepositoryError: it is damaged, or names what cannot be.
    """
    if data.startswith(SIGNED_MAGIC):
        _, data, _ = _parse(SIGNED_TYPE, data, where)
    metadata, timestamp, base, target, _, before, parts, fallbacks = _parse(SUPERBLOCK_TYPE, data, where)
    code = metadata.pop(_ENDIANNESS, ord(ByteOrder.LITTLE))
    order = _ORDER_OF.get(code) if isinstance(code, int) else None
    if order is None:
        raise RepositoryError("has an unknown byte order", path=where, got=str(code)[:80])
    codec = metadata.pop(_CODEC, "")
    return Superblock(
        codec=codec if isinstance(codec, str) else "",
        base=read_checksum(base, where) if base else EMPTY,
        target=read_checksum(target, where),
        timestamp=swap(timestamp, 8),
        commit=split_tuple(SUPERBLOCK_TYPE, data)[4],
        parts=tuple(_read_part_header(row, order, where) for row in parts),
        fallbacks=tuple(_read_fallback(row, order, where) for row in fallbacks),
        prerequisites=_read_prerequisites(before, where),
        inline=_take_inline(metadata),
        metadata=metadata,
        byte_order=order,
    )


def _read_part_header(row: tuple[int, bytes, int, int, bytes], order: ByteOrder, where: str) -> PartHeader:
    version, checksum, file_bytes, object_bytes, objects = row
    version = _in_order(version, 4, order)
    if version != PART_VERSION:
        raise RepositoryError("has a part of an unknown version", path=where, got=version)
    step = 1 + CHECKSUM_BYTES
    if len(objects) % step:
        raise RepositoryError("has a part with a torn list of objects", path=where)
    return PartHeader(
        checksum=read_checksum(checksum, where),
        file_bytes=_in_order(file_bytes, 8, order),
        object_bytes=_in_order(object_bytes, 8, order),
        objects=tuple(
            _object_name(objects[at], objects[at + 1 : at + step], where) for at in range(0, len(objects), step)
        ),
    )


def _read_fallback(row: tuple[int, bytes, int, int], order: ByteOrder, where: str) -> Fallback:
    code, checksum, loose_bytes, object_bytes = row
    return Fallback(
        name=_object_name(code, checksum, where),
        loose_bytes=_in_order(loose_bytes, 8, order),
        object_bytes=_in_order(object_bytes, 8, order),
    )


def _in_order(number: int, size_bytes: int, order: ByteOrder) -> int:
    """The number as little-endian GVariants have it, or back."""
    return swap(number, size_bytes) if order is ByteOrder.BIG else number


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
