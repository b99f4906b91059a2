"""A reader of GVariant's serialised form, for the types that OSTree writes and any other.

`parse(type, data)` gives plain Python: integers, floats, bool, str, bytes for `ay`, tuples, lists, dicts for
arrays of dictionary entries, None or the value for a maybe, and the inner value for a variant. Integers are
little endian, as GVariant's default is; OSTree keeps some of its own big endian inside, see `swap`.

The serialised form has one reading for every input; where the specification gives a default value for data in
non-normal form, this reader refuses instead, because what it reads is hostile until proven.

Source: "GVariant Specification 1.0", sections 2.3 to 2.5 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Nested containers, variants included; OSTree's own types are five deep. Also bounds Python's recursion."""

_FIXED: dict[str, tuple[int, str]] = {
    "b": (1, "B"),
    "y": (1, "B"),
    "n": (2, "<h"),
    "q": (2, "<H"),
    "i": (4, "<i"),
    "u": (4, "<I"),
    "x": (8, "<q"),
    "t": (8, "<Q"),
    "h": (4, "<i"),
    "d": (8, "<d"),
}

Read = Callable[[bytes, int, int, int], Any]
"""Reads one value from data[start:end] at a nesting depth."""


class GVariantError(ValueError):
    """The data is not the normal serialised form of its type, or the type string is malformed."""


def parse(type_string: str, data: bytes) -> Any:
    r"""The value that `data` holds.

    >>> parse("(su)", b"hi\0\0\x2a\0\0\0\x03")
    ('hi', 42)
    >>> parse("as", b"i\0can\0\x02\x06")
    ['i', 'can']

    Raises:
        GVariantError: the data is not in normal form, or the type is no GVariant type.
    """
    return _compile(type_string).read(data, 0, len(data), 0)


def swap(number: int, size_bytes: int) -> int:
    """An integer that was stored big endian and read little endian.

    >>> hex(swap(0x78563412, 4))
    '0x12345678'
    """
    return int.from_bytes(number.to_bytes(size_bytes, "little"), "big")


@dataclass(frozen=True, slots=True)
class _Type:
    """How to read a type: its alignment, its size where that is fixed, and the reader."""

    alignment: int
    fixed_bytes: int | None
    read: Read


def _refuse(reason: str) -> NoReturn:
    raise GVariantError(reason)


@lru_cache(maxsize=1024)
def _compile(type_string: str) -> _Type:
    """The reader of one complete type."""
    compiled, rest = _compile_next(type_string, 0)
    if rest:
        _refuse(f"is no single GVariant type: {type_string[:80]!r}")
    return compiled


def _compile_next(text: str, depth: int) -> tuple[_Type, str]:
    """The reader of the first type in `text`, and the rest of the text."""
    if not text or depth > MAX_DEPTH:
        _refuse("a type string ends too early or nests too deep")
    code, rest = text[0], text[1:]
    if code in _FIXED:
        return _fixed(code), rest
    if code in "sog":
        return _Type(1, None, _read_string), rest
    if code == "v":
        return _Type(8, None, _read_variant), rest
    if code == "a":
        is_dict = rest.startswith("{")
        element, rest = _compile_next(rest, depth + 1)
        return _array(element, is_bytes=text[1:2] == "y", is_dict=is_dict), rest
    if code == "m":
        element, rest = _compile_next(rest, depth + 1)
        return _maybe(element), rest
    if code in "({":
        return _compile_members(rest, ")" if code == "(" else "}", depth)
    _refuse(f"{code!r} is no GVariant type")


def _compile_members(text: str, closing: str, depth: int) -> tuple[_Type, str]:
    members: list[_Type] = []
    while not text.startswith(closing):
        member, text = _compile_next(text, depth + 1)
        members.append(member)
    if closing == "}" and len(members) != 2:
        _refuse("a dictionary entry has a key and a value")
    return _tuple(tuple(members)), text[1:]


def _fixed(code: str) -> _Type:
    size_bytes, form = _FIXED[code]
    unpack = struct.Struct(form).unpack_from

    def read(data: bytes, start: int, end: int, _depth: int) -> Any:
        if end - start != size_bytes:
            _refuse("a number has the wrong size")
        (value,) = unpack(data, start)
        if code == "b" and value > 1:
            _refuse("a truth value is neither 0 nor 1")
        return bool(value) if code == "b" else value

    return _Type(size_bytes, size_bytes, read)


def _read_string(data: bytes, start: int, end: int, _depth: int) -> str:
    if end <= start or data[end - 1] != 0:
        _refuse("a string does not end in NUL")
    piece = data[start : end - 1]
    if b"\0" in piece:
        _refuse("a string has a NUL inside")
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("a string is not UTF-8")


