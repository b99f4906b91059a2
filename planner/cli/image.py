"""`deltaplan image`: deltas between container images, as OCI artifacts in image layouts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.cli.context import JsonOption, TerminalReporter, run_verb
from planner.images.applying import Ends, apply_image_delta
from planner.images.archive import open_layout
from planner.images.artifact import Artifact, find_artifact, list_artifacts, write_artifact
from planner.images.layers import MAX_LAYER_BYTES, MAX_RATIO, Bounds
from planner.images.layout import Held, Image, Layout
from planner.images.making import MadeDelta, make_image_delta
from planner.images.writing import write_layout
from planner.units import MB, format_bytes

image = typer.Typer(name="image", help="Deltas between container images, as OCI artifacts.", no_args_is_help=True)

LayoutArgument = Annotated[
    Path, typer.Argument(help="An image layout, or an archive of `docker save`.", show_default=False)
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The layout to write to; made where there is none.")]
PlatformOption = Annotated[str | None, typer.Option("--platform", help="Of several: OS/ARCHITECTURE[/VARIANT].")]
LayerBytesOption = Annotated[
    int, typer.Option("--max-layer-mb", min=1, help="Refuse layers that unpack to more MB than this.")
]
RatioOption = Annotated[
    int, typer.Option("--max-ratio", min=1, help="Refuse layers that unpack to so many times their packed bytes.")
]

_LAYER_MB = MAX_LAYER_BYTES // MB


@image.command()
def delta(  # noqa: PLR0913, PLR0917 - one parameter per option
    layout: LayoutArgument,
    base: Annotated[str, typer.Option("--from", help="The image that clients have: a name or a digest.")],
    target: Annotated[str, typer.Option("--to", help="The image that they are to have.")],
    output: OutputOption,
    base_layout: Annotated[
        Path | None, typer.Option("--from-layout", help="Where the base is, if not in the same layout or archive.")
    ] = None,
    platform: PlatformOption = None,
    max_layer_mb: LayerBytesOption = _LAYER_MB,
    max_ratio: RatioOption = MAX_RATIO,
    as_json: JsonOption = False,
) -> None:
    """Make the delta from one image to another, prove it, and add it to a layout as the target's referrer."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        bounds = Bounds(max_layer_bytes=max_layer_mb * MB, max_ratio=max_ratio)
        with ExitStack() as opened:
            target_in, scratch = opened.enter_context(_open(layout))
            base_in = opened.enter_context(_open(base_layout))[0] if base_layout else target_in
            from_held = Held(layout=base_in, image=base_in.find_image(base, platform))
            to_held = Held(layout=target_in, image=target_in.find_image(target, platform))
            made = make_image_delta(from_held, to_held, scratch, bounds=bounds, say=reporter.say)
            with write_layout(output) as writer:
                entry = write_artifact(writer, from_held.image, to_held.image, made.note, made.blobs)
        artifact = next(one for one in list_artifacts(Layout(output)) if one.manifest.digest == entry.digest)
        return _made_document(artifact, made), _made_view(artifact, made, from_held.image, to_held.image)

    run_verb(action, as_json=as_json)


