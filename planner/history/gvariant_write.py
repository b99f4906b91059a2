"""A writer of GVariant's serialised form: the counterpart of `gvariant.parse`, which reads back what it writes.

Values are plain Python as `parse` gives them, but for variants, whose type has to be said (`Variant`), and for what was
serialised before (`Serialised`), which is put in as it is.

Source: "GVariant Specification 1.0", sections 2.3 to 2.5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from planner.history.gvariant import NUMBER_FORMATS, OFFSET_CODES, GVariantError


class Variant(NamedTuple):
    """A value and its type, for places where a type says `v`."""

    type_string: str
    value: Any


class Serialised(NamedTuple):
    """The normal form of a value, serialised before."""

    data: bytes


class _Shape(NamedTuple):
    """A type taken apart: its letter, the types inside, its alignment, and its size where all values have one."""

    code: str
    members: tuple[_Shape, ...]
    alignment: int
    fixed_bytes: int | None


def serialise(type_string: str, value: Any) -> bytes:
    r"""The normal form of a value.

    >>> serialise("(su)", ("hi", 42))
    b'hi\x00\x00*\x00\x00\x00\x03'
    >>> serialise("a{sv}", {"version": Variant("s", "1.0")})
    b'version\x001.0\x00\x00s\x08\x0f'

    Raises:
        GVariantError: the type is none, or the value is not of it.

    Source: GVariant Specification 1.0, section 2.5.
    """
    try:
        return _write(_shape(type_string), value)
    except (struct.error, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise GVariantError(f"a value is not of type {type_string[:80]!r}: {error}") from error


@lru_cache(maxsize=256)
def _shape(type_string: str) -> _Shape:
    shape, end = _shape_at(type_string, 0)
    if end != len(type_string):
        raise GVariantError(f"is no single GVariant type: {type_string[:80]!r}")
    return shape


def _shape_at(text: str, at: int) -> tuple[_Shape, int]:
    """The shape of the type that starts at a place in `text`, and where it ends."""
    code = text[at : at + 1]
    if code in NUMBER_FORMATS:
        size = struct.calcsize(NUMBER_FORMATS[code])
        return _Shape(code, (), size, size), at + 1
    if code in ("s", "o", "g", "v"):
        return _Shape(code, (), 8 if code == "v" else 1, None), at + 1
    if code in ("a", "m"):
        inside, end = _shape_at(text, at + 1)
        return _Shape(code, (inside,), inside.alignment, None), end
    closing = {"(": ")", "{": "}"}.get(code)
    if closing is None:
        raise GVariantError(f"is no GVariant type: {text[:80]!r}")
    members, at = [], at + 1
    while not text.startswith(closing, at):
        member, at = _shape_at(text, at)
        members.append(member)
    return _tuple_shape(code, tuple(members)), at + 1


def _tuple_shape(code: str, members: tuple[_Shape, ...]) -> _Shape:
    alignment, at = max((member.alignment for member in members), default=1), 0
    for member in members:
        if member.fixed_bytes is None:
            return _Shape(code, members, alignment, None)
        at = _round_up(at, member.alignment) + member.fixed_bytes
    return _Shape(code, members, alignment, _round_up(at, alignment) or 1)


def _write(shape: _Shape, value: Any) -> bytes:
    if isinstance(value, Serialised):
        return value.data
    if shape.code in NUMBER_FORMATS:
        return struct.pack(NUMBER_FORMATS[shape.code], value)
    return _WRITERS[shape.code](shape, value)


def _write_text(_: _Shape, value: str) -> bytes:
    text = value.encode()
    if b"\0" in text:
        raise GVariantError("a string holds a NUL")
    return text + b"\0"


def _write_variant(_: _Shape, value: Variant) -> bytes:
    return _write(_shape(value.type_string), value.value) + b"\0" + value.type_string.encode("ascii")


def _write_maybe(shape: _Shape, value: Any) -> bytes:
    inside = shape.members[0]
    if value is None:
        return b""
    return _write(inside, value) + (b"\0" if inside.fixed_bytes is None else b"")


def _write_array(shape: _Shape, value: Any) -> bytes:
    inside = shape.members[0]
    if inside.code == "y":
        return bytes(value)
    items: Sequence[Any] = list(value.items()) if isinstance(value, Mapping) else value
    body, ends = bytearray(), []
    for item in items:
        body += bytes(_round_up(len(body), inside.alignment) - len(body))
        body += _write(inside, item)
        ends.append(len(body))
    return bytes(body) if inside.fixed_bytes is not None else frame(body, ends)


def _write_tuple(shape: _Shape, value: Any) -> bytes:
    if len(value) != len(shape.members):
        raise GVariantError("a tuple has another number of members than its type")
    body, ends = bytearray(), []
    for member, item in zip(shape.members, value, strict=True):
        body += bytes(_round_up(len(body), member.alignment) - len(body))
        body += _write(member, item)
        if member.fixed_bytes is None:
            ends.append(len(body))
    if shape.fixed_bytes is not None:
        return bytes(body) + bytes(shape.fixed_bytes - len(body))
    if shape.members[-1].fixed_bytes is None:
        ends.pop()
    return frame(body, ends[::-1])


_WRITERS: dict[str, Callable[[_Shape, Any], bytes]] = {
    "s": _write_text,
    "o": _write_text,
    "g": _write_text,
    "v": _write_variant,
    "a": _write_array,
    "m": _write_maybe,
    "(": _write_tuple,
    "{": _write_tuple,
}


def frame(body: bytes | bytearray, ends: list[int]) -> bytes:
    """A container's body and its framing offsets, in the narrowest width that can hold the container's size."""
    width = next(width for width in (1, 2, 4, 8) if len(body) + width * len(ends) < 256**width)
    return bytes(body) + struct.pack(f"<{len(ends)}{OFFSET_CODES[width]}", *ends)


def _round_up(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
