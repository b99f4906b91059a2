"""Signed superblocks: the wrapper and the signatures are the stock tool's, and it checks ours before it applies them.

Many builds of the stock tool cannot make or check ed25519 (Debian's 2022.7 and 2025.2): with these, the wrapper is
tested with its `dummy` signatures, which are the key itself, and ed25519 against what another build of 2022.7 wrote.
"""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from planner.build import native_delta
from planner.build.signing import read_keys, sign_delta
from planner.delta.make import Delta, Settings, make_delta
from planner.delta.superblock import SIGNED_TYPE, ByteOrder, read_superblock, write_signed, write_superblock
from planner.errors import InputError, RepositoryError
from planner.history.gvariant import parse
from planner.history.objects import ObjectSets
from tests.delta.test_reading import generate
from tests.delta.worlds import World, copy_with, make_world, run_ostree

SIGNED_BY_STOCK = base64.b64decode(
    "T1NUU0dORFRvc3RyZWUuZW5kaWFubmVzcwAAAAAAAABsAHkSHAAAAAAAAABrBG4AfEfMGd2uXwKtBZBDoklRmHKcXIhAggwPGjua0pCGDmhvc3"
    "RyZWUucmVmLWJpbmRpbmcAAAAAAABtAAIAYXMTHwAAAAAAAAAAAAAAAGWSAIAolxEVvVK87p0U4oVOwGHygFJOCs5RrBxty9mhzY6YDERqDvEb"
    "fMFn87YD5YXH7u62dfqkEtXsc/YpiOsLbFSIUCIhICAgAAAAAAAAoi7lllwPAesHXbZZy39LHyVIU9dUYDcsE+Gd0Az7G/sAAAAAhQAAAAAAAA"
    "A0AAAAAAAAAANEag7xG3zBZ/O2A+WFx+7utnX6pBLV7HP2KYjrC2xUiAIolxEVvVK87p0U4oVOwGHygFJOCs5RrBxty9mhzY6YDAH79893obUN"
    "nwdMtunvbdtltlMuqJ5PTKGwegW0zRviWSScAAAAXQG+AL4ASAAoAB0AAAAAAG9zdHJlZS5zaWduLmVkMjU1MTkAAAAAAOC7GjVrkcmv5r9FU5"
    "iaIL1gBX+GA+XU/s6YK7neoKySVDF9XudFp1EOXPp+7z0fJdnY9qmdivNK/kUN5yb+vw5xYGb5bcR9/JVBMMCN80VJNRE28G8Yrrhw8AIYaUcz"
    "hiAkFprGG4B6KHbsAeunaLzBtTyG3zXrGGc96kuGlzcJQIAAYWF5FJ90AQ=="
)
"""A from-empty delta signed by 2022.7 with ed25519: `--sign` with the first key, `--keys-file` with the second."""

SEEDS = (bytes(range(32)), bytes(32))


def public_bytes(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def as_text(key: bytes) -> str:
    return base64.b64encode(key).decode()


SECRET = tuple(as_text(seed + public_bytes(seed)) for seed in SEEDS)
PUBLIC = tuple(as_text(public_bytes(seed)) for seed in SEEDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), "archive")


@pytest.fixture(autouse=True)
def _dummy_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTREE_DUMMY_SIGN_ENABLED", "1")


def make(world: World, **settings: object) -> Delta:
    objects = ObjectSets(world.repository.read_history())
    return make_delta(world.repository, objects, *world.commits[:2], Settings(**settings))  # type: ignore[arg-type]


def unwrap(data: bytes) -> tuple[bytes, dict[str, list[bytes]]]:
    _, superblock, signatures = parse(SIGNED_TYPE, data)
    return superblock, signatures


