"""How a layer's blob is packed again from its tar, byte for byte, where anything can.

The blob's digest is in the manifest, so a client can only have the image's own manifest if it packs as the publisher
did. Packing is the same everywhere for one version of one program, and differs between any two. Measured on a tar of
381 MB of programs, libraries and documents from Debian 12 (tests/images/test_recipes.py does it on a small one):

    written by                        made again by
    zlib (Python)                     zlib, one of its 9 levels
    libzstd (zstd, Python)            libzstd, one of its levels
    skopeo 1.9.3, buildah 1.28.2      skopeo 1.9.3; no level of zlib, whose streams differ within the first bytes
    umoci 0.4.7                       umoci 0.4.7; neither zlib nor skopeo
    GNU gzip 1.12, Go 1.19.8          none of these

A recipe is tried by the publisher before it is written down, and its result is verified by whoever follows it.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec
from backports import zstd

from planner.build.tools import run_tool
from planner.errors import BuildError, ToolError
from planner.images.archive import plain_manifest
from planner.images.documents import CONFIG, MANIFEST, REF_NAME, digest_of, start_digest
from planner.images.layers import Compression
from planner.images.layout import Layout
from planner.images.writing import write_layout

_TIMEOUT_S = 3600.0
# A gzip header with a name or a comment is longer than ten bytes; tools write no long ones.
_MAX_HEADER_BYTES = 1024
# Packed at once: a packer lets its first block go as soon as it is full, and the first one shows a wrong recipe.
_PIECE_BYTES = 1 << 17
# With a worker zstd packs 4 windows before it lets anything go: at higher levels that is seconds for each candidate.
_MOST_WORKED_LEVEL = 9


class ZlibRecipe(msgspec.Struct, frozen=True, kw_only=True, tag_field="tool", tag="zlib", forbid_unknown_fields=True):
    """One gzip member by zlib, behind a header that is written down."""

    level: Annotated[int, msgspec.Meta(ge=1, le=9)]
    memory_level: Annotated[int, msgspec.Meta(ge=1, le=9)]
    header: Annotated[str, msgspec.Meta(max_length=2 * _MAX_HEADER_BYTES, pattern="^([0-9a-f]{2})*$")]

    @property
    def label(self) -> str:
        """What a person reads."""
        return f"zlib level {self.level}"


class ZstdRecipe(msgspec.Struct, frozen=True, kw_only=True, tag_field="tool", tag="zstd", forbid_unknown_fields=True):
    """One frame by libzstd; `workers` as zstd counts them, where 0 and 1 give different frames."""

    level: Annotated[int, msgspec.Meta(ge=1, le=22)]
    has_checksum: bool
    has_content_bytes: bool
    workers: Annotated[int, msgspec.Meta(ge=0, le=1)]

    @property
    def label(self) -> str:
        """What a person reads."""
        return f"zstd level {self.level}"


class ToolRecipe(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="tool", tag="program", forbid_unknown_fields=True
):
    """What a program writes that stores images."""

    program: Literal["skopeo", "umoci"]
    compression: Literal["gzip", "zstd"]
    version: Annotated[str, msgspec.Meta(max_length=200)] = ""

    @property
    def label(self) -> str:
        """What a person reads."""
        return self.version or self.program


Recipe = ZlibRecipe | ZstdRecipe | ToolRecipe


def find_recipe(
    tar: Path, packed: Callable[[], BinaryIO], digest: str, compression: Compression, scratch: Path
) -> Recipe | None:
    """How the blob that `packed` opens, of this digest, can be made of a tar; None where nothing is known to do it.

    Libraries are tried first: they are found out within the first bytes, where programs pack the whole layer.
    """
    if compression is Compression.NONE:
        return None
    for candidate in _candidates(packed, compression):
        with packed() as blob:
            if _is_start_to_end(pack_tar(tar, candidate), blob):
                return candidate
    for program in ("skopeo", "umoci"):
        is_offered = shutil.which(program) and not (program == "umoci" and compression is Compression.ZSTD)
        if is_offered:
            made = ToolRecipe(program=program, compression=compression.value, version=_version(program))  # type: ignore[arg-type]
            # A program that fails on this layer has no recipe for it.
            with suppress(ToolError):
                if _digest_of_chunks(repack(tar, made, scratch), digest) == digest:
                    return made
    return None


def repack(tar: Path, recipe: Recipe, scratch: Path) -> Iterator[bytes]:
    """The blob that a recipe makes of a tar, in chunks.

    Raises:
        ToolError: the recipe's program is missing or failed.
    """
    if isinstance(recipe, ToolRecipe):
        yield from _run_program(tar, recipe, scratch)
    else:
        yield from pack_tar(tar, recipe)


def pack_tar(tar: Path, recipe: ZlibRecipe | ZstdRecipe) -> Iterator[bytes]:
    """The same by a library."""
    if isinstance(recipe, ZstdRecipe):
        yield from _zstd_chunks(tar, recipe)
        return
    yield bytes.fromhex(recipe.header)
    packer = zlib.compressobj(recipe.level, zlib.DEFLATED, -zlib.MAX_WBITS, recipe.memory_level)
    crc, tar_bytes = 0, 0
    for chunk in _read(tar):
        crc, tar_bytes = zlib.crc32(chunk, crc), tar_bytes + len(chunk)
        yield packer.compress(chunk)
    yield packer.flush()
    yield crc.to_bytes(4, "little") + (tar_bytes & 0xFFFFFFFF).to_bytes(4, "little")


def _zstd_chunks(tar: Path, recipe: ZstdRecipe) -> Iterator[bytes]:
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: recipe.level,
        zstd.CompressionParameter.checksum_flag: int(recipe.has_checksum),
        zstd.CompressionParameter.nb_workers: recipe.workers,
    }
    packer = zstd.ZstdCompressor(options=options)
    if recipe.has_content_bytes:
        packer.set_pledged_input_size(tar.stat().st_size)
    for chunk in _read(tar):
        yield packer.compress(chunk)
    yield packer.flush()


def _candidates(packed: Callable[[], BinaryIO], compression: Compression) -> Iterator[ZlibRecipe | ZstdRecipe]:
    with packed() as blob:
        start = blob.read(_MAX_HEADER_BYTES)
    if compression is Compression.GZIP:
        if header := _gzip_header(start):
            # 6 is nearly everybody's default; memory levels are zlib's default and its most.
            for level in (6, 9, 1, 2, 3, 4, 5, 7, 8):
                for memory_level in (8, 9):
                    yield ZlibRecipe(level=level, memory_level=memory_level, header=header.hex())
        return
    try:
        info = zstd.get_frame_info(start)
    except zstd.ZstdError:
        return
    has_size, has_checksum = info.decompressed_size is not None, bool(start[4] & 0x04)
    for level in (3, *range(1, 3), *range(4, 23)):
        for workers in (0, 1) if level <= _MOST_WORKED_LEVEL else (0,):
            yield ZstdRecipe(level=level, has_checksum=has_checksum, has_content_bytes=has_size, workers=workers)


def _gzip_header(start: bytes) -> bytes | None:
    """The header of a gzip file; None where it is longer than known tools write it.

    Source: RFC 1952, section 2.3.
    """
    if len(start) < 10 or start[:3] != b"\x1f\x8b\x08":
        return None
    flags, at = start[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(start[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = start.find(b"\0", at) + 1 or len(start) + 1
    at += 2 if flags & 2 else 0
    return start[:at] if at <= len(start) else None


def _is_start_to_end(chunks: Iterable[bytes], blob: BinaryIO) -> bool:
    """Whether chunks are a file's content; looks no further than to the first difference."""
    return all(blob.read(len(chunk)) == chunk for chunk in chunks) and not blob.read(1)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_PIECE_BYTES):
            yield chunk


