"""Members of tars as real writers make them, and those that no client may unpack."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from planner.images.tars import check_members, list_members, walk_tar
from tests.images.worlds import make_member, make_tar

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/."), min_size=1, max_size=150)
_FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@given(st.lists(st.tuples(_NAMES, st.binary(max_size=1500)), max_size=6), _FORMATS)
def test_members_are_those_that_the_standard_library_reads(files: list[tuple[str, bytes]], form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = buffer.getvalue()
    found = [(one.name, data[one.content_at :][: one.content_bytes]) for one in walk_tar(data, "t")]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]
    assert found == expected


def test_headers_of_a_member_begin_with_its_pax_header() -> None:
    data = make_tar({"a": b"1", "b" * 200: b"2"})
    first, second = walk_tar(data, "t")
    assert (first.header_at, second.header_at) == (0, 1024)
    assert second.content_at - second.header_at == 3 * 512


def test_contents_of_links_are_nothing_whatever_their_size_says() -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname, member.size = tarfile.LNKTYPE, "a", 700
    data = make_tar({"a": b"x"})[:1024] + member.tobuf() + make_tar({"b": b"y"})
    assert [one.name for one in walk_tar(data, "t")] == ["a", "link", "b"]


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (make_member("../etc/passwd"), "has a piece '..'"),
        (make_member("a/../../b"), "has a piece '..'"),
        (make_member("/etc/passwd"), "is absolute"),
        (make_member("a", tarfile.LNKTYPE, "../b"), "hard link's target has a piece '..'"),
        (make_member("a", tarfile.LNKTYPE, "/etc/shadow"), "hard link's target is absolute"),
        (make_member("a/b", tarfile.SYMTYPE, "../../etc"), "link leads out of the image"),
        (make_member("a", tarfile.SYMTYPE, "/../etc"), "link leads out of the image"),
        (make_member("x" * 120 + "/../../y"), "has a piece '..'"),
        (make_tar({"a": b"x" * 2000})[:1024], "cut off"),
        (make_tar({"a": b""})[:100], "cut off"),
        (b"no tar at all" * 100, "is no tar"),
    ],
)
def test_what_no_client_may_unpack_is_refused(tar: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_members(tar, "layer")


def test_pax_names_count_like_others() -> None:
    member = tarfile.TarInfo("a")
    member.pax_headers = {"path": "../a"}
    tar = member.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    with pytest.raises(InputError, match="piece"):
        check_members(tar, "layer")


def test_a_global_header_that_renames_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "x"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    with pytest.raises(InputError, match="global pax header"):
        check_members(buffer.getvalue(), "layer")


@pytest.mark.parametrize("link", ["/usr/bin/vi", "../lib/a", "a", "/"])
def test_links_within_the_image_pass(link: str) -> None:
    check_members(make_tar({}, links={"etc/alternatives": link}), "layer")


@given(st.binary(max_size=3000), st.integers(0, 2047), st.integers(0, 255))
def test_any_bytes_are_members_or_a_clear_error(data: bytes, at: int, byte: int) -> None:
    tar = bytearray(make_tar({"a": b"x" * 700}))
    tar[at] = byte
    for one in (data, bytes(tar)):
        list_members(one)
