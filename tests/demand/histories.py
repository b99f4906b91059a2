"""Histories made by hand: commits with names, one day apart, and no trees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from planner.history.records import LAYERS_KEY, VERSION_KEY, Commit, History

_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def checksum_of(name: str) -> str:
    """The checksum of the commit with this name; the empty name is the empty commit."""
    return hashlib.sha256(name.encode()).hexdigest() if name else ""


def make_history(
    parents: Mapping[str, str | None],
    *,
    refs: Mapping[str, str] | None = None,
    layers: Mapping[str, Sequence[str]] | None = None,
    days: Mapping[str, int] | None = None,
) -> History:
    """Commits by name (which is their version too) with their parents, in the order given, a day apart.

    `days` moves single commits to another day; `layers` says what merged commits are composed of.
    """
    layers, days = layers or {}, days or {}
    commits = {}
    for number, (name, parent) in enumerate(parents.items()):
        metadata: dict[str, object] = {VERSION_KEY: name}
        if name in layers:
            metadata[LAYERS_KEY] = " ".join(map(checksum_of, layers[name]))
        commits[checksum_of(name)] = Commit(
            checksum=checksum_of(name),
            parent=checksum_of(parent) if parent else None,
            committed_at=_FIRST_DAY + timedelta(days=days.get(name, number)),
            tree="0" * 64,
            metadata=metadata,
        )
    heads = {ref: checksum_of(name) for ref, name in (refs or {}).items()}
    return History(commits=commits, trees={}, refs=heads)


def make_line(releases: int) -> History:
    """v1 <- v2 <- ... with the ref `stable` at the last."""
    names = [f"v{number}" for number in range(1, releases + 1)]
    parents = dict(zip(names, [None, *names], strict=False))
    return make_history(parents, refs={"stable": names[-1]} if names else {})
