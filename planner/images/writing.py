"""Write image layouts: blobs first, the index last, and nothing at all where an error is raised."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from planner.errors import InputError
from planner.history.files import (
    assembled_folder,
    full_disk_as_error,
    remove_files,
    settle,
    sync_directory,
    sync_file,
    write_atomically,
)
from planner.images.documents import (
    REF_NAME,
    Descriptor,
    check_bytes,
    check_hash,
    describe,
    encode_document,
    start_digest,
)
from planner.images.layout import Image, Layout

_VERSION_FILE = b'{"imageLayoutVersion":"1.0.0"}'


class LayoutWriter:
    """Collects blobs and index entries in a folder apart; see `write_layout`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[Descriptor] = []

    def add_blob(self, chunks: Iterable[bytes], descriptor: Descriptor) -> None:
        """Take in a blob, verified.

        Raises:
            InputError: the descriptor's size contradicts its digest.
            RepositoryError: it is not what the descriptor says.
            SpaceError: the disk is full.
        """
        path, digest, made_bytes = self.blob_path(descriptor.digest), start_digest(descriptor.digest), 0
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with full_disk_as_error(self.folder), path.open("xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                made_bytes += len(chunk)
                file.write(chunk)
        check_hash(digest, descriptor.digest, descriptor.digest)
        check_size(made_bytes, descriptor)

    def add_document(self, data: bytes, descriptor: Descriptor) -> None:
        """Take in a small blob, verified. Raises as `add_blob`."""
        self.add_blob([check_bytes(data, descriptor, descriptor.digest)], descriptor)

    def add_data(self, data: bytes, media_type: str) -> Descriptor:
        """Take in a blob of ours; its descriptor."""
        descriptor = describe(data, media_type)
        self.add_blob([data], descriptor)
        return descriptor

    def add_entry(self, descriptor: Descriptor) -> None:
        """Name a manifest in the index; an older entry of the same name loses it."""
        self.entries.append(descriptor)

    def blob_path(self, digest: str) -> Path:
        """Where a blob is until it is published."""
        algorithm, _, digits = digest.partition(":")
        return self.folder / "blobs" / algorithm / digits

    def files(self) -> list[Path]:
        """All blobs so far."""
        return sorted(path for path in self.folder.glob("blobs/*/*") if path.is_file())


def check_size(got_bytes: int, descriptor: Descriptor) -> None:
    """Compare a length with a descriptor's.

    Raises:
        InputError: they differ though the digest is right: the descriptor contradicts itself.
    """
    if got_bytes != descriptor.size:
        raise InputError(
            "a descriptor's size is not its blob's",
            path=descriptor.digest,
            got_bytes=got_bytes,
            expected_bytes=descriptor.size,
        )


@contextmanager
def write_layout(path: Path) -> Iterator[LayoutWriter]:
    """What is added inside is in the layout at `path` once the block ends well; a new layout is made where none is.

    Blobs are on the disk before the index names them. Two programs that add to one layout wait for each other.

    Raises:
        InputError: something else is in the way.
        SpaceError: the disk is full.
    """
    if not (path / "index.json").exists():
        with assembled_folder(path) as folder:
            writer = LayoutWriter(folder)
            yield writer
            (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            (folder / "oci-layout").write_bytes(_VERSION_FILE)
            (folder / "index.json").write_bytes(_index_with({"schemaVersion": 2, "manifests": []}, writer.entries))
            _sync_all(folder)
        sync_directory(path.parent)
        return
    Layout(path)
    with full_disk_as_error(path), tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=path) as scratch:
        writer = LayoutWriter(Path(scratch))
        yield writer
        _extend(Layout(path), writer)


def _extend(layout: Layout, writer: LayoutWriter) -> None:
    folders = set()
    for staged in writer.files():
        place = layout.path / staged.relative_to(writer.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        settle(staged, place)
        folders.add(place.parent)
    for folder in folders:
        sync_directory(folder)
    with _locked(layout.path):
        index = msgspec.json.decode((layout.path / "index.json").read_bytes())
        layout.index()
        write_atomically(layout.path / "index.json", _index_with(index, writer.entries))


def keep_only(path: Path, entry: Descriptor, image: Image) -> None:
    """Have the index of a layout name one image alone, and remove the blobs of all others.

    Raises:
        SpaceError: the disk is full; the index is the old one.
    """
    layout = Layout(path)
    kept = {layout.blob_path(blob.digest) for blob in (entry, image.config, *(one.blob for one in image.layers))}
    with _locked(path):
        write_atomically(path / "index.json", _index_with({"schemaVersion": 2, "manifests": []}, [entry]))
        remove_files(blob for blob in (path / "blobs").glob("*/*") if blob not in kept)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _index_with(index: dict[str, Any], entries: Iterable[Descriptor]) -> bytes:
    """The index with new entries, and whatever else it holds as it is."""
    listed: list[Any] = list(index["manifests"])
    for entry in entries:
        added = msgspec.json.decode(encode_document(entry))
        name = (entry.annotations or {}).get(REF_NAME)
        listed = [one for one in listed if one != added and not _is_named(one, name)] + [added]
    return msgspec.json.encode({**index, "manifests": listed})


def _is_named(entry: dict[str, Any], name: str | None) -> bool:
    return name is not None and (entry.get("annotations") or {}).get(REF_NAME) == name


def _sync_all(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_directory(path)
        else:
            sync_file(path)
    sync_directory(folder)
