"""A grid of releases: several lines of base systems, several specialised parts, and the mixes that are known.

Product j runs part j on base line `(j - 1) mod bases + 1`: its release r is the union of both lines' releases r, so
that a part is never on a base that it was not released with. Names are `B2.3`, `S1.3` and `S1.3-on-B1.3`, on refs
`base/2`, `part/1` and `device/1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCommit:
    """A release of a base line or a part (`line` is which), or of a product, which has layers and nothing else."""

    name: str
    ref: str
    release: int
    line: str = ""
    layers: tuple[str, ...] = ()


def grid_commits(bases: int, parts: int, releases: int) -> Iterator[GridCommit]:
    """All commits in the order of their release, layers before what is made of them."""
    for release in range(1, releases + 1):
        for base in range(1, bases + 1):
            yield GridCommit(name=f"B{base}.{release}", ref=f"base/{base}", release=release, line=f"B{base}")
        for part in range(1, parts + 1):
            yield GridCommit(name=f"S{part}.{release}", ref=f"part/{part}", release=release, line=f"S{part}")
        for part in range(1, parts + 1):
            layers = (f"B{(part - 1) % bases + 1}.{release}", f"S{part}.{release}")
            yield GridCommit(name="-on-".join(reversed(layers)), ref=f"device/{part}", release=release, layers=layers)
