"""Image layouts: folders of blobs by digest, with an index. Whatever is read is verified by its descriptor.

Source: OCI Image Format Specification 1.1, image-layout.md; Distribution Specification 1.1, "Listing Referrers".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from planner.errors import InputError, RepositoryError
from planner.history.files import read_bounded
from planner.images.documents import (
    CONFIGS,
    INDEXES,
    MANIFESTS,
    MAX_DOCUMENT_BYTES,
    REF_NAME,
    Config,
    Descriptor,
    Index,
    Manifest,
    check_bytes,
    check_hash,
    parse_document,
    start_digest,
)

CHUNK_BYTES = 1 << 20
# containerd's annotation of the whole name, which archives of `docker save` carry beside the tag.
_FULL_NAME = "io.containerd.image.name"
_VERSION = "1.0.0"
# Deeper indexes are no layout that a tool writes; a hostile one could go round in circles.
_MAX_DEPTH = 4
_MAX_MANIFESTS = 100_000
_SHORTEST_PREFIX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its blob as it is kept, and the digest of its tar."""

    blob: Descriptor
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: its manifest and config, byte for byte, and its layers, the lowest first."""

    name: str
    manifest: Descriptor
    manifest_data: bytes
    config: Descriptor
    config_data: bytes
    layers: tuple[Layer, ...]
    created: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An image, and the layout that has its blobs."""

    layout: Layout
    image: Image


class Layout:
    """An image layout for reading.

    Raises:
        InputError: the folder is no layout of version 1.0.0.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        version = _read_small(path / "oci-layout", "is no image layout: it has no file oci-layout")
        try:
            found = msgspec.json.decode(version)["imageLayoutVersion"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError("is no oci-layout file", path=str(path / "oci-layout")) from error
        if found != _VERSION:
            raise InputError("is of another layout version", path=str(path), got=found, known=_VERSION)

    def index(self) -> Index:
        """The layout's index.

        Raises:
            InputError: it is missing or malformed.
        """
        data = _read_small(self.path / "index.json", "is no image layout: it has no index.json")
        return parse_document(data, Index, str(self.path / "index.json"))

    def blob_path(self, digest: str) -> Path:
        """Where a blob of a checked digest belongs."""
        algorithm, _, digits = digest.partition(":")
        return self.path / "blobs" / algorithm / digits

    def read_document(self, descriptor: Descriptor) -> bytes:
        """A document's bytes, verified.

        Raises:
            InputError: it is larger than documents may be.
            RepositoryError: it is missing, or is not what the descriptor says.
        """
        path = self.blob_path(descriptor.digest)
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise InputError(
                "is too large for a document",
                path=str(path),
                claimed_bytes=descriptor.size,
                max_bytes=MAX_DOCUMENT_BYTES,
            )
        with self.open_blob(descriptor) as file:
            return check_bytes(file.read(descriptor.size + 1), descriptor, str(path))

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """A blob's file, of the descriptor's size; its digest is for who reads it to compare (`read_blob`).

        Raises:
            RepositoryError: it is missing, no regular file, or of another size.
        """
        path = self.blob_path(descriptor.digest)
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except OSError as error:
            raise RepositoryError("a blob is missing", path=str(path), cause=error.strerror) from error
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != descriptor.size:
            file.close()
            raise RepositoryError(
                "has another size than its descriptor",
                path=str(path),
                got_bytes=status.st_size,
                expected_bytes=descriptor.size,
            )
        return file

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob in chunks; behind the last one its digest is compared.

        Raises:
            RepositoryError: it is missing, or is not what the descriptor says.
        """
        digest = start_digest(descriptor.digest)
        with self.open_blob(descriptor) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
        check_hash(digest, descriptor.digest, str(self.blob_path(descriptor.digest)))

    def manifests(self) -> Iterator[tuple[str, Descriptor]]:
        """Every manifest with the name of the entry that leads to it, in the order of the index.

        Raises:
            InputError: an index is malformed, too deep or too long.
            RepositoryError: a nested index is missing or damaged.
        """
        count = 0
        for entry in self.index().manifests:
            for descriptor in self._below(entry, 1):
                count += 1
                if count > _MAX_MANIFESTS:
                    raise InputError("names too many manifests", path=str(self.path), max_manifests=_MAX_MANIFESTS)
                yield _name_of(entry), descriptor

    def _below(self, entry: Descriptor, depth: int) -> Iterator[Descriptor]:
        if entry.media_type not in INDEXES:
            yield entry
            return
        if depth > _MAX_DEPTH:
            raise InputError("has indexes within indexes too deep", path=str(self.path), max_depth=_MAX_DEPTH)
        where = str(self.blob_path(entry.digest))
        for inner in parse_document(self.read_document(entry), Index, where).manifests:
            yield from self._below(inner, depth + 1)

    def images(self) -> list[Image]:
        """All images in the order of the index; artifacts are no images.

        Raises:
            InputError: a document is malformed.
            RepositoryError: one is missing or damaged.
        """
        return [
            self.read_image(descriptor, name) for name, descriptor in self.manifests() if self._is_image(descriptor)
        ]

    def _is_image(self, descriptor: Descriptor) -> bool:
        """Whether a manifest is an image's: tools that copy an artifact may leave its type out of the index."""
        return is_image(descriptor) and self.read_manifest(descriptor).config.media_type in CONFIGS

    def find_image(self, ref: str, platform: str | None = None) -> Image:
        """The image that `ref` means: a name, its tag, or the digest of a manifest, index or config (12 digits do).

        Raises:
            InputError: nothing, or several images, have that name; the error lists what there is.
            RepositoryError: a document is missing or damaged.
        """
        found = self._named(ref) or self._with_config(ref)
        if platform is not None:
            found = [one for one in found if str(one[1].platform or "") == platform]
        by_digest = {descriptor.digest: (name, descriptor) for name, descriptor in reversed(found)}
        if len(by_digest) != 1:
            known = sorted({name or descriptor.digest for name, descriptor in self.manifests() if is_image(descriptor)})
            platforms = sorted({str(descriptor.platform) for _, descriptor in found if descriptor.platform})
            raise InputError(
                "names several images: give a platform or a digest" if by_digest else "names no image",
                path=str(self.path),
                got=ref,
                **({"platforms": platforms} if platforms else {"known": known[:10]}),
            )
        name, descriptor = next(iter(by_digest.values()))
        return self.read_image(descriptor, name)

    def _named(self, ref: str) -> list[tuple[str, Descriptor]]:
        found = []
        for entry in self.index().manifests:
            below = [one for one in self._below(entry, 1) if is_image(one)]
            is_whole = ref in _names_of(entry) or _is_digest(ref, entry.digest)
            found += [(_name_of(entry), one) for one in below if is_whole or _is_digest(ref, one.digest)]
        return found

    def _with_config(self, ref: str) -> list[tuple[str, Descriptor]]:
        """Images by their config's digest, which is what Docker and Kubernetes call an image's id."""
        listed = [(name, one) for name, one in self.manifests() if is_image(one)]
        return [(name, one) for name, one in listed if _is_digest(ref, self.read_manifest(one).config.digest)]

    def read_manifest(self, descriptor: Descriptor) -> Manifest:
        """A manifest. Raises as `read_document` and `parse_document`."""
        return parse_document(self.read_document(descriptor), Manifest, str(self.blob_path(descriptor.digest)))

    def read_image(self, descriptor: Descriptor, name: str = "") -> Image:
        """The image of a manifest's descriptor.

        Raises:
            InputError: a document is malformed, or manifest and config do not fit.
            RepositoryError: one is missing or damaged.
        """
        manifest_data = self.read_document(descriptor)
        manifest = parse_document(manifest_data, Manifest, str(self.blob_path(descriptor.digest)))
        return make_image(name, descriptor, manifest_data, self.read_document(manifest.config))


