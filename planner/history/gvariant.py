"""A reader of GVariant's serialised form, for the types that OSTree writes and any other.

`parse(type, data)` gives plain Python: integers, floats, bool, str (also for object paths and signatures), bytes
for `ay`, tuples (also for a dictionary entry on its own), lists, dicts for arrays of dictionary entries, None or the
value for a maybe, and for a variant the value inside, without its type. Integers are little endian, as GVariant's
default is; OSTree keeps some of its own big endian inside, see `swap`.

Where the specification gives a default value for data that is not in normal form, this reader refuses instead: what
it reads is hostile until proven otherwise, and every value has one normal form.

Source: "GVariant Specification 1.0", sections 2.3 to 2.5 and 3.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Nested containers, variants included; OSTree's own types are five deep. Also bounds Python's recursion."""

# D-Bus allows 255. A type costs some 500 bytes of memory per character here, and variants bring their own.
_MAX_TYPE_CHARACTERS = 1024

# Tuples in tuples cost no bytes of data but a Python object each; without a bound, arrays of them would turn a
# small file into gigabytes. OSTree's own arrays stay below one.
_MAX_CONTAINERS_PER_BYTE = 8

NUMBER_FORMATS = {
    "b": "<B",
    "y": "<B",
    "n": "<h",
    "q": "<H",
    "i": "<i",
    "u": "<I",
    "x": "<q",
    "t": "<Q",
    "h": "<i",
    "d": "<d",
}
"""How `struct` reads and writes each type of number, a truth value as the byte that it is."""

_BASIC = {*NUMBER_FORMATS, "s", "o", "g"}
OFFSET_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}

_OBJECT_PATH = re.compile("/|(/[A-Za-z0-9_]+)+")
_SIGNATURE = re.compile("[bynqiuxtdhsogva(){}]*")

Read = Callable[[bytes, int, int, int], Any]
"""Reads the one value that fills data[start:end], at a nesting depth."""


class GVariantError(ValueError):
    """The data is not the normal serialised form of its type, or the type string is malformed."""


@dataclass(frozen=True, slots=True)
class _Type:
    """How to read a type.

    `least_bytes` is what the shortest value takes, `containers` how many tuples and arrays such a value can be made
    of, and `fixed_bytes` is None where values differ in size.
    """

    alignment: int
    fixed_bytes: int | None
    least_bytes: int
    containers: int
    read: Read


def parse(type_string: str, data: bytes | memoryview) -> Any:
    r"""The value that `data` holds, in plain Python.

    Time and memory grow with the data's size; types are compiled once.

    >>> parse("(su)", b"hi\0\0\x2a\0\0\0\x03")
    ('hi', 42)
    >>> parse("as", b"i\0can\0\x02\x06")
    ['i', 'can']
    >>> parse("a{sv}", b"version\0\x31\x2e\x30\0\0s\x08\x0f")
    {'version': '1.0'}

    Raises:
        GVariantError: the data is not in normal form, or the type is no GVariant type.

    Source: GVariant Specification 1.0, section 2.5 and section 3.
    """
    return _compile(type_string).read(bytes(data), 0, len(data), 0)


def split_tuple(type_string: str, data: bytes) -> tuple[bytes, ...]:
    """The serialised members of a tuple of variable size, as they stand in `data`.

    Raises:
        GVariantError: the data's frame is not that of the type.
    """
    members_data: tuple[bytes, ...] = _compile_splitter(type_string).read(bytes(data), 0, len(data), 0)
    return members_data


def swap(number: int, size_bytes: int) -> int:
    """An unsigned integer that was stored big endian and read little endian.

    >>> hex(swap(0x78563412, 4))
    '0x12345678'
    """
    return int.from_bytes(number.to_bytes(size_bytes, "little"), "big")


def _refuse(reason: str) -> NoReturn:
    raise GVariantError(reason)


# -- from a type string to its reader --------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _compile(text: str) -> _Type:
    """The reader of one complete type."""
    if len(text) > _MAX_TYPE_CHARACTERS:
        _refuse("a type string is too long")
    compiled, end = _compile_at(text, 0, 0)
    if end != len(text):
        _refuse(f"is no single GVariant type: {text[:80]!r}")
    return compiled


@lru_cache(maxsize=16)
def _compile_splitter(text: str) -> _Type:
    """The reader of a tuple that leaves its members as they are."""
    members, _ = _compile_members(text, 1, 0, ")")
    return _framed_tuple(tuple([replace(member, read=_read_bytes) for member in members]))


def _compile_at(text: str, at: int, depth: int) -> tuple[_Type, int]:
    """The reader of the type that starts at a place in `text`, and where it ends."""
    if at >= len(text) or depth > MAX_DEPTH:
        _refuse("a type string ends too early or nests too deep")
    code, after = text[at], at + 1
    if code in _LEAVES:
        return _LEAVES[code], after
    if code == "m":
        element, end = _compile_at(text, after, depth + 1)
        return _maybe(element), end
    if code == "a":
        element, end = _compile_at(text, after, depth + 1)
        return _array(element, text[after]), end
    if code == "(":
        members, end = _compile_members(text, after, depth, ")")
        return _tuple(members), end
    if code == "{":
        members, end = _compile_members(text, after, depth, "}")
        if len(members) != 2 or text[after] not in _BASIC:
            _refuse("a dictionary entry is not a basic key and a value")
        return _tuple(members), end
    _refuse(f"{code!r} is no GVariant type")


