"""The format alone: what is written is read back, and whatever else is read is refused with an error of ours."""

from __future__ import annotations

import hashlib
import lzma
import random
import stat
import struct
import tracemalloc
from pathlib import Path

import bsdiff4.core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.delta.apply import apply_part
from planner.delta.blocks import Block, pack_block
from planner.delta.bspatch import apply_patch, write_patch
from planner.delta.operations import (
    Close,
    Open,
    Operation,
    Patch,
    ReadFrom,
    ReadNothing,
    SpliceFile,
    SpliceMeta,
    Write,
    read_operations,
    write_operations,
)
from planner.delta.parts import Part, read_part, write_part
from planner.delta.superblock import ByteOrder, Fallback, PartHeader, Superblock, read_superblock, write_superblock
from planner.errors import RepositoryError
from planner.history.gvariant_write import serialise
from planner.history.ostree_objects import COMMIT_TYPE, FileHeader, file_checksum
from planner.history.records import ObjectKind, ObjectName
from tests.delta.test_reading import generate
from tests.delta.worlds import World, make_world

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 20}]
COMMIT = serialise(COMMIT_TYPE, ({}, b"", [], "subject", "body", 5, b"t" * 32, b"m" * 32))


def pack_piece(content: bytes | memoryview) -> Block:
    return pack_block(content, FILTERS)


numbers = st.integers(0, 2**64 - 1)
checksums = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = st.builds(ObjectName, st.sampled_from(list(ObjectKind)), checksums)
files = [
    st.builds(SpliceFile, numbers, numbers, numbers, numbers),
    st.tuples(st.builds(Open, numbers, numbers, numbers), st.builds(Close)),
    st.builds(SpliceMeta, numbers, numbers),
]
between = st.one_of(
    st.builds(Write, numbers, numbers),
    st.builds(ReadFrom, numbers),
    st.builds(ReadNothing),
    st.builds(Patch, numbers, numbers),
)


@given(st.lists(st.one_of(*files, between)))
def test_operations_are_read_back(rows: list[Operation | tuple[Operation, ...]]) -> None:
    flat = [one for row in rows for one in (row if isinstance(row, tuple) else (row,))]
    is_meta = [isinstance(one, SpliceMeta) for one in flat if isinstance(one, SpliceMeta | SpliceFile | Open)]
    assert list(read_operations(write_operations(flat), is_meta)) == flat


@given(st.binary(max_size=40), st.integers(0, 5))
def test_noise_is_operations_or_refused(data: bytes, count: int) -> None:
    try:
        found = list(read_operations(data, [False] * count))
    except RepositoryError:
        return
    assert all(type(one) is not SpliceMeta for one in found)


parts = st.builds(
    Part,
    modes=st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), max_size=3).map(tuple),
    xattrs=st.lists(
        st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=300)), max_size=2).map(tuple), max_size=3
    ).map(tuple),
    payload=st.binary(max_size=400),
    operations=st.binary(max_size=50),
)


@given(parts, st.booleans())
def test_parts_are_read_back(part: Part, is_packed: bool) -> None:
    assert read_part(write_part(part, pack_piece if is_packed else None)) == part