@image.command()
def apply(  # noqa: PLR0913, PLR0917 - one parameter per option
    layout: LayoutArgument,
    base: Annotated[str, typer.Option("--base", help="The image that is here: a name or a digest.")],
    target: Annotated[str, typer.Option("--to", help="The image to make: a name or its manifest's digest.")],
    output: OutputOption,
    deltas: Annotated[
        Path | None, typer.Option("--deltas", help="The layout with the deltas, if not the base's own.")
    ] = None,
    is_plain: Annotated[
        bool, typer.Option("--plain", help="Keep all layers unpacked, under the manifest that the delta states.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="The image's name in the output. Default: what the delta calls it.")
    ] = None,
    platform: PlatformOption = None,
    max_layer_mb: LayerBytesOption = _LAYER_MB,
    max_ratio: RatioOption = MAX_RATIO,
    as_json: JsonOption = False,
) -> None:
    """Make the target image from the base and a delta, and verify it before it gets its name."""

    def action(_reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        bounds = Bounds(max_layer_bytes=max_layer_mb * MB, max_ratio=max_ratio)
        with ExitStack() as opened:
            base_in, _ = opened.enter_context(_open(layout))
            delta_in = opened.enter_context(_open(deltas))[0] if deltas else base_in
            held = Held(layout=base_in, image=base_in.find_image(base, platform))
            artifact = find_artifact(delta_in, held.image, target)
            ends = Ends(base=held, delta_layout=delta_in, artifact=artifact)
            applied = apply_image_delta(ends, output, bounds=bounds, is_plain=is_plain, name=name)
        document = {
            "manifest": applied.image.manifest.digest,
            "config": applied.image.config.digest,
            "is_exact": applied.is_exact,
            "wire_bytes": artifact.wire_bytes,
        }
        kind = (
            "the publisher's manifest" if applied.is_exact else "layers unpacked, under the manifest the delta states"
        )
        return document, Text(f"{output}: {name or applied.image.name} {applied.image.manifest.digest} ({kind})")

    run_verb(action, as_json=as_json)


@image.command()
def show(layout: LayoutArgument, as_json: JsonOption = False) -> None:
    """List the images and the deltas of a layout or an archive."""

    def action(_reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        with _open(layout) as (opened, _scratch):
            images, artifacts = opened.images(), list(list_artifacts(opened))
        document = {
            "images": [_image_document(one) for one in images],
            "deltas": [_artifact_document(one) for one in artifacts],
        }
        return document, Group(_images_table(images), *([_artifacts_table(artifacts)] if artifacts else []))

    run_verb(action, as_json=as_json)


@contextmanager
def _open(path: Path) -> Iterator[tuple[Layout, Path]]:
    """A layout and a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="deltaplan-") as scratch, open_layout(path, Path(scratch)) as layout:
        yield layout, Path(scratch)


def _image_document(one: Image) -> dict[str, Any]:
    return {
        "name": one.name,
        "manifest": one.manifest.digest,
        "config": one.config.digest,
        "created": one.created,
        "layers": [
            {"digest": layer.blob.digest, "diff_id": layer.diff_id, "wire_bytes": layer.blob.size}
            for layer in one.layers
        ],
    }


def _artifact_document(one: Artifact) -> dict[str, Any]:
    return {
        "name": one.name,
        "manifest": one.manifest.digest,
        "base_config": one.note.base_config,
        "target": one.note.target_name,
        "target_manifest": one.subject.digest,
        "plain_manifest": one.note.plain.digest,
        "is_exact": one.note.is_exact,
        "wire_bytes": one.wire_bytes,
    }


def _made_document(artifact: Artifact, made: MadeDelta) -> dict[str, Any]:
    return {
        **_artifact_document(artifact),
        "changed_layers_whole_bytes": sum(one.whole_bytes for one in made.layers),
        "layers": [
            {
                "diff_id": one.layer.diff_id,
                "layer_bytes": one.layer_bytes,
                "whole_bytes": one.whole_bytes,
                "delta_bytes": one.delta.size if one.delta else 0,
                "is_exact": one.is_exact,
                "recipe": msgspec.to_builtins(one.recipe),
            }
            for one in made.layers
        ],
    }


def _made_view(artifact: Artifact, made: MadeDelta, base: Image, target: Image) -> RenderableType:
    table = _table("layer", "unpacked", "whole", "delta", "packed again by", texts=(0, 4))
    for one in made.layers:
        cells = (format_bytes(one.layer_bytes), format_bytes(one.whole_bytes))
        if not one.whole_bytes and not one.delta:
            table.add_row(one.layer.diff_id[7:19], cells[0], "-", "-", "in the base")
            continue
        how = "unpacked only" if not one.is_exact else one.recipe.label if one.recipe else "as it is"
        table.add_row(one.layer.diff_id[7:19], *cells, format_bytes(one.delta.size if one.delta else 0), how)
    whole_bytes = sum(one.whole_bytes for one in made.layers)
    table.add_section()
    table.add_row("all", "", format_bytes(whole_bytes), format_bytes(artifact.wire_bytes), "with manifest and config")
    ratio = f", {whole_bytes / artifact.wire_bytes:.1f} times smaller" if whole_bytes else ""
    line = f"{base.name or base.config.digest} -> {target.name or target.manifest.digest}: {artifact.name}{ratio}"
    lines = [Text(line)]
    if not made.note.is_exact:
        lines.append(Text("No recipe packs every layer as it was: clients get the layers unpacked, under the manifest"))
        lines.append(Text(f"{made.note.plain.digest}; the image's id is the same."))
    return Group(table, *lines)


def _images_table(images: list[Image]) -> Table:
    table = _table("image", "manifest", "id", "layers", "bytes", texts=(0, 1, 2))
    for one in images:
        layer_bytes = sum(layer.blob.size for layer in one.layers)
        digests = (one.manifest.digest[7:19], one.config.digest[7:19])
        table.add_row(one.name, *digests, str(len(one.layers)), format_bytes(layer_bytes))
    return table


def _artifacts_table(artifacts: list[Artifact]) -> Table:
    table = _table("delta to", "from id", "manifest", "bytes", "gives", texts=(0, 1, 2, 4))
    for one in artifacts:
        gives = "the publisher's manifest" if one.note.is_exact else "layers unpacked"
        target = one.note.target_name or one.subject.digest[7:19]
        table.add_row(
            target, one.note.base_config[7:19], one.manifest.digest[7:19], format_bytes(one.wire_bytes), gives
        )
    return table


def _table(*columns: str, texts: tuple[int, ...]) -> Table:
    table = Table()
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number in texts else "right")
    return table
