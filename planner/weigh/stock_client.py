"""How a stock OSTree client picks among published deltas, so that no new delta makes it worse off.

Of all deltas into the wanted commit it takes the one from the newest commit (by timestamp) that it holds,
not the smallest one; a from-empty delta only when it holds nothing of the ref.
Source: libostree, `ostree-repo-pull.c`, `get_best_static_delta_start_for`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from planner.delta.superblock import COMPOSED, NATIVE
from planner.history.records import EMPTY, History

STOCK_CODEC = "ostree"
"""Static deltas as the stock tool makes them; ours are `NATIVE` and `COMPOSED`."""

OSTREE_CODECS = (NATIVE, COMPOSED, STOCK_CODEC)
"""The codecs whose deltas a stock client finds by itself; the embedded store's clients follow routes only."""


class BuilderName(StrEnum):
    """Who makes an OSTree repository's static deltas: this program, or `ostree static-delta generate`."""

    NATIVE = "native"
    STOCK = "stock"


CODECS_OF = {BuilderName.NATIVE: (NATIVE, COMPOSED), BuilderName.STOCK: (STOCK_CODEC,)}
"""The codecs of each builder."""


def pick_base(history: History, held: Iterable[str], published_bases: Collection[str]) -> str | None:
    """The base that a stock client takes, or None where it pulls loose objects."""
    held = tuple(held)
    usable = [commit for commit in held if commit in published_bases and commit in history.commits]
    if usable:
        return max(usable, key=lambda commit: (history.commits[commit].committed_at, commit))
    return EMPTY if EMPTY in published_bases and not held else None
