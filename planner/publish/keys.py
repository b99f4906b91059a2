"""Files of keys: one private key for the server, any number of public keys for a client.

A private key is PEM (PKCS8, as `openssl genpkey -algorithm ed25519` writes it) or base64 of its 32-byte seed, in a file
that nobody but its owner can read. Public keys are base64 of 32 bytes, one a line, as `ostree` has them, too; lines
that begin with `#` are comments. No error shows a key.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from planner.errors import InputError
from planner.history.files import read_bounded
from planner.publish.signatures import PublicKey, SigningKey, key_id

PUBLIC_ENDING = ".pub"
"""Added to a private key's file name for the public one beside it."""

_MAX_FILE_BYTES = 100_000
_RAW_BYTES = 32
_PEM = b"-----BEGIN "


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """A new pair of keys: its two files, and what signatures call it."""

    private: str
    public: str
    key_id: str


def make_keys(path: Path) -> KeyFiles:
    """Make a private key at `path` and its public one beside it, both new.

    Raises:
        InputError: one of the two files is there already, or cannot be written; nothing was left.
    """
    key = SigningKey.generate()
    public = path.with_name(path.name + PUBLIC_ENDING)
    _write_new(public, base64.b64encode(key.public_key().public_bytes_raw()) + b"\n", 0o644)
    try:
        _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    except BaseException:
        public.unlink()
        raise
    return KeyFiles(private=str(path), public=str(public), key_id=key_id(key.public_key()))


def read_signing_key(path: Path) -> SigningKey:
    """The private key in a file.

    Raises:
        InputError: it cannot be read, others than its owner may read it, or it holds no ed25519 key.
    """
    data = _read_secret(path)
    if not data.startswith(_PEM):
        return SigningKey.from_private_bytes(_decode(data.decode("ascii", "replace"), str(path)))
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise InputError("is encrypted: a night has nobody to ask for the password", path=str(path)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("is no private key", path=str(path)) from error
    if not isinstance(key, SigningKey):
        raise InputError("is no ed25519 key", path=str(path), got=type(key).__name__)
    return key


def read_public_keys(paths: Iterable[Path]) -> tuple[PublicKey, ...]:
    """The public keys in some files, in order.

    Raises:
        InputError: a file cannot be read, has a line that is no key, or has none at all.
    """
    return tuple(key for path in paths for key in _read_public(path))


def _read_public(path: Path) -> list[PublicKey]:
    try:
        lines = read_bounded(path, _MAX_FILE_BYTES).decode("ascii", "replace").splitlines()
    except OSError as error:
        raise InputError("cannot be read", path=str(path), reason=error.strerror) from error
    named = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    keys = [
        PublicKey.from_public_bytes(_decode(line, f"{path}:{number}"))
        for number, line in named
        if line and not line.startswith("#")
    ]
    if not keys:
        # A client that was told to check signatures must not end up checking none.
        raise InputError("holds no key", path=str(path))
    return keys


def _read_secret(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError("cannot be read", path=str(path), reason=error.strerror) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise InputError("is not a regular file", path=str(path))
        # Who reads it can send the fleet anywhere that the server could.
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InputError("can be read by others: chmod 600", path=str(path), mode=oct(stat.S_IMODE(mode)))
        return os.read(descriptor, _MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def _decode(text: str, where: str) -> bytes:
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        data = b""
    if len(data) != _RAW_BYTES:
        raise InputError("is no ed25519 key: base64 of 32 bytes", path=where)
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise InputError("cannot be written", path=str(path), reason=error.strerror) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
