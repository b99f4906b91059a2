"""Codecs: each turns (old, new) into a delta, and (old, delta) into new again.

A delta comes from elsewhere, so decoding trusts nothing in it: what it claims is compared with what the caller
expects before memory is taken, and a wrong base is an error in every codec. zstd frames carry a checksum of their
content; bsdiff and HDiffPatch have none, so four bytes (CRC-32 of new) follow their streams. Both streams are
otherwise as their own tools write them.

Deltas are deterministic for one version of the libraries. Measured on the changed objects of neighbouring releases,
old and new in one piece each (bytes, and seconds of one core to encode):

    codec             SQLAlchemy 2.0.22-23, 7.0 MB   lxml 4.9.3-4, 16 MB   cryptography 41.0.5-6, 13.9 MB
    hdiffpatch              166,658     1.4               732,557    2.7           1,039,358    3.2
    bsdiff4                 162,366     3.4               813,647   10.8           1,322,563    7.1
    zstd-patch-from         616,339     0.4             1,506,705    0.6           1,721,361    0.6
    zstd                  1,381,750     2.9             4,446,145    6.3           3,384,788    5.0
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Final, Protocol

import bsdiff4.core
import bsdiff4.format
import hdiffpatch
import zstandard
from backports import zstd

from planner.errors import BuildError

# old + new of one call. What a call may need in memory follows from it; machines that build have 4 GB or more.
# bsdiff4 sorts suffixes: 16 bytes for each byte of old beside old itself, then 3 for each byte of new.
MAX_BSDIFF_BYTES = 128_000_000
# HDiffPatch sorts suffixes with 4 bytes for each byte of old (measured: 7 times old at its peak, new included).
MAX_HDIFFPATCH_BYTES = 512_000_000
# The window must reach from the end of new to its start, and 2^30 is the largest that all zstd decoders can be told.
MAX_PATCH_FROM_BYTES = 2**30
# A whole object; as large as objects of a store may be.
MAX_WHOLE_BYTES = 2**30

# Level 12 is the knee: 3 is a quarter to two fifths larger, 19 a fifth smaller at 15 times the seconds, which is
# more than HDiffPatch takes for fewer bytes still.
PATCH_FROM_LEVEL = 12
# 19 takes a tenth to a quarter off level 3's bytes; the diff itself, not this, is what costs time. 22 adds nothing.
HDIFFPATCH_LEVEL = 19
# A whole object is made once for all bases: 12 % fewer bytes than level 9 are worth the seconds.
WHOLE_LEVEL = 19

# zstd's own bounds: the least window it takes, and the largest that decoders accept without being told (128 MiB).
_MIN_WINDOW_LOG = 10
_MAX_WHOLE_WINDOW_LOG = 27
# backports.zstd refuses shorter prefixes; nothing can be copied from one anyway.
_MIN_PREFIX_BYTES = 8
_FRAME_HAS_CHECKSUM = 0x04  # RFC 8878, section 3.1.1.1.1.5
_CRC_BYTES = 4


class Codec(Protocol):
    """One way to make a delta of bytes.

    `max_input_bytes` is the most that old and new together may hold.
    """

    name: str
    max_input_bytes: int

    def encode(self, old: bytes, new: bytes) -> bytes:
        """A delta from which, with `old`, `new` can be made again.

        Raises:
            BuildError: old and new are larger than the codec's limit.
        """

    def decode(self, old: bytes, delta: bytes, *, new_bytes: int) -> bytes:
        """Exactly the `new_bytes` bytes that the delta was made for.

        Raises:
            BuildError: the delta is malformed, was made for another `old`, or makes more or less than `new_bytes`.
        """


class _CheckedCodec:
    """What all codecs share: the limit before, one kind of error, and the length after."""

    name: str
    max_input_bytes: int
    # What the library raises for a malformed delta.
    failures: ClassVar[tuple[type[Exception], ...]]

    def encode(self, old: bytes, new: bytes) -> bytes:
        self._refuse_large(len(old) + len(new))
        return self._encode(old, new)

    def decode(self, old: bytes, delta: bytes, *, new_bytes: int) -> bytes:
        self._refuse_large(len(old) + new_bytes)
        try:
            new = self._decode(old, delta, new_bytes)
        except self.failures as error:
            raise BuildError("the delta cannot be decoded", codec=self.name, cause=str(error)) from error
        if len(new) != new_bytes:
            raise BuildError("the delta makes another length", codec=self.name, got=len(new), expected=new_bytes)
        return new

    def _refuse_large(self, input_bytes: int) -> None:
        if input_bytes > self.max_input_bytes:
            raise BuildError(
                "old and new are larger than the codec allows",
                codec=self.name,
                input_bytes=input_bytes,
                max_input_bytes=self.max_input_bytes,
            )

    def _encode(self, old: bytes, new: bytes) -> bytes:
        raise NotImplementedError

    def _decode(self, old: bytes, delta: bytes, new_bytes: int) -> bytes:
        raise NotImplementedError


class _Bsdiff(_CheckedCodec):
    """bsdiff 4 (`BSDIFF40`: three bzip2 streams).

    Source: Percival, Naive differences of executable code, 2003; the layout is in bspatch.c.
    """

    name = "bsdiff4"
    max_input_bytes = MAX_BSDIFF_BYTES
    failures = (ValueError, OSError, OverflowError, EOFError, MemoryError)

    def _encode(self, old: bytes, new: bytes) -> bytes:
        return _append_crc(bsdiff4.format.diff(old, new), new)

    def _decode(self, old: bytes, delta: bytes, new_bytes: int) -> bytes:
        stream, crc = _split_crc(delta)
        control_bytes, diff_bytes, claimed_bytes = _read_bsdiff_header(stream)
        if claimed_bytes != new_bytes:
            raise ValueError(f"the header claims {claimed_bytes} bytes")
        diff_at, extra_at = 32 + control_bytes, 32 + control_bytes + diff_bytes
        # The encoder starts a new triple only for a match longer than 8 bytes, hence the bound.
        control = _unpack_bzip2(stream[32:diff_at], 24 * (new_bytes // 8 + 2))
        diff = _unpack_bzip2(stream[diff_at:extra_at], new_bytes)
        extra = _unpack_bzip2(stream[extra_at:], new_bytes - len(diff))
        return _checked_crc(bsdiff4.core.patch(old, new_bytes, control, diff, extra), crc)


class _PatchFrom(_CheckedCodec):
    """zstd with old as a prefix; `zstd -d --patch-from=OLD --memory=2048MB` reads it.

    Long-distance matching finds old only through a prefix: as a dictionary, large files match nothing.
    """

    name = "zstd-patch-from"
    max_input_bytes = MAX_PATCH_FROM_BYTES
    failures = (zstd.ZstdError, ValueError, IndexError, OverflowError, MemoryError)

    def _encode(self, old: bytes, new: bytes) -> bytes:
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: PATCH_FROM_LEVEL,
            zstd.CompressionParameter.window_log: _window_log(len(old) + len(new), 30),
            zstd.CompressionParameter.enable_long_distance_matching: 1,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        return zstd.compress(new, options=options, zstd_dict=_prefix(old))

    def _decode(self, old: bytes, delta: bytes, new_bytes: int) -> bytes:
        if zstd.get_frame_info(delta).decompressed_size != new_bytes:
            raise ValueError("the frame claims another length")
        if zstd.get_frame_size(delta) != len(delta):
            raise ValueError("the delta is not one frame")
        # Without a checksum a wrong base would decode silently to garbage.
        if not delta[4] & _FRAME_HAS_CHECKSUM:
            raise ValueError("the frame has no checksum")
        window: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _window_log(len(old) + new_bytes, 30)}
        decoder = zstd.ZstdDecompressor(zstd_dict=_prefix(old), options=window)
        new = decoder.decompress(delta, max_length=new_bytes + 1)
        if not decoder.eof:
            raise ValueError("the frame does not end")
        return new


class _HDiffPatch(_CheckedCodec):
    """HDiffPatch's compressed format (`HDIFF13`) with zstd inside, made by one thread.

    Source: HDiffPatch, libHDiffPatch/HPatch/patch.c, read_diffz_head.
    """

    name = "hdiffpatch"
    max_input_bytes = MAX_HDIFFPATCH_BYTES
    failures = (hdiffpatch.HDiffPatchError, ValueError, OverflowError, MemoryError)

    def _encode(self, old: bytes, new: bytes) -> bytes:
        config = hdiffpatch.ZStdConfig(level=HDIFFPATCH_LEVEL, threads=1)
        # Proving is the builder's work; the library's own check would do it a second time.
        return _append_crc(hdiffpatch.diff(old, new, config, validate=False), new)

    def _decode(self, old: bytes, delta: bytes, new_bytes: int) -> bytes:
        stream, crc = _split_crc(delta)
        # The library allocates what the header claims, and picks its decompressor by the header's word.
        if _read_hdiff_header(stream) != (new_bytes, len(old)):
            raise ValueError("the header claims other lengths")
        return _checked_crc(hdiffpatch.apply(old, stream), crc)


class _Whole(_CheckedCodec):
    """New alone, as one zstd frame; old is not used."""

    name = "zstd"
    max_input_bytes = MAX_WHOLE_BYTES
    failures = (zstandard.ZstdError, ValueError, OverflowError, MemoryError)

    def encode(self, old: bytes, new: bytes) -> bytes:  # noqa: ARG002 - a codec's signature
        return super().encode(b"", new)

    def decode(self, old: bytes, delta: bytes, *, new_bytes: int) -> bytes:  # noqa: ARG002 - a codec's signature
        return super().decode(b"", delta, new_bytes=new_bytes)

    def _encode(self, old: bytes, new: bytes) -> bytes:  # noqa: ARG002 - a codec's signature
        # The default window of 8 MB misses the likeness of distant objects: 17 % more bytes on lxml.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            WHOLE_LEVEL,
            source_size=len(new),
            window_log=_window_log(len(new), _MAX_WHOLE_WINDOW_LOG),
            write_checksum=True,
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compress(new)

    def _decode(self, old: bytes, delta: bytes, new_bytes: int) -> bytes:  # noqa: ARG002 - a codec's signature
        if zstandard.frame_content_size(delta) != new_bytes:
            raise ValueError("the frame claims another length")
        decoder = zstandard.ZstdDecompressor(max_window_size=2**_MAX_WHOLE_WINDOW_LOG)
        return decoder.decompress(delta, max_output_size=new_bytes, allow_extra_data=False)


def _window_log(span_bytes: int, most: int) -> int:
    return max(_MIN_WINDOW_LOG, min(most, span_bytes.bit_length()))


def _prefix(old: bytes) -> tuple[zstd.ZstdDict, int] | None:
    return zstd.ZstdDict(old, is_raw=True).as_prefix if len(old) >= _MIN_PREFIX_BYTES else None


def _append_crc(stream: bytes, new: bytes) -> bytes:
    return stream + zlib.crc32(new).to_bytes(_CRC_BYTES, "little")


def _split_crc(delta: bytes) -> tuple[bytes, int]:
    return delta[:-_CRC_BYTES], int.from_bytes(delta[-_CRC_BYTES:], "little")


def _checked_crc(new: bytes, crc: int) -> bytes:
    if zlib.crc32(new) != crc:
        raise ValueError("the result has another CRC-32: another base, or damage")
    return new


def _read_bsdiff_header(stream: bytes) -> tuple[int, int, int]:
    if len(stream) < 32 or stream[:8] != b"BSDIFF40":
        raise ValueError("the header is not bsdiff's")
    control_bytes, diff_bytes, new_bytes = (int.from_bytes(stream[at : at + 8], "little") for at in (8, 16, 24))
    if 32 + control_bytes + diff_bytes > len(stream):
        raise ValueError("the stream is cut short")
    return control_bytes, diff_bytes, new_bytes


def _unpack_bzip2(packed: bytes, max_bytes: int) -> bytes:
    decoder = bz2.BZ2Decompressor()
    # One byte more than allowed tells a stream that is too long from one that ends.
    data = decoder.decompress(packed, max_length=max_bytes + 1)
    if len(data) > max_bytes or not decoder.eof or decoder.unused_data:
        raise ValueError("a block is too long, cut short or followed by more")
    return data


_HDIFF_MAGIC: Final = b"HDIFF13&zstd\0"


def _read_hdiff_header(stream: bytes) -> tuple[int, int]:
    # Source: HDiffPatch, libHDiffPatch/HPatch/patch.c, read_diffz_head.
    if not stream.startswith(_HDIFF_MAGIC):
        raise ValueError("the header is not HDiffPatch's with zstd")
    new_bytes, at = _read_varint(stream, len(_HDIFF_MAGIC))
    old_bytes, _ = _read_varint(stream, at)
    return new_bytes, old_bytes


def _read_varint(stream: bytes, at: int) -> tuple[int, int]:
    """A number of 7-bit groups, most significant first, and the place behind it."""
    value = 0
    for place, byte in enumerate(stream[at : at + 9], start=at + 1):
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place
    raise ValueError("a number does not end")


_ALL: tuple[Callable[[], Codec], ...] = (_Bsdiff, _PatchFrom, _HDiffPatch, _Whole)

CODECS: Mapping[str, Codec] = MappingProxyType({codec.name: codec for codec in (make() for make in _ALL)})
"""The codecs by name."""

WHOLE = _Whole.name
"""The codec that needs no base."""
