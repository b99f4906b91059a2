"""Key files: what is made is read, what others could read is refused, and no error shows a key."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from planner.errors import InputError
from planner.publish.keys import make_keys, read_public_keys, read_signing_key
from planner.publish.signatures import SigningKey, key_id, sign, verify

SEED = bytes(range(32))
TEXT = base64.b64encode(SEED).decode()
PEM = Encoding.PEM, PrivateFormat.PKCS8


def _write(path: Path, data: bytes | str, mode: int = 0o600) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def test_a_new_pair_signs_and_is_believed(tmp_path: Path) -> None:
    """The private file is its owner's alone, and the public one says nothing of it."""
    made = make_keys(tmp_path / "key")
    private, public = Path(made.private), Path(made.public)
    assert (private, public) == (tmp_path / "key", tmp_path / "key.pub")
    assert private.stat().st_mode & 0o777 == 0o600
    assert verify(sign(b"x\n", read_signing_key(private)), read_public_keys([public])) == b"x\n"
    assert key_id(read_public_keys([public])[0]) == made.key_id
    assert make_keys(tmp_path / "other").key_id != made.key_id


@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_a_key_that_is_there_is_never_replaced(tmp_path: Path, name: str) -> None:
    """And nothing is left of the new pair."""
    _write(tmp_path / name, "mine")
    with pytest.raises(InputError, match="cannot be written"):
        make_keys(tmp_path / "key")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_a_seed_and_pem_are_the_same_key(tmp_path: Path) -> None:
    key = SigningKey.from_private_bytes(SEED)
    for number, data in enumerate((TEXT, TEXT + "\n", key.private_bytes(*PEM, NoEncryption()))):
        read = read_signing_key(_write(tmp_path / str(number), data))
        assert read.private_bytes_raw() == SEED


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_openssls_key_is_read(tmp_path: Path) -> None:
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
    read_signing_key(_write(tmp_path / "key", made))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_a_key_that_others_could_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InputError, match="by others"):
        read_signing_key(_write(tmp_path / "key", TEXT, mode))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_signing_key(_write(tmp_path / "key", TEXT, mode)).private_bytes_raw() == SEED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT[:-4].encode(),
        f"{TEXT}\n{TEXT}\n".encode(),
        base64.b64encode(SEED * 2),
        b"\xff" * 44,
        b"-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n",
        SigningKey.from_private_bytes(SEED).private_bytes(*PEM, BestAvailableEncryption(b"password")),
        X25519PrivateKey.from_private_bytes(SEED).private_bytes(*PEM, NoEncryption()),
    ],
)
def test_what_is_no_private_key_is_refused_and_not_shown(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_signing_key(_write(tmp_path / "key", data))
    assert str(tmp_path / "key") in str(caught.value)
    assert TEXT[:12] not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError):
            read_signing_key(path)
        with pytest.raises(InputError):
            read_public_keys([path])


def test_public_keys_of_several_files_are_read_in_order(tmp_path: Path) -> None:
    """One a line, with comments."""
    keys = [SigningKey.from_private_bytes(bytes([number]) * 32).public_key() for number in range(3)]
    lines = [base64.b64encode(key.public_bytes_raw()).decode() for key in keys]
    _write(tmp_path / "a", f"# of last year\n{lines[0]}\n\n{lines[1]}\n")
    _write(tmp_path / "b", lines[2], 0o644)
    read = read_public_keys([tmp_path / "a", tmp_path / "b"])
    assert [key.public_bytes_raw() for key in read] == [key.public_bytes_raw() for key in keys]


@pytest.mark.parametrize("text", ["", "\n", "# none\n", "x\n", f"{TEXT}\nx\n", f"{TEXT} {TEXT}\n"])
def test_a_file_without_a_key_or_with_a_bad_line_is_refused(tmp_path: Path, text: str) -> None:
    """A client that is to check signatures must not end up checking none."""
    with pytest.raises(InputError):
        read_public_keys([_write(tmp_path / "keys", text)])
