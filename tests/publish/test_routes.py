"""The route index: what is written is read back, and what a hostile server could write is refused with its line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.publish.routes import (
    MAX_HOPS,
    MAX_LAYERS,
    Hop,
    LayerRoute,
    PublishedRoute,
    format_index,
    index_path,
    parse_index,
)

BASE, MIDDLE, TARGET = "aa" * 32, "bb" * 32, "cc" * 32

checksums = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
counts = st.integers(0, 10**16)
words = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,8}", fullmatch=True)
refs = st.lists(st.from_regex(r"\w[\w.+-]{0,5}", fullmatch=True), min_size=1, max_size=3).map("/".join)
paths = st.lists(st.from_regex(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]{0,9}", fullmatch=True), min_size=1, max_size=4)
hops = st.builds(Hop, commit=checksums, codec=words, wire_bytes=counts, path=paths.map("/".join))


@st.composite
def layer_routes(draw: st.DrawFn) -> LayerRoute:
    """A layer that stays as it is, or hops that end at its target."""
    base, walked = draw(st.just("") | checksums), tuple(draw(st.lists(hops, max_size=3)))
    if not walked:
        base = base or draw(checksums)
    if draw(st.booleans()):
        return LayerRoute(base=base, target=draw(checksums), wire_bytes=draw(counts), hops=None)
    total_bytes = sum(hop.wire_bytes for hop in walked)
    return LayerRoute(base=base, target=walked[-1].commit if walked else base, wire_bytes=total_bytes, hops=walked)


@st.composite
def routes(draw: st.DrawFn) -> PublishedRoute:
    """A route that a planner could publish: a full pull, layers, or hops that end at the target with its bytes."""
    ref = draw(st.none() | refs)
    if draw(st.booleans()):
        return PublishedRoute(ref=ref, target=draw(checksums), wire_bytes=draw(counts), hops=None)
    if draw(st.booleans()):
        layers = tuple(draw(st.lists(layer_routes(), min_size=1, max_size=3)))
        taken = tuple(hop for layer in layers for hop in layer.hops or ())
        total_bytes = sum(layer.wire_bytes for layer in layers)
        return PublishedRoute(ref=ref, target=draw(checksums), wire_bytes=total_bytes, hops=taken, layers=layers)
    walked = tuple(draw(st.lists(hops, min_size=1, max_size=5)))
    total_bytes = sum(hop.wire_bytes for hop in walked)
    return PublishedRoute(ref=ref, target=walked[-1].commit, wire_bytes=total_bytes, hops=walked)


@settings(deadline=None)
@given(base=st.just("") | checksums, published=st.lists(routes(), max_size=5))
def test_what_is_formatted_is_parsed(base: str, published: list[PublishedRoute]) -> None:
    """Nothing is lost, longer routes to one target come first, and formatting again gives the same text."""
    text = format_index(base, published)
    read = parse_index(text, base)
    assert sorted(map(repr, read)) == sorted(map(repr, published))
    assert format_index(base, read) == text
    keys = [(route.ref or "-", route.target, -len(route.layers), -len(route.hops or ())) for route in read]
    assert keys == sorted(keys)


@settings(deadline=None)
@given(published=st.lists(routes(), max_size=4), data=st.data())
def test_the_order_of_routes_does_not_change_the_text(published: list[PublishedRoute], data: st.DataObject) -> None:
    """Publishing the same plan twice changes no byte, unless two routes tie in all that orders them."""
    keys = [
        (route.ref, route.target, len(route.layers), len(route.hops or ()), route.wire_bytes) for route in published
    ]
    if len(set(keys)) == len(keys):
        shuffled = data.draw(st.permutations(published))
        assert format_index(BASE, shuffled) == format_index(BASE, published)


@settings(deadline=None)
@given(published=st.lists(routes(), max_size=4), data=st.data())
def test_an_index_that_is_cut_off_is_refused(published: list[PublishedRoute], data: st.DataObject) -> None:
    """At whatever byte a download ends, nothing of it is used."""
    text = format_index(BASE, published)
    with pytest.raises(InputError):
        parse_index(text[: data.draw(st.integers(0, len(text) - 1))], BASE)


@settings(deadline=None)
@given(
    text=st.text() | st.lists(st.sampled_from(["route", "hop", "end", " ", "\n", BASE, "1", "-", "full"])).map("".join)
)
def test_no_text_crashes_the_parser(text: str) -> None:
    """Whatever a server sends is an index or an input error."""
    for index in (text, f"deltaplan-routes/1\nbase {BASE}\n{text}\nend\n"):
        with suppress(InputError):
            parse_index(index, BASE)


# -- every line --------------------------------------------------------------------------------------------------

GOOD = f"""deltaplan-routes/1
base {BASE}
route device/s1 {TARGET} 2 30
hop 1 {MIDDLE} zstd 10 deltas/bb/x.zstd
hop 2 {TARGET} zstd 20 deltas/cc/y.zstd
route - {TARGET} full 99
end
"""


def test_the_documented_index_is_read() -> None:
    """The format of the module's docstring, word for word."""
    first = Hop(commit=MIDDLE, codec="zstd", wire_bytes=10, path="deltas/bb/x.zstd")
    second = Hop(commit=TARGET, codec="zstd", wire_bytes=20, path="deltas/cc/y.zstd")
    assert parse_index(GOOD, BASE) == (
        PublishedRoute(ref="device/s1", target=TARGET, wire_bytes=30, hops=(first, second)),
        PublishedRoute(ref=None, target=TARGET, wire_bytes=99, hops=None),
    )


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        (1, "deltaplan-routes/2"),
        (1, ""),
        (1, "\ufeffdeltaplan-routes/1"),
        (1, f"base {MIDDLE}"),
        (1, "base empty"),
        (3, f"route device/s1 {TARGET} 2"),
        (3, f"route device/s1 {TARGET} 2 30 x"),
        (3, f"route  device/s1 {TARGET} 2 30"),
        (3, f"route\tdevice/s1 {TARGET} 2 30"),
        (3, f"route device/s1 {TARGET} 2 30\r"),
        (3, f"Route device/s1 {TARGET} 2 30"),
        (3, f"route ../s1 {TARGET} 2 30"),
        (3, f"route /s1 {TARGET} 2 30"),
        (3, f"route a//s1 {TARGET} 2 30"),
        (3, f"route -x {TARGET} 2 30"),
        (3, f"route device/s1\u2028 {TARGET} 2 30"),
        (3, f"route device/s1 {TARGET[:-1]} 2 30"),
        (3, f"route device/s1 {TARGET.upper()} 2 30"),
        (3, f"route device/s1 {MIDDLE} 2 30"),
        (3, f"route device/s1 {TARGET} 2 31"),
        (3, f"route device/s1 {TARGET} 2 -30"),
        (3, f"route device/s1 {TARGET} 2 030"),
        (3, f"route device/s1 {TARGET} 2 3e1"),
        (3, f"route device/s1 {TARGET} 2 ٣٠"),
        (3, f"route device/s1 {TARGET} 2 1{'0' * 30}"),
        (3, f"route device/s1 {TARGET} 0 0"),
        (3, f"route device/s1 {TARGET} {MAX_HOPS + 1} 30"),
        (3, f"route device/s1 {TARGET} {10**17} 30"),
        (4, f"route device/s1 {TARGET} 1 30"),
        (6, f"route device/s1 {TARGET} 3 30"),
        (4, f"hop 2 {MIDDLE} zstd 10 deltas/bb/x.zstd"),
        (4, f"hop 01 {MIDDLE} zstd 10 deltas/bb/x.zstd"),
        (4, f"hop 1 {MIDDLE} zstd 10"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/bb/x.zstd and more"),
        (4, f"hop 1 {'g' * 64} zstd 10 deltas/bb/x.zstd"),
        (4, f"hop 1 {MIDDLE} ../zstd 10 deltas/bb/x.zstd"),
        (4, f"hop 1 {MIDDLE} zstd -10 deltas/bb/x.zstd"),
        (4, f"hop 1 {MIDDLE} zstd 10 /etc/passwd"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/../../etc/passwd"),
        (4, f"hop 1 {MIDDLE} zstd 10 .."),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/bb/.."),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/./x"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas//x"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/x/"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/%2e%2e/x"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas\\..\\x"),
        (4, f"hop 1 {MIDDLE} zstd 10 http://elsewhere/x"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/x?y"),
        (4, f"hop 1 {MIDDLE} zstd 10 deltas/x\0y"),
        (5, f"hop 2 {MIDDLE} zstd 20 deltas/cc/y.zstd"),
        (6, "end"),
        (6, ""),
        (6, f"hop 3 {TARGET} zstd 20 deltas/cc/y.zstd"),
    ],
)
def test_a_bad_line_is_refused_and_named(line: int, bad: str) -> None:
    """The error names the line, or the route's line where the fault is in how its lines fit together."""
    lines = GOOD.split("\n")
    lines[line - 1] = bad
    with pytest.raises(InputError) as caught:
        parse_index("\n".join(lines), BASE)
    named = int(caught.value.path.removeprefix("routes:"))
    assert named in (line, 3)


LAYERED = f"""deltaplan-routes/1
base {BASE}
route device/s1 {TARGET} layers:2 30
layer 1 empty {MIDDLE} 1 10
hop 1 {MIDDLE} zstd 10 deltas/bb/x.zstd
layer 2 {BASE} {TARGET} full 20
end
"""


def test_a_route_by_layers_is_read() -> None:
    hop = Hop(commit=MIDDLE, codec="zstd", wire_bytes=10, path="deltas/bb/x.zstd")
    layers = (
        LayerRoute(base="", target=MIDDLE, wire_bytes=10, hops=(hop,)),
        LayerRoute(base=BASE, target=TARGET, wire_bytes=20, hops=None),
    )
    route = PublishedRoute(ref="device/s1", target=TARGET, wire_bytes=30, hops=(hop,), layers=layers)
    assert parse_index(LAYERED, BASE) == (route,)
    assert format_index(BASE, [route]) == LAYERED


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        (3, f"route device/s1 {TARGET} layers:0 30"),
        (3, f"route device/s1 {TARGET} layers:1 30"),
        (3, f"route device/s1 {TARGET} layers:3 30"),
        (3, f"route device/s1 {TARGET} layers:{MAX_LAYERS + 1} 30"),
        (3, f"route device/s1 {TARGET} layers: 30"),
        (3, f"route device/s1 {TARGET} layers:2 31"),
        (4, f"layer 2 empty {MIDDLE} 1 10"),
        (4, f"layer 1 - {MIDDLE} 1 10"),
        (4, f"layer 1 empty {MIDDLE} 1"),
        (4, f"layer 1 empty {TARGET} 1 10"),
        (4, f"layer 1 empty {MIDDLE} {MAX_HOPS + 1} 10"),
        (4, f"layer 1 empty {MIDDLE} 3 10"),
        (5, f"hop 1 {TARGET} zstd 10 deltas/bb/x.zstd"),
        (4, f"layer 1 empty {MIDDLE} 1 11"),
        (6, f"layer 2 empty {BASE} 0 0"),
        (6, f"layer 2 {BASE} {TARGET} full 21"),
        (6, "end"),
    ],
)
def test_a_bad_line_of_layers_is_refused(line: int, bad: str) -> None:
    lines = LAYERED.split("\n")
    lines[line - 1] = bad
    with pytest.raises(InputError):
        parse_index("\n".join(lines), BASE)