def _compile_members(text: str, at: int, depth: int, closing: str) -> tuple[tuple[_Type, ...], int]:
    members: list[_Type] = []
    while not text.startswith(closing, at):
        member, at = _compile_at(text, at, depth + 1)
        members.append(member)
    return tuple(members), at + 1


# -- numbers, text and variants --------------------------------------------------------------------------------------


def _number(code: str) -> _Type:
    form = struct.Struct(NUMBER_FORMATS[code])

    def read(data: bytes, start: int, end: int, _depth: int) -> Any:
        if end - start != form.size:
            _refuse("a number has the wrong size")
        return form.unpack_from(data, start)[0]

    def read_truth(data: bytes, start: int, end: int, depth: int) -> bool:
        value = read(data, start, end, depth)
        if value > 1:
            _refuse("a truth value is neither 0 nor 1")
        return bool(value)

    return _Type(form.size, form.size, form.size, 0, read_truth if code == "b" else read)


def _read_string(data: bytes, start: int, end: int, _depth: int) -> str:
    if data.find(b"\0", start, end) != end - 1 or end <= start:
        _refuse("a string does not end in its only NUL")
    try:
        return data[start : end - 1].decode()
    except UnicodeDecodeError:
        _refuse("a string is not UTF-8")


def _read_object_path(data: bytes, start: int, end: int, depth: int) -> str:
    path = _read_string(data, start, end, depth)
    if not _OBJECT_PATH.fullmatch(path):
        _refuse("an object path is malformed")
    return path


def _read_signature(data: bytes, start: int, end: int, depth: int) -> str:
    signature = _read_string(data, start, end, depth)
    if not _SIGNATURE.fullmatch(signature):
        _refuse("a signature is malformed")
    _compile(f"({signature})")
    return signature


def _read_variant(data: bytes, start: int, end: int, depth: int) -> Any:
    if depth >= MAX_DEPTH:
        _refuse("variants nest too deep")
    # The type follows the value after a NUL, and types have no NUL inside.
    split = data.rfind(b"\0", start, end)
    if split < 0 or end - split > _MAX_TYPE_CHARACTERS:
        _refuse("a variant has no type")
    try:
        type_string = data[split + 1 : end].decode("ascii")
    except UnicodeDecodeError:
        _refuse("a variant's type is not ASCII")
    return _compile(type_string).read(data, start, split, depth + 1)


_LEAVES = {
    **{code: _number(code) for code in NUMBER_FORMATS},
    "s": _Type(1, None, 1, 0, _read_string),
    "o": _Type(1, None, 2, 0, _read_object_path),
    "g": _Type(1, None, 1, 0, _read_signature),
    "v": _Type(8, None, 2, 1, _read_variant),
}
"""The types without a type inside, by their letter."""


# -- containers ------------------------------------------------------------------------------------------------------


def _maybe(element: _Type) -> _Type:
    # A value of variable size is told from nothing by a NUL behind it.
    ending = 0 if element.fixed_bytes is not None else 1

    def read(data: bytes, start: int, end: int, depth: int) -> Any:
        if start == end:
            return None
        if ending and data[end - 1] != 0:
            _refuse("a maybe does not end in NUL")
        return element.read(data, start, end - ending, depth + 1)

    return _Type(alignment=element.alignment, fixed_bytes=None, least_bytes=0, containers=element.containers, read=read)


