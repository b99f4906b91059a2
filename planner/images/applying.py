"""Apply an image delta: the base's layers and the artifact become the target image, verified before it has a name."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from planner.errors import InputError, RepositoryError, ToolError
from planner.images.archive import plain_manifest
from planner.images.artifact import Artifact, unpack_documents
from planner.images.documents import REF_NAME, check_bytes
from planner.images.layer_delta import LayerDelta, read_layer_delta, rebuild_chunks
from planner.images.layers import Bounds, Compression, Placed, Workbench, compression_of
from planner.images.layout import Held, Image, Layer, Layout, make_image
from planner.images.recipes import Recipe, repack
from planner.images.tars import check_members
from planner.images.writing import LayoutWriter, write_layout

# A delta is read whole, and is hardly longer than its layer is packed.
_MAX_DELTA_BYTES = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The image that was written, and whether it is the target's own manifest or its plain one."""

    image: Image
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What a client has: the base image in its layout, and the artifact in another."""

    base: Held
    delta_layout: Layout
    artifact: Artifact


def apply_image_delta(
    ends: Ends, into: Path, *, bounds: Bounds, is_plain: bool = False, name: str | None = None
) -> Applied:
    """Write the target image into the layout `into`, which is made where it is not.

    With `is_plain`, or where a layer's blob is neither in the base nor has a recipe, layers are kept unpacked under the
    manifest that the artifact states; the config, and so the image's id, is the target's in either case. Nothing is
    written where an error is raised.

    Raises:
        InputError: the delta is malformed, for another base, or a tar in it is not safe to unpack.
        RepositoryError: a blob is missing or damaged, or what was rebuilt is not the target.
        SpaceError: the disk is full.
        ToolError: the program of a recipe is missing or failed; `is_plain` does without it.
    """
    note = ends.artifact.note
    documents = ends.delta_layout.read_document(ends.artifact.documents)
    target = unpack_documents(ends.artifact, documents, ends.base.image)
    plain = _plain_image(target, ends.artifact)
    is_exact = not is_plain and _can_pack(ends, target)
    image = target if is_exact else plain
    with write_layout(into) as writer, tempfile.TemporaryDirectory(dir=writer.folder, prefix=".") as scratch:
        with Workbench(Path(scratch), bounds) as bench:
            _rebuild_layers(bench, ends, target)
            for number, layer in enumerate(image.layers):
                _write_layer(writer, bench, ends, layer, note.layers[number].recipe)
        writer.add_document(image.config_data, image.config)
        writer.add_document(image.manifest_data, image.manifest)
        annotations = {REF_NAME: name or target.name} if name or target.name else None
        writer.add_entry(msgspec.structs.replace(image.manifest, annotations=annotations))
    return Applied(image=image, is_exact=is_exact)


def _can_pack(ends: Ends, target: Image) -> bool:
    """Whether every packed layer of the target is the base's own blob, or has a recipe.

    A base that was kept unpacked has none of the publisher's blobs: its targets are kept unpacked, too.
    """
    held = {layer.blob.digest for layer in ends.base.image.layers}
    return all(
        layer.blob.digest in held or note.recipe is not None or compression_of(layer) is Compression.NONE
        for layer, note in zip(target.layers, ends.artifact.note.layers, strict=True)
    )


def _plain_image(target: Image, artifact: Artifact) -> Image:
    """The target with its layers unpacked, under the manifest that the artifact states.

    Raises:
        RepositoryError: it states another one than the target has.
    """
    diff_ids = [layer.diff_id for layer in target.layers]
    data = plain_manifest(target.config_data, diff_ids, [one.layer_bytes for one in artifact.note.layers])
    check_bytes(data, artifact.note.plain, f"{artifact.config.digest}: plain manifest")
    return make_image(target.name, artifact.note.plain, data, target.config_data)


def _rebuild_layers(bench: Workbench, ends: Ends, target: Image) -> None:
    """Put the tar of every layer that the base lacks on the bench, verified, beside those that are needed for it."""
    in_base = {layer.diff_id: layer for layer in ends.base.image.layers}
    for layer, note in zip(target.layers, ends.artifact.note.layers, strict=True):
        if layer.diff_id in bench.placed or layer.diff_id in in_base:
            continue
        delta = _read_delta(ends, note.delta, layer, note.layer_bytes, bench.bounds)
        for source in delta.sources:
            if source.diff_id in in_base:
                bench.unpack(ends.base.layout, in_base[source.diff_id])
        chunks = rebuild_chunks(delta, bench.content(), bench.placed)
        placed = bench.add(chunks, layer.diff_id, delta.where, note.layer_bytes)
        _check_length(placed, note.layer_bytes)
        check_members(bench.content()[placed.at : placed.end], f"layer {layer.diff_id}")


def _read_delta(ends: Ends, digest: str | None, layer: Layer, layer_bytes: int, bounds: Bounds) -> LayerDelta:
    blob = next((one for one in ends.artifact.deltas if one.digest == digest), None)
    if blob is None:
        raise InputError("has no delta of a layer that the base lacks", path=ends.artifact.name, diff_id=layer.diff_id)
    where = str(ends.delta_layout.blob_path(blob.digest))
    # The same bound as for whoever fetches the layer whole.
    most_bytes = bounds.most_bytes(layer.blob.size)
    if blob.size > _MAX_DELTA_BYTES or layer_bytes > most_bytes:
        raise InputError("a layer is larger than allowed: a bomb?", path=where, got=layer_bytes, max_bytes=most_bytes)
    data = b"".join(ends.delta_layout.read_blob(blob))
    delta = read_layer_delta(data, where, max_layer_bytes=layer_bytes)
    if delta.target.diff_id != layer.diff_id:
        raise RepositoryError(
            "is the delta of another layer", path=where, got=delta.target.diff_id, expected=layer.diff_id
        )
    return delta


def _check_length(placed: Placed, expected_bytes: int) -> None:
    if placed.layer_bytes != expected_bytes:
        raise RepositoryError(
            "a layer has another length than the delta says",
            path=placed.diff_id,
            got_bytes=placed.layer_bytes,
            expected_bytes=expected_bytes,
        )


def _write_layer(writer: LayoutWriter, bench: Workbench, ends: Ends, layer: Layer, recipe: Recipe | None) -> None:
    """Put the layer's blob into the output: the base's own where it has it, else packed again from its tar."""
    if any(one.blob.digest == layer.blob.digest for one in ends.base.image.layers):
        writer.add_blob(ends.base.layout.read_blob(layer.blob), layer.blob)
        return
    held = next((one for one in ends.base.image.layers if one.diff_id == layer.diff_id), None)
    placed = bench.unpack(ends.base.layout, held) if held else bench.placed[layer.diff_id]
    if compression_of(layer) is Compression.NONE:
        writer.add_blob(bench.read_chunks(placed), layer.blob)
        return
    assert recipe is not None  # noqa: S101 - see `_can_pack`
    with bench.as_file(placed) as tar:
        try:
            writer.add_blob(repack(tar, recipe, bench.folder), layer.blob)
        except (RepositoryError, ToolError) as error:
            facts = {"recipe": msgspec.to_builtins(recipe), "cause": str(error)}
            raise type(error)(
                "a layer cannot be packed as the publisher packed it: apply with --plain",
                path=layer.blob.digest,
                **facts,
            ) from error
