"""Archives of `docker save` as older and newer versions write them, and those that lie."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from planner.errors import InputError, PlannerError
from planner.images.archive import open_layout
from planner.images.layout import Image
from tests.images.worlds import diff_id, everything, make_tar, write_image

LAYER = make_tar({"a": b"1"})
CONFIG = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id(LAYER)] * 2}}).encode()
CONFIG_NAME = f"{hashlib.sha256(CONFIG).hexdigest()}.json"
MANIFEST = [{"Config": CONFIG_NAME, "RepoTags": ["app:v1", "app:latest"], "Layers": ["one/layer.tar", "two/layer.tar"]}]


def write_archive(path: Path, files: Mapping[str, bytes], links: Mapping[str, tuple[bytes, str]] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, (kind, link) in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            archive.addfile(member)
    return path


def saved(**changes: object) -> dict[str, bytes]:
    """The files of an archive; the second layer is a link to the first."""
    manifest = [{**MANIFEST[0], **changes}]
    return {"one/layer.tar": LAYER, CONFIG_NAME: CONFIG, "manifest.json": json.dumps(manifest).encode()}


LINK = {"two/layer.tar": (tarfile.SYMTYPE, "../one/layer.tar")}


def images_of(path: Path, scratch: Path) -> list[Image]:
    with open_layout(path, scratch) as layout:
        return layout.images()


@pytest.mark.parametrize("link", [(tarfile.SYMTYPE, "../one/layer.tar"), (tarfile.LNKTYPE, "one/layer.tar")])
def test_layers_that_are_the_same_are_links(tmp_path: Path, link: tuple[bytes, str]) -> None:
    path = write_archive(tmp_path / "a.tar", saved(), {"two/layer.tar": link})
    images = images_of(path, tmp_path / "s")
    assert [one.name for one in images] == ["app:v1", "app:latest"]
    assert images[0].config_data == CONFIG
    assert [layer.blob.digest for layer in images[0].layers] == [diff_id(LAYER)] * 2
    assert images_of(path, tmp_path / "again")[0].manifest == images[0].manifest


def test_a_layout_in_a_tar_is_a_layout(tmp_path: Path) -> None:
    write_image(tmp_path / "l", "v1", [LAYER])
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "l", ".")
    assert [one.name for one in images_of(tmp_path / "a.tar", tmp_path / "s")] == ["v1"]


@pytest.mark.parametrize(
    ("files", "links", "message"),
    [
        (saved(), {"two/layer.tar": (tarfile.SYMTYPE, "../../../etc/passwd")}, "is not in the archive"),
        (saved(), {"two/layer.tar": (tarfile.SYMTYPE, "layer.tar")}, "is not in the archive"),
        (saved(), {}, "is not in the archive"),
        (saved(Config="../../etc/passwd"), LINK, "is not in the archive"),
        (saved(Layers=["one/layer.tar"]), LINK, "different numbers of layers"),
        (saved(Layers=7), LINK, "is no manifest.json"),
        ({**saved(), "one/layer.tar": LAYER + b"x"}, LINK, "another digest"),
        ({**saved(), CONFIG_NAME: b"{}"}, LINK, "is no config"),
        ({"manifest.json": b"\xff"}, {}, "is no manifest.json"),
        ({"readme": b""}, {}, "is no archive of images"),
    ],
)
def test_archives_that_lie_are_refused(
    tmp_path: Path, files: dict[str, bytes], links: dict[str, tuple[bytes, str]], message: str
) -> None:
    path = write_archive(tmp_path / "a.tar", files, links)
    with pytest.raises(PlannerError, match=message):
        images_of(path, tmp_path / "s")
    assert everything(tmp_path) == {"a.tar": path.read_bytes()}


@pytest.mark.parametrize("content", [b"", b"text", bytes(range(256)) * 100])
def test_what_is_neither_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="is"):
        images_of(tmp_path / "a", tmp_path / "s")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        images_of(tmp_path / "none", tmp_path / "s")