def _array(element: _Type, code: str) -> _Type:
    least_bytes = element.least_bytes + (1 if element.fixed_bytes is None else 0)
    if element.containers > _MAX_CONTAINERS_PER_BYTE * least_bytes:
        _refuse("an array's elements nest too deep for what they hold")
    read_items = _read_framed_items if element.fixed_bytes is None else _read_fixed_items

    def read(data: bytes, start: int, end: int, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            _refuse("containers nest too deep")
        items = read_items(element, data, start, end, depth + 1)
        return _as_dict(items) if code == "{" else items

    return _Type(element.alignment, None, 0, 1, _read_bytes if code == "y" else read)


def _read_bytes(data: bytes, start: int, end: int, _depth: int) -> bytes:
    return data[start:end]


def _as_dict(items: list[Any]) -> dict[Any, Any]:
    found = dict(items)
    if len(found) != len(items):
        _refuse("a dictionary has a key twice")
    return found


def _read_fixed_items(element: _Type, data: bytes, start: int, end: int, depth: int) -> list[Any]:
    step = element.fixed_bytes
    assert step  # noqa: S101 - the caller chose this function by it
    if (end - start) % step:
        _refuse("an array is not a whole number of elements")
    return [element.read(data, at, at + step, depth) for at in range(start, end, step)]


def _read_framed_items(element: _Type, data: bytes, start: int, end: int, depth: int) -> list[Any]:
    items, at, alignment, read = [], start, element.alignment, element.read
    ends, body_end = _read_ends(data, start, end)
    for place in ends:
        begin = at if alignment == 1 else _aligned(data, at, alignment, start)
        at = start + place
        if not begin <= at <= body_end:
            _refuse("an array's offsets are not ascending")
        items.append(read(data, begin, at, depth))
    return items


def _read_ends(data: bytes, start: int, end: int) -> tuple[tuple[int, ...], int]:
    """Where an array's elements end, counted from the array's start; and where the last one ends, in `data`."""
    array_bytes = end - start
    if array_bytes == 0:
        return (), end
    width = _offset_bytes(array_bytes)
    table_bytes = array_bytes - _read_offset(data, end - width, width)
    count = table_bytes // width
    if count < 1 or table_bytes % width or not _is_narrow(array_bytes - table_bytes, count, width):
        _refuse("an array's offsets are out of bounds")
    return struct.unpack_from(f"<{count}{OFFSET_CODES[width]}", data, end - table_bytes), end - table_bytes


def _tuple(members: tuple[_Type, ...]) -> _Type:
    is_fixed = all(member.fixed_bytes is not None for member in members)
    return _fixed_tuple(members) if is_fixed else _framed_tuple(members)


def _fixed_tuple(members: tuple[_Type, ...]) -> _Type:
    """A tuple whose members are always in the same places; between them, and at its end, is padding."""
    alignment = max((member.alignment for member in members), default=1)
    at, places, gaps = 0, [], []
    for member in members:
        begin = _round_up(at, member.alignment)
        gaps.append((at, begin))
        at = begin + (member.fixed_bytes or 0)
        places.append((begin, at, member.read))
    tuple_bytes = _round_up(at, alignment) or 1  # a tuple of nothing is one zero byte
    gaps.append((at, tuple_bytes))
    gaps = [(begin, stop) for begin, stop in gaps if begin < stop]

    def read(data: bytes, start: int, end: int, depth: int) -> tuple[Any, ...]:
        if end - start != tuple_bytes or depth >= MAX_DEPTH:
            _refuse("a tuple has the wrong size, or nests too deep")
        for begin, stop in gaps:
            if any(data[start + begin : start + stop]):
                _refuse("padding is not zero")
        return tuple([read(data, start + begin, start + stop, depth + 1) for begin, stop, read in places])

    containers = 1 + sum(member.containers for member in members)
    return _Type(alignment, tuple_bytes, tuple_bytes, containers, read)


def _framed_tuple(members: tuple[_Type, ...]) -> _Type:
    """A tuple with a member of variable size: each such member but the last has its end noted behind the body."""
    last = len(members) - 1
    steps = [
        (member.alignment, member.fixed_bytes, member.fixed_bytes is None and place < last, member.read)
        for place, member in enumerate(members)
    ]
    framed = sum(is_framed for _, _, is_framed, _ in steps)

    def read(data: bytes, start: int, end: int, depth: int) -> tuple[Any, ...]:
        width = _offset_bytes(end - start)
        frame, body_end = end, end - framed * width
        if depth >= MAX_DEPTH or body_end < start or (width > 1 and not _is_narrow(body_end - start, framed, width)):
            _refuse("a tuple is too small, or nests too deep")
        values, at = [], start
        for alignment, fixed_bytes, is_framed, read_member in steps:
            begin = at if alignment == 1 else _aligned(data, at, alignment, start)
            if fixed_bytes is not None:
                at = begin + fixed_bytes
            elif is_framed:
                frame -= width
                at = start + (data[frame] if width == 1 else _read_offset(data, frame, width))
            else:
                at = body_end
            if not begin <= at <= body_end:
                _refuse("a tuple's member is out of bounds")
            values.append(read_member(data, begin, at, depth + 1))
        if at != body_end:
            _refuse("a tuple has bytes to spare")
        return tuple(values)

    alignment = max(member.alignment for member in members)
    least_bytes = framed + sum(member.least_bytes for member in members)
    return _Type(alignment, None, least_bytes, 1 + sum(member.containers for member in members), read)


# -- places ----------------------------------------------------------------------------------------------------------


def _round_up(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment


def _aligned(data: bytes, at: int, alignment: int, origin: int) -> int:
    """The next aligned place, counted from the container's start; what is skipped must be zero."""
    place = origin + _round_up(at - origin, alignment)
    if place != at and any(data[at:place]):
        _refuse("padding is not zero")
    return place


def _offset_bytes(container_bytes: int) -> int:
    """How wide the offsets in a container are.

    Source: GVariant Specification 1.0, section 2.4.1, "Framing Offsets".
    """
    if container_bytes <= 0xFF:
        return 1
    if container_bytes <= 0xFFFF:
        return 2
    return 4 if container_bytes <= 0xFFFFFFFF else 8


def _is_narrow(body_bytes: int, offsets: int, width: int) -> bool:
    """Whether offsets of half the width would not do: wider ones than needed are a second form of the same value."""
    return width == 1 or _offset_bytes(body_bytes + offsets * (width // 2)) == width


def _read_offset(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")
