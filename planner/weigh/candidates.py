"""Candidates and their weights: what could be built, and what it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WeightStatus(StrEnum):
    """Where a number comes from; the two are never mixed without saying which."""

    MEASURED = "measured"
    PROJECTED = "projected"


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Candidate:
    """A delta that could be built: from exactly one commit to exactly one commit, by one codec."""

    base: str
    target: str
    codec: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a candidate costs.

    `server_cpu_s` builds and proves it, `client_cpu_s` applies it once, `stored_bytes` is what the server
    keeps and `wire_bytes` what one client downloads.
    """

    wire_bytes: int
    stored_bytes: int
    server_cpu_s: float
    client_cpu_s: float
    peak_memory_bytes: int
    status: WeightStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a candidate's weight counts of something that other candidates may need too: it is paid once.

    Candidates with the same `key` share it: a part's file (bytes, no seconds) or the making of one (seconds, no bytes).
    """

    key: str
    stored_bytes: int
    server_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A pair of commits that a named rule proposes."""

    base: str
    target: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A candidate (or, before codecs are known, a pair: empty codec) that was dropped, and why."""

    base: str
    target: str
    codec: str
    reason: str
