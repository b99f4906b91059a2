"""Streams: groups of candidates and cohorts that have nothing to do with each other, as the refs of a server.

A stream in which nothing is new since a night whose plan was stable needs no probes tonight: they would tell what they
told then. So the cost of a night is that of what changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

import msgspec

from planner.demand.cohorts import Cohort
from planner.weigh.candidates import Candidate, Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Candidates and cohorts that no other candidate or cohort shares a commit or a need with."""

    candidates: tuple[Candidate, ...]
    cohorts: tuple[Cohort, ...]

    def fingerprint(self, terms: bytes) -> str:
        """What stands for the stream under some terms (prices), as 64 hex digits.

        The candidates, and who asks; clients to within a factor of about 2, since counts change a little every night.
        """
        asked = sorted(
            (one.base, one.target, _limit(one.max_hops), _limit(one.max_wire_bytes), _magnitude(one))
            for one in self.cohorts
        )
        offered = sorted((one.base, one.target, one.codec) for one in self.candidates)
        return hashlib.sha256(terms + msgspec.json.encode((offered, asked))).hexdigest()


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit


def _magnitude(cohort: Cohort) -> int:
    return round(log2(cohort.clients)) if cohort.clients > 0 else -(10**6)


def find_streams(
    candidates: Iterable[Candidate], cohorts: Sequence[Cohort], needs: Mapping[Candidate, Sequence[Need]]
) -> tuple[Stream, ...]:
    """All candidates and cohorts, by stream; the order is that in which each stream's first candidate or cohort comes.

    Everybody's empty commit joins nothing: no delta leads to it.
    """
    groups = _Groups()
    offered = list(candidates)
    for one in offered:
        groups.join([one.base or one.target, one.target, *(need.key for need in needs.get(one, ()))])
    for cohort in cohorts:
        groups.join([cohort.base or cohort.target, cohort.target])
    of_group: dict[str, tuple[list[Candidate], list[Cohort]]] = {}
    for one in offered:
        of_group.setdefault(groups.find(one.target), ([], []))[0].append(one)
    for cohort in cohorts:
        of_group.setdefault(groups.find(cohort.target), ([], []))[1].append(cohort)
    return tuple(Stream(candidates=tuple(some), cohorts=tuple(asking)) for some, asking in of_group.values())


def find_open(streams: Sequence[Stream], settled: Collection[str], terms: bytes) -> tuple[Stream, ...]:
    """The streams that no earlier night has settled under these terms."""
    return tuple(one for one in streams if one.fingerprint(terms) not in settled)


class _Groups:
    """Names that were joined, each group under one of them."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def find(self, name: str) -> str:
        """The name that stands for a name's group."""
        above = self._above
        while (higher := above.setdefault(name, name)) != name:
            above[name] = above[higher]  # ways to the top become half as long each time
            name = higher
        return name

    def join(self, names: Sequence[str]) -> None:
        """Make one group of all these names' groups."""
        first = self.find(names[0])
        for name in names[1:]:
            self._above[self.find(name)] = first
