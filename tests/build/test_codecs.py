"""Codecs: every pair round-trips; what is hostile ends in one error, within bounds."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable

import bsdiff4
import hdiffpatch
import pytest
import zstandard
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.build.codecs import CODECS, Codec
from planner.errors import BuildError

with_every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
with_based_codecs = pytest.mark.parametrize(
    "codec",
    [codec for codec in CODECS.values() if codec.name != "zstd"],
    ids=[name for name in CODECS if name != "zstd"],
)

OLD = b"".join(b"row %d, %d\n" % (number, number * number) for number in range(600))
NEW = OLD[:3000] + b"inserted" + OLD[3000:9000] + random.Random(3).randbytes(200) + OLD[9500:]


@st.composite
def related_bytes(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An old, and a new put together from pieces of it and foreign bytes: near-equal, shuffled or unrelated."""
    old = draw(st.binary(max_size=600))
    cut = st.integers(0, len(old))
    pieces = draw(
        st.lists(st.one_of(st.tuples(cut, cut).map(lambda ends: old[ends[0] : ends[1]]), st.binary(max_size=40)))
    )
    return old, b"".join(pieces)


@with_every_codec
@given(pair=related_bytes())
@settings(deadline=None)
def test_decoding_gives_what_was_encoded_and_encoding_repeats(codec: Codec, pair: tuple[bytes, bytes]) -> None:
    old, new = pair
    delta = codec.encode(old, new)
    assert codec.decode(old, delta, new_bytes=len(new)) == new
    assert codec.encode(old, new) == delta


@with_every_codec
@pytest.mark.parametrize(
    ("old", "new"), [(b"", b""), (b"", b"x"), (b"x", b""), (b"same" * 99, b"same" * 99), (b"1234567", b"12345678")]
)
def test_the_smallest_pairs_round_trip(codec: Codec, old: bytes, new: bytes) -> None:
    assert codec.decode(old, codec.encode(old, new), new_bytes=len(new)) == new


@with_every_codec
def test_a_large_pair_round_trips(codec: Codec) -> None:
    """Beyond the windows and blocks inside the formats."""
    old = random.Random(4).randbytes(3_000_000)
    new = old[1_500_000:] + b"middle" + old[:1_400_000]
    delta = codec.encode(old, new)
    assert codec.decode(old, delta, new_bytes=len(new)) == new
    assert len(delta) < (4_000 if codec.name != "zstd" else 3_000_000)


@with_based_codecs
@given(at=st.integers(0, len(OLD) - 1), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=60)
def test_a_wrong_base_never_decodes_to_something_else(codec: Codec, at: int, flip: int) -> None:
    """A byte that the delta does not copy may differ: then the result is right all the same."""
    wrong = OLD[:at] + bytes([OLD[at] ^ flip]) + OLD[at + 1 :]
    assert _decode_or_none(codec, wrong, codec.encode(OLD, NEW), len(NEW)) in (None, NEW)


@with_based_codecs
@pytest.mark.parametrize("wrong", [b"", OLD[:-1], OLD + b"x", OLD[::-1]], ids=["none", "shorter", "longer", "reversed"])
def test_a_base_of_another_release_is_refused(codec: Codec, wrong: bytes) -> None:
    assert _decode_or_none(codec, wrong, codec.encode(OLD, NEW), len(NEW)) in (None, NEW)
    with pytest.raises(BuildError):
        codec.decode(b"?" * len(OLD), codec.encode(OLD, NEW), new_bytes=len(NEW))


@with_every_codec
@pytest.mark.parametrize("difference", [-1, 1, 10**6])
def test_another_length_than_expected_is_refused(codec: Codec, difference: int) -> None:
    with pytest.raises(BuildError):
        codec.decode(OLD, codec.encode(OLD, NEW), new_bytes=len(NEW) + difference)


@with_every_codec
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_a_mutated_delta_is_refused_or_harmless(codec: Codec, data: st.DataObject) -> None:
    delta = bytearray(codec.encode(OLD, NEW))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(st.integers(0, min(70, len(delta) - 1)), st.integers(0, len(delta) - 1)))
        length = data.draw(st.integers(0, 3))
        delta[at : at + length] = data.draw(st.binary(max_size=3))
        if not delta:
            break
    assert _decode_or_none(codec, OLD, bytes(delta), len(NEW)) in (None, NEW)


