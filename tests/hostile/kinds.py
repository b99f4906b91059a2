"""Every kind of hostile input: what starts its target, and its share of all inputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.hostile.delta_kinds import DeltaTarget, make_delta_world
from tests.hostile.image_kinds import ImageTarget, LayoutTarget, make_image_world
from tests.hostile.store_kinds import STORE_KINDS, StoreTarget
from tests.hostile.store_world import make_store_world
from tests.hostile.watch import Target

_SHARES = {
    "route index": 0.24,
    "summary": 0.2,
    "delta of a store": 0.14,
    "loose object": 0.06,
    "head of its own": 0.05,
    "ref's name": 0.02,
    "superblock": 0.12,
    "part": 0.13,
    "image delta": 0.02,
    "image layout": 0.02,
}


NAMES = tuple(_SHARES)


@dataclass(frozen=True)
class Kind:
    """One kind; `share` is its fraction of all inputs."""

    name: str
    share: float
    start: Callable[[], Target]


def make_kinds(folder: Path) -> Iterator[Kind]:
    """The kinds, with their worlds in a folder; those of static deltas only where there is a tool that makes them."""
    starts: dict[str, Callable[[], Target]] = {}
    store = make_store_world(folder / "store")
    for name, attack in STORE_KINDS.items():
        starts[name] = partial(StoreTarget, store, folder / "surroundings", attack)
    if shutil.which("ostree"):
        (folder / "deltas").mkdir()
        deltas = make_delta_world(folder / "deltas")
        starts["superblock"] = partial(DeltaTarget, deltas, is_superblock=True)
        starts["part"] = partial(DeltaTarget, deltas, is_superblock=False)
    images = make_image_world(folder / "images")
    starts["image delta"] = partial(ImageTarget, images, folder / "surroundings")
    starts["image layout"] = partial(LayoutTarget, images, folder / "surroundings")
    for name, start in starts.items():
        yield Kind(name, _SHARES[name], start)
