"""Hostile servers for a client of images, and hostile layouts on the disk."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from planner.errors import PlannerError
from planner.follow.follower import Trust, follow
from planner.history.records import is_checksum
from planner.images.artifact import list_artifacts
from planner.images.client import SUMMARY_PATH, ImageClient
from planner.images.layout import Layout
from planner.images.publishing import DELTAS_PATH, IMAGE_CODEC, ImageBuilder
from planner.images.repository import ImageRepository
from planner.publish.heads import format_heads
from planner.publish.routes import Hop, PublishedRoute, format_index, index_path
from tests.hostile.arena import Arena, Files
from tests.hostile.mutations import mutate
from tests.hostile.watch import Verdict
from tests.images.worlds import change, make_files, make_tar, write_image

_VALUES: tuple[Any, ...] = (
    *(
        None,
        -1,
        0,
        1,
        2**31,
        2**62,
        2**64,
        1.5,
        "",
        "x",
        "../../neighbour",
        [],
        {},
        [[]] * 9,
        True,
        "0001-01-01T00:00:00+23:59",
    ),
    *("sha256:" + "0" * 64, "sha256:../../../neighbour", "sha512:" + "0" * 128, "sha256:" + "G" * 64),
    "application/vnd.oci.image.index.v1+json",
)


@dataclass(frozen=True)
class ImageWorld:
    """A server of two images with a delta between them, its files, and a client's layout with the first."""

    base: str
    target: str
    delta: str
    files: Mapping[str, bytes]
    template: Path


def make_image_world(folder: Path) -> ImageWorld:
    """Two images of two layers, the lower of which is the same."""
    files, server, template = make_files(1, 6), folder / "server", folder / "template"
    bottom, names = make_tar(make_files(2, 3)), sorted(files)
    tars = [[bottom, make_tar(files)], [bottom, make_tar(change(files, names[:2]), mtime=5)]]
    for number, layers in enumerate(tars, start=1):
        write_image(server, f"app:v{number}", layers, created=f"2024-01-0{number}T00:00:00Z")
    write_image(template, "app", tars[0], created="2024-01-01T00:00:00Z")
    base, target = (one.config.digest[7:] for one in Layout(server).images())
    delta = ImageBuilder(server).published_path(base, target, IMAGE_CODEC)
    (server / delta).mkdir(parents=True)
    ImageBuilder(server).build(base, target, IMAGE_CODEC, server / delta)
    found = {str(path.relative_to(server)): path.read_bytes() for path in server.rglob("*") if path.is_file()}
    wire_bytes = sum(len(data) for path, data in found.items() if path.startswith(DELTAS_PATH))
    hop = Hop(commit=target, codec=IMAGE_CODEC, wire_bytes=wire_bytes, path=delta)
    route = PublishedRoute(ref="app", target=target, wire_bytes=wire_bytes, hops=(hop,))
    found |= {SUMMARY_PATH: format_heads({"app": target}), index_path(base): format_index(base, [route]).encode()}
    return ImageWorld(base, target, delta, found, template)


@dataclass
class ImageTarget:
    """A client on the first image, which follows a server one of whose files is changed."""

    world: ImageWorld
    surroundings: Path
    arena: Arena = field(init=False)

    def __post_init__(self) -> None:
        self.arena = Arena(self.world.template, self.surroundings)
        self.arena.prepare()

    def feed(self, rng: random.Random) -> Verdict:
        """Let the client follow; judge its image and everything around it."""
        files = dict(self.world.files)
        is_delta = rng.random() < 0.6
        if not is_delta:
            del files[index_path(self.world.base)]
        path = rng.choice(
            [path for path in files if path.startswith(self.world.delta if is_delta else ("blobs", "index"))]
        )
        files[path] = _change(rng, files[path])
        if is_delta and rng.random() < 0.7:
            _rename_blobs(rng, files, self.world.delta, path)
        client = ImageClient(self.arena.client, Files(files))
        try:
            done = follow(client, client.remote, base=self.world.base, want="app", is_ref=True, trust=Trust())
            verdict = Verdict.ACCEPTED if done.fallback_reason is None else Verdict.REFUSED
        except PlannerError:
            verdict = Verdict.REFUSED
        try:
            return self._judge(client, verdict)
        finally:
            self.arena.restore()

    def _judge(self, client: ImageClient, verdict: Verdict) -> Verdict:
        if not self.arena.is_around_untouched():
            return Verdict.OUTSIDE
        try:
            now = client.current("app")
            client.check(now)
        except PlannerError:
            return Verdict.WRONG
        return verdict if now in (self.world.base, self.world.target) else Verdict.WRONG


