"""Image deltas as OCI artifacts: a manifest whose subject is the target image, and blobs that any registry keeps.

    config     deltaplan-image/1, a JSON document: the ends, and for each layer its length, delta and recipe
    layers[0]  the target's config and manifest, as one zstd frame with the base's config as its prefix
    others     one delta for each layer that the base lacks, in order

A base is known by its config's digest, an image's id: a client that holds the same layers packed differently, or not
packed, has the same base. Deltas of a target are found as its referrers, by their subject.

Source: OCI Image Format Specification 1.1, manifest.md, "Guidelines for Artifact Usage"; OCI Distribution
Specification 1.1, "Listing Referrers".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from planner.build.codecs import CODECS
from planner.errors import BuildError, InputError, RepositoryError
from planner.images.documents import (
    MANIFEST,
    MANIFESTS,
    MAX_DOCUMENT_BYTES,
    REF_NAME,
    Count,
    Descriptor,
    Manifest,
    check_bytes,
    check_digest,
    encode_document,
)
from planner.images.layout import Image, Layout, make_image
from planner.images.recipes import Recipe
from planner.images.writing import LayoutWriter

ARTIFACT = "application/vnd.deltaplan.image-delta.v1"
DOCUMENTS = "application/vnd.deltaplan.image-documents.v1+zstd"
LAYER_DELTA = "application/vnd.deltaplan.layer-delta.v1"
ARTIFACT_CONFIG = "application/vnd.deltaplan.image-delta.config.v1+json"

BASE_CONFIG, BASE_MANIFEST = "deltaplan.base.config", "deltaplan.base.manifest"
"""Annotations of the artifact's manifest and index entry: the base image's id, and its manifest where it was made."""

_CODEC = CODECS["zstd-patch-from"]


class LayerNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One layer of the target: its tar's length, the digest of its delta if the base lacks it, and its recipe."""

    layer_bytes: Count
    delta: str | None = None
    recipe: Recipe | None = None


class DeltaNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An artifact's config.

    `plain` is the manifest that the target has with its layers unpacked; `is_exact` says whether every packed layer
    that the base lacks has a recipe.
    """

    format: Literal["deltaplan-image/1"] = "deltaplan-image/1"
    base_config: str
    target_name: Annotated[str, msgspec.Meta(max_length=1000)]
    target_config_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_DOCUMENT_BYTES)]
    target_manifest_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_DOCUMENT_BYTES)]
    plain: Descriptor
    is_exact: bool
    layers: tuple[LayerNote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An image delta that was read: its manifest's descriptor, the target's, its config and blobs."""

    name: str
    manifest: Descriptor
    manifest_bytes: int
    subject: Descriptor
    note: DeltaNote
    config: Descriptor
    documents: Descriptor
    deltas: tuple[Descriptor, ...]

    @property
    def wire_bytes(self) -> int:
        """What a client downloads: manifest, config and blobs."""
        blobs = (self.config, self.documents, *self.deltas)
        return self.manifest_bytes + sum({blob.digest: blob.size for blob in blobs}.values())


def pack_documents(base: Image, target: Image) -> bytes:
    """The target's config and manifest, for who has the base's config."""
    return _CODEC.encode(base.config_data, target.config_data + target.manifest_data)


def unpack_documents(artifact: Artifact, data: bytes, base: Image) -> Image:
    """The target image, its documents verified.

    Raises:
        InputError: the documents are malformed.
        RepositoryError: they are damaged, or made for another base.
    """
    note, where = artifact.note, artifact.documents.digest
    expected_bytes = note.target_config_bytes + note.target_manifest_bytes
    try:
        both = _CODEC.decode(base.config_data, data, new_bytes=expected_bytes)
    except BuildError as error:
        raise RepositoryError("the target's documents cannot be read", path=where, cause=str(error)) from error
    config_data, manifest_data = both[: note.target_config_bytes], both[note.target_config_bytes :]
    check_bytes(manifest_data, artifact.subject, f"{where}: manifest")
    image = make_image(note.target_name, artifact.subject, manifest_data, config_data)
    check_bytes(config_data, image.config, f"{where}: config")
    if len(note.layers) != len(image.layers):
        raise InputError(
            "is for another number of layers than the target has",
            path=where,
            got=len(note.layers),
            expected=len(image.layers),
        )
    return image


