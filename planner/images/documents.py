"""The documents of OCI images as records: descriptors, manifests, indexes and configs. All of it may be hostile.

Source: OCI Image Format Specification 1.1 (descriptor.md, manifest.md, image-index.md, config.md); Docker's Image
Manifest Version 2, Schema 2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from planner.errors import InputError, RepositoryError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"

MANIFESTS = frozenset({MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"})
INDEXES = frozenset({INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})
CONFIGS = frozenset({CONFIG, "application/vnd.docker.container.image.v1+json"})
"""Media types by what they hold, OCI's and Docker's."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation of a descriptor in a layout's index: the tag."""

MAX_DOCUMENT_BYTES = 4 * 2**20
"""Of one manifest, index or config: what registries are to take at least, and the most that skopeo reads."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest of an index runs on."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(piece for piece in (self.os, self.architecture, self.variant) if piece)


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A blob's media type, digest and size, as documents name it; `size` is in bytes, and the format's own name."""

    media_type: str
    digest: str
    size: Count
    annotations: Mapping[str, str] | None = None
    artifact_type: str | None = None
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An image's manifest, or an artifact's."""

    schema_version: int
    media_type: str = MANIFEST
    artifact_type: str | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A list of manifests; a layout's `index.json`, or one behind a descriptor."""

    schema_version: int
    media_type: str = INDEX
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] | None = None


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of an image's layers before they were packed, the lowest first."""

    diff_ids: tuple[str, ...]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an image's config; the rest of it is kept as bytes."""

    rootfs: RootFs
    created: str | None = None


_Document = TypeVar("_Document", Manifest, Index, Config)


def parse_document(data: bytes, kind: type[_Document], where: str) -> _Document:
    """The record in a JSON text, with every digest checked.

    Raises:
        InputError: it is not JSON, or breaks the format; the error gives the path in it.
    """
    try:
        document = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"is no {kind.__name__.lower()} of an image", path=where, cause=str(error)) from error
    for key, digest in _digests(document):
        check_digest(digest, f"{where}: {key}")
    return document


def _digests(document: Manifest | Index | Config) -> list[tuple[str, str]]:
    if isinstance(document, Config):
        return [(f"rootfs.diff_ids[{k}]", one) for k, one in enumerate(document.rootfs.diff_ids)]
    if isinstance(document, Index):
        return [(f"manifests[{k}].digest", one.digest) for k, one in enumerate(document.manifests)]
    found = [("config.digest", document.config.digest)]
    found += [(f"layers[{k}].digest", one.digest) for k, one in enumerate(document.layers)]
    return found + ([("subject.digest", document.subject.digest)] if document.subject else [])


def check_digest(digest: str, where: str) -> str:
    """The same text, which is safe as a path below `blobs/`.

    Raises:
        InputError: it is no sha256 or sha512 as the format writes it.
    """
    if not _DIGEST.fullmatch(digest):
        raise InputError("is no digest: sha256 or sha512, a colon and lowercase hex digits", path=where, got=digest)
    return digest


def start_digest(digest: str) -> hashlib._Hash:
    """A hash object of a checked digest's algorithm."""
    return hashlib.new(digest.partition(":")[0], usedforsecurity=True)


def digest_of(data: bytes) -> str:
    """The sha256 of data, as documents write it.

    >>> digest_of(b"{}")[:20]
    'sha256:44136fa355b36'
    """
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(data: bytes, media_type: str) -> Descriptor:
    """The descriptor of data."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


def check_bytes(data: bytes, descriptor: Descriptor, where: str) -> bytes:
    """The same data.

    Raises:
        RepositoryError: it is not what the descriptor says.
    """
    if len(data) != descriptor.size:
        raise RepositoryError(
            "has another size than its descriptor", path=where, got_bytes=len(data), expected_bytes=descriptor.size
        )
    digest = start_digest(descriptor.digest)
    digest.update(data)
    check_hash(digest, descriptor.digest, where)
    return data


def check_hash(digest: hashlib._Hash, expected: str, where: str) -> None:
    """Compare what was hashed with a digest.

    Raises:
        RepositoryError: they differ.
    """
    if digest.hexdigest() != expected.partition(":")[2]:
        got = f"{expected.partition(':')[0]}:{digest.hexdigest()}"
        raise RepositoryError("has another digest: it is damaged or another", path=where, got=got, expected=expected)


def encode_document(document: msgspec.Struct) -> bytes:
    """A document's bytes, the same every time: keys in the format's order, no spaces."""
    return msgspec.json.encode(document)
