"""The GVariant reader: the specification's own examples, an independent writer, and hostile bytes."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import struct
import subprocess
from pathlib import Path
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
    # Beyond the specification's list: two dictionaries, padding, a path and a signature, a maybe that holds nothing.
    "dictionary": ("a{si}", b"k\0\0\0\x07\0\0\0\x02\x09", {"k": 7}),
    "dictionary of variants": ("a{sv}", b"k\0\0\0\0\0\0\0\x31\0\0s\x02\x0d", {"k": "1"}),
    "empty dictionary": ("a{sv}", b"", {}),
    "padded structure": ("(yt)", b"\x01" + bytes(7) + b"\x02" + bytes(7), (1, 2)),
    "padding at the end": ("(ty)", b"\x02" + bytes(7) + b"\x01" + bytes(7), (2, 1)),
    "object path": ("o", b"/org/ex_1\0", "/org/ex_1"),
    "signature": ("g", b"a{sv}(ii)\0", "a{sv}(ii)"),
    "just nothing": ("mms", b"\0", None),
    "structure of maybes": ("(mymy)", b"\x07\x01", (7, None)),
    "double": ("d", struct.pack("<d", -0.5), -0.5),
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
    "d": ("<d", 8),
}


def alignment(type_: Any) -> int:
    if isinstance(type_, str):
        return {"s": 1, "b": 1, "ay": 1, "v": 8}.get(type_) or _LEAVES[type_][1]
    return max((alignment(one) for one in type_[1:]), default=1)


def is_fixed(type_: Any) -> bool:
    if isinstance(type_, str):
        return type_ in _LEAVES or type_ == "b"
    return type_[0] in "({" and all(is_fixed(one) for one in type_[1:])


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
    return kind + "".join(map(text, inner)) + {"(": ")", "{": "}"}.get(kind, "")


TYPES = st.recursive(
    st.sampled_from(["b", "y", "n", "q", "i", "u", "x", "t", "d", "s", "ay", "v"]),
    lambda inner: st.one_of(
        st.tuples(st.just("a"), inner.filter(lambda one: one != "y")),
        st.tuples(st.just("m"), inner),
        st.tuples(st.sampled_from("sqx"), inner).map(lambda pair: ("a", ("{", *pair))),
        st.lists(inner, min_size=1, max_size=4).map(lambda types: ("(", *types)),
    ),
    max_leaves=8,
)


def values(type_: Any) -> st.SearchStrategy[Any]:
    if type_ == "d":
        return st.floats(allow_nan=False)
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
        is_dict = inner[0][0] == "{"
        return st.lists(values(inner[0]), max_size=6, unique_by=(lambda entry: entry[0]) if is_dict else None)
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
        items = [plain(inner[0], one) for one in value]
        return dict(items) if inner[0][0] == "{" else items
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


# -- GLib itself as the judge of what is in normal form ------------------------------------------------------------


class GLib:
    """The few functions of the C library that say whether data is in normal form."""

    def __init__(self, path: str) -> None:
        self.glib = ctypes.CDLL(path)
        self.new = self._function("g_variant_new_from_data", ctypes.c_void_p)
        self.sink = self._function("g_variant_ref_sink", ctypes.c_void_p)
        self.is_normal_form = self._function("g_variant_is_normal_form", ctypes.c_int)
        self.unref = self._function("g_variant_unref", None)

    def _function(self, name: str, result: Any) -> Any:
        function = getattr(self.glib, name)
        function.restype = result
        return function

    def is_normal(self, type_string: str, data: bytes) -> bool:
        """Whether the data, which is put where it is aligned, is in normal form."""
        aligned = (ctypes.c_uint64 * (len(data) // 8 + 1))()
        ctypes.memmove(aligned, data, len(data))
        pointer, size, none = ctypes.c_void_p(ctypes.addressof(aligned)), ctypes.c_size_t(len(data)), ctypes.c_void_p()
        variant = self.new(type_string.encode(), pointer, size, ctypes.c_int(0), none, none)
        variant = ctypes.c_void_p(self.sink(ctypes.c_void_p(variant)))
        try:
            return bool(self.is_normal_form(variant))
        finally:
            self.unref(variant)


GLIB_PATH = ctypes.util.find_library("glib-2.0")
needs_glib = pytest.mark.skipif(GLIB_PATH is None, reason="needs the library glib-2.0")


@needs_glib
@given(st.data())
@settings(max_examples=400, deadline=None)
def test_what_is_read_is_what_glib_calls_normal(data: st.DataObject) -> None:
    """Whole, mutated and random bytes are read exactly if GLib finds them in normal form.

    But for two points in which this reader is stricter: GLib takes no bytes at all for a tuple of defaults, and a
    dictionary with a key twice.
    """
    glib = GLib(str(GLIB_PATH))
    type_ = data.draw(TYPES)
    good = write(type_, data.draw(values(type_)))
    place = data.draw(st.integers(0, len(good)))
    bad = good[:place] + data.draw(st.binary(max_size=3)) + good[place + data.draw(st.integers(0, 3)) :]
    small = bytes(data.draw(st.lists(st.integers(0, 3), max_size=12)))
    assert glib.is_normal(text(type_), good)
    for hostile in (good, bad, small):
        try:
            parse(text(type_), hostile)
            refusal = ""
        except GVariantError as error:
            refusal = str(error)
        if glib.is_normal(text(type_), hostile):
            assert refusal in ("", "a tuple is too small, or nests too deep", "a dictionary has a key twice")
        else:
            assert refusal


# -- hostile data ----------------------------------------------------------------------------------------------------

NOT_NORMAL = {
    "no NUL": ("s", b"abc"),
    "no bytes": ("s", b""),
    "NUL inside": ("s", b"a\0b\0"),
    "not UTF-8": ("s", b"\xff\0"),
    "a surrogate": ("s", b"\xed\xa0\x80\0"),
    "truth of 2": ("b", b"\x02"),
    "half a number": ("u", b"\0\0"),
    "padding in a tuple": ("(yu)", b"\0\x01\0\0\0\0\0\0"),
    "padding behind a tuple": ("(uy)", b"\0\0\0\0\0\x01\0\0"),
    "unit that is not zero": ("()", b"\x01"),
    "half an element": ("au", b"\0\0\0\0\0"),
    "only an offset": ("as", b"\x01"),
    "offset beyond the end": ("as", b"a\0\xf0"),
    "descending offsets": ("as", b"a\0b\0\x04\x02"),
    "offsets that are wider than needed": ("as", b"a" * 253 + b"\0" + b"\xfe\0"),
    "tuple without its offset": ("(sy)", b""),
    "bytes to spare": ("(sy)", b"\0\x01\xff\x01"),
    "variant without a type": ("v", b"abc"),
    "variant of two types": ("v", b"\0yy"),
    "variant of no type": ("v", b"\0\0"),
    "variant of type in UTF-8": ("v", b"\0\0\xc3\xa9"),
    "maybe that ends in 1": ("ms", b"a\0\x01"),
    "relative object path": ("o", b"a\0"),
    "object path with an empty part": ("o", b"/a//b\0"),
    "signature that is cut off": ("g", b"a\0"),
    "signature of a maybe": ("g", b"mi\0"),
}


@pytest.mark.parametrize("name", NOT_NORMAL)
def test_data_that_is_not_in_normal_form_is_refused(name: str) -> None:
    """The specification would read most of these as something else; every value has one form here."""
    type_string, data = NOT_NORMAL[name]
    with pytest.raises(GVariantError):
        parse(type_string, data)


MALFORMED_TYPES = ("", "z", "(", "a", "m", "(s", "{s}", "{sss}", "{vs}", "a{ass}", "a{(s)s}", "ss", "*", "r", "(s}")


@pytest.mark.parametrize("type_string", [*MALFORMED_TYPES, "a" * 80 + "s", "(" * 80, "(" + "i" * 2000 + ")"])
def test_malformed_types_are_refused(type_string: str) -> None:
    """What is no single complete type, has keys that are no basic values, nests too deep, or is very long."""
    with pytest.raises(GVariantError):
        parse(type_string, b"")


def test_variants_nest_only_so_deep() -> None:
    """A bomb of variants ends in the error, not in a RecursionError."""
    data = b"\x07\0y" + b"\0v" * (MAX_DEPTH + 10)
    with pytest.raises(GVariantError, match="deep"):
        parse("v", data)
    assert parse("v", data[: 3 + 2 * 10]) == 7


def test_memory_is_bounded_by_the_size_of_the_data() -> None:
    """Tuples in tuples cost no bytes; an array of them would be a Python object for each, a thousandfold."""
    with pytest.raises(GVariantError, match="deep"):
        parse("a" + "(" * 40 + "y" + ")" * 40, bytes(1000))
    with pytest.raises(GVariantError, match="deep"):
        parse("v", bytes(1000) + b"\0a" + b"(" * 40 + b"as" + b")" * 40)
    assert parse("a((((y))))", b"\1\2") == [((((1,),),),), ((((2,),),),)]


def test_dictionary_with_a_key_twice_is_refused() -> None:
    """Which value would count is anybody's guess."""
    entries = [("k", 1), ("k", 2)]
    with pytest.raises(GVariantError, match="twice"):
        parse("a{si}", write(("a", ("(", "s", "i")), entries))


