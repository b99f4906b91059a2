"""Layers as tars: unpacked within bounds, verified by their diff_id, kept one behind the other in one scratch file.

Source: OCI Image Format Specification 1.1, layer.md; RFC 1952 (gzip: several members are one file); RFC 8878 (zstd:
several frames are one file, skippable frames are none of its content).
"""

from __future__ import annotations

import mmap
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from backports import zstd

from planner.errors import InputError, RepositoryError
from planner.history.files import full_disk_as_error
from planner.images.documents import check_hash, start_digest
from planner.images.layout import CHUNK_BYTES, Layer, Layout

MAX_LAYER_BYTES = 32 * 2**30
"""Of one layer, unpacked. Images of machine learning frameworks have layers of 10 GB."""

MAX_RATIO = 200
"""Unpacked bytes for each packed one. Trees of files pack 2 to 10 times smaller; gzip's own bound is 1032."""

# A layer of zeros, or of next to nothing, is no bomb while it is small.
_FREE_BYTES = 64 * 2**20
# zstd's memory for decoding; what decoders take without being told, `zstd --ultra -22` included.
_MAX_WINDOW_LOG = 27


class Compression(StrEnum):
    """How a layer's blob is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_COMPRESSIONS = {
    "application/vnd.oci.image.layer.v1.tar": Compression.NONE,
    "application/vnd.oci.image.layer.v1.tar+gzip": Compression.GZIP,
    "application/vnd.oci.image.layer.v1.tar+zstd": Compression.ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar": Compression.NONE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": Compression.GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": Compression.ZSTD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one layer may unpack to, whatever its blob claims."""

    max_layer_bytes: int = MAX_LAYER_BYTES
    max_ratio: int = MAX_RATIO

    def most_bytes(self, packed_bytes: int) -> int:
        """The most that a blob of so many bytes may unpack to."""
        return min(self.max_layer_bytes, max(_FREE_BYTES, self.max_ratio * packed_bytes))


def compression_of(layer: Layer) -> Compression:
    """How the layer's media type says it is packed.

    Raises:
        InputError: the layer is foreign, encrypted, or of an unknown kind.
    """
    kind = layer.blob.media_type
    if "encrypted" in kind:
        raise InputError("a layer is encrypted: decrypt the image first", path=layer.blob.digest, media_type=kind)
    if "foreign" in kind or "nondistributable" in kind:
        raise InputError("a layer is foreign: it may not be handed on", path=layer.blob.digest, media_type=kind)
    if kind not in _COMPRESSIONS:
        raise InputError(
            "a layer is of an unknown kind", path=layer.blob.digest, media_type=kind, known=sorted(_COMPRESSIONS)
        )
    return _COMPRESSIONS[kind]


class _Decoder(Protocol):
    """One member or frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflate:
    """A gzip member, with the face that the standard library's newer decoders have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._kept = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        made = self._inner.decompress(self._kept + data, max_length)
        self._kept = self._inner.unconsumed_tail
        return made


def _start_decoder(compression: Compression) -> _Decoder:
    if compression is Compression.GZIP:
        return _Inflate()
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})


def unpack_chunks(packed: Iterable[bytes], compression: Compression, where: str) -> Iterator[bytes]:
    """The content of all members or frames, in chunks of at most CHUNK_BYTES.

    Raises:
        RepositoryError: it is malformed or cut off.
    """
    if compression is Compression.NONE:
        yield from packed
        return
    decoder: _Decoder | None = None
    try:
        for chunk in packed:
            left = chunk
            while left or (decoder and not decoder.eof):
                decoder = decoder or _start_decoder(compression)
                made = decoder.decompress(left, CHUNK_BYTES)
                if made:
                    yield made
                left = b""
                if decoder.eof:
                    left, decoder = decoder.unused_data, None
                elif not made:
                    break
    except (zlib.error, zstd.ZstdError) as error:
        raise RepositoryError("a layer cannot be unpacked", path=where, cause=str(error)) from error
    if decoder is not None:
        raise RepositoryError("a layer is cut off", path=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A layer's tar in a workbench: its first byte and its length."""

    diff_id: str
    at: int
    layer_bytes: int

    @property
    def end(self) -> int:
        """The byte behind its last one."""
        return self.at + self.layer_bytes


@dataclass(slots=True)
class Workbench:
    """Layers as tars, one behind the other in a file without a name, so that addresses in it reach any of them."""

    folder: Path
    bounds: Bounds = field(default_factory=Bounds)
    placed: dict[str, Placed] = field(default_factory=dict)
    _file: BinaryIO = field(init=False)
    _end: int = 0
    _view: memoryview = field(default_factory=lambda: memoryview(b""))

    def __post_init__(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - closed on leaving

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A view that is still looked at is left to the collector; the file has no name to clean up.
        self._view = memoryview(b"")
        self._file.close()

    def unpack(self, layout: Layout, layer: Layer) -> Placed:
        """The layer's tar, verified by blob's digest and diff_id; nothing is done where it is here.

        Raises:
            InputError: it is foreign, encrypted, of an unknown kind, or unpacks to more than the bounds allow.
            RepositoryError: it is missing, malformed, or not what its digests say.
            SpaceError: the disk is full.
        """
        where = str(layout.blob_path(layer.blob.digest))
        compression = compression_of(layer)
        if layer.diff_id in self.placed:
            return self.placed[layer.diff_id]
        # Only what packs can grow; what is not packed is as large as its descriptor says.
        most_bytes = self.bounds.most_bytes(layer.blob.size)
        return self.add(
            unpack_chunks(layout.read_blob(layer.blob), compression, where), layer.diff_id, where, most_bytes
        )

    def add(self, chunks: Iterable[bytes], diff_id: str, where: str, most_bytes: int) -> Placed:
        """Put a tar behind the others.

        Raises:
            InputError: it is longer than `most_bytes`.
            RepositoryError: it has another diff_id.
            SpaceError: the disk is full.
        """
        digest, made_bytes = start_digest(diff_id), 0
        self._file.seek(self._end)
        with full_disk_as_error(self.folder):
            for chunk in chunks:
                made_bytes += len(chunk)
                if made_bytes > most_bytes:
                    raise InputError(
                        "a layer unpacks to more than is allowed: a decompression bomb?",
                        path=where,
                        max_bytes=most_bytes,
                    )
                digest.update(chunk)
                self._file.write(chunk)
            self._file.flush()
        check_hash(digest, diff_id, f"{where}: diff_id")
        placed = Placed(diff_id=diff_id, at=self._end, layer_bytes=made_bytes)
        self._end += made_bytes
        self.placed[diff_id] = placed
        return placed

    def content(self) -> memoryview:
        """All layers so far, mapped: reading takes no memory of its own."""
        if len(self._view) != self._end:
            self._view = memoryview(mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ))
        return self._view

    @contextmanager
    def as_file(self, placed: Placed) -> Iterator[Path]:
        """A layer's tar as a file of its own, for as long as the block runs.

        Raises:
            SpaceError: the disk is full.
        """
        with full_disk_as_error(self.folder), tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tar") as file:
            file.writelines(self.read_chunks(placed))
            file.flush()
            yield Path(file.name)

    def read_chunks(self, placed: Placed) -> Iterator[bytes]:
        """A layer's tar in chunks."""
        content = self.content()
        for at in range(placed.at, placed.end, CHUNK_BYTES):
            yield bytes(content[at : min(at + CHUNK_BYTES, placed.end)])