superblocks = st.builds(
    Superblock,
    base=st.one_of(st.just(""), checksums),
    target=checksums,
    timestamp=numbers,
    commit=st.just(COMMIT),
    parts=st.lists(
        st.builds(
            PartHeader,
            checksum=checksums,
            file_bytes=numbers,
            object_bytes=numbers,
            objects=st.lists(names, max_size=4).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    fallbacks=st.lists(st.builds(Fallback, name=names, loose_bytes=numbers, object_bytes=numbers), max_size=3).map(
        tuple
    ),
    prerequisites=st.lists(st.tuples(checksums, checksums), max_size=3).map(tuple),
    inline=st.dictionaries(st.integers(0, 99), st.binary(min_size=1, max_size=50), max_size=2),
    byte_order=st.sampled_from(ByteOrder),
)


@given(superblocks)
def test_superblocks_are_read_back(superblock: Superblock) -> None:
    assert read_superblock(write_superblock(superblock)) == superblock


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_a_patch_of_bsdiffs_blocks_makes_the_new_file(old: bytes, new: bytes) -> None:
    control, added, inserted = bsdiff4.core.diff(old, new)
    steps, at, place = [], 0, 0
    for add, insert, seek in struct.iter_unpack("<QQQ", control):
        is_back = seek >> 63
        steps.append((added[at : at + add], inserted[place : place + insert], (2**63 - seek) if is_back else seek))
        at, place = at + add, place + insert
    # bsdiff4 may end with a step that makes nothing, which no client asks for.
    while steps and not steps[-1][0] and not steps[-1][1]:
        steps.pop()
    assert apply_patch(old, write_patch(steps), len(new)) == new


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (b"", "too early"),
        (struct.pack("<QQQ", 5, 0, 0) + b"1234", "impossible"),
        (struct.pack("<QQQ", 1 | 1 << 63, 6, 0) + b"123456", "impossible"),
        (struct.pack("<QQQ", 0, 0, 0) * 9, "too early"),
        (struct.pack("<QQQ", 2**62, 2**62, 0), "impossible"),
    ],
)
def test_damaged_patches_are_refused(patch: bytes, reason: str) -> None:
    with pytest.raises(RepositoryError, match=reason):
        apply_patch(b"abcdef", patch, 5)


def test_steps_that_make_nothing_are_passed_over() -> None:
    """Bsdiff writes them, and they may move the place in the old file."""
    patch = write_patch([(b"", b"", 2), (b"", b"", 1), (bytes(3), b"x", 0)])
    assert apply_patch(b"abcdef", patch, 4) == b"defx"


def test_a_whole_object_drops_the_read_source() -> None:
    """As stock clients do: what is written after it comes from the payload."""
    _, whole = one_file(b"ab")
    _, pieced = one_file(b"yz")
    operations = [ReadFrom(4), SpliceFile(0, 0, 2, 0), Open(0, 0, 2), Write(2, 2), Close()]
    made = list(apply_part(part_of(b"abyz" + bytes(32), operations), [whole, pieced], lambda _: b"0123456789"))
    assert [one.content for one in made] == [b"ab", b"yz"]


def one_file(content: bytes, mode: int = stat.S_IFREG | 0o644) -> tuple[FileHeader, ObjectName]:
    header = FileHeader(uid=0, gid=0, mode=mode)
    return header, ObjectName(ObjectKind.FILE, file_checksum(header, content))


def part_of(payload: bytes, operations: list[Operation], mode: int = stat.S_IFREG | 0o644) -> Part:
    return Part(modes=((0, 0, mode),), xattrs=((),), payload=payload, operations=write_operations(operations))


def no_file(checksum: str) -> bytes:
    raise RepositoryError("is missing", path=checksum)


def test_a_file_of_pieces_of_the_payload_and_a_source() -> None:
    source = b"0123456789"
    header, name = one_file(b"ab345yz")
    part = part_of(
        b"abyz" + bytes(32),
        [Open(0, 0, 7), Write(2, 0), ReadFrom(4), Write(3, 3), ReadNothing(), Write(2, 2), Close()],
    )
    (made,) = apply_part(part, [name], lambda checksum: source if checksum == "00" * 32 else no_file(checksum))
    assert (made.name, made.header, made.content) == (name, header, b"ab345yz")


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ([Write(1, 0)], "no file"),
        ([Open(0, 0, 3), Write(3, 0)], "fewer"),
        ([Open(0, 0, 3), Close()], "not complete"),
        ([Close()], "not complete"),
        ([Open(0, 0, 2), Write(3, 0)], "more than"),
        ([Open(0, 0, 3), Open(0, 0, 3)], "within"),
        ([Open(1, 0, 3)], "does not hold"),
        ([Open(0, 9, 3)], "does not hold"),
        ([SpliceFile(0, 0, 4, 0)], "beyond"),
        ([SpliceFile(0, 0, 3, 2**60)], "beyond"),
        ([SpliceFile(0, 0, 2, 0)], "another checksum"),
        ([SpliceFile(0, 0, 2**62, 0)], "too much"),
        ([Open(0, 0, 2**62)], "too much"),
        ([Open(0, 0, 3), Patch(0, 3)], "patches nothing"),
        ([ReadFrom(0)], "beyond"),
        ([SpliceFile(0, 0, 3, 0), SpliceFile(0, 0, 3, 0)], "more objects"),
        ([], "fewer"),
    ],
)
def test_impossible_operations_are_refused(operations: list[Operation], reason: str) -> None:
    _, name = one_file(b"abc")
    with pytest.raises(RepositoryError, match=reason):
        list(apply_part(part_of(b"abc", operations), [name], no_file))


