"""`deltaplan-delta/1`: what it holds, what it makes, and that it refuses everything else."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.build import bundle as bundle_module
from planner.build.bundle import MAGIC, Bundle, apply_bundle, encode_bundle, pair_objects, read_bundle
from planner.build.codecs import CODECS
from planner.errors import BuildError, InputError, RepositoryError
from planner.history.objects import ObjectSets, walk_files
from planner.history.records import ObjectKind, ObjectName
from planner.history.store import Store
from tests.build.worlds import World, make_store, rewrite_header

with_every_codec = pytest.mark.parametrize("codec", list(CODECS))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_store(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def store(world: World) -> Store:
    return Store.open(world.path)


@pytest.fixture(scope="module")
def objects(store: Store) -> ObjectSets:
    return ObjectSets(store.read_history())


def _apply(bundle: Bundle, store: Store) -> dict[ObjectName, bytes]:
    return dict(apply_bundle(bundle, store.read_object))


# -- what it makes -------------------------------------------------------------------------------------------------


@with_every_codec
@pytest.mark.parametrize("ends", [("first", "second"), ("second", "first"), ("first", "third"), ("", "second")])
def test_a_delta_makes_exactly_what_the_base_lacks(
    world: World, store: Store, objects: ObjectSets, codec: str, ends: tuple[str, str]
) -> None:
    base, target = (getattr(world, end) if end else "" for end in ends)
    data = encode_bundle(store, objects, base, target, codec)
    bundle = read_bundle(data)
    made = _apply(bundle, store)
    assert made.keys() == objects.missing(base, target)
    assert all(made[name] == store.read_object(name) for name in made)
    assert (bundle.base, bundle.target, bundle.codec) == (base, target, codec)
    assert bundle.object_bytes == sum(map(len, made.values()))
    assert encode_bundle(store, objects, base, target, codec) == data


def test_the_commit_comes_last_and_trees_after_files(world: World, store: Store, objects: ObjectSets) -> None:
    """A client that stops half-way has no commit without its tree."""
    bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, "zstd"))
    kinds = [name.kind for name, _ in apply_bundle(bundle, store.read_object)]
    assert kinds == sorted(kinds, key=[ObjectKind.FILE, ObjectKind.TREE, ObjectKind.COMMIT].index)
    assert kinds.count(ObjectKind.COMMIT) == 1


def test_objects_are_paired_by_path_then_by_the_end_of_the_path(world: World, objects: ObjectSets) -> None:
    history = objects.history
    old = dict(walk_files(history, history.commits[world.first].tree))
    new = dict(walk_files(history, history.commits[world.second].tree))
    pairs = pair_objects(objects, world.first, world.second)
    assert pairs[new["/bin/tool"]] == old["/bin/tool"]
    assert pairs[new["/bin/run.sh"]] == old["/bin/run.sh"]
    assert pairs[new["/lib/python3.11/module.py"]] == old["/lib/python3.10/module.py"]
    assert pairs[new["/new/fresh.txt"]] is None
    assert pairs[new["/"]] == old["/"]
    assert pairs[ObjectName(ObjectKind.COMMIT, world.second)] == ObjectName(ObjectKind.COMMIT, world.first)


def test_sources_are_objects_of_the_base_only(world: World, store: Store, objects: ObjectSets) -> None:
    bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, "hdiffpatch"))
    sources = {name for block in bundle.blocks for name in block.sources}
    assert sources
    assert sources <= objects.of_commit(world.first)


@pytest.mark.parametrize("codec", ["bsdiff4", "zstd-patch-from", "hdiffpatch"])
def test_a_delta_is_smaller_than_the_objects_alone(world: World, store: Store, objects: ObjectSets, codec: str) -> None:
    """The changed binary of 20 kB is random: only a difference is small."""
    delta, whole = (encode_bundle(store, objects, world.first, world.second, name) for name in (codec, "zstd"))
    assert len(delta) < len(whole) / 5


def test_from_empty_is_packed_whole_by_every_codec(world: World, store: Store, objects: ObjectSets) -> None:
    bundle = read_bundle(encode_bundle(store, objects, "", world.first, "bsdiff4"))
    assert {block.codec for block in bundle.blocks} == {"zstd"}
    assert not any(block.sources for block in bundle.blocks)


@with_every_codec
def test_blocks_stay_below_the_limit(
    world: World, store: Store, objects: ObjectSets, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair that is larger than a block alone gets a block of its own."""
    monkeypatch.setattr(bundle_module, "BLOCK_BYTES", 16_000)
    bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, codec))
    assert len(bundle.blocks) > 2
    for block in bundle.blocks:
        old_bytes = sum(len(store.read_object(name)) for name in block.sources)
        assert old_bytes + block.new_bytes <= 16_000 or len(block.objects) == 1
    assert _apply(bundle, store).keys() == objects.missing(world.first, world.second)