def write_artifact(writer: LayoutWriter, base: Image, target: Image, note: DeltaNote, blobs: list[bytes]) -> Descriptor:
    """Put an artifact into a layout; its entry in the index. `blobs` are the documents and the deltas, in order."""
    config = writer.add_data(encode_document(note), ARTIFACT_CONFIG)
    kinds = [DOCUMENTS] + [LAYER_DELTA] * (len(blobs) - 1)
    layers = tuple(writer.add_data(data, kind) for data, kind in zip(blobs, kinds, strict=True))
    about = {BASE_CONFIG: base.config.digest, BASE_MANIFEST: base.manifest.digest}
    manifest = _ArtifactManifest(
        schema_version=2,
        media_type=MANIFEST,
        artifact_type=ARTIFACT,
        config=config,
        layers=layers,
        subject=target.manifest,
        annotations=about,
    )
    written = writer.add_data(encode_document(manifest), MANIFEST)
    name = {REF_NAME: artifact_name(base.config.digest, target.manifest.digest)}
    entry = msgspec.structs.replace(written, artifact_type=ARTIFACT, annotations={**name, **about})
    writer.add_entry(entry)
    return entry


def artifact_name(base_config: str, target_manifest: str) -> str:
    """What a layout's index calls an artifact."""
    return f"delta-{base_config[7:19]}-{target_manifest[7:19]}"


class _ArtifactManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A manifest with every key, in the specification's order."""

    schema_version: int
    media_type: str
    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor
    annotations: dict[str, str]


def list_artifacts(layout: Layout) -> Iterator[Artifact]:
    """The image deltas of a layout in the order of its index; manifests of anything else are passed over.

    Raises:
        InputError: an image delta is malformed.
        RepositoryError: a document is missing or damaged.
    """
    for name, descriptor in layout.manifests():
        # Tools that copy an artifact may leave its type out of the index.
        if descriptor.media_type in MANIFESTS and descriptor.artifact_type in (None, ARTIFACT):
            manifest = layout.read_manifest(descriptor)
            if manifest.artifact_type == ARTIFACT or manifest.config.media_type == ARTIFACT_CONFIG:
                yield _read_artifact(layout, name, descriptor, manifest)


def _read_artifact(layout: Layout, name: str, descriptor: Descriptor, manifest: Manifest) -> Artifact:
    where = str(layout.blob_path(descriptor.digest))
    kinds = [layer.media_type for layer in manifest.layers]
    if manifest.subject is None or not kinds or kinds != [DOCUMENTS] + [LAYER_DELTA] * (len(kinds) - 1):
        raise InputError("is no image delta of a known kind", path=where, layers=kinds[:3])
    try:
        note = msgspec.json.decode(layout.read_document(manifest.config), type=DeltaNote)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        path = str(layout.blob_path(manifest.config.digest))
        raise InputError("is no config of an image delta", path=path, cause=str(error)) from error
    for digest in (note.base_config, note.plain.digest, *(one.delta for one in note.layers if one.delta)):
        check_digest(digest, where)
    deltas = manifest.layers[1:]
    if [one.delta for one in note.layers if one.delta] != [one.digest for one in deltas]:
        raise InputError("names other deltas in its config than in its manifest", path=where)
    return Artifact(
        name=name,
        manifest=descriptor,
        manifest_bytes=descriptor.size,
        subject=manifest.subject,
        note=note,
        config=manifest.config,
        documents=manifest.layers[0],
        deltas=deltas,
    )


def find_artifact(layout: Layout, base: Image, to: str) -> Artifact:
    """The delta from a base to the target that `to` means: its name, or its manifest's digest (12 digits do).

    Raises:
        InputError: there is none; the error lists what there is from this base.
        RepositoryError: a document is missing or damaged.
    """
    from_base = [one for one in list_artifacts(layout) if one.note.base_config == base.config.digest]
    found = {one.subject.digest: one for one in from_base if to in _names_of(one)}
    if len(found) != 1:
        raise InputError(
            "names several deltas: give a digest" if found else "there is no delta from this base to this target",
            path=str(layout.path),
            base=base.config.digest,
            to=to,
            known=sorted({one.note.target_name or one.subject.digest for one in from_base})[:10],
        )
    return next(iter(found.values()))


def _names_of(artifact: Artifact) -> set[str]:
    digest = artifact.subject.digest
    digits = digest.partition(":")[2]
    return {artifact.name, artifact.note.target_name, digest, digits, digits[:12], f"sha256:{digits[:12]}"} - {""}
