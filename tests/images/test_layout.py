"""Layouts as they may be found: several platforms, indexes within indexes, names that mislead, blobs that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.errors import InputError, RepositoryError
from planner.images.documents import INDEX, MANIFEST, REF_NAME, Descriptor, Index, Platform, encode_document
from planner.images.layout import Layout
from planner.images.writing import write_layout
from tests.images.worlds import everything, hold, make_tar, write_image


def add_index(path: Path, name: str, entries: list[Descriptor]) -> None:
    """An index behind an entry of the layout's own, which then names none of `entries` itself."""
    data = encode_document(Index(schema_version=2, manifests=tuple(entries)))
    with write_layout(path) as writer:
        writer.add_entry(msgspec.structs.replace(writer.add_data(data, INDEX), annotations={REF_NAME: name}))
    own = {entry.digest for entry in entries}
    rewrite(path, lambda index: {**index, "manifests": [one for one in index["manifests"] if one["digest"] not in own]})


def rewrite(path: Path, change: Any) -> None:
    """Change a layout's index."""
    file = path / "index.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "layout"
    entries = []
    for architecture in ("amd64", "arm64"):
        entry = write_image(path, architecture, [make_tar({"machine": architecture.encode()})])
        platform = Platform(os="linux", architecture=architecture)
        entries.append(msgspec.structs.replace(entry, platform=platform, annotations=None))
    add_index(path, "both", entries)
    return path


def test_a_platform_is_chosen_from_an_index(layout: Path) -> None:
    opened = Layout(layout)
    with pytest.raises(InputError, match="several images") as raised:
        opened.find_image("both")
    assert raised.value.facts["platforms"] == ["linux/amd64", "linux/arm64"]
    found = opened.find_image("both", "linux/arm64")
    assert found.manifest.digest == [one.manifest.digest for one in opened.images()][1]
    assert opened.find_image(found.manifest.digest).layers == found.layers
    assert opened.find_image(found.config.digest[7:19]).layers == found.layers


def test_indexes_that_are_too_deep_are_refused(layout: Path) -> None:
    for _ in range(5):
        index = Layout(layout).index()
        add_index(layout, "deeper", list(index.manifests))
    with pytest.raises(InputError, match="too deep"):
        Layout(layout).images()


@pytest.mark.parametrize("ref", ["registry.example:5000/app:v1", "v1"])
def test_images_go_by_their_name_or_its_tag(tmp_path: Path, ref: str) -> None:
    for tag in ("v1", "v2"):
        write_image(tmp_path / "l", f"registry.example:5000/app:{tag}", [make_tar({tag: b""})])
    assert hold(tmp_path / "l", ref).image.name == "registry.example:5000/app:v1"


def test_unknown_names_list_what_there_is(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [])
    with pytest.raises(InputError, match="names no image") as raised:
        hold(tmp_path / "l", "v2")
    assert raised.value.facts["known"] == ["v1"]


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "md5:" + "0" * 32, "sha256:" + "A" * 64, "sha256:" + "0" * 63, ""]
)
def test_digests_lead_nowhere_else(tmp_path: Path, digest: str) -> None:
    write_image(tmp_path / "l", "v1", [])
    rewrite(tmp_path / "l", lambda index: {**index, "manifests": [{**index["manifests"][0], "digest": digest}]})
    with pytest.raises(InputError, match="is no digest"):
        hold(tmp_path / "l", "v1")


@pytest.mark.parametrize("key", ["manifest", "config"])
def test_documents_that_were_changed_are_refused(tmp_path: Path, key: str) -> None:
    write_image(tmp_path / "l", "v1", [])
    digest = getattr(hold(tmp_path / "l", "v1").image, key).digest
    blob = tmp_path / "l" / "blobs" / "sha256" / digest[7:]
    blob.write_bytes(blob.read_bytes().replace(b"linux", b"linuX").replace(b"schema", b"Schema"))
    with pytest.raises(RepositoryError, match="another digest"):
        hold(tmp_path / "l", "v1")
    blob.unlink()
    with pytest.raises(RepositoryError, match="missing"):
        hold(tmp_path / "l", "v1")


def test_a_huge_document_is_not_read(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [])
    rewrite(tmp_path / "l", lambda index: {**index, "manifests": [{**index["manifests"][0], "size": 10**12}]})
    with pytest.raises(InputError, match="too large for a document"):
        hold(tmp_path / "l", "v1")


def test_manifest_and_config_must_have_as_many_layers(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [make_tar({})], diff_ids=["sha256:" + "0" * 64] * 2)
    with pytest.raises(InputError, match="different numbers of layers"):
        hold(tmp_path / "l", "v1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("oci-layout", '{"imageLayoutVersion":"9"}', "another layout version"),
        ("oci-layout", "[]", "is no oci-layout file"),
        ("index.json", "{", "is no index of an image"),
        ("index.json", '{"schemaVersion":2,"manifests":{}}', "is no index of an image"),
        ("index.json", "[" * 100_000, "is no index of an image"),
    ],
)
def test_what_is_no_layout_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    write_image(tmp_path / "l", "v1", [])
    (tmp_path / "l" / name).write_text(content)
    with pytest.raises(InputError, match=message):
        hold(tmp_path / "l", "v1")


def write_wrongly(path: Path) -> None:
    """A blob that is fine, an entry, and a blob that is not what its descriptor says."""
    with write_layout(path) as writer:
        entry = writer.add_data(b"fine", MANIFEST)
        writer.add_entry(entry)
        writer.add_blob([b"not what it says"], msgspec.structs.replace(entry, digest="sha256:" + "0" * 64))


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [])
    before = everything(tmp_path)
    for path in (tmp_path / "l", tmp_path / "new"):
        with pytest.raises(RepositoryError):
            write_wrongly(path)
    assert everything(tmp_path) == before


def test_a_name_moves_to_the_newer_image_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "l"
    write_image(path, "v1", [])
    rewrite(path, lambda index: {**index, "annotations": {"kept": "yes"}})
    newer = write_image(path, "v1", [make_tar({"a": b""})])
    write_image(path, "v2", [])
    index = Layout(path).index()
    assert index.annotations == {"kept": "yes"}
    assert [(one.annotations or {}).get(REF_NAME) for one in index.manifests] == ["v1", "v2"]
    assert index.manifests[0].digest == newer.digest


def test_a_blob_of_the_right_size_and_other_bytes_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [make_tar({"a": b"1"})])
    held = hold(tmp_path / "l", "v1")
    blob = held.image.layers[0].blob
    held.layout.blob_path(blob.digest).write_bytes(bytes(blob.size))
    with pytest.raises(RepositoryError, match="another digest"):
        list(held.layout.read_blob(blob))
