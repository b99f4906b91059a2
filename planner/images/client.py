"""A client of images: its own layout, fed by deltas and blobs of a published one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from planner.build.builders import DELTA_FILE
from planner.build.pool import EXTENSION_PATH
from planner.errors import FollowError, PlannerError
from planner.follow.heads import expect_not_older, fetch_head
from planner.follow.remote import Remote
from planner.history.records import EMPTY
from planner.images.documents import (
    INDEXES,
    MANIFEST,
    MAX_DOCUMENT_BYTES,
    REF_NAME,
    Config,
    Descriptor,
    Index,
    Manifest,
    check_bytes,
    describe,
    digest_of,
    parse_document,
)
from planner.images.layers import MAX_LAYER_BYTES
from planner.images.layout import Held, Layout, is_image
from planner.images.publishing import apply_to, blob_file
from planner.images.repository import date_of, find_by_id
from planner.images.writing import keep_only, write_layout
from planner.publish.routes import Hop
from planner.publish.signatures import PublicKey

SUMMARY_PATH = f"{EXTENSION_PATH}/summary"
"""One line per ref: its name and its newest image's id."""

_MAX_DOCUMENTS = 100_000


@dataclass(frozen=True, slots=True)
class ImageClient:
    """A client's layout and the remote that it updates from. Blobs are fetched whole, into memory."""

    path: Path
    remote: Remote

    def current(self, ref: str) -> str:
        """The id of the image that the ref is here; the empty commit where there is none."""
        named = [one for one in Layout(self.path).images() if one.name == ref]
        return named[0].config.digest.partition(":")[2] if named else EMPTY

    def head(self, ref: str, keys: Sequence[PublicKey] = ()) -> str:
        """The image that the server's summary gives for a ref."""
        return fetch_head(self.remote, SUMMARY_PATH, ref, keys)

    def expect_newer(self, target: str, base: str) -> None:
        """Compare the dates in two configs, each held here or fetched; one without a date is older than any."""
        expect_not_older(*(date_of(self._config(one).created) for one in (target, base)))

    def _config(self, image: str) -> Config:
        digest = f"sha256:{image}"
        try:
            data = self._held_config(image) or self.remote.fetch(f"blobs/sha256/{image}", max_bytes=MAX_DOCUMENT_BYTES)
            if digest_of(data) != digest:
                raise FollowError("is not what was asked for")
            return parse_document(data, Config, digest)
        except PlannerError as error:
            raise FollowError("an image's date cannot be known", image=image, reason=str(error)) from error

    def _held_config(self, image: str) -> bytes | None:
        try:
            return find_by_id(Layout(self.path), image).config_data
        except PlannerError:
            return None

    def take(self, hop: Hop, base: str) -> None:
        """Apply one delta to the layout; everything is verified before the index names it."""
        try:
            layout = Layout(self.path)
            held = Held(layout=layout, image=find_by_id(layout, base))
            with tempfile.TemporaryDirectory(dir=self.path.parent, prefix="hop-") as folder:
                artifact_in = self._fetch_artifact(hop, Path(folder) / "artifact")
                # An image that was not announced does no harm: the last step drops it.
                made = apply_to(held, artifact_in, self.path, name=f"hop-{hop.commit[:12]}").image
        except PlannerError as error:
            raise FollowError("the hop failed", path=hop.path, reason=str(error)) from error
        if made.config.digest != f"sha256:{hop.commit}":
            raise FollowError("is another delta than announced", path=hop.path, got=made.config.digest)

    def _fetch_artifact(self, hop: Hop, into: Path) -> Layout:
        left_bytes = hop.wire_bytes
        data = self.remote.fetch(f"{hop.path}/{DELTA_FILE}", max_bytes=min(left_bytes, MAX_DOCUMENT_BYTES))
        manifest = parse_document(data, Manifest, hop.path)
        with write_layout(into) as writer:
            entry = describe(data, MANIFEST)
            writer.add_document(data, entry)
            for blob in {one.digest: one for one in (manifest.config, *manifest.layers)}.values():
                left_bytes -= len(data)
                data = self.remote.fetch(f"{hop.path}/{blob_file(blob.digest)}", max_bytes=max(left_bytes, 0))
                writer.add_document(data, blob)
            writer.add_entry(entry)
        return Layout(into)

    def holds(self, commit: str) -> bool:
        """Whether the image is there; nothing always is."""
        try:
            return commit == EMPTY or bool(find_by_id(Layout(self.path), commit))
        except PlannerError:
            return False

    def layers(self, commit: str) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing: an image is no union of images."""
        return ()

    def unite(self, layers: Sequence[str], target: str) -> None:  # noqa: ARG002
        """Refuse."""
        raise FollowError("an image is no union of images", target=target)

    def pull_in_full(self, target: str) -> int:
        """Fetch each blob that is missing or damaged here; the bytes downloaded."""
        try:
            for descriptor, data in self._manifests():
                manifest = parse_document(data, Manifest, descriptor.digest)
                if manifest.config.digest == f"sha256:{target}":
                    return self._fetch_image(descriptor, data, manifest)
        except PlannerError as error:
            raise FollowError("the full pull failed", commit=target, reason=str(error)) from error
        raise FollowError("the server has no such image", commit=target)

    def _manifests(self) -> Iterator[tuple[Descriptor, bytes]]:
        """The server's manifests of images, verified."""
        index = self.remote.fetch("index.json", max_bytes=MAX_DOCUMENT_BYTES)
        waiting, count = list(parse_document(index, Index, "index.json").manifests), 0
        while waiting and count < _MAX_DOCUMENTS:
            descriptor, count = waiting.pop(0), count + 1
            if descriptor.media_type in INDEXES:
                waiting += parse_document(self._fetch_blob(descriptor), Index, descriptor.digest).manifests
            elif is_image(descriptor):
                yield descriptor, self._fetch_blob(descriptor)

    def _fetch_image(self, descriptor: Descriptor, data: bytes, manifest: Manifest) -> int:
        layout, fetched_bytes = Layout(self.path), len(data)
        with write_layout(self.path) as writer:
            for blob in {one.digest: one for one in (manifest.config, *manifest.layers)}.values():
                if not _is_held(layout, blob):
                    writer.add_document(self._fetch_blob(blob), blob)
                    fetched_bytes += blob.size
            writer.add_document(data, descriptor)
            name = {REF_NAME: f"full-{manifest.config.digest[7:19]}"}
            writer.add_entry(msgspec.structs.replace(describe(data, descriptor.media_type), annotations=name))
        return fetched_bytes

    def _fetch_blob(self, blob: Descriptor) -> bytes:
        algorithm, _, digits = blob.digest.partition(":")
        data = self.remote.fetch(f"blobs/{algorithm}/{digits}", max_bytes=min(blob.size, MAX_LAYER_BYTES))
        return check_bytes(data, blob, blob.digest)

    def check(self, target: str) -> None:
        """Read every blob of the image and compare its digest."""
        try:
            layout = Layout(self.path)
            for layer in find_by_id(layout, target).layers:
                for _ in layout.read_blob(layer.blob):
                    pass
        except PlannerError as error:
            raise FollowError("the image is not whole", commit=target, reason=str(error)) from error

    def finish(self, target: str, ref: str | None, layers: Sequence[str] = ()) -> None:  # noqa: ARG002
        """Give the image the ref's name, and drop all other images."""
        image = find_by_id(Layout(self.path), target)
        annotations = {REF_NAME: ref} if ref else None
        keep_only(self.path, msgspec.structs.replace(image.manifest, annotations=annotations), image)


def _is_held(layout: Layout, blob: Descriptor) -> bool:
    try:
        for _ in layout.read_blob(blob):
            pass
    except PlannerError:
        return False
    return True
