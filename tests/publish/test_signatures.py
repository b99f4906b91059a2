"""Signatures: what was signed is believed, what was changed is not, and who has no key passes over them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from planner.publish.heads import find_head, format_heads
from planner.publish.routes import format_index, parse_index
from planner.publish.signatures import PublicKey, SigningKey, is_signature, key_id, sign, unsigned, verify

KEY, OTHER = (SigningKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
PUBLIC, OTHER_PUBLIC = KEY.public_key(), OTHER.public_key()
BASE, HEAD = "aa" * 32, "bb" * 32
INDEX = format_index(BASE, []).encode()

texts = st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=5).map(
    lambda lines: b"".join(line + b"\n" for line in lines)
)


def test_the_line_is_as_documented() -> None:
    """The first vector of RFC 8032 (section 7.1), whose text is empty; and the key's name is of its public bytes."""
    key = SigningKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    value = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b"
    )
    line = f"signature ed25519 21fe31dfa154a261 {base64.b64encode(value).decode()}\n"
    assert sign(b"", key) == line.encode()
    assert key_id(key.public_key()) == "21fe31dfa154a261"
    assert is_signature(line[:-1])


@given(body=texts)
def test_what_is_signed_is_believed_and_passed_over(body: bytes) -> None:
    """The same bytes each time, under any of several keys."""
    signed = sign(body, KEY)
    assert signed == sign(body, KEY)
    assert verify(signed, [OTHER_PUBLIC, PUBLIC]) == unsigned(signed) == body


@given(body=texts, data=st.data())
def test_no_changed_byte_is_believed(body: bytes, data: st.DataObject) -> None:
    """In the text, the key's name or the signature; but for the two bits of base64 that stand for nothing."""
    signed = bytearray(sign(body, KEY))
    place, value = data.draw(st.integers(0, len(signed) - 1)), data.draw(st.integers(1, 255))
    signed[place] ^= value
    try:
        assert verify(bytes(signed), [PUBLIC]) == body
    except InputError:
        return
    assert place == len(signed) - 4


@given(body=texts, data=st.data())
def test_a_text_that_is_cut_off_is_not_believed(body: bytes, data: st.DataObject) -> None:
    signed = sign(body, KEY)
    with pytest.raises(InputError):
        verify(signed[: data.draw(st.integers(0, len(signed) - 1))], [PUBLIC])


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (INDEX, "not signed"),
        (b"", "not signed"),
        (sign(INDEX, KEY) + b"more\n", "not signed"),
        (sign(INDEX, KEY) + b"\n", "not signed"),
        (sign(INDEX, KEY)[:-1], "not signed"),
        (sign(INDEX, KEY).replace(b"ed25519", b"ed25518"), "not signed"),
        (sign(INDEX, OTHER), "not trusted"),
        (INDEX + sign(b"", KEY), "not of this text"),
        (sign(INDEX, OTHER).replace(key_id(OTHER_PUBLIC).encode(), key_id(PUBLIC).encode()), "not of this text"),
    ],
)
def test_what_is_not_believed_is_told_why(signed: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        verify(signed, [PUBLIC])


def test_without_a_trusted_key_nothing_is_believed() -> None:
    with pytest.raises(InputError, match="not trusted"):
        verify(sign(INDEX, KEY), [])


def test_a_text_that_ends_within_a_line_is_not_signed() -> None:
    """The signature would be a part of that line, and no reader would find it."""
    with pytest.raises(InputError, match="within a line"):
        sign(b"no end", KEY)


def test_a_public_key_that_is_no_point_is_not_believed() -> None:
    """Clients are given such keys by mistake: nothing is signed with them."""
    zeros = PublicKey.from_public_bytes(b"\xff" * 32)
    forged = sign(INDEX, KEY).replace(key_id(PUBLIC).encode(), key_id(zeros).encode())
    with pytest.raises(InputError):
        verify(forged, [zeros])


# -- readers without keys ------------------------------------------------------------------------------------------


def test_an_index_is_read_with_its_signature() -> None:
    assert parse_index(sign(INDEX, KEY).decode(), BASE) == parse_index(INDEX.decode(), BASE) == ()


@pytest.mark.parametrize(
    "behind",
    [
        "x\n",
        "\n",
        "end\n",
        "signature\n",
        "signature ed25519 x y\n",
        sign(b"", KEY).decode()[:-1],
        sign(b"", KEY).decode() + "\n",
        sign(b"", KEY).decode() * 2,
        " " + sign(b"", KEY).decode(),
        sign(b"", KEY).decode().replace("\n", "\r\n"),
        sign(b"", KEY).decode() + "end\n",
    ],
)
def test_nothing_else_may_follow_an_index(behind: str) -> None:
    with pytest.raises(InputError):
        parse_index(INDEX.decode() + behind, BASE)


def test_a_signature_does_not_stand_for_the_end() -> None:
    with pytest.raises(InputError, match="cut off"):
        parse_index(sign(INDEX.removesuffix(b"end\n"), KEY).decode(), BASE)


REFS = {"signature": HEAD, "signature/ed25519": BASE, "zz": BASE}


def test_a_ref_that_is_called_like_a_signature_is_a_ref() -> None:
    """Signed or not: what follows a ref is a commit, and what follows the word is not."""
    plain = format_heads({"signature": HEAD})
    assert unsigned(plain) == plain
    for data in (format_heads(REFS), sign(format_heads(REFS), KEY)):
        assert {ref: find_head(data, ref) for ref in REFS} == REFS
    signed = sign(format_heads({"main": HEAD}), KEY)
    assert [find_head(signed, ref) for ref in ("signature", "ed25519", "signature ed25519")] == [None] * 3