def _digest_of_chunks(chunks: Iterable[bytes], like: str) -> str:
    digest = start_digest(like)
    for chunk in chunks:
        digest.update(chunk)
    return f"{like.partition(':')[0]}:{digest.hexdigest()}"


def _version(program: str) -> str:
    return run_tool([program, "--version"], timeout_s=_TIMEOUT_S).strip().splitlines()[0][:200]


def _run_program(tar: Path, recipe: ToolRecipe, scratch: Path) -> Iterator[bytes]:
    """The blob of the one layer of an image that the program stores."""
    folder = scratch / f"{recipe.program}-{recipe.compression}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if recipe.program == "umoci":
            _store_with_umoci(tar, folder)
        else:
            _store_with_skopeo(tar, folder, recipe.compression)
        layout = Layout(folder / "packed")
        _, descriptor = next(iter(layout.manifests()))
        layers = layout.read_manifest(descriptor).layers
        if len(layers) != 1:
            raise BuildError("the program stored another image", path=recipe.program, layers=len(layers))
        yield from layout.read_blob(layers[0])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _store_with_umoci(tar: Path, folder: Path) -> None:
    image = f"{folder / 'packed'}:packed"
    run_tool(["umoci", "init", "--layout", str(folder / "packed")], timeout_s=_TIMEOUT_S)
    run_tool(["umoci", "new", "--image", image], timeout_s=_TIMEOUT_S)
    run_tool(["umoci", "raw", "add-layer", "--image", image, str(tar)], timeout_s=_TIMEOUT_S)


def _store_with_skopeo(tar: Path, folder: Path, compression: str) -> None:
    diff_id = _digest_of_chunks(_read(tar), digest_of(b""))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    config_data = msgspec.json.encode(config)
    with write_layout(folder / "plain") as writer:
        manifest_data = plain_manifest(config_data, [diff_id], [tar.stat().st_size])
        blob = writer.blob_path(diff_id)
        blob.parent.mkdir(parents=True)
        blob.symlink_to(tar.resolve())
        writer.add_data(config_data, CONFIG)
        entry = writer.add_data(manifest_data, MANIFEST)
        writer.add_entry(msgspec.structs.replace(entry, annotations={REF_NAME: "plain"}))
    run_tool(
        [
            *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-compress-format", compression),
            *(f"oci:{folder / 'plain'}:plain", f"oci:{folder / 'packed'}:packed"),
        ],
        timeout_s=_TIMEOUT_S,
    )
