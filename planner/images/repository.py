"""A layout as a repository: each image is a commit, whose objects are its config, its manifest and its layers' blobs.

A commit's checksum is the image's id (its config's digest), since that is the same however a client keeps the layers;
its tree is the manifest, whose files are the layers. An image's ref is its name without the tag, and `image` where a
name is a tag alone; its version is its whole name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from planner.demand.nodes import repository_of
from planner.errors import PlannerError, RepositoryError
from planner.history.encoding import is_ref_name
from planner.history.files import read_bounded
from planner.history.records import MANIFEST_KEY, VERSION_KEY, Commit, History, ObjectName, Tree
from planner.history.trees import natural_key
from planner.images.documents import Descriptor, check_bytes
from planner.images.layers import MAX_LAYER_BYTES
from planner.images.layout import Held, Image, Layout, is_image

TAG_REF = "image"
"""The ref of images that are named by a tag alone."""

_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ImageRepository:
    """The layout at `path`."""

    path: Path

    def read_history(self) -> History:
        """Every image that the index names; those that cannot be read, or have other digests than sha256, are told.

        Raises:
            InputError: it is no layout.
        """
        layout, images, incomplete = Layout(self.path), dict[str, Image](), dict[str, str]()
        for name, descriptor in layout.manifests():
            if is_image(descriptor):
                try:
                    image = _read_image(layout, name, descriptor)
                except PlannerError as error:
                    incomplete[descriptor.digest] = str(error)
                else:
                    images.setdefault(_hex(image.config.digest), image)
        return _make_history(images.values(), incomplete)

    def find(self, checksum: str) -> Held:
        """The image of a commit.

        Raises:
            RepositoryError: the layout does not name it, or a document is missing or damaged.
        """
        layout = Layout(self.path)
        return Held(layout=layout, image=find_by_id(layout, checksum))

    def read_object(self, name: ObjectName) -> bytes:
        """A blob's bytes, verified.

        Raises:
            RepositoryError: it is missing or damaged.
        """
        path = self._path(name)
        try:
            data = read_bounded(path, MAX_LAYER_BYTES)
        except OSError as error:
            raise RepositoryError("a blob is missing", path=str(path), cause=error.strerror) from error
        return check_bytes(data, Descriptor(media_type="", digest=f"sha256:{name.checksum}", size=len(data)), str(path))

    def loose_bytes(self, name: ObjectName) -> int:
        """A blob's length, which is what a client downloads for it.

        Raises:
            RepositoryError: it is missing.
        """
        try:
            return self._path(name).stat().st_size
        except OSError as error:
            raise RepositoryError("a blob is missing", path=str(self._path(name)), cause=error.strerror) from error

    def _path(self, name: ObjectName) -> Path:
        return self.path / "blobs" / "sha256" / name.checksum


def find_by_id(layout: Layout, checksum: str) -> Image:
    """The first image of a layout with this id.

    Raises:
        RepositoryError: the layout does not name it, or a document is missing or damaged.
    """
    for image in layout.images():
        if image.config.digest == f"sha256:{checksum}":
            return image
    raise RepositoryError("has no image of this id", path=str(layout.path), id=checksum)


def _read_image(layout: Layout, name: str, descriptor: Descriptor) -> Image:
    image = layout.read_image(descriptor, name)
    for blob in (image.manifest, image.config, *(layer.blob for layer in image.layers)):
        _hex(blob.digest)
        layout.open_blob(blob).close()
    return image


def _hex(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256":
        raise RepositoryError("commits and objects are known by sha256", path=digest)
    return digits


def _make_history(images: Iterable[Image], incomplete: dict[str, str]) -> History:
    """Each ref is a line of images by date, then by name."""
    commits: dict[str, Commit] = {}
    trees: dict[str, Tree] = {}
    heads: dict[str, str] = {}
    for image in sorted(images, key=lambda one: (date_of(one.created), natural_key(one.name), one.config.digest)):
        checksum, tree, ref = _hex(image.config.digest), _hex(image.manifest.digest), ref_of(image.name)
        files = {f"{number:04}": _hex(layer.blob.digest) for number, layer in enumerate(image.layers)}
        trees[tree] = Tree(files=files, dirs={})
        commits[checksum] = Commit(
            checksum=checksum,
            parent=heads.get(ref),
            committed_at=date_of(image.created),
            tree=tree,
            metadata={MANIFEST_KEY: tree} | ({VERSION_KEY: image.name} if image.name else {}),
        )
        heads[ref] = checksum
    ordered = sorted(commits.values(), key=lambda one: (one.committed_at, one.checksum))
    by_checksum = {one.checksum: one for one in ordered}
    return History(commits=by_checksum, trees=trees, refs=dict(sorted(heads.items())), incomplete=incomplete)


def ref_of(name: str) -> str:
    """The ref that an image's name belongs to.

    >>> ref_of("registry.example/app:1.2"), ref_of("v1")
    ('registry.example/app', 'image')
    """
    ref = repository_of(name) if {":", "/"} & set(name) else TAG_REF
    return ref if is_ref_name(ref) else TAG_REF


def date_of(created: str | None) -> datetime:
    """The date in a config; 1970 where it has none that can be read."""
    try:
        read = datetime.fromisoformat(created or "")
        return read.astimezone(UTC) if read.tzinfo else _NO_DATE
    except (ValueError, OverflowError):  # the latter within a day of the first year, or of the last
        return _NO_DATE
