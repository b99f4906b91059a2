"""Image deltas end to end without other programs: what comes out has the target's digests, or nothing comes out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import InputError, PlannerError, RepositoryError
from planner.images.applying import Applied, Ends, apply_image_delta
from planner.images.artifact import ARTIFACT, Artifact, find_artifact, list_artifacts, write_artifact
from planner.images.documents import TAR, Descriptor, digest_of
from planner.images.layers import Bounds
from planner.images.layout import Held, Layout
from planner.images.making import MadeDelta, make_image_delta
from planner.images.writing import write_layout
from tests.images.worlds import (
    GZIP,
    diff_id,
    everything,
    hold,
    make_files,
    make_member,
    make_tar,
    write_image,
    write_pair,
)


def make(base: Held, target: Held, into: Path) -> MadeDelta:
    """A delta's artifact in a layout."""
    into.parent.mkdir(exist_ok=True)
    made = make_image_delta(base, target, into.parent, bounds=Bounds())
    with write_layout(into) as writer:
        write_artifact(writer, base.image, target.image, made.note, made.blobs)
    return made


def apply(base: Held, deltas: Path, to: str, into: Path, *, is_plain: bool = False) -> Applied:
    """The target from a base and the deltas of a layout."""
    layout = Layout(deltas)
    ends = Ends(base=base, delta_layout=layout, artifact=find_artifact(layout, base.image, to))
    return apply_image_delta(ends, into, bounds=Bounds(), is_plain=is_plain)


def tars_of(path: Path, name: str) -> list[str]:
    """The digests of an image's blobs, each of which is verified."""
    held = hold(path, name)
    for layer in held.image.layers:
        assert digest_of(b"".join(held.layout.read_blob(layer.blob))) == layer.blob.digest
    return [layer.blob.digest for layer in held.image.layers]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A layout with both images, one with the base alone, one with the delta."""
    tars = write_pair(tmp_path / "all")
    write_image(tmp_path / "client", "v1", tars[0])
    make(hold(tmp_path / "all", "v1"), hold(tmp_path / "all", "v2"), tmp_path / "deltas")
    return tmp_path


def test_the_target_has_its_own_manifest(world: Path) -> None:
    applied = apply(hold(world / "client", "v1"), world / "deltas", "v2", world / "out")
    target = hold(world / "all", "v2").image
    assert applied.is_exact
    assert hold(world / "out", "v2").image == target
    assert tars_of(world / "out", "v2") == [layer.blob.digest for layer in target.layers]


def test_the_delta_is_much_smaller_than_what_changed(world: Path) -> None:
    artifact = next(list_artifacts(Layout(world / "deltas")))
    changed = hold(world / "all", "v2").image.layers[1:]
    assert artifact.wire_bytes < sum(layer.blob.size for layer in changed) / 5


def test_the_same_delta_is_made_every_time(world: Path) -> None:
    again = make(hold(world / "all", "v1"), hold(world / "all", "v2"), world / "again" / "deltas")
    assert everything(world / "again" / "deltas") == everything(world / "deltas")
    assert again.note.is_exact


def test_an_unpacked_target_is_a_base_like_the_packed_one(world: Path) -> None:
    """The image's id is the same, so that the next delta finds it, however its layers are kept."""
    applied = apply(hold(world / "client", "v1"), world / "deltas", "v2", world / "plain", is_plain=True)
    target = hold(world / "all", "v2").image
    assert applied.image.config.digest == target.config.digest
    assert tars_of(world / "plain", "v2") == [layer.diff_id for layer in target.layers]
    write_image(world / "all", "v3", [make_tar({"etc/version": b"3\n"}), make_tar(make_files(9))])
    make(hold(world / "all", "v2"), hold(world / "all", "v3"), world / "next")
    apply(hold(world / "plain", "v2"), world / "next", "v3", world / "out")
    assert hold(world / "out", "v3").image == hold(world / "all", "v3").image


