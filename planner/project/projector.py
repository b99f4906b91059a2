"""Weights of candidates without building them: sums over objects that many candidates share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.project.belief import Belief
from planner.project.changes import ChangeFinder, Changes
from planner.project.looks import Looker
from planner.project.objects import LookAt, Projected, project_changes, project_wholes

Pair = tuple[str, str]
"""Base and target."""

# Bytes of a superblock beside the commit's and 33 for each object: header, ends, endianness and codec, one part.
_SUPERBLOCK_BYTES = 320
_NAMED_OBJECT_BYTES = 33

BYTES_PRIOR = Belief.prior((1.0, 0.85, 0.5, 0.66, 0.75), (0.02, 0.1, 0.25, 0.25, 0.25), 0.07)
"""Factors of `ByteTerms`: what is packed in a part over what the builder's fast compressor makes of it."""

CPU_PRIOR = Belief.prior((0.76, 4.1e-7, 2.6e-6, 0.02), (0.5, 0.5, 0.5, 10.0), 0.15)
"""Factors of the core-seconds' terms."""

# Relative errors of one difference's projection, and of those of a candidate together, once packed.
_ALONE_ERROR, _COMMON_ERROR = 0.08, 0.02

CPU_DOUBT = 2.0
"""Doubt of core-seconds over that of bytes: with it, 90 % intervals hold nine times in ten."""

# A stock client applies and checks some 60 MB a second; what it holds is the largest object twice and a part.
_CLIENT_S_PER_BYTE = 1.6e-8
DEVIATIONS = 1.645
"""Standard errors on either side that hold 90 % of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A projected quantity: nine times in ten it is between `low` and `high`."""

    low: float
    middle: float
    high: float

    def move(self, middle: float) -> Interval:
        """The interval around another middle, as wide for its size."""
        low, high = self.factors
        return Interval(low=low * middle, middle=middle, high=high * middle)

    @property
    def factors(self) -> tuple[float, float]:
        """What the middle is multiplied with at either end."""
        return self.low / self.middle, self.high / self.middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A candidate's projected weight: bytes that a client downloads, core-seconds to build, to apply, and memory."""

    wire_bytes: Interval
    server_cpu_s: Interval
    client_cpu_s: float
    peak_memory_bytes: int

    def move(self, wire_bytes: float, server_cpu_s: float) -> Projection:
        """The projection around other middles."""
        return replace(
            self, wire_bytes=self.wire_bytes.move(wire_bytes), server_cpu_s=self.server_cpu_s.move(server_cpu_s)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a built delta weighed."""

    wire_bytes: int
    server_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Of one candidate: the terms of its bytes and of its core-seconds, and what its client makes.

    `doubt_bytes`: how far off the terms may be, by the differences that nobody has made yet.
    """

    bytes: tuple[float, ...]
    core_s: tuple[float, ...]
    doubt_bytes: float
    payload_bytes: int
    largest_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of candidates: terms of bytes (m, 5) and of core-seconds (m, 4), and relative errors of the former (m,)."""

    bytes: NDArray[np.float64]
    core_s: NDArray[np.float64]
    doubts: NDArray[np.float64]

    @property
    def cpu_doubts(self) -> NDArray[np.float64]:
        """Relative errors of the terms of core-seconds: seconds of two differences differ more than their bytes."""
        return CPU_DOUBT * self.doubts


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
        self._terms: dict[Pair, _Terms] = {}

    def project(
        self,
        pairs: Iterable[Pair],
        measured: Mapping[Pair, Measurement] | None = None,
        priors: tuple[Belief, Belief] = (BYTES_PRIOR, CPU_PRIOR),
    ) -> dict[Pair, Projection]:
        """Projections of pairs, corrected by what deltas of the same repository weighed when they were built.

        `priors` are believed of bytes and of core-seconds before anything was measured.

        Raises:
            RepositoryError: an object is missing or corrupt.
        """
        wanted, known = list(dict.fromkeys(pairs)), dict(measured or {})
        if not wanted:
            return {}
        self._look_at([*wanted, *known])
        terms = self.terms(wanted)
        about_bytes, about_cpu = self._learn(known, priors)
        sizes, size_errors = about_bytes.project(terms.bytes, terms.doubts)
        cpu, cpu_errors = about_cpu.project(terms.core_s, terms.cpu_doubts)
        return {
            pair: Projection(
                wire_bytes=_interval(sizes[number], size_errors[number]),
                server_cpu_s=_interval(cpu[number], cpu_errors[number]),
                client_cpu_s=self._terms[pair].payload_bytes * _CLIENT_S_PER_BYTE,
                peak_memory_bytes=2 * self._terms[pair].largest_bytes + int(sizes[number]),
            )
            for number, pair in enumerate(wanted)
        }

    def terms(self, pairs: Sequence[Pair]) -> Terms:
        """What pairs' weights are sums of, from which beliefs are fitted."""
        self._look_at(pairs)
        found = [self._terms[pair] for pair in pairs]
        sizes = np.array([one.bytes for one in found])
        return Terms(
            bytes=sizes,
            core_s=np.array([one.core_s for one in found]),
            doubts=np.array([one.doubt_bytes for one in found]) / (sizes @ BYTES_PRIOR.factors),
        )

    def _learn(self, measured: Mapping[Pair, Measurement], priors: tuple[Belief, Belief]) -> tuple[Belief, Belief]:
        if not measured:
            return priors
        terms = self.terms(list(measured))
        sizes = np.array([float(one.wire_bytes) for one in measured.values()])
        core_s = np.array([max(one.server_cpu_s, 1e-3) for one in measured.values()])
        return (
            priors[0].learn(terms.bytes, sizes, terms.doubts),
            priors[1].learn(terms.core_s, core_s, terms.cpu_doubts),
        )

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
        return _Terms(
            bytes=(
                float(_SUPERBLOCK_BYTES + commit_bytes + _NAMED_OBJECT_BYTES * change.objects),
                float(change.folder_bytes),
                texts,
                binaries,
                wholes,
            ),
            core_s=(sum(one.core_s for one in made), texts + wholes, binaries + 0.002 * streams, 1.0),
            doubt_bytes=_ALONE_ERROR * math.sqrt(sum(one**2 for one in unknown)) + _COMMON_ERROR * sum(unknown),
            payload_bytes=sum(one.content_bytes for one in (*made, *added)) + change.folder_bytes,
            largest_bytes=max((one.content_bytes for one in (*made, *added)), default=0),
        )


def _interval(middle: float, error: float) -> Interval:
    factor = float(np.exp(DEVIATIONS * error))
    return Interval(low=float(middle) / factor, middle=float(middle), high=float(middle) * factor)