def stock(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ostree", *map(str, arguments)], check=False, capture_output=True, text=True)


def test_signatures_are_those_of_the_stock_tool(tmp_path: Path) -> None:
    """Ed25519 has one signature for a key and a message, so two programs that do the same write the same bytes."""
    (tmp_path / "keys").write_text(f"{SECRET[1]}\n")
    superblock, _ = unwrap(SIGNED_BY_STOCK)
    keys = read_keys(SECRET[:1], tmp_path / "keys")
    assert sign_delta(Delta(superblock=superblock, parts=()), keys).superblock == SIGNED_BY_STOCK


@pytest.mark.parametrize("options", [(), ("--swap-endianness",), ("--inline",)], ids=str)
def test_the_wrapper_is_that_of_the_stock_tool(world: World, tmp_path: Path, options: tuple[str, ...]) -> None:
    signed = ("--sign-type=dummy", "--sign=one", "--sign=two")
    path = generate(world, *world.commits[:2], tmp_path, "--min-fallback-size=0", *signed, *options)
    superblock, signatures = unwrap(path.read_bytes())
    assert signatures == {"ostree.sign.dummy": [b"one", b"two"]}
    assert write_signed(superblock, {"dummy": [b"one", b"two"]}) == path.read_bytes()
    assert read_superblock(path.read_bytes()) == read_superblock(superblock)


@pytest.mark.parametrize(
    "settings", [{}, {"byte_order": ByteOrder.BIG, "is_inline": True}], ids=["usual", "big inline"]
)
def test_stock_checks_our_wrapper_and_applies_what_is_in_it(
    world: World, tmp_path: Path, settings: dict[str, object]
) -> None:
    made = make(world, **settings)
    signed = write_signed(made.superblock, {"dummy": [b"one"]})
    native_delta.write_beside(Delta(superblock=signed, parts=made.parts), tmp_path / "superblock")
    apply_it(world, tmp_path, ("--sign-type=dummy",), good="one", bad="other")


@pytest.mark.parametrize("count", [1, 2])
def test_stock_checks_our_ed25519(world: World, tmp_path: Path, count: int) -> None:
    """Where it was built with it; else it says that it was not, and another implementation checks."""
    made = make(world)
    signed = sign_delta(made, read_keys(SECRET[:count], None))
    native_delta.write_beside(signed, tmp_path / "superblock")
    superblock, signatures = unwrap(signed.superblock)
    assert superblock == made.superblock
    assert list(signatures) == ["ostree.sign.ed25519"]
    for seed, signature in zip(SEEDS, signatures["ostree.sign.ed25519"], strict=False):
        public = Ed25519PublicKey.from_public_bytes(public_bytes(seed))
        public.verify(signature, made.superblock)
        with pytest.raises(InvalidSignature):
            public.verify(signature, made.superblock[:-1])
    if "sign-ed25519" in run_ostree("--version"):
        apply_it(world, tmp_path, ("--sign-type=ed25519",), good=PUBLIC[count - 1], bad=as_text(bytes(31) + b"\1"))
        (tmp_path / "trusted").write_text(PUBLIC[count - 1] + "\n")
        verify = ("static-delta", "verify", f"--repo={world.path}", f"--keys-file={tmp_path / 'trusted'}")
        assert "OK" in run_ostree(*verify, tmp_path / "superblock")
        (tmp_path / "changed").write_bytes(signed.superblock.replace(made.superblock, made.superblock[:-1] + b"\xff"))
        assert "couldn't be verified" in stock(*verify, tmp_path / "changed").stderr
    else:
        refused = stock("static-delta", "verify", f"--repo={world.path}", tmp_path / "superblock", PUBLIC[0])
        assert "Requested signature type is not implemented" in refused.stderr


def apply_it(world: World, folder: Path, options: tuple[str, ...], *, good: str, bad: str) -> None:
    """The stock tool verifies and applies the delta in the folder with a good key, and refuses both with a bad one."""
    base, target = world.commits[:2]
    path = folder / "superblock"
    client = copy_with(world, (base,), folder)
    for verb in ("verify", "apply-offline"):
        refused = stock("static-delta", verb, f"--repo={client}", *options, path, bad)
        assert refused.returncode != 0
    assert "OK" in run_ostree("static-delta", "verify", f"--repo={client}", *options, path, good)
    run_ostree("static-delta", "apply-offline", f"--repo={client}", *options, path, good)
    run_ostree("fsck", "--quiet", f"--repo={client}")
    assert run_ostree("ls", "-RCX", f"--repo={client}", target) == run_ostree(
        "ls", "-RCX", f"--repo={world.path}", target
    )


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "is no ed25519 secret key"),
        ("no base64!", "is no ed25519 secret key"),
        ("schlüssel", "is no ed25519 secret key"),
        (as_text(SEEDS[0]), "is no ed25519 secret key"),
        (SECRET[0] + "AAAA", "is no ed25519 secret key"),
        (as_text(SEEDS[0] + public_bytes(SEEDS[1])), "its public key is not its seed's"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(key: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_keys([SECRET[0], key], None)
    assert caught.value.path == "sign[1]"
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "holds no key"), (b"\n", "keys:1: is no"), (b"\xff", "cannot be read")]
)
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_keys([], tmp_path / "keys")


def test_other_signatures_are_not_made_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not made here"):
        read_keys(SECRET, None, "dummy")
    with pytest.raises(InputError, match="cannot be read"):
        read_keys([], tmp_path / "missing")


def test_a_wrapper_of_a_wrapper_or_of_nothing_is_refused() -> None:
    """One is taken off; what is inside has to be a superblock."""
    for inside in (b"", SIGNED_BY_STOCK):
        with pytest.raises(RepositoryError, match="is no superblock"):
            read_superblock(write_signed(inside, {}))


@pytest.mark.parametrize("order", ByteOrder)
def test_every_flipped_bit_and_every_cut_is_refused_or_says_something_else(order: ByteOrder) -> None:
    """But for the signatures, which are not checked here: there is one way to write what a superblock says."""
    superblock = read_superblock(SIGNED_BY_STOCK)
    inside = write_superblock(replace(superblock, byte_order=order))
    intact = write_signed(inside, unwrap(SIGNED_BY_STOCK)[1])
    assert read_superblock(intact) == replace(superblock, byte_order=order)
    for place in range(len(intact)):
        with pytest.raises(RepositoryError):
            read_superblock(intact[:place])
        for bit in range(8):
            changed = bytearray(intact)
            changed[place] ^= 1 << bit
            try:
                found = read_superblock(bytes(changed))
            except RepositoryError:
                continue
            is_inside = 8 <= place < 8 + len(inside)
            assert (found != replace(superblock, byte_order=order)) == is_inside