def test_the_targets_of_an_unpacked_base_are_unpacked_where_blobs_are_missing(world: Path) -> None:
    """Its second layer is not changed by the next delta, and its blob is nowhere."""
    apply(hold(world / "client", "v1"), world / "deltas", "v2", world / "plain", is_plain=True)
    unpacked = hold(world / "plain", "v2")
    tars = [b"".join(unpacked.layout.read_blob(layer.blob)) for layer in unpacked.image.layers]
    write_image(world / "all", "v3", [*tars, make_tar({"etc/more": b"3"})])
    made = make(hold(world / "all", "v2"), hold(world / "all", "v3"), world / "next")
    assert made.note.is_exact
    applied = apply(unpacked, world / "next", "v3", world / "out")
    assert (applied.is_exact, applied.image.manifest.digest) == (False, made.note.plain.digest)
    assert apply(hold(world / "all", "v2"), world / "next", "v3", world / "packed").is_exact


def test_layers_that_nothing_packs_again_are_kept_unpacked(tmp_path: Path) -> None:
    tar = make_tar({"a": b"text " * 1000})
    raw = zstd.compress(tar[:700]) + zstd.compress(tar[700:])
    write_image(tmp_path / "all", "v1", [make_tar({"b": b"1"})])
    write_image(tmp_path / "all", "v2", [tar], blobs=[(raw, f"{TAR}+zstd")])
    made = make(hold(tmp_path / "all", "v1"), hold(tmp_path / "all", "v2"), tmp_path / "deltas")
    assert not made.note.is_exact
    applied = apply(hold(tmp_path / "all", "v1"), tmp_path / "deltas", "v2", tmp_path / "out")
    assert (applied.is_exact, applied.image.manifest.digest) == (False, made.note.plain.digest)
    assert tars_of(tmp_path / "out", "v2") == [diff_id(tar)]


