"""A layout of container images as a night's repository."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from planner.errors import InputError
from planner.follow.remote import FolderRemote, Remote
from planner.history.files import read_if_there, write_atomically
from planner.history.objects import ObjectSets
from planner.images.client import SUMMARY_PATH, ImageClient
from planner.images.documents import REF_NAME
from planner.images.layout import Layout
from planner.images.publishing import ImageBuilder, name_deltas
from planner.images.repository import ImageRepository
from planner.images.writing import write_layout
from planner.night.repositories import PlainSite
from planner.night.sources import Mix
from planner.publish.heads import MAX_HEADS_BYTES, format_heads, parse_heads
from planner.publish.signatures import SigningKey, sign_with
from planner.scenario_sections import CommitSection


@dataclass(frozen=True, slots=True)
class ImageCommitter:
    """Commits nothing: other programs build images."""

    def commit(self, folder: Path, section: CommitSection, parent: str | None, layers: tuple[str, ...]) -> str:  # noqa: ARG002
        """Refuse."""
        raise InputError("images are built by other programs: leave the source out", path="source")

    def unite(self, mix: Mix, trees: tuple[str, ...]) -> str:  # noqa: ARG002
        """Refuse."""
        raise InputError("images are built by other programs: leave the mixes out", path="mixes")


@dataclass(frozen=True, slots=True)
class ImageSite(PlainSite):
    """An image layout; see `planner.night.repositories.Site`."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> ImageSite:
        """The site of a layout, which is there."""
        Layout(path)
        return cls(path)

    @property
    def repository(self) -> ImageRepository:
        """For reading."""
        return ImageRepository(self.path)

    @property
    def builder(self) -> ImageBuilder:
        """For making and proving deltas."""
        return ImageBuilder(self.path)

    @property
    def committer(self) -> ImageCommitter:
        """For importing, which images do not need."""
        return ImageCommitter()

    def published_path(self, base: str, target: str, codec: str) -> str:
        """Where clients look for a delta, relative to the layout."""
        return self.builder.published_path(base, target, codec)

    def reindex(self) -> None:
        """Name the deltas in the layout's index, as referrers of their targets."""
        name_deltas(self.path)

    def served_heads(self) -> dict[str, str]:
        """The summary's lines."""
        return parse_heads(read_if_there(self.path / SUMMARY_PATH, MAX_HEADS_BYTES))

    def write_summary(self, key: SigningKey | None = None) -> None:
        """One line per ref: its name and its newest image's id."""
        heads = format_heads(self.repository.read_history().refs)
        write_atomically(self.path / SUMMARY_PATH, sign_with(heads, key))

    @contextmanager
    def serve(self) -> Iterator[Remote]:
        """The folder itself."""
        yield FolderRemote(self.path)

    def make_client(self, remote: Remote, folder: Path, held: Sequence[str], objects: ObjectSets) -> ImageClient:  # noqa: ARG002
        """A layout that shares the images' blobs by hard links: they are never rewritten."""
        with write_layout(folder) as writer:
            for number, commit in enumerate(filter(None, held)):
                found = self.repository.find(commit)
                image = found.image
                for blob in (image.manifest, image.config, *(layer.blob for layer in image.layers)):
                    place = writer.blob_path(blob.digest)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    if not place.exists():
                        os.link(found.layout.blob_path(blob.digest), place)
                writer.add_entry(msgspec.structs.replace(image.manifest, annotations={REF_NAME: f"held-{number}"}))
        return ImageClient(folder, remote)
