"""`deltaplan keys`."""

from __future__ import annotations

import json
from pathlib import Path

from planner.publish.keys import read_public_keys, read_signing_key
from tests.cli.test_cli import deltaplan


def test_new_keys_fit_each_other(tmp_path: Path) -> None:
    """Both files, their name, and nothing of the secret on the terminal; a second time they are in the way."""
    done = deltaplan("keys", "new", tmp_path / "key", "--json")
    made = json.loads(done.stdout)
    assert made.keys() == {"private", "public", "key_id"}
    key = read_signing_key(Path(made["private"]))
    assert [one.public_bytes_raw() for one in read_public_keys([Path(made["public"])])] == [
        key.public_key().public_bytes_raw()
    ]
    secret = (tmp_path / "key").read_text().splitlines()[1]
    assert secret not in done.stdout + done.stderr
    again = deltaplan("keys", "new", tmp_path / "key")
    assert again.returncode == 3
    assert "cannot be written" in again.stderr
    assert secret in (tmp_path / "key").read_text()