def test_a_pair_above_the_codecs_limit_goes_whole(
    world: World, store: Store, objects: ObjectSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The binary of 20 kB does not fit even alone; it is left to `zstd`."""
    monkeypatch.setattr(CODECS["bsdiff4"], "max_input_bytes", 18_000)
    bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, "bsdiff4"))
    assert {block.codec for block in bundle.blocks} == {"bsdiff4", "zstd"}
    assert _apply(bundle, store).keys() == objects.missing(world.first, world.second)


@pytest.mark.parametrize("codec", ["xdelta3", ""])
def test_an_unknown_codec_is_refused(world: World, store: Store, objects: ObjectSets, codec: str) -> None:
    with pytest.raises(InputError, match="codec"):
        encode_bundle(store, objects, world.first, world.second, codec)


def test_a_delta_from_a_commit_to_itself_is_refused(world: World, store: Store, objects: ObjectSets) -> None:
    with pytest.raises(InputError):
        encode_bundle(store, objects, world.first, world.first, "zstd")


# -- hostile files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(CODECS))
def delta(request: pytest.FixtureRequest, world: World, store: Store, objects: ObjectSets) -> bytes:
    """A good delta, once per codec."""
    return encode_bundle(store, objects, world.first, world.second, request.param)


def test_every_truncation_is_refused(delta: bytes) -> None:
    for length in range(0, len(delta), max(1, len(delta) // 300)):
        with pytest.raises(BuildError):
            read_bundle(delta[:length])


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_a_mutated_delta_is_refused_or_makes_the_same(delta: bytes, store: Store, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(delta) - 1))
    length = data.draw(st.integers(0, 3))
    mutated = delta[:at] + data.draw(st.binary(max_size=3)) + delta[at + length :]
    try:
        made = _apply(read_bundle(mutated), store)
    except (BuildError, RepositoryError):  # another source's name: the store lacks it
        return
    assert made == _apply(read_bundle(delta), store)


@given(at=st.integers(0), flip=st.integers(1, 255), length=st.integers(1, 3))
@settings(deadline=None, max_examples=200)
def test_a_forged_payload_makes_no_wrong_object(delta: bytes, store: Store, at: int, flip: int, length: int) -> None:
    """The forger gives the right digest of the payload, so that the codec sees the bytes."""
    bundle = read_bundle(delta)
    block = bundle.blocks[0]
    payload = bytearray(block.payload)
    for place in range(length):
        payload[(at + place * 7) % len(payload)] ^= flip
    forged = dataclasses.replace(block, payload=bytes(payload), payload_sha256=hashlib.sha256(payload).digest())
    try:
        made = dict(apply_bundle(dataclasses.replace(bundle, blocks=(forged,)), store.read_object))
    except BuildError:
        return
    assert all(hashlib.sha256(data).hexdigest() == name.checksum for name, data in made.items())


def test_other_bytes_in_a_source_are_noticed(world: World, store: Store, objects: ObjectSets) -> None:
    for codec in ("bsdiff4", "zstd-patch-from", "hdiffpatch"):
        bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, codec))
        with pytest.raises(BuildError):
            list(apply_bundle(bundle, lambda name: store.read_object(name)[::-1]))


def test_a_damaged_payload_does_not_reach_the_codec(
    delta: bytes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = delta[:-1] + bytes([delta[-1] ^ 1])
    for codec in CODECS.values():
        monkeypatch.setattr(codec, "decode", _must_not_be_called, raising=True)
    with pytest.raises(BuildError, match="damaged"):
        _apply(read_bundle(damaged), store)


def _must_not_be_called(*_: object, **__: object) -> bytes:
    raise AssertionError


def test_an_object_under_another_name_is_noticed_and_named(world: World, store: Store, objects: ObjectSets) -> None:
    bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, "zstd"))
    block = bundle.blocks[0]
    wrong = dataclasses.replace(block.objects[0], name=ObjectName(ObjectKind.FILE, "ab" * 32))
    forged = dataclasses.replace(block, objects=(wrong, *block.objects[1:]))
    with pytest.raises(BuildError, match="abab"):
        list(apply_bundle(dataclasses.replace(bundle, blocks=(forged,)), store.read_object))


# -- forged headers ------------------------------------------------------------------------------------------------


def _set(key: str, value: object) -> Callable[[dict[str, object]], None]:
    return lambda header: header.__setitem__(key, value)


def _change_block(change: Callable[[list[Any]], None]) -> Callable[[dict[str, object]], None]:
    def apply(header: dict[str, object]) -> None:
        blocks = header["blocks"]
        assert isinstance(blocks, list)
        change(blocks[0])

    return apply


# A block is [codec, sources, objects, payload_bytes, payload_sha256].
FORGERIES: dict[str, Callable[[dict[str, object]], None]] = {
    "target is no checksum": _set("target", "../../etc/passwd"),
    "target ends in a newline": lambda header: header.__setitem__("target", f"{header['target']}\n"),
    "base is no checksum": _set("base", "A" * 64),
    "target is another commit": _set("target", "ab" * 32),
    "sources without a base": _set("base", ""),
    "unknown codec": _set("codec", "xdelta3"),
    "the block has another codec": _change_block(lambda block: block.__setitem__(0, "zstd")),
    "unknown key": _set("comment", "hello"),
    "no blocks": _set("blocks", []),
    "block without objects": _change_block(lambda block: block.__setitem__(2, [])),
    "block with more fields": _change_block(lambda block: block.append(1)),
    "source twice": _change_block(lambda block: block[1].append(block[1][0])),
    "object twice": _change_block(lambda block: block[2].append(block[2][0])),
    "unknown kind": _change_block(lambda block: block[2][0].__setitem__(0, "device")),
    "short checksum": _change_block(lambda block: block[2][0].__setitem__(1, b"short")),
    "negative length": _change_block(lambda block: block[2][0].__setitem__(2, -1)),
    "huge object": _change_block(lambda block: block[2][0].__setitem__(2, 2**60)),
    "longer payload": _change_block(lambda block: block.__setitem__(3, 10**9)),
    "shorter payload": _change_block(lambda block: block.__setitem__(3, 1)),
}


def test_a_header_written_again_unchanged_is_read(world: World, store: Store, objects: ObjectSets) -> None:
    """So what the next test refuses is the change, not the forging."""
    delta = encode_bundle(store, objects, world.first, world.second, "hdiffpatch")
    assert read_bundle(rewrite_header(delta, lambda header: None)) == read_bundle(delta)


@pytest.mark.parametrize("change", FORGERIES.values(), ids=list(FORGERIES))
def test_a_forged_header_is_refused(
    world: World, store: Store, objects: ObjectSets, change: Callable[[dict[str, object]], None]
) -> None:
    delta = encode_bundle(store, objects, world.first, world.second, "hdiffpatch")
    with pytest.raises(BuildError):
        read_bundle(rewrite_header(delta, change))


@pytest.mark.parametrize("claim", [True, False], ids=["claimed", "unclaimed"])
def test_a_header_that_grows_is_refused(claim: bool) -> None:
    packed = zstandard.ZstdCompressor(write_content_size=claim).compress(bytes(bundle_module.MAX_HEADER_BYTES + 1))
    with pytest.raises(BuildError, match="length"):
        read_bundle(MAGIC + len(packed).to_bytes(4, "little") + packed)


@given(data=st.binary(max_size=60))
def test_noise_is_refused(data: bytes) -> None:
    for noise in (data, MAGIC + data):
        with pytest.raises(BuildError):
            read_bundle(noise)


def test_sources_above_the_codecs_limit_are_not_joined(
    world: World, store: Store, objects: ObjectSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source's length is the client's, not the header's; it is counted while sources are read."""
    bundle = read_bundle(encode_bundle(store, objects, world.first, world.second, "hdiffpatch"))
    monkeypatch.setattr(CODECS["hdiffpatch"], "max_input_bytes", bundle.blocks[0].new_bytes + 5_000)
    with pytest.raises(BuildError, match="sources"):
        _apply(bundle, store)
