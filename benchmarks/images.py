"""Deltas of container images against fetching changed layers whole, and against plainer ways to make a delta.

python -m benchmarks.images [--cache FOLDER] [--debs FOLDER]

Images are of wheels from PyPI as pip would install them, and, with --debs, of Debian packages: a folder of .deb files,
of which each package's older version makes the base and its newer one the target (`apt-get download PACKAGE=VERSION`,
versions as `apt-cache madison PACKAGE` lists them). Everything is measured in one run, on one core.

"Like tar-diff" does what the documents of containers/tar-diff describe, with bsdiff4 for contents of like names and one
zstd stream: copies of equal contents, a binary difference from the file of the same path or name, all else as it is.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import bsdiff4.core
import msgspec
import zstandard
from rich.console import Console
from rich.table import Table

from planner.build.codecs import CODECS
from planner.history.packages import fetch_packages, unpack_wheel
from planner.images.archive import plain_manifest
from planner.images.documents import CONFIG, MANIFEST, REF_NAME, TAR, describe
from planner.images.layers import Bounds
from planner.images.layout import Held, Layout
from planner.images.making import make_image_delta
from planner.images.tars import list_members
from planner.images.writing import write_layout

WHEELS = (
    (("cryptography==41.0.5", "lxml==4.9.3"), ("django==4.2.7", "sqlalchemy==2.0.22")),
    (("cryptography==41.0.6", "lxml==4.9.4"), ("django==4.2.8", "sqlalchemy==2.0.23")),
)
"""Two images of two layers each."""

_BUILT_S = (1_700_000_000, 1_702_500_000)
_FILES_PER_S = 300
"""Files of an image get the dates of its build, as installing them does."""


def main() -> None:
    """Print one row per history and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    parser.add_argument("--debs", type=Path)
    arguments = parser.parse_args()
    table = Table(title="From one image to the next")
    for name in ("images", "way", "bytes", "of ours", "core-seconds", "of ours"):
        table.add_column(name, justify="left" if name in ("images", "way") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for title, base, target in histories(arguments.cache, arguments.debs, Path(folder)):
            rows = measure(base, target, Path(folder))
            own_bytes, own_s = rows["ours"]
            for way, (made_bytes, core_s) in rows.items():
                cells = (f"{made_bytes:,}", f"{made_bytes / own_bytes:.2f}", f"{core_s:.1f}", f"{core_s / own_s:.2f}")
                table.add_row(title, way, *cells)
            table.add_section()
    Console(width=120).print(table)


Tars = list[bytes]


def histories(cache: Path, debs: Path | None, scratch: Path) -> Iterable[tuple[str, Tars, Tars]]:
    """Names of pairs of images, and their layers' tars."""
    wheels = [[_wheel_files(pins, cache, scratch) for pins in image] for image in WHEELS]
    base = [_write_tar(files, _BUILT_S[0]) for files in wheels[0]]
    yield "wheels, the next releases", base, [_write_tar(files, _BUILT_S[1]) for files in wheels[1]]
    yield "wheels, built again a month later", base, [_write_tar(files, _BUILT_S[1]) for files in wheels[0]]
    if debs is not None:
        packages = [_deb_files(debs, number, scratch) for number in (0, -1)]
        yield "Debian packages, an update", *([_write_tar(files, None)] for files in packages)


def measure(base: Tars, target: Tars, scratch: Path) -> dict[str, tuple[int, float]]:
    """Bytes and core-seconds of each way for the layers that changed."""
    changed = [tar for tar in target if tar not in base]
    first = make_ours(base, target, scratch)
    return {
        "changed layers whole, gzip -6": _clocked(lambda: sum(len(zlib.compress(tar, 6)) for tar in changed)),
        "changed layers whole, zstd -3": _clocked(lambda: sum(len(_zstd(tar, 3)) for tar in changed)),
        "changed layers whole, zstd -19": _clocked(lambda: sum(len(_zstd(tar, 19)) for tar in changed)),
        "zstd patch-from of the tars": _clocked(lambda: _patch_from(base, target)),
        "like tar-diff": _clocked(lambda: sum(_like_tar_diff(base, tar) for tar in changed)),
        # A second time: loading compiled code is paid once per process.
        "ours": _clocked(lambda: make_ours(base, target, scratch)) if first else (0, 0.0),
    }


def make_ours(base: Tars, target: Tars, scratch: Path) -> int:
    """Bytes of the image delta's blobs, documents included."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "layout"
        for name, tars in (("base", base), ("target", target)):
            _write_image(path, name, tars)
        layout = Layout(path)
        held = [Held(layout=layout, image=layout.find_image(name)) for name in ("base", "target")]
        made = make_image_delta(held[0], held[1], Path(folder), bounds=Bounds())
        return sum(map(len, made.blobs)) + len(msgspec.json.encode(made.note))


def _write_image(path: Path, name: str, tars: Tars) -> None:
    blobs = [describe(tar, TAR) for tar in tars]
    diff_ids = [blob.digest for blob in blobs]
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    with write_layout(path) as writer:
        for tar, blob in zip(tars, blobs, strict=True):
            writer.add_blob([tar], blob)
        config_data = msgspec.json.encode(config)
        writer.add_data(config_data, CONFIG)
        entry = writer.add_data(plain_manifest(config_data, diff_ids, list(map(len, tars))), MANIFEST)
        writer.add_entry(msgspec.structs.replace(entry, annotations={REF_NAME: name}))


def _clocked(run: Callable[[], int]) -> tuple[int, float]:
    started_s = time.process_time()
    made_bytes = run()
    return made_bytes, time.process_time() - started_s


def _zstd(data: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(data)


def _patch_from(base: Tars, target: Tars) -> int:
    """Each changed layer from the tar of the same place."""
    pairs = zip(base, target, strict=True)
    return sum(len(CODECS["zstd-patch-from"].encode(old, new)) for old, new in pairs if old != new)


def _like_tar_diff(base: Tars, target: bytes) -> int:
    contents = {content for tar in base for _, content in _contents(tar)}
    by_path = {name: content for tar in base for name, content in _contents(tar)}
    by_name = {Path(name).name: content for name, content in by_path.items()}
    told, at = bytearray(), 0
    for member in list_members(target):
        told += target[at : member.content_at]
        at = member.content_at + member.content_bytes
        content = target[member.content_at : at]
        old = by_path.get(member.name) or by_name.get(Path(member.name).name)
        if content in contents:
            told += bytes(16)
        elif old and content and len(old) + len(content) < CODECS["bsdiff4"].max_input_bytes:
            _, diff, extra = _bsdiff(old, content)
            told += diff + extra
        else:
            told += content
    return len(_zstd(bytes(told + target[at:]), 19))


def _bsdiff(old: bytes, new: bytes) -> tuple[int, bytes, bytes]:
    control, diff, extra = bsdiff4.core.diff(old, new)
    numbers = b"".join(number.to_bytes(8, "little", signed=True) for number in control)
    return len(control), numbers + diff, extra


def _contents(tar: bytes) -> list[tuple[str, bytes]]:
    return [(one.name, tar[one.content_at : one.content_at + one.content_bytes]) for one in list_members(tar)]


_Files = list[tuple[tarfile.TarInfo, bytes]]


def _write_tar(files: _Files, built_s: int | None) -> bytes:
    """A layer's tar; without `built_s` members keep their own dates."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, (member, content) in enumerate(files):
            member.mtime = int(member.mtime) if built_s is None else built_s + number // _FILES_PER_S
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return buffer.getvalue()


def _wheel_files(pins: tuple[str, ...], cache: Path, scratch: Path) -> _Files:
    folder = scratch / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    for wheel in fetch_packages(pins, cache):
        unpack_wheel(wheel, folder / wheel.name)
    found: _Files = []
    for path in sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda one: one.relative_to(folder).parts[1:]
    ):
        content = path.read_bytes()
        # All packages into one folder, as pip does.
        member = tarfile.TarInfo(f"usr/lib/python3/site-packages/{'/'.join(path.relative_to(folder).parts[1:])}")
        member.size, member.mode = len(content), path.stat().st_mode & 0o777
        found.append((member, content))
    return found


def _deb_files(debs: Path, number: int, scratch: Path) -> _Files:
    """Members of one version of every package: 0 for the older, -1 for the newer."""
    found: _Files = []
    names = sorted({path.name.partition("_")[0] for path in debs.glob("*.deb")})
    for name in names:
        versions = sorted(debs.glob(f"{name}_*.deb"), key=_by_version)
        packed = scratch / "data.tar"
        with packed.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(versions[number])], stdout=file, check=True)
        with tarfile.open(packed) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                found.append((member, file.read() if file else b""))
    return sorted(found, key=lambda one: one[0].name)


def _by_version(deb: Path) -> list[int]:
    digits = "".join(one if one.isdigit() else " " for one in deb.name)
    return [int(one) for one in digits.split()]


if __name__ == "__main__":
    main()