@with_every_codec
@given(delta=st.binary(max_size=80))
@settings(deadline=None)
def test_noise_is_refused(codec: Codec, delta: bytes) -> None:
    assert _decode_or_none(codec, OLD, delta, 50_000) is None


def _bomb_zstd(size: int) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(size))


def _bomb_patch_from(size: int) -> bytes:
    return zstd.compress(bytes(size), options={zstd.CompressionParameter.checksum_flag: 1})


def _bomb_two_frames(size: int) -> bytes:
    return _bomb_patch_from(1000) + _bomb_patch_from(size)


def _bomb_no_length(size: int) -> bytes:
    packer = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True)
    return packer.compress(bytes(size))


def _bomb_bsdiff(size: int) -> bytes:
    return bsdiff4.diff(b"", bytes(size)) + b"0000"


def _bomb_bsdiff_lying(size: int) -> bytes:
    delta = _bomb_bsdiff(size)
    return delta[:24] + (1000).to_bytes(8, "little") + delta[32:]


def _bomb_hdiffpatch(size: int) -> bytes:
    return hdiffpatch.diff(b"", bytes(size), hdiffpatch.ZStdConfig(), validate=False) + b"0000"


def _bomb_other_decompressor(size: int) -> bytes:
    return hdiffpatch.diff(b"", bytes(size), "lzma", validate=False) + b"0000"


BOMBS: list[tuple[str, Callable[[int], bytes]]] = [
    ("zstd", _bomb_zstd),
    ("zstd", _bomb_no_length),
    ("zstd-patch-from", _bomb_patch_from),
    ("zstd-patch-from", _bomb_two_frames),
    ("zstd-patch-from", _bomb_no_length),
    ("bsdiff4", _bomb_bsdiff),
    ("bsdiff4", _bomb_bsdiff_lying),
    ("hdiffpatch", _bomb_hdiffpatch),
    ("hdiffpatch", _bomb_other_decompressor),
]


@pytest.mark.parametrize(("name", "bomb"), BOMBS, ids=[f"{name}-{bomb.__name__}" for name, bomb in BOMBS])
def test_a_delta_that_grows_is_refused_before_it_takes_memory(name: str, bomb: Callable[[int], bytes]) -> None:
    """A child with little memory to spare decodes 60 MB that pretend to be 1000 bytes."""
    delta = bomb(60_000_000)
    program = (
        "import resource, sys\n"
        "from planner.build.codecs import CODECS\n"
        "from planner.errors import BuildError\n"
        "delta = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        f"    CODECS[{name!r}].decode(b'', delta, new_bytes=1000)\n"
        "except BuildError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=delta, capture_output=True, check=True)
    assert int(done.stdout) < 15_000  # KiB


def test_a_patch_from_without_checksum_is_refused() -> None:
    """Without it a wrong base would decode silently."""
    prefix = zstd.ZstdDict(OLD, is_raw=True).as_prefix
    with pytest.raises(BuildError, match="checksum"):
        CODECS["zstd-patch-from"].decode(OLD, zstd.compress(NEW, zstd_dict=prefix), new_bytes=len(NEW))


@with_every_codec
def test_input_above_the_limit_is_refused(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "max_input_bytes", 1000, raising=True)
    with pytest.raises(BuildError, match="larger"):
        codec.encode(OLD, NEW)
    with pytest.raises(BuildError, match="larger"):
        codec.decode(OLD, b"", new_bytes=1001)


def test_streams_are_those_of_the_formats_own_tools() -> None:
    """Each stream is read by another entry than ours: bsdiff4's and hdiffpatch's own, zstd's one-shot decoder."""
    assert bsdiff4.patch(OLD, CODECS["bsdiff4"].encode(OLD, NEW)) == NEW
    assert hdiffpatch.apply(OLD, CODECS["hdiffpatch"].encode(OLD, NEW)[:-4]) == NEW
    assert zstd.decompress(CODECS["zstd"].encode(OLD, NEW)) == NEW


def _decode_or_none(codec: Codec, old: bytes, delta: bytes, new_bytes: int) -> bytes | None:
    try:
        return codec.decode(old, delta, new_bytes=new_bytes)
    except BuildError:
        return None
