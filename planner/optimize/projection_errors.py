"""What projected weights may turn out to be: intervals, errors that neighbours share, and what measuring some teaches.

Errors are counted in standard scores: 0 is the middle, 1.645 either way an end of the 90 % interval. A candidate's
score is a sum of what all candidates of its target share, what all of its base share (they contain the same files'
changes), and its own. Bytes and core-seconds have scores of their own. Shared parts keep their weights.

Source: prediction of random effects, Robinson 1991, That BLUP is a good thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from planner.errors import InputError
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem

_INTERVAL_END = 1.645
"""Standard score of the 95th percentile: both ends of a 90 % interval are so far from the middle."""

_TARGET_SHARE = 0.2
_BASE_SHARE = 0.2
_OWN_SHARE = 1.0 - _TARGET_SHARE - _BASE_SHARE
"""Parts of the variance of a score. Shares of 0.3 choose as good probes where errors are shared that much, but call a
plan stable too soon where they are not."""

_LARGEST_SCORE = 3.0
"""A measured candidate counts as no further off than this: one wild miss should not move all of its neighbours."""

_OPTIMISM = 1.0
"""Standard deviations by which every unmeasured candidate is better than expected in the optimistic problem."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Uncertainty:
    """The 90 % intervals of projected weights; all arrays have shape (candidates,).

    Low and high are factors of the middle, `wire_` for wire and stored bytes alike; both are 1 where a weight is exact.
    A probe of the candidate is projected to take `probe_cpu_s` core-seconds, with the interval of its server CPU.
    """

    wire_low_factor: FloatArray
    wire_high_factor: FloatArray
    cpu_low_factor: FloatArray
    cpu_high_factor: FloatArray
    probe_cpu_s: FloatArray

    def __post_init__(self) -> None:
        """Refuse intervals that do not hold their middle.

        Raises:
            InputError: not 0 < low <= 1 <= high < inf, or a probe takes less than no time.
        """
        for name in ("wire", "cpu"):
            low, high = getattr(self, f"{name}_low_factor"), getattr(self, f"{name}_high_factor")
            if not ((low > 0.0) & (low <= 1.0) & (high >= 1.0) & (high < np.inf)).all():
                raise InputError("an interval does not hold its middle", path=f"{name}_low_factor")
        if not (self.probe_cpu_s >= 0.0).all():
            raise InputError("is negative or not a number", path="probe_cpu_s")

    @property
    def is_exact(self) -> BoolArray:
        """Which candidates there is nothing to learn about; shape (candidates,)."""
        is_exact: BoolArray = self.wire_low_factor == self.wire_high_factor
        is_exact &= self.cpu_low_factor == self.cpu_high_factor
        return is_exact


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Weights of probed candidates and what the probes took; all arrays have shape (probed,), in no certain order."""

    candidate: IntArray
    wire_bytes: FloatArray
    stored_bytes: FloatArray
    server_cpu_s: FloatArray
    probe_cpu_s: FloatArray


def nothing_measured() -> Measured:
    """Before the first probe."""
    floats = np.zeros(0)
    return Measured(
        candidate=np.zeros(0, dtype=np.int64),
        wire_bytes=floats,
        stored_bytes=floats,
        server_cpu_s=floats,
        probe_cpu_s=floats,
    )


def join_measured(first: Measured, second: Measured) -> Measured:
    """Both, one after the other."""
    return Measured(**{name: np.r_[getattr(first, name), getattr(second, name)] for name in Measured.__slots__})


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlook:
    """Projections with their intervals, and what was measured of them.

    `keeps_probes`: what was measured is kept as an artifact, so its server CPU is paid already (`built`).
    """

    projected: Problem
    uncertainty: Uncertainty
    measured: Measured
    keeps_probes: bool = False

    @cached_property
    def is_known(self) -> BoolArray:
        """Which candidates are measured or exact; shape (candidates,)."""
        is_known = self.uncertainty.is_exact.copy()
        is_known[self.measured.candidate] = True
        return is_known

    def expected(self) -> Problem:
        """The problem to plan with: measured weights, and projections moved by what their neighbours' errors tell."""
        return self._problem(*(_mean_scores(self.projected, shared) for shared in self._shared))

    def optimistic(self) -> Problem:
        """Every unmeasured candidate a standard deviation better than expected: only what its plan uses can help."""
        scores = [
            _mean_scores(self.projected, shared) - _OPTIMISM * _deviations(self.projected, shared)
            for shared in self._shared
        ]
        return self._problem(*scores)

    def draw(self, rng: np.random.Generator) -> Problem:
        """One problem that the true one may be, given what was measured."""
        return self._problem(*(_draw_scores(self.projected, shared, rng) for shared in self._shared))

    @cached_property
    def _shared(self) -> tuple[_SharedErrors, _SharedErrors]:
        """Of bytes and of core-seconds."""
        rows, seen, known = self.projected.candidates, self.measured.candidate, self.uncertainty
        wire = _scores_of(
            self.measured.wire_bytes / np.maximum(rows.wire_bytes[seen], 1.0),
            known.wire_low_factor[seen],
            known.wire_high_factor[seen],
        )
        cpu = _scores_of(
            self.measured.server_cpu_s / np.maximum(rows.server_cpu_s[seen], 1e-9),
            known.cpu_low_factor[seen],
            known.cpu_high_factor[seen],
        )
        return _fit_shared(self.projected, seen, wire), _fit_shared(self.projected, seen, cpu)

    def _problem(self, wire_scores: FloatArray, cpu_scores: FloatArray) -> Problem:
        rows, known, seen = self.projected.candidates, self.uncertainty, self.measured.candidate
        wire_factor = _factors(wire_scores, known.wire_low_factor, known.wire_high_factor)
        wire_bytes, stored_bytes = rows.wire_bytes * wire_factor, rows.stored_bytes * wire_factor
        server_cpu_s = rows.server_cpu_s * _factors(cpu_scores, known.cpu_low_factor, known.cpu_high_factor)
        wire_bytes[seen], stored_bytes[seen] = self.measured.wire_bytes, self.measured.stored_bytes
        server_cpu_s[seen] = self.measured.server_cpu_s
        built = rows.built.copy()
        built[seen] |= self.keeps_probes
        weighed = replace(
            rows, wire_bytes=wire_bytes, stored_bytes=stored_bytes, server_cpu_s=server_cpu_s, built=built
        )
        return self.projected.replace(candidates=weighed)