@pytest.mark.parametrize("change", [str.strip, lambda text: text + "\n", lambda text: text + "x", str.upper])
def test_an_index_ends_with_its_last_line(change: Callable[[str], str]) -> None:
    """A missing newline may be a cut-off, and nothing may follow the end."""
    with pytest.raises(InputError):
        parse_index(change(GOOD), BASE)


@pytest.mark.parametrize("base", ["", MIDDLE, "empty"])
def test_an_index_of_another_base_is_refused(base: str) -> None:
    """A route is good for one base only."""
    with pytest.raises(InputError, match="no route index of this base"):
        parse_index(GOOD, base)


def test_an_empty_route_leads_nowhere_else() -> None:
    """Zero hops are a route from a commit to itself, and to nothing else."""
    here = PublishedRoute(ref=None, target=BASE, wire_bytes=0, hops=())
    assert parse_index(format_index(BASE, [here]), BASE) == (here,)
    with pytest.raises(InputError, match="does not end at its target"):
        parse_index(format_index(MIDDLE, [here]), MIDDLE)


def test_index_files_are_named_by_their_base() -> None:
    """A script can find the file from the commit alone."""
    assert index_path(BASE) == f"extensions/deltaplan/routes/{BASE}"
    assert index_path("") == "extensions/deltaplan/routes/empty"
