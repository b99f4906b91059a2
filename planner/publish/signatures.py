"""Signatures of the route index and of a store's summary: one line behind the text, in the same file.

    signature ed25519 3f0c5d... MEUCIQ...=        which key, and base64 of 64 bytes over every byte before this line

A second file could be of another night than the first; one file cannot. The key is named by the first 16 hex digits of
its public bytes' sha256, so that clients can hold the next key before the server changes to it. Readers without keys
pass over the line. No line of a summary looks like it: a ref is followed by a commit, not by a word and two more.

Source: RFC 8032 (Ed25519); a signature is a function of the key and the text alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from planner.errors import InputError

SigningKey = Ed25519PrivateKey
PublicKey = Ed25519PublicKey

_LINE = re.compile(r"signature ed25519 ([0-9a-f]{16}) ([A-Za-z0-9+/]{86}==)")


def key_id(key: PublicKey) -> str:
    """What signatures call a key: 16 hex digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def is_signature(line: str) -> bool:
    """Whether a line, without its end, has a signature's form."""
    return _LINE.fullmatch(line) is not None


def sign(data: bytes, key: SigningKey) -> bytes:
    """The text and its signature; the same every time.

    Raises:
        InputError: the text ends within a line, so that the signature would be a part of it.
    """
    if data and not data.endswith(b"\n"):
        raise InputError("ends within a line and cannot be signed")
    value = base64.b64encode(key.sign(data)).decode()
    return data + f"signature ed25519 {key_id(key.public_key())} {value}\n".encode()


def sign_with(data: bytes, key: SigningKey | None) -> bytes:
    """The text, signed where there is a key."""
    return data if key is None else sign(data, key)


def unsigned(data: bytes) -> bytes:
    """The text without its signature, which is not checked; the text itself where there is none."""
    return _split(data)[0]


def verify(data: bytes, keys: Sequence[PublicKey]) -> bytes:
    """The text before the signature, which one of the keys has made.

    Raises:
        InputError: there is no signature, it is by another key, or it is of another text.
    """
    body, name, value = _split(data)
    if name is None:
        raise InputError("is not signed")
    known = [key for key in keys if key_id(key) == name]
    if not known:
        raise InputError("is signed with a key that is not trusted", key=name, trusted=[key_id(key) for key in keys])
    for key in known:
        try:
            key.verify(value, body)
        except InvalidSignature:
            continue
        return body
    raise InputError("has a signature that is not of this text", key=name)


def _split(data: bytes) -> tuple[bytes, str | None, bytes]:
    """The text, the key's name and the signature's bytes; the last two are for a text that has one."""
    start = data.rfind(b"\n", 0, max(len(data) - 1, 0)) + 1
    line = data[start:]
    found = _LINE.fullmatch(line[:-1].decode("ascii", "replace")) if line.endswith(b"\n") else None
    if found is None:
        return data, None, b""
    return data[:start], found[1], base64.b64decode(found[2])