@dataclass(frozen=True, slots=True, eq=False)
class _SharedErrors:
    """What is known of the targets' and bases' parts of the scores.

    `mean` has shape (2 * commits,): targets, then bases. `group` are its rows that a measured candidate belongs to,
    `root` the Cholesky root of their precision, shape (groups, groups); the others are standard normal.
    """

    mean: FloatArray
    group: IntArray
    root: FloatArray


def _fit_shared(problem: Problem, seen: IntArray, scores: FloatArray) -> _SharedErrors:
    """What measured scores tell of what they share; those without an interval (not a number) tell nothing."""
    told, commits = np.isfinite(scores), len(problem.commits)
    rows = np.stack([problem.candidates.target[seen[told]], commits + problem.candidates.base[seen[told]]])
    group, column = np.unique(rows, return_inverse=True)
    column = column.reshape(rows.shape)
    loads = np.zeros((int(told.sum()), len(group)))
    for own, share in zip(column, (_TARGET_SHARE, _BASE_SHARE), strict=True):
        loads[np.arange(len(own)), own] = np.sqrt(share)
    precision = np.eye(len(group)) + loads.T @ loads / _OWN_SHARE
    mean = np.zeros(2 * commits)
    mean[group] = np.linalg.solve(precision, loads.T @ scores[told] / _OWN_SHARE)
    root: FloatArray = np.linalg.cholesky(precision).astype(np.float64)
    return _SharedErrors(mean, group, root)


def _mean_scores(problem: Problem, shared: _SharedErrors) -> FloatArray:
    """Expected score of every candidate; shape (candidates,)."""
    return _scores(problem, shared.mean)


def _scores(problem: Problem, effects: FloatArray) -> FloatArray:
    rows = problem.candidates
    of_targets, of_bases = np.split(effects, 2)
    scores: FloatArray = np.sqrt(_TARGET_SHARE) * of_targets[rows.target] + np.sqrt(_BASE_SHARE) * of_bases[rows.base]
    return scores


def _draw_scores(problem: Problem, shared: _SharedErrors, rng: np.random.Generator) -> FloatArray:
    effects = rng.standard_normal(len(shared.mean))
    effects[shared.group] = shared.mean[shared.group] + np.linalg.solve(shared.root.T, effects[shared.group])
    own: FloatArray = np.sqrt(_OWN_SHARE) * rng.standard_normal(len(problem.candidates))
    return _scores(problem, effects) + own


def _deviations(problem: Problem, shared: _SharedErrors) -> FloatArray:
    """Standard deviation of every unmeasured score (what target and base say jointly left out); shape (candidates,)."""
    variances = np.ones(len(shared.mean))
    variances[shared.group] = (np.linalg.inv(shared.root) ** 2).sum(axis=0)
    of_targets, of_bases = np.split(variances, 2)
    rows = problem.candidates
    deviations: FloatArray = np.sqrt(
        _TARGET_SHARE * of_targets[rows.target] + _BASE_SHARE * of_bases[rows.base] + _OWN_SHARE
    )
    return deviations


def _factors(scores: FloatArray, low_factor: FloatArray, high_factor: FloatArray) -> FloatArray:
    """What the middles are multiplied with at some scores; each side has the width of its half of the interval."""
    factors: FloatArray = np.where(scores < 0.0, 1.0 / low_factor, high_factor) ** (scores / _INTERVAL_END)
    return factors


def _scores_of(factors: FloatArray, low_factor: FloatArray, high_factor: FloatArray) -> FloatArray:
    """The scores at which the middles are multiplied with some factors; not a number where there is no interval."""
    logs = np.log(np.maximum(factors, 1e-9))
    widths = np.where(logs < 0.0, -np.log(low_factor), np.log(high_factor)) / _INTERVAL_END
    scores = np.divide(logs, widths, out=np.full(len(logs), np.nan), where=widths > 0.0)
    limited: FloatArray = np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
    return limited
