"""Archives of images: what `docker save` and `skopeo copy ... docker-archive:` write, and layouts in a tar.

An archive is unpacked into a layout in a scratch folder, so that everything else reads layouts only. Images of the
older form have no manifest; theirs is `plain_manifest`, and their config, which is an image's id, stays byte for byte.

Source: Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format"; OCI Image Format
Specification 1.1, image-layout.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath

import msgspec

from planner.delta.bsdiff import Content
from planner.errors import InputError
from planner.images.documents import (
    CONFIG,
    MANIFEST,
    MAX_DOCUMENT_BYTES,
    REF_NAME,
    TAR,
    Config,
    Descriptor,
    Manifest,
    describe,
    encode_document,
    parse_document,
)
from planner.images.layout import CHUNK_BYTES, Layout
from planner.images.tars import Member, walk_tar
from planner.images.writing import write_layout

# Links of links: what Docker wrote for layers that are the same has one.
_MOST_LINKS = 8


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of an archive's `manifest.json`."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


@contextmanager
def open_layout(path: Path, scratch: Path) -> Iterator[Layout]:
    """The layout in a folder, or that of an archive, which is unpacked below `scratch`.

    Raises:
        InputError: it is neither, or the archive is malformed.
        SpaceError: the disk is full.
    """
    if path.is_dir():
        yield Layout(path)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError("cannot be read", path=str(path), cause=error.strerror) from error
    folder = scratch / "unpacked"
    with file:
        if path.stat().st_size == 0:
            raise InputError("is empty: an image layout or an archive of one is needed", path=str(path))
        _unpack_archive(memoryview(mmap(file.fileno(), 0, access=ACCESS_READ)), folder, str(path))
    yield Layout(folder)


def _unpack_archive(content: Content, folder: Path, where: str) -> None:
    members = {member.path: member for member in walk_tar(content, where)}
    if "oci-layout" in members and "index.json" in members:
        _unpack_layout(content, members, folder)
    elif "manifest.json" in members:
        _unpack_saved(content, members, folder, where)
    else:
        raise InputError(
            "is no archive of images: neither manifest.json nor oci-layout is in it (a packed one is to be unpacked)",
            path=where,
        )


def _unpack_layout(content: Content, members: Mapping[str, Member], folder: Path) -> None:
    """Files whose names are those of a layout; blobs are verified when they are read."""
    for path, member in members.items():
        pieces = PurePosixPath(path).parts
        is_blob = (
            len(pieces) == 3 and pieces[0] == "blobs" and pieces[1] in ("sha256", "sha512") and pieces[2].isalnum()
        )
        if member.is_regular and (is_blob or path in ("oci-layout", "index.json")):
            place = folder.joinpath(*pieces)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.writelines(_chunks(content, member))


def _unpack_saved(content: Content, members: Mapping[str, Member], folder: Path, where: str) -> None:
    listed = _read(content, members, "manifest.json", where)
    try:
        images = msgspec.json.decode(listed, type=list[_Saved])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("is no manifest.json of an archive", path=where, cause=str(error)) from error
    with write_layout(folder) as writer:
        for image in images:
            config_data = _read(content, members, image.config, where)
            config = parse_document(config_data, Config, f"{where}: {image.config}")
            if len(config.rootfs.diff_ids) != len(image.layers):
                raise InputError("manifest.json and config have different numbers of layers", path=where)
            found = [_find(members, name, where) for name in image.layers]
            sizes = [member.content_bytes for member in found]
            manifest_data = plain_manifest(config_data, config.rootfs.diff_ids, sizes)
            manifest = parse_document(manifest_data, Manifest, where)
            for member, blob in zip(found, manifest.layers, strict=True):
                writer.add_blob(_chunks(content, member), blob)
            writer.add_document(config_data, manifest.config)
            entry = writer.add_data(manifest_data, MANIFEST)
            for tag in image.repo_tags or ("",):
                annotations = {REF_NAME: tag} if tag else None
                writer.add_entry(msgspec.structs.replace(entry, annotations=annotations))


def plain_manifest(config_data: bytes, diff_ids: Sequence[str], layer_bytes: Sequence[int]) -> bytes:
    """The manifest of an image whose layers are tars as they are: the same bytes wherever it is made."""
    sized = zip(diff_ids, layer_bytes, strict=True)
    layers = tuple(Descriptor(media_type=TAR, digest=diff_id, size=size) for diff_id, size in sized)
    manifest = Manifest(schema_version=2, config=describe(config_data, CONFIG), layers=layers)
    return encode_document(_Plain(manifest.schema_version, MANIFEST, manifest.config, layers))


class _Plain(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest with its media type spelt out, which some registries ask for."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def _find(members: Mapping[str, Member], name: str, where: str) -> Member:
    """The regular file that a name means, through links within the archive."""
    path = PurePosixPath(name)
    for _ in range(_MOST_LINKS):
        member = members.get(str(path))
        if member is None:
            break
        if member.is_regular:
            return member
        # A hard link's target counts from the archive's root, a symbolic one's from its own folder.
        path = _resolve(path.parent if member.kind == b"2" else PurePosixPath(), member.link)
    raise InputError("a file is not in the archive", path=where, got=name)


def _resolve(folder: PurePosixPath, link: str) -> PurePosixPath:
    pieces: list[str] = []
    for piece in (*folder.parts, *link.split("/")):
        if piece == "..":
            del pieces[-1:]
        elif piece not in ("", "."):
            pieces.append(piece)
    return PurePosixPath(*pieces)


def _read(content: Content, members: Mapping[str, Member], name: str, where: str) -> bytes:
    member = _find(members, name, where)
    if member.content_bytes > MAX_DOCUMENT_BYTES:
        raise InputError("is too large for a document", path=f"{where}: {name}", max_bytes=MAX_DOCUMENT_BYTES)
    return b"".join(_chunks(content, member))


def _chunks(content: Content, member: Member) -> Iterator[bytes]:
    end = member.content_at + member.content_bytes
    for at in range(member.content_at, end, CHUNK_BYTES):
        yield bytes(content[at : min(at + CHUNK_BYTES, end)])
