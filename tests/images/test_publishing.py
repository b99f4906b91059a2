"""A builder of image deltas admits what it proved, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.build.builders import DELTA_FILE
from planner.errors import BuildError, InputError
from planner.images.artifact import list_artifacts
from planner.images.layout import Layout
from planner.images.publishing import IMAGE_CODEC, ImageBuilder, link_artifact, name_deltas
from tests.images.worlds import everything, hold, make_tar, write_image, write_pair


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_pair(tmp_path / "l")
    (tmp_path / "delta").mkdir()
    return tmp_path


def ends(world: Path) -> tuple[str, str]:
    """The ids of base and target."""
    return hold(world / "l", "v1").image.config.digest[7:], hold(world / "l", "v2").image.config.digest[7:]


def test_a_delta_is_its_artifacts_files_and_is_proven(world: Path) -> None:
    builder, (base, target) = ImageBuilder(world / "l"), ends(world)
    assert builder.build(base, target, IMAGE_CODEC, world / "delta").needs == ()
    assert builder.prove(base, target, IMAGE_CODEC, world / "delta") > 0.0
    names = sorted(path.name.partition("-")[0] for path in (world / "delta").iterdir())
    # The manifest; config, documents and two layers' deltas.
    assert names == [DELTA_FILE, "sha256", "sha256", "sha256", "sha256"]
    (artifact,) = list_artifacts(link_artifact(world / "delta", world / "linked"))
    assert artifact.wire_bytes == sum(map(len, everything(world / "delta").values()))


def test_a_delta_that_was_damaged_is_not_proven(world: Path) -> None:
    builder, (base, target) = ImageBuilder(world / "l"), ends(world)
    builder.build(base, target, IMAGE_CODEC, world / "delta")
    before = everything(world / "l")
    blob = next(path for path in sorted((world / "delta").iterdir()) if path.name != DELTA_FILE)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(BuildError, match="does not make its target"):
        builder.prove(base, target, IMAGE_CODEC, world / "delta")
    assert everything(world / "l") == before
    assert sorted(path.name for path in world.iterdir()) == ["delta", "l"]


def test_the_delta_of_other_images_is_not_proven(world: Path) -> None:
    builder, (base, target) = ImageBuilder(world / "l"), ends(world)
    builder.build(base, target, IMAGE_CODEC, world / "delta")
    write_image(world / "l", "v3", [make_tar({"a": b"3"})])
    other = hold(world / "l", "v3").image.config.digest[7:]
    with pytest.raises(BuildError, match="another image"):
        builder.prove(base, other, IMAGE_CODEC, world / "delta")
    with pytest.raises(BuildError, match="does not make its target"):
        builder.prove(other, target, IMAGE_CODEC, world / "delta")


def test_what_cannot_be_is_refused(world: Path) -> None:
    builder, (base, target) = ImageBuilder(world / "l"), ends(world)
    with pytest.raises(BuildError, match="has a base"):
        builder.build("", target, IMAGE_CODEC, world / "delta")
    with pytest.raises(InputError, match="is not a codec"):
        builder.build(base, target, "bsdiff4", world / "delta")
    with pytest.raises(InputError, match="64 lowercase hex digits"):
        builder.build("v1", target, IMAGE_CODEC, world / "delta")
    assert everything(world / "delta") == {}


def test_deltas_are_named_once(world: Path) -> None:
    builder, (base, target) = ImageBuilder(world / "l"), ends(world)
    place = world / "l" / builder.published_path(base, target, IMAGE_CODEC)
    place.mkdir(parents=True)
    builder.build(base, target, IMAGE_CODEC, place)
    name_deltas(world / "l")
    before = everything(world / "l")
    name_deltas(world / "l")
    assert everything(world / "l") == before
    (artifact,) = list_artifacts(Layout(world / "l"))
    assert artifact.name == f"delta-{base[:12]}-{artifact.subject.digest[7:19]}"
