"""`deltaplan image`: deltas are made, listed and applied from a shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import deltaplan
from tests.images.worlds import everything, hold, write_image, write_pair


@pytest.fixture
def world(tmp_path: Path) -> Path:
    tars = write_pair(tmp_path / "all")
    write_image(tmp_path / "client", "v1", tars[0])
    return tmp_path


def test_made_listed_and_applied(world: Path) -> None:
    done = deltaplan("image", "delta", world / "all", "--from=v1", "--to=v2", "-o", world / "all", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    target = hold(world / "all", "v2").image
    assert made["target_manifest"] == target.manifest.digest
    assert made["changed_layers_whole_bytes"] == sum(layer.blob.size for layer in target.layers[1:])
    assert made["wire_bytes"] < made["changed_layers_whole_bytes"] / 5
    shown = json.loads(deltaplan("image", "show", world / "all", "--json").stdout)
    assert [one["name"] for one in shown["images"]] == ["v1", "v2"]
    assert [one["manifest"] for one in shown["deltas"]] == [made["manifest"]]
    done = deltaplan(
        *("image", "apply", world / "client", "--base=v1", f"--to={target.manifest.digest}"),
        *("--deltas", world / "all", "-o", world / "out", "--name=newest", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"] == target.manifest.digest
    found = hold(world / "out", "newest").image
    assert (found.manifest, found.layers) == (target.manifest, target.layers)


def test_tables_for_people(world: Path) -> None:
    done = deltaplan("image", "delta", world / "all", "--from=v1", "--to=v2", "-o", world / "deltas")
    assert done.returncode == 0, done.stderr
    assert "in the base" in done.stdout
    assert "zlib level 6" in done.stdout
    assert "times smaller" in done.stdout
    assert "v2" in deltaplan("image", "show", world / "deltas").stdout


def test_errors_say_what_to_do_and_write_nothing(world: Path) -> None:
    before = everything(world)
    for arguments, status, text in (
        (("delta", world / "all", "--from=v1", "--to=v9", "-o", world / "d"), 3, "names no image"),
        (("delta", world / "none", "--from=v1", "--to=v2", "-o", world / "d"), 3, "cannot be read"),
        (("delta", world / "all", "--from=v1", "--to=v2", "-o", world / "d", "--max-layer-mb=0"), 2, "max-layer-mb"),
        (("apply", world / "client", "--base=v1", "--to=v2", "-o", world / "d"), 3, "no delta from this base"),
    ):
        done = deltaplan("image", *arguments)
        assert done.returncode == status, done.stderr
        assert text in done.stderr
    assert everything(world) == before
