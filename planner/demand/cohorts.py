"""Cohorts: the clients with the same base, target and abilities."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Clients on one base that want one target.

    `base` and `target` are commit checksums (the empty commit for clients that have nothing yet), `ref`
    is the name the clients ask for, or None where they ask for the commit itself. `max_hops` and
    `max_wire_bytes` are None where there is no such limit. Clients with `layers` hold the commits that their base is
    composed of, and can unite those that their target is composed of. `client_version` is None where it is not known,
    `codecs` where clients take the deltas of every codec.
    """

    base: str
    target: str
    clients: float
    ref: str | None = None
    max_hops: int | None = None
    max_wire_bytes: int | None = None
    layers: bool = False
    client_version: str | None = None
    codecs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownBase:
    """Clients on a base that the history does not have: no delta can serve them, so they pull in full."""

    base: str
    target: str
    clients: float
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Who asks for what: cohorts in the order of their source, what could not be placed, and what policy changed."""

    cohorts: tuple[Cohort, ...]
    unknown: tuple[UnknownBase, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def clients(self) -> float:
        """All clients, those on unknown bases included."""
        return sum(cohort.clients for cohort in self.cohorts) + sum(row.clients for row in self.unknown)