def test_a_layer_may_be_made_from_one_before_it_in_the_target(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(100_000)
    write_image(tmp_path / "all", "v1", [make_tar({"b": b"1"})])
    write_image(tmp_path / "all", "v2", [make_tar({"a": noise}), make_tar({"a": noise}, mtime=9)] * 2)
    made = make(hold(tmp_path / "all", "v1"), hold(tmp_path / "all", "v2"), tmp_path / "deltas")
    assert [one.delta.size > 2000 if one.delta else None for one in made.layers] == [True, False, None, None]
    apply(hold(tmp_path / "all", "v1"), tmp_path / "deltas", "v2", tmp_path / "out")
    assert hold(tmp_path / "out", "v2").image == hold(tmp_path / "all", "v2").image


def test_the_output_may_be_the_clients_own_layout(world: Path) -> None:
    apply(hold(world / "client", "v1"), world / "deltas", "v2", world / "client")
    assert [one.name for one in Layout(world / "client").images()] == ["v1", "v2"]


def test_the_artifact_refers_to_its_target(world: Path) -> None:
    (entry,) = Layout(world / "deltas").index().manifests
    artifact = next(list_artifacts(Layout(world / "deltas")))
    assert entry.artifact_type == ARTIFACT
    assert artifact.subject == hold(world / "all", "v2").image.manifest


def test_another_base_has_no_delta(world: Path) -> None:
    with pytest.raises(InputError, match="no delta from this base"):
        apply(hold(world / "all", "v2"), world / "deltas", "v2", world / "out")
    assert not (world / "out").exists()


def refuse(world: Path, message: str, kind: type[PlannerError] = PlannerError) -> None:
    """Applying raises, and leaves everything as it was."""
    before = everything(world)
    for into in (world / "out", world / "client"):
        with pytest.raises(kind, match=message):
            apply(hold(world / "client", "v1"), world / "deltas", "v2", into)
    assert everything(world) == before


def test_a_damaged_base_is_refused_with_nothing_written(world: Path) -> None:
    layer = hold(world / "client", "v1").image.layers[1]
    blob = world / "client" / "blobs" / "sha256" / layer.blob.digest[7:]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    refuse(world, "sha256", RepositoryError)
    blob.unlink()
    refuse(world, "a blob is missing", RepositoryError)


def test_a_missing_delta_is_refused(world: Path) -> None:
    artifact = next(list_artifacts(Layout(world / "deltas")))
    (world / "deltas" / "blobs" / "sha256" / artifact.deltas[0].digest[7:]).unlink()
    refuse(world, "a blob is missing", RepositoryError)


def forge(world: Path, **changes: Any) -> None:
    """The artifact with another note, under digests that fit."""
    layout = Layout(world / "deltas")
    artifact = next(list_artifacts(layout))
    note = msgspec.structs.replace(artifact.note, **changes)
    blobs = [b"".join(layout.read_blob(one)) for one in (artifact.documents, *artifact.deltas)]
    base, target = hold(world / "all", "v1").image, hold(world / "all", "v2").image
    rewrite_artifact(world / "deltas", base, target, note, blobs)


def rewrite_artifact(path: Path, base: Any, target: Any, note: Any, blobs: list[bytes]) -> None:
    with write_layout(path) as writer:
        write_artifact(writer, base, target, note, blobs)


def test_notes_that_lie_are_refused(world: Path) -> None:
    note = next(list_artifacts(Layout(world / "deltas"))).note
    layers = note.layers
    longer = msgspec.structs.replace(layers[1], layer_bytes=layers[1].layer_bytes + 1)
    huge = msgspec.structs.replace(layers[1], layer_bytes=2**60)
    forge(world, plain=msgspec.structs.replace(note.plain, digest="sha256:" + "0" * 64))
    refuse(world, "plain manifest", RepositoryError)
    forge(world, plain=note.plain, layers=layers[:1] + layers[2:])
    refuse(world, "names other deltas")
    for other in (longer, huge):
        forge_bare(world, layers=(layers[0], other, layers[2]))
        refuse(world, "plain manifest", RepositoryError)
    forge_bare(world, target_config_bytes=1)
    refuse(world, "documents cannot be read", RepositoryError)


def forge_bare(world: Path, **changes: Any) -> None:
    """As `forge`, from what the world was made with."""
    deltas = world / "deltas"
    for path in sorted(deltas.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    deltas.rmdir()
    make(hold(world / "all", "v1"), hold(world / "all", "v2"), deltas)
    forge(world, **changes)


def test_a_recipe_that_gives_another_blob_is_refused(world: Path) -> None:
    note = next(list_artifacts(Layout(world / "deltas"))).note
    recipe = note.layers[1].recipe
    assert recipe is not None
    other = msgspec.structs.replace(note.layers[1], recipe=msgspec.structs.replace(recipe, level=1))
    forge(world, layers=(note.layers[0], other, note.layers[2]))
    refuse(world, "apply with --plain", RepositoryError)
    apply(hold(world / "client", "v1"), world / "deltas", "v2", world / "out", is_plain=True)


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (make_member("../evil"), "piece"),
        (make_member("/evil"), "absolute"),
        (make_member("evil", b"1", "../../x"), "hard link"),
        (make_member("evil", b"2", "../x"), "link leads out"),
        (b"not a tar" * 200, "is no"),
    ],
)
def test_unsafe_targets_are_refused_by_publisher_and_client(
    tmp_path: Path, tar: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path / "all", tmp_path / "client"):
        write_image(path, "v1", [make_tar({"a": b"1"})])
    write_image(tmp_path / "all", "v2", [make_tar({"a": b"1"}), tar])
    ends = hold(tmp_path / "all", "v1"), hold(tmp_path / "all", "v2")
    with pytest.raises(InputError, match=message):
        make(*ends, tmp_path / "deltas")
    assert not (tmp_path / "deltas").exists()
    with monkeypatch.context() as careless:
        careless.setattr("planner.images.making.check_members", lambda *_: None)
        make(*ends, tmp_path / "deltas")
    refuse(tmp_path, message, InputError)