def test_a_device_is_refused() -> None:
    _, name = one_file(b"abc", stat.S_IFCHR | 0o666)
    with pytest.raises(RepositoryError, match="neither a file nor a link"):
        list(apply_part(part_of(b"abc", [SpliceFile(0, 0, 3, 0)], stat.S_IFCHR | 0o666), [name], no_file))


def test_a_bomb_is_not_unpacked() -> None:
    """A gigabyte of zeros in 150 kB, read by a process that may unpack a megabyte."""
    packer = lzma.LZMACompressor(lzma.FORMAT_XZ, preset=1)
    packed = b"".join([packer.compress(bytes(2**20)) for _ in range(1024)]) + packer.flush()
    with pytest.raises(RepositoryError, match="too much"):
        read_part(b"x" + packed, most_bytes=10**6)


def test_a_dictionary_of_gigabytes_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 29}]
    with pytest.raises(RepositoryError, match="damaged"):
        read_part(b"x" + lzma.compress(b"abc", lzma.FORMAT_XZ, filters=filters))


def test_what_follows_the_packed_payload_is_refused() -> None:
    data = write_part(part_of(b"abc", []), pack_piece)
    for damaged in (data[:-1], data + b"x", b"", b"z" + data[1:]):
        with pytest.raises(RepositoryError):
            read_part(damaged)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, overwrite or splice: what disks, networks and enemies do."""
    found, at = bytearray(data), rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            del found[at:]
        case 1:
            found[at] ^= 1 << rng.randrange(8)
        case 2:
            found[at : at + 8] = rng.choice([b"\xff" * 8, bytes(8), rng.randbytes(8)])
        case _:
            start = rng.randrange(len(data))
            found[at:at] = data[start : start + rng.randrange(1, 64)]
    return bytes(found)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_stock_delta_is_refused_or_makes_what_it_says(world: World, tmp_path: Path, seed: int) -> None:
    """Thousands of damaged superblocks and parts of the stock tool: an error of ours or the right objects."""
    rng = random.Random(seed)
    path = generate(world, world.commits[0], world.commits[1], tmp_path, "--min-fallback-size=0")
    intact = path.read_bytes()
    header = read_superblock(intact).parts[0]
    data = (tmp_path / "0").read_bytes()
    plain = write_part(read_part(data), None)
    refused = 0
    for _ in range(200):
        try:
            read_superblock(damage(intact, rng))
        except RepositoryError:
            refused += 1
    for _ in range(60):
        try:
            part = read_part(damage(rng.choice([data, plain]), rng), most_bytes=10**7)
            read = lambda checksum: world.repository.read_object(ObjectName(ObjectKind.FILE, checksum))  # noqa: E731
            for one in apply_part(part, header.objects, read, most_bytes=10**7):
                content = hashlib.sha256(one.content).hexdigest() if one.header is None else ""
                assert one.name.checksum == (
                    content or file_checksum(one.header or FileHeader(uid=0, gid=0, mode=0), one.content)
                )
        except RepositoryError:
            refused += 1
    assert refused > 60


KINDS = {
    "big endian": ("--swap-endianness",),
    "inline": ("--inline", "--swap-endianness"),
    "signed": ("--sign-type=dummy", "--sign=secret"),
    "signed, big endian, inline": ("--sign-type=dummy", "--sign=secret", "--swap-endianness", "--inline"),
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_a_damaged_superblock_is_refused_or_read_in_memory_that_its_size_bounds(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OSTREE_DUMMY_SIGN_ENABLED", "1")
    path = generate(world, world.commits[0], world.commits[1], tmp_path, "--min-fallback-size=0", *options)
    intact, rng = path.read_bytes(), random.Random(1)
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(2000):
            damaged = damage(intact, rng)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                read_superblock(damaged)
            except RepositoryError:
                refused += 1
            assert tracemalloc.get_traced_memory()[1] - before < 100_000 + 20 * len(damaged)
    finally:
        tracemalloc.stop()
    assert refused > 500
