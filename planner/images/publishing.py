"""Deltas between a layout's images for the night: made in the pool, proven, and named by the layout's own index.

A published delta is a folder of the artifact's blobs (`sha256-...`) and its manifest (`delta`); the same files stand in
the layout's `blobs`, by hard links, so that `skopeo copy` finds the artifact as the target's referrer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from planner.build.builders import DELTA_FILE
from planner.build.pool import EXTENSION_PATH
from planner.build.processes import cpu_s
from planner.build.workshop_notes import Built
from planner.errors import BuildError, InputError, RepositoryError
from planner.history.files import read_bounded
from planner.history.records import EMPTY, is_checksum
from planner.images.applying import Applied, Ends, apply_image_delta
from planner.images.artifact import ARTIFACT, BASE_CONFIG, Artifact, artifact_name, list_artifacts, write_artifact
from planner.images.documents import (
    MANIFEST,
    MAX_DOCUMENT_BYTES,
    REF_NAME,
    Descriptor,
    Manifest,
    describe,
    parse_document,
)
from planner.images.layers import Bounds
from planner.images.layout import Held, Layout
from planner.images.making import make_image_delta
from planner.images.repository import ImageRepository
from planner.images.writing import LayoutWriter, write_layout

IMAGE_CODEC = "image"
"""The codec of image deltas, which routes and catalogues name."""

DELTAS_PATH = f"{EXTENSION_PATH}/deltas"
"""Published deltas, in the layout's folder."""

_BLOB_PREFIX = "sha256-"


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """Deltas of the layout at `path`; see `planner.build.builders.Builder`."""

    path: Path

    def prepare(self, candidates: Sequence[object], *, executor: Any, report: Any) -> None:
        """Nothing: no two image deltas have anything in common."""

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """Write the artifact's files into `into`; not yet synced. Raises as `Builder.build`."""
        _check_pair(base, target, codec)
        repository = ImageRepository(self.path)
        held, wanted = repository.find(base), repository.find(target)
        with tempfile.TemporaryDirectory(dir=into, prefix=".") as scratch:
            made = make_image_delta(held, wanted, Path(scratch), bounds=Bounds())
            writer = LayoutWriter(Path(scratch) / "artifact")
            entry = write_artifact(writer, held.image, wanted.image, made.note, made.blobs)
            for file in writer.files():
                is_manifest = entry.digest == f"sha256:{file.name}"
                file.rename(into / (DELTA_FILE if is_manifest else f"{_BLOB_PREFIX}{file.name}"))
        return Built()

    def prove(self, base: str, target: str, codec: str, delta: Path) -> float:
        """Apply the delta to the base, and compare the result with the target. Raises as `Builder.prove`."""
        _check_pair(base, target, codec)
        repository = ImageRepository(self.path)
        wanted = repository.find(target).image
        with tempfile.TemporaryDirectory(dir=delta.parent, prefix="proof-") as scratch:
            try:
                started_s = cpu_s()
                artifact_in = link_artifact(delta, Path(scratch) / "artifact")
                applied = apply_to(repository.find(base), artifact_in, Path(scratch) / "made")
                applied_s = cpu_s()
            except (InputError, RepositoryError) as error:
                raise BuildError("the delta does not make its target", path=str(delta), cause=str(error)) from error
        is_same = applied.image.manifest.digest == wanted.manifest.digest
        if applied.image.config != wanted.config or applied.is_exact != is_same:
            raise BuildError("the delta makes another image", path=str(delta), got=applied.image.manifest.digest)
        return applied_s - started_s

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where the delta's folder belongs. Raises as `Builder.published_path`."""
        if codec != IMAGE_CODEC:
            raise InputError("is not a codec of this repository", path="codec", got=codec, known=[IMAGE_CODEC])
        return f"{DELTAS_PATH}/{target[:2]}/{target[2:]}/{base or 'empty'}"


def _check_pair(base: str, target: str, codec: str) -> None:
    if codec != IMAGE_CODEC:
        raise InputError("is not a codec of this repository", path="codec", got=codec, known=[IMAGE_CODEC])
    if base == EMPTY:
        raise BuildError("an image delta has a base: who has nothing fetches the layers", target=target)
    for path, checksum in (("base", base), ("target", target)):
        if not is_checksum(checksum):
            raise InputError("commit id is not 64 lowercase hex digits", path=path, got=checksum)


def apply_to(held: Held, artifact_in: Layout, into: Path, *, name: str | None = None) -> Applied:
    """The target of the one artifact in a layout.

    Raises:
        InputError: there is none, it is for another base, or see `apply_image_delta`.
    """
    artifacts: list[Artifact] = list(list_artifacts(artifact_in))
    if len(artifacts) != 1 or artifacts[0].note.base_config != held.image.config.digest:
        raise InputError("is no delta of this base", path=str(artifact_in.path), base=held.image.config.digest)
    ends = Ends(base=held, delta_layout=artifact_in, artifact=artifacts[0])
    return apply_image_delta(ends, into, bounds=Bounds(), name=name)


def link_artifact(delta: Path, into: Path) -> Layout:
    """A published delta's folder as a layout of its own, which shares its files.

    Raises:
        InputError: it is no artifact.
    """
    with write_layout(into) as writer:
        writer.add_entry(_link_blobs(delta, writer))
    return Layout(into)


def name_deltas(path: Path) -> None:
    """Have the index of the layout at `path` name every published delta, and its blobs linked among the layout's.

    Raises:
        InputError: the layout, or a delta, is malformed.
        SpaceError: the disk is full.
    """
    listed = {entry.digest for entry in Layout(path).index().manifests}
    found = sorted((path / DELTAS_PATH).glob("*/*/*"))
    waiting = [folder for folder in found if _describe(folder)[0].digest not in listed]
    if waiting:
        with write_layout(path) as writer:
            for folder in waiting:
                writer.add_entry(_link_blobs(folder, writer))


def _link_blobs(delta: Path, writer: LayoutWriter) -> Descriptor:
    """Link a delta's files into a layout; the entry for the index."""
    entry, manifest = _describe(delta)
    blobs = {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
    for digest in sorted({entry.digest, *blobs}):
        place = writer.blob_path(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        source = delta / (DELTA_FILE if digest == entry.digest else f"{_BLOB_PREFIX}{digest[7:]}")
        if not place.exists():
            os.link(source, place)
    return entry


def _describe(delta: Path) -> tuple[Descriptor, Manifest]:
    data = read_bounded(delta / DELTA_FILE, MAX_DOCUMENT_BYTES)
    manifest = parse_document(data, Manifest, str(delta))
    base = (manifest.annotations or {}).get(BASE_CONFIG, "")
    if manifest.subject is None or manifest.artifact_type != ARTIFACT:
        raise InputError("is no image delta", path=str(delta))
    annotations = {REF_NAME: artifact_name(base, manifest.subject.digest), **(manifest.annotations or {})}
    return (
        msgspec.structs.replace(describe(data, MANIFEST), artifact_type=ARTIFACT, annotations=annotations),
        manifest,
    )


def blob_file(digest: str) -> str:
    """A blob's name in a published delta's folder."""
    return f"{_BLOB_PREFIX}{digest[7:]}"
