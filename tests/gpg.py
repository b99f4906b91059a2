"""Keys of GnuPG that are made for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_key(home: Path) -> str:
    """A new key pair without a passphrase; its fingerprint. The public half is in the file `key` beside the folder."""
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet")
    owner = f"{home.name}@example.org"
    subprocess.run([*gpg, "--passphrase", "", "--quick-generate-key", owner, "ed25519", "sign"], check=True)
    listed = subprocess.run([*gpg, "--with-colons", "--list-keys", owner], check=True, capture_output=True, text=True)
    subprocess.run([*gpg, "--output", str(home) + ".key", "--export", owner], check=True)
    return next(line.split(":")[9] for line in listed.stdout.splitlines() if line.startswith("fpr:"))
