"""skopeo and umoci write images and archives that are read here, and read what is rebuilt here."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from planner.images.applying import Ends, apply_image_delta
from planner.images.archive import open_layout
from planner.images.artifact import find_artifact, list_artifacts, write_artifact
from planner.images.layers import Bounds
from planner.images.layout import Held, Layout
from planner.images.making import MadeDelta, make_image_delta
from planner.images.writing import write_layout
from tests.images.worlds import change, everything, hold, make_files, write_image, write_pair

pytestmark = pytest.mark.skipif(
    shutil.which("skopeo") is None or shutil.which("umoci") is None, reason="needs the programs skopeo and umoci"
)


def run(*arguments: object) -> str:
    """What a program wrote."""
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo_copy(source: str, place: str, *options: str) -> None:
    run("skopeo", "--insecure-policy", "copy", "--quiet", *options, source, place)


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of umoci's: `v1` of one layer, `v2` of the same and another with most of its files changed a little."""
    folder = tmp_path_factory.mktemp("built")
    layout, files = folder / "layout", make_files(1, 60)
    old = lay_out(folder / "old", files)
    new = lay_out(folder / "new", change(files, list(files)[::4]))
    (new / "link").symlink_to("/opt/app")
    (new / ("a" * 120)).write_bytes(b"a long name")
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:v1")
    run("umoci", "insert", "--rootless", "--image", f"{layout}:v1", old, "/srv")
    run("umoci", "tag", "--image", f"{layout}:v1", "v2")
    run("umoci", "insert", "--rootless", "--image", f"{layout}:v2", new, "/srv")
    return folder


def make(base: Held, target: Held, into: Path) -> MadeDelta:
    made = make_image_delta(base, target, into.parent, bounds=Bounds())
    with write_layout(into) as writer:
        write_artifact(writer, base.image, target.image, made.note, made.blobs)
    return made


def apply(base: Held, deltas: Path, to: str, into: Path, *, is_plain: bool = False) -> None:
    layout = Layout(deltas)
    ends = Ends(base=base, delta_layout=layout, artifact=find_artifact(layout, base.image, to))
    apply_image_delta(ends, into, bounds=Bounds(), is_plain=is_plain)


def unpacked(image: str, folder: Path) -> dict[str, bytes]:
    """The files that umoci makes of an image."""
    run("umoci", "unpack", "--rootless", "--image", image, folder)
    return everything(folder / "rootfs")


@pytest.mark.parametrize("is_plain", [False, True])
def test_umoci_and_skopeo_read_what_was_rebuilt(built: Path, tmp_path: Path, is_plain: bool) -> None:
    made = make(hold(built / "layout", "v1"), hold(built / "layout", "v2"), tmp_path / "deltas")
    assert made.note.is_exact
    apply(hold(built / "layout", "v1"), tmp_path / "deltas", "v2", tmp_path / "out", is_plain=is_plain)
    files = unpacked(f"{tmp_path / 'out'}:v2", tmp_path / "unpacked")
    assert files["srv/" + "a" * 120] == b"a long name"
    assert files == unpacked(f"{built / 'layout'}:v2", tmp_path / "expected")
    found = json.loads(run("skopeo", "inspect", "--raw", f"oci:{tmp_path / 'out'}:v2"))
    expected = json.loads(run("skopeo", "inspect", "--raw", f"oci:{built / 'layout'}:v2"))
    assert (found["layers"] == expected["layers"]) is not is_plain
    assert found["config"]["digest"] == expected["config"]["digest"]
    # Copying verifies every digest.
    skopeo_copy(f"oci:{tmp_path / 'out'}:v2", f"dir:{tmp_path / 'copied'}")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_images_that_skopeo_packed_are_rebuilt_exactly(built: Path, tmp_path: Path, compression: str) -> None:
    for name in ("v1", "v2"):
        # A Docker archive is not packed, so that skopeo packs what it reads from one.
        skopeo_copy(f"oci:{built / 'layout'}:{name}", f"docker-archive:{tmp_path / name}.tar:app:{name}")
        source, place = f"docker-archive:{tmp_path / name}.tar", f"oci:{tmp_path / 'packed'}:{name}"
        skopeo_copy(source, place, "--dest-compress-format", compression)
    packed = tmp_path / "packed"
    assert make(hold(packed, "v1"), hold(packed, "v2"), tmp_path / "deltas").note.is_exact
    apply(hold(packed, "v1"), tmp_path / "deltas", "v2", tmp_path / "out")
    assert hold(tmp_path / "out", "v2").image == hold(packed, "v2").image
    skopeo_copy(f"oci:{tmp_path / 'out'}:v2", f"dir:{tmp_path / 'copied'}")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_are_bases_and_targets(built: Path, tmp_path: Path, kind: str) -> None:
    for name in ("v1", "v2"):
        tag = f"app:{name}" if kind == "docker-archive" else name
        skopeo_copy(f"oci:{built / 'layout'}:{name}", f"{kind}:{tmp_path / name}.tar:{tag}")
    full = "docker.io/library/app:" if kind == "docker-archive" else ""
    with (
        open_layout(tmp_path / "v1.tar", tmp_path / "1") as one,
        open_layout(tmp_path / "v2.tar", tmp_path / "2") as two,
    ):
        base = Held(layout=one, image=one.find_image(f"{full}v1"))
        target = Held(layout=two, image=two.find_image(f"{full}v2"))
        assert [layer.diff_id for layer in target.image.layers] == [
            layer.diff_id for layer in hold(built / "layout", "v2").image.layers
        ]
        make(base, target, tmp_path / "deltas")
        apply(base, tmp_path / "deltas", target.image.name, tmp_path / "out")
        assert hold(tmp_path / "out", target.image.name).image == target.image
    assert len(everything(tmp_path / "out")) == 2 + 2 + 2
    skopeo_copy(f"oci:{tmp_path / 'out'}:{target.image.name}", f"dir:{tmp_path / 'copied'}")


def test_a_docker_archive_keeps_its_images_id(built: Path, tmp_path: Path) -> None:
    skopeo_copy(f"oci:{built / 'layout'}:v1", f"docker-archive:{tmp_path / 'v1.tar'}:app:v1")
    with tarfile.open(tmp_path / "v1.tar") as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        config = json.load(manifest)[0]["Config"]
    with open_layout(tmp_path / "v1.tar", tmp_path / "1") as layout:
        assert layout.images()[0].config.digest == f"sha256:{config.removesuffix('.json')}"


def test_skopeo_copies_the_artifact_as_it_is(tmp_path: Path) -> None:
    tars = write_pair(tmp_path / "all")
    write_image(tmp_path / "client", "v1", tars[0])
    make(hold(tmp_path / "all", "v1"), hold(tmp_path / "all", "v2"), tmp_path / "deltas")
    (artifact,) = list_artifacts(Layout(tmp_path / "deltas"))
    source, place = f"oci:{tmp_path / 'deltas'}:{artifact.name}", f"oci:{tmp_path / 'mirror'}:{artifact.name}"
    skopeo_copy(source, place)
    (copied,) = list_artifacts(Layout(tmp_path / "mirror"))
    assert copied.manifest.digest == artifact.manifest.digest
    assert Layout(tmp_path / "mirror").images() == []
    apply(hold(tmp_path / "client", "v1"), tmp_path / "mirror", "v2", tmp_path / "out")
    assert hold(tmp_path / "out", "v2").image == hold(tmp_path / "all", "v2").image
