"""Weights of candidates without building them: sums over objects that many candidates share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.project.changes import ChangeFinder, Changes
from planner.project.looks import Looker
from planner.project.objects import LookAt, Projected, project_changes, project_wholes
from planner.project.quantities import (
    NATIVE_BELIEFS,
    Beliefs,
    Interval,
    Measurement,
    Projection,
    Quantity,
    Terms,
)
from planner.project.recall import PairTerms, TermsMemory

Pair = tuple[str, str]
"""Base and target."""

# Bytes of a superblock beside the commit's and 33 for each object: header, ends, endianness and codec, one part.
_SUPERBLOCK_BYTES = 320
_NAMED_OBJECT_BYTES = 33

# Of each quantity: where its terms begin among all numbers of a pair, and how many there are.
_TERMS = {
    Quantity.WIRE_BYTES: (1, 5),
    Quantity.SERVER_CPU_S: (6, 4),
    Quantity.CLIENT_CPU_S: (10, 4),
    Quantity.PEAK_MEMORY_BYTES: (14, 3),
}

# Relative errors of one difference's projection, and of those of a candidate together, once packed.
_ALONE_ERROR, _COMMON_ERROR = 0.08, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Of one candidate: the terms of each quantity, and how far off those of bytes may be by what nobody made yet."""

    of: Mapping[Quantity, tuple[float, ...]]
    doubt_bytes: float

    def numbers(self) -> PairTerms:
        """All of it, one after the other."""
        return (self.doubt_bytes, *(term for quantity in _TERMS for term in self.of[quantity]))

    @classmethod
    def of_numbers(cls, numbers: PairTerms) -> _Terms:
        """What `numbers` gave."""
        of = {quantity: numbers[first : first + count] for quantity, (first, count) in _TERMS.items()}
        return cls(of=of, doubt_bytes=numbers[0])


class Projector:
    """Projects candidates of one repository, as the native builder would make each alone.

    Args:
        contents: the repository's contents.
        pool: what the builder made before is looked up here; what is seen of contents is added.
        look_at: looks at contents on many cores; else they are looked at here, one after the other.
    """

    def __init__(
        self,
        contents: CommitContents,
        pool: DifferencePool,
        *,
        look_at: LookAt | None = None,
    ) -> None:
        self._contents = contents
        self._pool = pool
        self._finder = ChangeFinder(contents, pool)
        self._look_at_contents = look_at or Looker(contents, pool).look_at
        self._memory = TermsMemory(pool, contents.objects.history)
        self._terms = {pair: _Terms.of_numbers(numbers) for pair, numbers in self._memory.recall().items()}

    def project(
        self,
        pairs: Iterable[Pair],
        measured: Mapping[Pair, Measurement] | None = None,
        beliefs: Beliefs = NATIVE_BELIEFS,
    ) -> dict[Pair, Projection]:
        """Projections of pairs, corrected by what deltas of the same repository weighed when they were built.

        `beliefs` are those before anything was measured.

        Raises:
            RepositoryError: an object is missing or corrupt.
        """
        wanted, known = list(dict.fromkeys(pairs)), dict(measured or {})
        if not wanted:
            return {}
        recalled = set(self._terms)
        self._look_at([*wanted, *known])
        if not recalled.issuperset((*wanted, *known)):
            self._memory.keep({pair: one.numbers() for pair, one in self._terms.items()}, [*wanted, *known])
        if known:
            beliefs = self.terms(list(known)).learn(beliefs, _columns(known.values()))
        terms = self.terms(wanted)
        found = {}
        for quantity, belief in beliefs.items():
            middles, errors = belief.project(terms.of[quantity], terms.doubts_of(quantity))
            found[quantity] = list(map(Interval.around, middles.tolist(), errors.tolist()))
        return {
            pair: Projection(
                wire_bytes=found[Quantity.WIRE_BYTES][number],
                server_cpu_s=found[Quantity.SERVER_CPU_S][number],
                client_cpu_s=found[Quantity.CLIENT_CPU_S][number],
                peak_memory_bytes=found[Quantity.PEAK_MEMORY_BYTES][number],
            )
            for number, pair in enumerate(wanted)
        }

    def terms(self, pairs: Sequence[Pair]) -> Terms:
        """What pairs' weights are sums of, from which beliefs are fitted."""
        self._look_at(pairs)
        found = [self._terms[pair] for pair in pairs]
        of = {one: np.array([terms.of[one] for terms in found]) for one in Quantity}
        doubt_bytes = np.array([terms.doubt_bytes for terms in found])
        return Terms(of=of, doubts=doubt_bytes / _believed_bytes(of[Quantity.WIRE_BYTES]))

    def _look_at(self, pairs: Iterable[Pair]) -> None:
        """Work out the terms of pairs that are new."""
        changes = {pair: self._finder.find(*pair) for pair in pairs if pair not in self._terms}
        # By target content, so that each content is read once.
        wanted = dict.fromkeys(one for change in changes.values() for one in change.changed)
        differences = project_changes(wanted, self._pool, self._look_at_contents)
        added = dict.fromkeys(one for change in changes.values() for one in change.added)
        wholes = project_wholes(added, self._contents, self._pool)
        for pair, change in changes.items():
            made = [differences[one] for one in change.changed]
            self._terms[pair] = self._add_up(pair, change, made, [wholes[one] for one in change.added])

    def _add_up(self, pair: Pair, change: Changes, made: Sequence[Projected], added: Sequence[Projected]) -> _Terms:
        commit_bytes = self._contents.commit_bytes(pair[1])
        texts = sum(one.estimated_bytes for one in made if one.is_text)
        binaries = sum(one.estimated_bytes for one in made if not one.is_text)
        wholes = sum(one.estimated_bytes for one in added)
        unknown = [one.estimated_bytes for one in made if not one.is_known]
        streams = sum(one.content_bytes for one in made if not one.is_text)
        payload_bytes = float(sum(one.content_bytes for one in (*made, *added)) + change.folder_bytes)
        largest_bytes = float(max((one.content_bytes for one in (*made, *added)), default=0))
        superblock_bytes = float(_SUPERBLOCK_BYTES + commit_bytes + _NAMED_OBJECT_BYTES * change.objects)
        wire_bytes = (superblock_bytes, float(change.folder_bytes), texts, binaries, wholes)
        making_s = sum(one.core_s for one in made)
        return _Terms(
            of={
                Quantity.WIRE_BYTES: wire_bytes,
                Quantity.SERVER_CPU_S: (making_s, texts + wholes, binaries + 0.002 * streams, 1.0),
                Quantity.CLIENT_CPU_S: (
                    payload_bytes,
                    float(_believed_bytes(np.array(wire_bytes))),
                    float(change.objects),
                    1.0,
                ),
                Quantity.PEAK_MEMORY_BYTES: (1.0, largest_bytes, payload_bytes),
            },
            doubt_bytes=_ALONE_ERROR * math.sqrt(sum(one**2 for one in unknown)) + _COMMON_ERROR * sum(unknown),
        )


def _believed_bytes(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bytes by what is believed before anything was measured, of terms (..., 5)."""
    return np.asarray(terms @ NATIVE_BELIEFS[Quantity.WIRE_BYTES].factors, np.float64)


def _columns(measured: Iterable[Measurement]) -> dict[Quantity, NDArray[np.float64]]:
    """What was measured, by quantity (m,)."""
    rows = list(measured)
    return {one: np.array([getattr(row, one.value) for row in rows], np.float64) for one in Quantity}