@pytest.mark.parametrize("size_bytes", [2, 4, 8])
def test_swap_is_its_own_inverse(size_bytes: int) -> None:
    """Big endian inside little endian."""
    assert swap(swap(258, size_bytes), size_bytes) == 258


def test_views_are_read_as_bytes_are() -> None:
    """A memoryview, also of a part, gives the same value."""
    assert parse("(su)", memoryview(b"__hi\0\0\x2a\0\0\0\x03")[2:]) == ("hi", 42)


@pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")
def test_metadata_of_any_type_is_what_the_tool_shows(tmp_path: Path) -> None:
    """GLib writes what its text form says, in a commit's metadata; we read the same values back."""
    texts = {
        "a": ("true", True),
        "b": ("byte 0x07", 7),
        "c": ("int16 -2", -2),
        "d": ("uint64 18446744073709551615", 2**64 - 1),
        "e": ("['x', '', 'ü']", ["x", "", "ü"]),
        "f": ("(1, 'two', <3.5>)", (1, "two", 3.5)),
        "g": ("{'k': <'v'>, 'n': <uint32 5>}", {"k": "v", "n": 5}),
        "h": ("[byte 0x01, 0x02]", b"\1\2"),
        "i": ("@ms nothing", None),
        "j": ("@m(yt) (1, 2)", (1, 2)),
        "k": ("[('a', uint64 1), ('bc', 2)]", [("a", 1), ("bc", 2)]),
        "l": ("objectpath '/a/b'", "/a/b"),
        "m": ("@aas [[], ['x']]", [[], ["x"]]),
        "n": ("'" + "long " * 20_000 + "'", "long " * 20_000),
    }
    repo = f"--repo={tmp_path}/repo"
    (tmp_path / "tree").mkdir()
    subprocess.run(["ostree", "init", repo, "--mode=archive"], check=True)
    added = [f"--add-metadata={key}={shown}" for key, (shown, _) in texts.items()]
    commit = ["ostree", "commit", repo, "--branch=main", f"--tree=dir={tmp_path}/tree", *added]
    checksum = subprocess.run(commit, check=True, capture_output=True, text=True).stdout.strip()
    data = (tmp_path / "repo" / "objects" / checksum[:2] / f"{checksum[2:]}.commit").read_bytes()
    metadata = parse("(a{sv}aya(say)sstayay)", data)[0]
    assert metadata.pop("ostree.ref-binding") == ["main"]
    assert metadata == {key: value for key, (_, value) in texts.items()}
    show = ["ostree", "show", repo, "--print-metadata-key=d", checksum]
    assert subprocess.run(show, check=True, capture_output=True, text=True).stdout.split()[-1] == str(metadata["d"])