def make_image(name: str, descriptor: Descriptor, manifest_data: bytes, config_data: bytes) -> Image:
    """The image of two documents that were verified.

    Raises:
        InputError: they are malformed, or do not fit each other.
    """
    manifest = parse_document(manifest_data, Manifest, descriptor.digest)
    config_digest = manifest.config.digest
    if manifest.config.media_type not in CONFIGS:
        raise InputError("is no image but an artifact", path=descriptor.digest, config=manifest.config.media_type)
    config = parse_document(config_data, Config, config_digest)
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise InputError(
            "manifest and config have different numbers of layers",
            path=descriptor.digest,
            manifest=len(manifest.layers),
            config=len(config.rootfs.diff_ids),
        )
    pairs = zip(manifest.layers, config.rootfs.diff_ids, strict=True)
    return Image(
        name=name,
        manifest=Descriptor(media_type=manifest.media_type, digest=descriptor.digest, size=len(manifest_data)),
        manifest_data=manifest_data,
        config=manifest.config,
        config_data=config_data,
        layers=tuple(Layer(blob=blob, diff_id=diff_id) for blob, diff_id in pairs),
        created=config.created,
    )


def is_image(descriptor: Descriptor) -> bool:
    """Whether an index's entry may be an image, and not an artifact; Docker's build attestations are none."""
    is_attestation = (descriptor.annotations or {}).get("vnd.docker.reference.type") is not None
    return descriptor.media_type in MANIFESTS and descriptor.artifact_type is None and not is_attestation


def _read_small(path: Path, message: str) -> bytes:
    try:
        return read_bounded(path, MAX_DOCUMENT_BYTES)
    except OSError as error:
        raise InputError(message, path=str(path.parent), cause=error.strerror) from error


def _name_of(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(REF_NAME, "")


def _names_of(entry: Descriptor) -> set[str]:
    annotations = entry.annotations or {}
    names = {annotations[key] for key in (REF_NAME, _FULL_NAME) if annotations.get(key)}
    return names | {name.rpartition(":")[2] for name in names}


def _is_digest(ref: str, digest: str) -> bool:
    digits = ref.removeprefix("sha256:")
    return ref == digest or (
        len(digits) >= _SHORTEST_PREFIX and digest.startswith("sha256:") and digest[7:].startswith(digits)
    )
