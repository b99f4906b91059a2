"""Signatures of superblocks, for deltas that travel as files: stock clients check them before they apply anything.

A signature is ed25519 over the superblock's bytes. A secret key is, as for `ostree sign`, base64 of 64 bytes: the seed
and its public key. No error shows a key.

Source: libostree, `ostree-repo-static-delta-compilation.c` (end of ostree_repo_static_delta_generate),
`ostree-sign-ed25519.c`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from planner.delta.make import Delta
from planner.delta.superblock import write_signed
from planner.errors import InputError

ED25519 = "ed25519"
"""The one type of signature that is made here, and the stock tool's default."""

_SEED_BYTES, _KEY_BYTES = 32, 64


def read_keys(keys: Sequence[str], keys_file: Path | None, sign_type: str = ED25519) -> list[Ed25519PrivateKey]:
    """The secret keys of the arguments, then those of a file that has one in each line.

    Raises:
        InputError: signatures of this type are not made here, the file cannot be read, or one is no key.
    """
    if sign_type != ED25519:
        raise InputError("signatures of this type are not made here", path="sign-type", got=sign_type, known=ED25519)
    named = [(f"sign[{place}]", key) for place, key in enumerate(keys)]
    if keys_file is not None:
        named += [(f"{keys_file}:{number}", line) for number, line in enumerate(_read_lines(keys_file), start=1)]
    if not named:
        raise InputError("holds no key", path=str(keys_file))
    return [_read_key(key, where) for where, key in named]


def sign_delta(delta: Delta, keys: Sequence[Ed25519PrivateKey]) -> Delta:
    """The delta with a superblock that each of the keys has signed. Deterministic, as ed25519 is."""
    signatures = [key.sign(delta.superblock) for key in keys]
    return replace(delta, superblock=write_signed(delta.superblock, {ED25519: signatures}))


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read as a file of keys", path=str(path), cause=type(error).__name__) from error


def _read_key(text: str, where: str) -> Ed25519PrivateKey:
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        data = b""
    if len(data) != _KEY_BYTES:
        raise InputError("is no ed25519 secret key: base64 of a seed and its public key, 64 bytes", path=where)
    key = Ed25519PrivateKey.from_private_bytes(data[:_SEED_BYTES])
    # Signatures made with another's public key would be wrong under both; the stock tool makes them all the same.
    if key.public_key().public_bytes_raw() != data[_SEED_BYTES:]:
        raise InputError("is no ed25519 secret key: its public key is not its seed's", path=where)
    return key