def test_bombs_and_foreign_layers_are_refused_by_the_publisher(tmp_path: Path) -> None:
    bomb = bytes(70 * 2**20)
    write_image(tmp_path / "all", "v1", [make_tar({"a": b"1"})])
    write_image(tmp_path / "all", "bomb", [bomb])
    write_image(
        tmp_path / "all", "foreign", [b""], blobs=[(b"", "application/vnd.oci.image.layer.nondistributable.v1.tar")]
    )
    write_image(tmp_path / "all", "encrypted", [b""], blobs=[(b"", f"{GZIP}+encrypted")])
    for name in ("bomb", "foreign", "encrypted"):
        for ends in ((name, "v1"), ("v1", name)):
            with pytest.raises(InputError, match=name):
                make(hold(tmp_path / "all", ends[0]), hold(tmp_path / "all", ends[1]), tmp_path / "deltas")
    assert not (tmp_path / "deltas").exists()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_artifacts_never_give_another_image(small_world: Path, data: st.DataObject) -> None:
    """Whatever byte is wrong, with digests that fit: an error and no output, or the target itself."""
    layout = Layout(small_world / "deltas")
    artifact = next(list_artifacts(layout))
    blobs = [b"".join(layout.read_blob(one)) for one in (artifact.documents, *artifact.deltas)]
    number = data.draw(st.integers(0, len(blobs) - 1))
    damaged = bytearray(blobs[number])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    blobs[number] = bytes(damaged)
    digests = iter([digest_of(blob) for blob in blobs[1:]])
    layers = tuple(
        msgspec.structs.replace(one, delta=next(digests)) if one.delta else one for one in artifact.note.layers
    )
    forged, out = small_world / "forged", small_world / "out"
    remove(forged)
    base, target = hold(small_world / "all", "v1"), hold(small_world / "all", "v2")
    rewrite_artifact(forged, base.image, target.image, msgspec.structs.replace(artifact.note, layers=layers), blobs)
    try:
        apply(base, forged, "v2", out)
    except PlannerError:
        assert not out.exists()
    else:
        assert hold(out, "v2").image == target.image
        remove(out)


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small")
    write_pair(path / "all")
    make(hold(path / "all", "v1"), hold(path / "all", "v2"), path / "deltas")
    return path


def remove(folder: Path) -> None:
    """A folder and all that is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    if folder.exists():
        folder.rmdir()


@pytest.mark.parametrize("document", ["manifest", "config"])
@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schemaVersion":2}', b"\xff" * 100])
def test_artifacts_with_malformed_documents_are_refused(world: Path, document: str, data: bytes) -> None:
    artifact = next(list_artifacts(Layout(world / "deltas")))
    replace_document(world / "deltas", artifact, document, data)
    refuse(world, "is no", InputError)


def replace_document(path: Path, artifact: Artifact, document: str, data: bytes) -> None:
    """Other bytes in the place of a document, under their own digest."""
    index = json.loads((path / "index.json").read_text())
    with write_layout(path) as writer:
        added = writer.add_data(data, artifact.config.media_type)
        if document == "config":
            manifest = json.loads((path / "blobs/sha256" / artifact.manifest.digest[7:]).read_text())
            manifest["config"] |= {"digest": added.digest, "size": added.size}
            added = writer.add_data(json.dumps(manifest).encode(), "manifest")
    index["manifests"][0] |= {"digest": added.digest, "size": added.size}
    (path / "index.json").write_text(json.dumps(index))


def test_a_descriptors_size_must_be_its_blobs(world: Path) -> None:
    layout = Layout(world / "deltas")
    artifact = next(list_artifacts(layout))
    wrong = msgspec.structs.replace(artifact.documents, size=artifact.documents.size + 1)
    with pytest.raises(RepositoryError, match="another size"):
        list(layout.read_blob(wrong))
    assert isinstance(wrong, Descriptor)


def test_a_delta_may_not_make_what_a_layer_may_not_unpack_to(tmp_path: Path) -> None:
    """Copies of a few bytes, over and over, are a bomb that no compression shows."""
    write_image(tmp_path / "all", "v1", [make_tar({"a": b"1"})])
    write_image(tmp_path / "all", "v2", [make_tar({"zeros": bytes(80 * 2**20)})])
    base, target = hold(tmp_path / "all", "v1"), hold(tmp_path / "all", "v2")
    made = make_image_delta(base, target, tmp_path, bounds=Bounds(max_ratio=2000))
    with write_layout(tmp_path / "deltas") as writer:
        write_artifact(writer, base.image, target.image, made.note, made.blobs)
    with pytest.raises(InputError, match="bomb"):
        apply(base, tmp_path / "deltas", "v2", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_documents_of_another_image_than_the_subject_are_refused(world: Path) -> None:
    write_image(world / "all", "v3", [make_tar({"a": b"3"})])
    base, subject, other = (hold(world / "all", name) for name in ("v1", "v2", "v3"))
    made = make_image_delta(base, other, world, bounds=Bounds())
    note = msgspec.structs.replace(made.note, target_name="v2")
    forge_bare(world)
    rewrite_artifact(world / "deltas", base.image, subject.image, note, made.blobs)
    refuse(world, "manifest: has another", RepositoryError)
