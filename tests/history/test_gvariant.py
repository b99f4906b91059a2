"""The GVariant reader: the specification's own examples, an independent writer, and hostile bytes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.history.gvariant import MAX_DEPTH, GVariantError, parse, swap

SPECIFICATION = {
    # "GVariant Specification 1.0", section 2.7, "Serialised Data Examples"
    "string": ("s", b"hello world\0", "hello world"),
    "maybe string": ("ms", b"hello world\0\0", "hello world"),
    "array of booleans": ("ab", bytes([1, 0, 0, 1, 1]), [True, False, False, True, True]),
    "structure": ("(si)", b"foo\0\xff\xff\xff\xff\x04", ("foo", -1)),
    "array of structures": (
        "a(si)",
        b"hi\0\0\xfe\xff\xff\xff\x03\0\0\0bye\0\xff\xff\xff\xff\x04\x09\x15",
        [("hi", -2), ("bye", -1)],
    ),
    "array of strings": ("as", b"i\0can\0has\0strings?\0\x02\x06\x0a\x13", ["i", "can", "has", "strings?"]),
    "nested structure": ("((ys)as)", b"ican\0has\0strings?\0\x04\x0d\x05", ((ord("i"), "can"), ["has", "strings?"])),
    "structure of bytes": ("(yy)", b"\x70\x80", (0x70, 0x80)),
    "array of bytes": ("ay", b"\x04\x05\x06\x07", b"\x04\x05\x06\x07"),
    "array of integers": ("ai", b"\x04\0\0\0\x02\x01\0\0", [4, 258]),
    "dictionary entry": ("{si}", b"a key\0\0\0\x02\x02\0\0\x06", ("a key", 514)),
    "variant": ("v", b"\x2a\0\0\0\0i", 42),
    "nothing": ("mi", b"", None),
    "unit": ("()", b"\0", ()),
}


@pytest.mark.parametrize("name", SPECIFICATION)
def test_examples_of_the_specification(name: str) -> None:
    """Section 2.7: every example reads as the value it stands for."""
    type_string, data, expected = SPECIFICATION[name]
    assert parse(type_string, data) == expected


# -- an independent writer: values are written naively, so that the reader is not checked by its own logic ---------

_LEAVES = {
    "y": ("<B", 1),
    "n": ("<h", 2),
    "q": ("<H", 2),
    "i": ("<i", 4),
    "u": ("<I", 4),
    "x": ("<q", 8),
    "t": ("<Q", 8),
}


def alignment(type_: Any) -> int:
    if isinstance(type_, str):
        return {"s": 1, "b": 1, "ay": 1, "v": 8, "d": 8}.get(type_) or _LEAVES[type_][1]
    return max((alignment(one) for one in type_[1:]), default=1)


def is_fixed(type_: Any) -> bool:
    if isinstance(type_, str):
        return type_ in _LEAVES or type_ in ("b", "d")
    return type_[0] == "(" and all(is_fixed(one) for one in type_[1:])


def pad(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)


def with_offsets(body: bytes, ends: list[int]) -> bytes:
    for width in (1, 2, 4):
        if len(body) + width * len(ends) < 256**width:
            return body + b"".join(end.to_bytes(width, "little") for end in ends)
    raise AssertionError


def write(type_: Any, value: Any) -> bytes:
    if type_ in _LEAVES:
        return struct.pack(_LEAVES[type_][0], value)
    if isinstance(type_, str):
        writers = {
            "s": lambda: value.encode() + b"\0",
            "b": lambda: bytes([value]),
            "d": lambda: struct.pack("<d", value),
            "ay": lambda: value,
            "v": lambda: write(value[0], value[1]) + b"\0" + text(value[0]).encode(),
        }
        return writers[type_]()
    return write_container(type_, value)


def write_container(type_: Any, value: Any) -> bytes:
    kind, *inner = type_
    if kind == "m":
        ending = b"" if is_fixed(inner[0]) else b"\0"
        return b"" if value is None else write(inner[0], value) + ending
    body, ends = b"", []
    items = [(inner[0], one) for one in value] if kind == "a" else list(zip(inner, value, strict=True))
    for place, (item_type, one) in enumerate(items):
        body = pad(body, alignment(item_type)) + write(item_type, one)
        if not is_fixed(item_type) and (kind == "a" or place < len(items) - 1):
            ends.append(len(body))
    if kind == "a":
        return body if is_fixed(inner[0]) else with_offsets(body, ends)
    if is_fixed(type_):
        return pad(body, alignment(type_)) or b"\0"
    return with_offsets(body, ends[::-1])


def text(type_: Any) -> str:
    if isinstance(type_, str):
        return type_
    kind, *inner = type_
    return kind + "".join(map(text, inner)) + (")" if kind == "(" else "")


TYPES = st.recursive(
    st.sampled_from(["b", "y", "n", "q", "i", "u", "x", "t", "s", "ay", "v"]),
    lambda inner: st.one_of(
        st.tuples(st.just("a"), inner.filter(lambda one: one != "y")),
        st.tuples(st.just("m"), inner),
        st.lists(inner, min_size=1, max_size=4).map(lambda types: ("(", *types)),
    ),
    max_leaves=8,
)


def values(type_: Any) -> st.SearchStrategy[Any]:
    if type_ in _LEAVES:
        bits = 8 * _LEAVES[type_][1]
        low = -(2 ** (bits - 1)) if _LEAVES[type_][0][1].islower() else 0
        return st.integers(low, low + 2**bits - 1)
    if isinstance(type_, str):
        texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)
        variants = st.tuples(st.just("i"), st.integers(-5, 5))
        return {"s": texts, "b": st.booleans(), "ay": st.binary(max_size=300), "v": variants}[type_]
    kind, *inner = type_
    if kind == "a":
        return st.lists(values(inner[0]), max_size=6)
    if kind == "m":
        return st.none() | values(inner[0])
    return st.tuples(*map(values, inner))


def plain(type_: Any, value: Any) -> Any:
    """The value as the reader gives it: a variant's inner value alone."""
    if type_ == "v":
        return value[1]
    if isinstance(type_, str) or value is None:
        return value
    kind, *inner = type_
    if kind == "a":
        return [plain(inner[0], one) for one in value]
    if kind == "m":
        return plain(inner[0], value)
    return tuple(plain(one, item) for one, item in zip(inner, value, strict=True))


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_what_another_writer_wrote_is_read_back(data: st.DataObject) -> None:
    """Any type, any value: the reader gives what was written."""
    type_ = data.draw(TYPES)
    value = data.draw(values(type_))
    assert parse(text(type_), write(type_, value)) == plain(type_, value)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_hostile_bytes_raise_one_error_or_give_a_value(data: st.DataObject) -> None:
    """Mutated data and random bytes: GVariantError or a value, never another exception."""
    type_ = data.draw(TYPES)
    good = write(type_, data.draw(values(type_)))
    place = data.draw(st.integers(0, len(good)))
    bad = good[:place] + data.draw(st.binary(max_size=4)) + good[place + data.draw(st.integers(0, 4)) :]
    for hostile in (bad, data.draw(st.binary(max_size=40))):
        try:
            parse(text(type_), hostile)
        except GVariantError:
            continue


@pytest.mark.parametrize("type_string", ["", "z", "(", "a", "(s", "{s}", "{sss}", "ss", "a" * 80 + "s", "(" * 80])
def test_malformed_types_are_refused(type_string: str) -> None:
    """What is no single complete type, or nests too deep."""
    with pytest.raises(GVariantError):
        parse(type_string, b"")


def test_variants_nest_only_so_deep() -> None:
    """A bomb of variants ends in the error, not in a RecursionError."""
    data = b"\0"
    for _ in range(MAX_DEPTH + 10):
        data += b"\0v"
    with pytest.raises(GVariantError):
        parse("v", data[1:])


def test_dictionary_with_a_key_twice_is_refused() -> None:
    """Which value would count is anybody's guess."""
    entries = [("k", 1), ("k", 2)]
    with pytest.raises(GVariantError, match="twice"):
        parse("a{si}", write(("a", ("(", "s", "i")), entries))


@pytest.mark.parametrize("size_bytes", [2, 4, 8])
def test_swap_is_its_own_inverse(size_bytes: int) -> None:
    """Big endian inside little endian."""
    assert swap(swap(258, size_bytes), size_bytes) == 258
