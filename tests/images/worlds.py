"""Small images for tests, written to layouts by the project's writer."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from planner.images.documents import CONFIG, MANIFEST, REF_NAME, TAR, Descriptor, describe
from planner.images.layers import Bounds, Placed, Workbench
from planner.images.layout import Held, Layout
from planner.images.writing import write_layout

GZIP = f"{TAR}+gzip"


def make_tar(files: Mapping[str, bytes], *, mtime: int = 0, links: Mapping[str, str] = {}) -> bytes:
    """A tar of files and symbolic links, by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            archive.addfile(member, io.BytesIO(content))
        for name, link in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return buffer.getvalue()


def make_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar of one member, whatever its name says."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def pack(tar: bytes) -> bytes:
    """As zlib's gzip does at level 6."""
    return gzip.compress(tar, 6, mtime=0)


def diff_id(tar: bytes) -> str:
    """The digest of a tar."""
    return f"sha256:{hashlib.sha256(tar).hexdigest()}"


def write_image(
    path: Path,
    name: str,
    tars: Sequence[bytes],
    *,
    blobs: Sequence[tuple[bytes, str]] | None = None,
    diff_ids: Sequence[str] | None = None,
    created: str = "2024-01-01T00:00:00Z",
) -> Descriptor:
    """Add an image to a layout; `blobs` are (data, media type), by default the tars packed with gzip."""
    packed = [(pack(tar), GZIP) for tar in tars] if blobs is None else blobs
    config = {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids or map(diff_id, tars))},
    }
    with write_layout(path) as writer:
        layers = [writer.add_data(data, kind) for data, kind in packed]
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": writer.add_data(msgspec.json.encode(config), CONFIG),
            "layers": layers,
        }
        entry = writer.add_data(msgspec.json.encode(manifest), MANIFEST)
        entry = msgspec.structs.replace(entry, annotations={REF_NAME: name})
        writer.add_entry(entry)
    return entry


def hold(path: Path, name: str) -> Held:
    """An image of a layout."""
    layout = Layout(path)
    return Held(layout=layout, image=layout.find_image(name))


def make_files(seed: int, count: int = 30) -> dict[str, bytes]:
    """Files of text and of noise, the same for the same seed."""
    drawn = random.Random(seed)
    files = {f"opt/app/text{k}.py": _text(drawn) for k in range(count)}
    return files | {f"usr/lib/lib{k}.so": drawn.randbytes(3000) for k in range(count // 3)}


def change(files: Mapping[str, bytes], names: Iterable[str]) -> dict[str, bytes]:
    """The same files, some with a few more bytes in the middle."""
    changed = dict(files)
    for name in names:
        content = changed[name]
        changed[name] = content[:100] + b" changed " + content[100:]
    return changed


def write_pair(path: Path) -> list[list[bytes]]:
    """Images `v1` and `v2` in a layout: a layer that stays, one rebuilt with changes, a new one. Their tars."""
    bottom, app = make_tar(make_files(1)), make_files(2)
    newer = change(app, ["opt/app/text3.py", "usr/lib/lib2.so"])
    tars = [
        [bottom, make_tar(app, mtime=1_700_000_000)],
        [bottom, make_tar(newer, mtime=1_710_000_000), make_tar({"etc/version": b"2\n"})],
    ]
    for name, layers in zip(("v1", "v2"), tars, strict=True):
        write_image(path, name, layers)
    return tars


def place(bench: Workbench, tar: bytes) -> Placed:
    """A tar on a workbench."""
    return bench.add([tar], diff_id(tar), "test", Bounds().max_layer_bytes)


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def describe_blob(data: bytes) -> Descriptor:
    """A descriptor of some kind."""
    return describe(data, "application/octet-stream")


def _text(drawn: random.Random) -> bytes:
    words = ["alpha", "beta", "gamma", "delta", "import", "return", "value", "\n"]
    return " ".join(drawn.choices(words, k=400)).encode()
