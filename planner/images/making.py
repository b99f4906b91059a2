"""Make an image delta: every layer that the base lacks, from all layers of the base and those made before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from planner.errors import BuildError, RepositoryError
from planner.images.archive import plain_manifest
from planner.images.artifact import LAYER_DELTA, DeltaNote, LayerNote, pack_documents
from planner.images.documents import MANIFEST, Descriptor, check_hash, describe, start_digest
from planner.images.layer_delta import make_layer_delta, read_layer_delta, rebuild_chunks
from planner.images.layers import Bounds, Compression, Placed, Workbench, compression_of
from planner.images.layout import Held, Image, Layer, Layout
from planner.images.matching import Sources
from planner.images.recipes import Recipe, find_recipe
from planner.images.tars import check_members

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLayer:
    """One layer of the target: its tar's length, and what it takes to fetch it whole or as a delta.

    `whole_bytes` is 0 where the base has the blob, `delta` none where the base has the tar.
    """

    layer: Layer
    layer_bytes: int
    whole_bytes: int
    delta: Descriptor | None
    recipe: Recipe | None

    @property
    def is_exact(self) -> bool:
        """Whether a client that has the base can have the layer's own blob."""
        return self.whole_bytes == 0 or self.recipe is not None or compression_of(self.layer) is Compression.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDelta:
    """An image delta that rebuilt every layer it is for: its config, and its blobs in order."""

    note: DeltaNote
    blobs: list[bytes]
    layers: tuple[MadeLayer, ...]


def make_image_delta(
    base_held: Held, target_held: Held, scratch: Path, *, bounds: Bounds, say: Say = lambda _: None
) -> MadeDelta:
    """The delta from one image to another, proven; the same bytes every time.

    Memory: that of `planner.delta.bsdiff.diff` for the largest file that changed, and what the delta's new bytes take
    packed. Disk, below `scratch`: the tars of all layers, and once more the one whose recipe is tried.

    Raises:
        BuildError: a delta does not rebuild its layer, or takes too many steps.
        InputError: an image is malformed, foreign or encrypted, or its tars are not safe to unpack.
        RepositoryError: a blob is missing or damaged.
        SpaceError: the disk is full.
    """
    base, target = base_held.image, target_held.image
    with Workbench(scratch, bounds) as bench:
        sources = _take_layers(bench, base_held)
        made, blobs = list[MadeLayer](), [pack_documents(base, target)]
        in_base = {layer.blob.digest for layer in base.layers}
        for layer in target.layers:
            is_here = layer.diff_id in bench.placed
            placed = _unpack(bench, target_held.layout, layer)
            if not is_here:
                say(f"layer {layer.diff_id[:19]}, {placed.layer_bytes:,} bytes")
                blobs.append(_make_proven(bench, placed, sources))
                sources.add(bench.content(), placed)
            is_fetched = layer.blob.digest not in in_base
            made.append(
                MadeLayer(
                    layer=layer,
                    layer_bytes=placed.layer_bytes,
                    whole_bytes=layer.blob.size if is_fetched else 0,
                    delta=None if is_here else describe(blobs[-1], LAYER_DELTA),
                    recipe=_find_recipe(bench, target_held.layout, layer, placed) if is_fetched else None,
                )
            )
    return MadeDelta(note=_note(base, target, made), blobs=blobs, layers=tuple(made))


def _take_layers(bench: Workbench, held: Held) -> Sources:
    """What all layers of an image hold."""
    sources = Sources()
    for layer in held.image.layers:
        if layer.diff_id not in bench.placed:
            placed = _unpack(bench, held.layout, layer)
            sources.add(bench.content(), placed)
    return sources


def _unpack(bench: Workbench, layout: Layout, layer: Layer) -> Placed:
    placed = bench.unpack(layout, layer)
    check_members(bench.content()[placed.at : placed.end], f"{layout.path}: layer {layer.diff_id}")
    return placed


def _make_proven(bench: Workbench, target: Placed, sources: Sources) -> bytes:
    """The layer's delta, which was applied and gave the layer."""
    content = bench.content()
    before = [placed for placed in bench.placed.values() if placed is not target]
    delta = make_layer_delta(content, before, target, sources)
    read = read_layer_delta(delta, target.diff_id, max_layer_bytes=target.layer_bytes)
    digest = start_digest(target.diff_id)
    for chunk in rebuild_chunks(read, content, bench.placed):
        digest.update(chunk)
    try:
        check_hash(digest, target.diff_id, "delta")
    except RepositoryError as error:
        raise BuildError("the delta does not rebuild its layer", path=target.diff_id, cause=str(error)) from error
    return delta


def _find_recipe(bench: Workbench, layout: Layout, layer: Layer, placed: Placed) -> Recipe | None:
    compression = compression_of(layer)
    if compression is Compression.NONE:
        return None
    with bench.as_file(placed) as tar:
        return find_recipe(tar, lambda: layout.open_blob(layer.blob), layer.blob.digest, compression, bench.folder)


def _note(base: Image, target: Image, made: list[MadeLayer]) -> DeltaNote:
    plain = plain_manifest(target.config_data, [one.layer.diff_id for one in made], [one.layer_bytes for one in made])
    return DeltaNote(
        base_config=base.config.digest,
        target_name=target.name,
        target_config_bytes=len(target.config_data),
        target_manifest_bytes=len(target.manifest_data),
        plain=describe(plain, MANIFEST),
        is_exact=all(one.is_exact for one in made),
        layers=tuple(
            LayerNote(layer_bytes=one.layer_bytes, delta=one.delta.digest if one.delta else None, recipe=one.recipe)
            for one in made
        ),
    )
