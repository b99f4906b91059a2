"""Which program's blobs can be made again, measured with the programs themselves."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.images.documents import digest_of
from planner.images.layers import Compression
from planner.images.recipes import Recipe, ToolRecipe, ZlibRecipe, ZstdRecipe, find_recipe, repack
from tests.images.worlds import make_files, make_tar

TAR = make_tar(make_files(1, 300))
"""Long enough for several blocks of every program."""


def find(folder: Path, blob: bytes, compression: Compression = Compression.GZIP) -> Recipe | None:
    """The recipe of a blob of TAR."""
    path = folder / "layer.tar"
    path.write_bytes(TAR)
    return find_recipe(path, lambda: io.BytesIO(blob), digest_of(blob), compression, folder)


def follow(folder: Path, recipe: Recipe) -> bytes:
    """What a recipe makes of TAR."""
    return b"".join(repack(folder / "layer.tar", recipe, folder))


@pytest.mark.parametrize("level", range(1, 10))
def test_blobs_of_zlib_are_made_again(tmp_path: Path, level: int) -> None:
    blob = gzip.compress(TAR, level, mtime=1_700_000_000)
    recipe = find(tmp_path, blob)
    assert isinstance(recipe, ZlibRecipe)
    assert follow(tmp_path, recipe) == blob


def test_headers_are_kept_as_they_are(tmp_path: Path) -> None:
    body = gzip.compress(TAR, 6, mtime=0)[10:]
    header = b"\x1f\x8b\x08\x1c\0\0\0\0\0\xff" + b"\x02\0ab" + b"a name\0" + b"a comment\0"
    recipe = find(tmp_path, header + body)
    assert recipe is not None
    assert follow(tmp_path, recipe) == header + body


@pytest.mark.parametrize(("level", "workers"), [(1, 0), (3, 0), (3, 1), (9, 1), (19, 0)])
@pytest.mark.parametrize("has_checksum", [False, True])
def test_blobs_of_libzstd_are_made_again(tmp_path: Path, level: int, has_checksum: bool, workers: int) -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: int(has_checksum),
        zstd.CompressionParameter.nb_workers: workers,
    }
    for has_content_bytes in (False, True):
        packer = zstd.ZstdCompressor(options=options)
        if has_content_bytes:
            packer.set_pledged_input_size(len(TAR))
        blob = packer.compress(TAR) + packer.flush()
        recipe = find(tmp_path, blob, Compression.ZSTD)
        assert isinstance(recipe, ZstdRecipe)
        assert follow(tmp_path, recipe) == blob


@pytest.mark.skipif(shutil.which("gzip") is None, reason="needs the program gzip")
def test_gnu_gzip_is_not_zlib(tmp_path: Path) -> None:
    blob = subprocess.run(["gzip", "-n"], input=TAR, capture_output=True, check=True).stdout
    assert zlib.decompress(blob, 31) == TAR
    assert find(tmp_path, blob) is None


@pytest.mark.parametrize("program", ["skopeo", "umoci"])
def test_what_a_program_stores_it_stores_again(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs the program {program}")
    (tmp_path / "layer.tar").write_bytes(TAR)
    made = ToolRecipe(program=program, compression="gzip")  # type: ignore[arg-type]
    blob = follow(tmp_path, made)
    assert zlib.decompress(blob, 31) == TAR
    recipe = find(tmp_path, blob)
    # Neither is made by zlib, nor by the other program, else that would have been found before.
    assert isinstance(recipe, ToolRecipe)
    assert recipe.program == program
    assert recipe.version.startswith(program)
    assert follow(tmp_path, recipe) == blob


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs the program skopeo")
def test_zstd_by_skopeo_is_made_again_by_skopeo(tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(TAR)
    blob = follow(tmp_path, ToolRecipe(program="skopeo", compression="zstd"))
    assert zstd.decompress(blob) == TAR
    assert isinstance(find(tmp_path, blob, Compression.ZSTD), ToolRecipe)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_blob_has_a_recipe_or_none(
    tmp_path: Path,
    blob: bytes,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.images.recipes.shutil.which", lambda _: None)
        for compression in Compression:
            assert find(tmp_path, b"\x1f\x8b\x08" + blob, compression) is None
            assert find(tmp_path, b"\x28\xb5\x2f\xfd" + blob, compression) is None