def _rename_blobs(rng: random.Random, files: dict[str, bytes], delta: str, changed: str) -> None:
    """Have the artifact's manifest name the changed blob by its true digest, and the route promise enough bytes."""
    manifest = f"{delta}/delta"
    old, data = changed.rpartition("sha256-")[2], files[changed]
    if is_checksum(old):
        new = hashlib.sha256(data).hexdigest()
        document = msgspec.json.decode(files[manifest])
        for one in (document["config"], *document["layers"]):
            if one["digest"] == f"sha256:{old}":
                one["digest"], one["size"] = f"sha256:{new}", len(data)
        files[manifest] = msgspec.json.encode(document)
        files[f"{delta}/sha256-{new}"] = data
    for path, text in files.items():
        if path.startswith("extensions/deltaplan/routes"):
            old_bytes = text.split(b"\n")[2].split(b" ")[-1]
            files[path] = text.replace(b" " + old_bytes, b" " + str(rng.choice((10**6, 10**9))).encode())


def _change(rng: random.Random, data: bytes) -> bytes:
    """Blindly, or where it is JSON one value of it."""
    if rng.random() < 0.4:
        return mutate(rng, data)
    try:
        document = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return mutate(rng, data)
    return msgspec.json.encode(_change_value(rng, document))


def _change_value(rng: random.Random, node: Any) -> Any:
    if not isinstance(node, (dict, list)) or not node or rng.random() < 0.15:
        return rng.choice(_VALUES)
    key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
    if rng.random() < 0.1:
        del node[key]
    else:
        node[key] = _change_value(rng, node[key])
    return node


@dataclass
class LayoutTarget:
    """A layout on the disk, one of whose documents is changed, with its digest made true where something names it."""

    world: ImageWorld
    surroundings: Path
    arena: Arena = field(init=False)

    def __post_init__(self) -> None:
        self.arena = Arena(self.world.template, self.surroundings)
        self.arena.prepare()

    def feed(self, rng: random.Random) -> Verdict:
        """Read everything in it; reading changes nothing anywhere."""
        folder = self.arena.client
        index = msgspec.json.decode((folder / "index.json").read_bytes())
        entry = index["manifests"][0]
        if rng.random() < 0.5:
            data = _change(rng, (folder / "blobs/sha256" / entry["digest"][7:]).read_bytes())
            entry["digest"], entry["size"] = f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)
            (folder / "blobs/sha256" / entry["digest"][7:]).write_bytes(data)
            (folder / "index.json").write_bytes(msgspec.json.encode(index))
        else:
            (folder / "index.json").write_bytes(_change(rng, msgspec.json.encode(index)))
        try:
            return self._read(folder)
        finally:
            is_untouched = self.arena.is_around_untouched()
            shutil.rmtree(folder)
            self.arena.prepare()
            assert is_untouched

    def _read(self, folder: Path) -> Verdict:
        ImageRepository(folder).read_history()
        layout = Layout(folder)
        list(layout.manifests())
        list(list_artifacts(layout))
        for image in layout.images():
            for layer in image.layers:
                for _ in layout.read_blob(layer.blob):
                    pass
        return Verdict.ACCEPTED