def _read_variant(data: bytes, start: int, end: int, depth: int) -> Any:
    if depth >= MAX_DEPTH:
        _refuse("variants nest too deep")
    # The type follows the value after a NUL, and types have no NUL inside.
    split = data.rfind(b"\0", start, end)
    if split < 0:
        _refuse("a variant has no type")
    try:
        type_string = data[split + 1 : end].decode("ascii")
    except UnicodeDecodeError:
        _refuse("a variant's type is not ASCII")
    # Alignment counts from the start of the container, which for a variant is a multiple of 8.
    return _compile(type_string).read(data[start:split], 0, split - start, depth + 1)


def _maybe(element: _Type) -> _Type:
    def read(data: bytes, start: int, end: int, depth: int) -> Any:
        if start == end:
            return None
        if element.fixed_bytes is not None:
            return element.read(data, start, end, depth + 1)
        if data[end - 1] != 0:
            _refuse("a maybe does not end in NUL")
        return element.read(data, start, end - 1, depth + 1)

    return _Type(element.alignment, None, read)


def _array(element: _Type, *, is_bytes: bool, is_dict: bool) -> _Type:
    if is_bytes:
        return _Type(1, None, lambda data, start, end, _depth: data[start:end])

    def read(data: bytes, start: int, end: int, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            _refuse("containers nest too deep")
        items = list(_read_items(element, data, start, end, depth + 1))
        return items if not is_dict else _as_dict(items)

    return _Type(element.alignment, None, read)


def _as_dict(items: list[Any]) -> dict[Any, Any]:
    found = dict(items)
    if len(found) != len(items):
        _refuse("a dictionary has a key twice")
    return found


def _read_items(element: _Type, data: bytes, start: int, end: int, depth: int) -> list[Any]:
    size = end - start
    if size == 0:
        return []
    if element.fixed_bytes is not None:
        step = element.fixed_bytes
        if size % step:
            _refuse("an array is not a whole number of elements")
        return [element.read(data, at, at + step, depth) for at in range(start, end, step)]
    width = _offset_bytes(size)
    last_end = _offset(data, end - width, width)
    if last_end > size or (size - last_end) % width:
        _refuse("an array's offsets are out of bounds")
    items, at = [], start
    for place in range(start + last_end, end, width):
        begin, stop = _aligned(data, at, element.alignment, start), start + _offset(data, place, width)
        if not begin <= stop <= start + last_end:
            _refuse("an array's offsets are not ascending")
        items.append(element.read(data, begin, stop, depth))
        at = stop
    return items


def _tuple(members: tuple[_Type, ...]) -> _Type:
    alignment = max((member.alignment for member in members), default=1)
    fixed_bytes = _fixed_tuple_bytes(members, alignment)
    # Every member of variable size but the last is followed, at the tuple's end, by an offset to its own end.
    is_framed = [member.fixed_bytes is None and place < len(members) - 1 for place, member in enumerate(members)]

    def read(data: bytes, start: int, end: int, depth: int) -> tuple[Any, ...]:
        if depth >= MAX_DEPTH:
            _refuse("containers nest too deep")
        if fixed_bytes is not None and end - start != fixed_bytes:
            _refuse("a tuple has the wrong size")
        if not members:
            return ()
        width = _offset_bytes(end - start)
        frames_end = end
        body_end = end - width * sum(is_framed)
        values, at = [], start
        for place, member in enumerate(members):
            begin = _aligned(data, at, member.alignment, start)
            if member.fixed_bytes is not None:
                stop = begin + member.fixed_bytes
            elif is_framed[place]:
                frames_end -= width
                stop = start + _offset(data, frames_end, width) if frames_end >= start else -1
            else:
                stop = body_end
            if not begin <= stop <= body_end:
                _refuse("a tuple's member is out of bounds")
            values.append(member.read(data, begin, stop, depth + 1))
            at = stop
        if fixed_bytes is None and at != body_end:
            _refuse("a tuple has bytes to spare")
        return tuple(values)

    return _Type(alignment, fixed_bytes, read)


def _fixed_tuple_bytes(members: tuple[_Type, ...], alignment: int) -> int | None:
    if not members:
        return 1  # the unit is one zero byte
    at = 0
    for member in members:
        if member.fixed_bytes is None:
            return None
        at = -(-at // member.alignment) * member.alignment + member.fixed_bytes
    return -(-at // alignment) * alignment


def _aligned(data: bytes, at: int, alignment: int, origin: int) -> int:
    """The next aligned place; what is skipped must be zero."""
    place = origin - (-(at - origin) // alignment) * alignment
    if place != at and any(data[at:place]):
        _refuse("padding is not zero")
    return place


def _offset_bytes(container_bytes: int) -> int:
    """How wide the offsets of a container are."""
    if container_bytes <= 0xFF:
        return 1
    if container_bytes <= 0xFFFF:
        return 2
    return 4 if container_bytes <= 0xFFFFFFFF else 8


def _offset(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")
