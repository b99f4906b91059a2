"""Dual ascent: a proven bound from shares of fixed money, in rounds that never make it worse.

A plan pays the fixed money of what it keeps; splitting it into shares between cohorts, none paid twice, every cohort's
cheapest way at its shares adds up to a bound (weak duality of the strong formulation). Shares are kept as potentials
(`ascent_kernels`), so a bound can be checked by additions alone (`certificate.py`).

Source: Balakrishnan, Magnanti and Wong 1989, section 3; Erlenkotter 1978 for facility location.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from planner.compiled import at_once, kernels
from planner.optimize import ascent_kernels
from planner.optimize.net import Net
from planner.optimize.problem import BoolArray, FloatArray, IntArray

STEPS_PER_CALL = 60_000_000
"""Inner steps between two looks at the clock: about 0.2 s."""

_GENTLE_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Rounds in which cohorts take little at first, so that the first does not block the rest (facility location)."""

_STARTS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.0, (1.0,)),
    (1.0, (1.0,)),
    (0.5, (1.0,)),
    (1.0, _GENTLE_SHARES),
)
"""Ways to begin, as (lean, shares per round): next to the target, next to the base, both, and gently."""


def never() -> bool:
    """Time is not up: for what is done whatever the clock says."""
    return False


def work_of(net: Net) -> IntArray:
    """About how many inner steps one round costs per cohort; shape (cohorts,)."""
    cohorts, start = net.cohorts, net.edges.start
    work: IntArray = (start[cohorts.high + 1] - start[cohorts.low]) * (cohorts.max_hops + 1) + 1
    return work


def halves(net: Net, work: IntArray) -> list[BoolArray]:
    """Two sets of cohorts in streams of their own, of about the same work, where that is worth a thread; else none.

    Streams lie side by side, so each set has a range of positions to itself, the first one the lower. Shape (cohorts,).
    """
    total = np.cumsum(work)
    if not len(total) or total[-1] < STEPS_PER_CALL:
        return []
    middle = net.stream_of_cohort[np.searchsorted(total, total[-1] // 2)]
    border = int(net.cohorts.low[net.stream_of_cohort == middle].min())
    is_first = net.cohorts.low < border
    return [is_first, ~is_first] if is_first.any() else []


def potential_offsets(net: Net) -> IntArray:
    """Where each cohort's potentials begin, and the end of the last one's; shape (cohorts + 1,)."""
    cohorts = net.cohorts
    offsets: IntArray = np.r_[0, np.cumsum((cohorts.high - cohorts.low + 1) * (cohorts.max_hops + 1))].astype(np.int64)
    return offsets


def nearest_first(net: Net) -> IntArray:
    """Cohorts by their distance to the target in positions: the ones that share the last hops settle them first."""
    return np.argsort(net.cohorts.target - net.cohorts.base, kind="stable")


class Ascent:
    """Potentials of every cohort, the fixed money that they leave, and the bound that they prove.

    `left` has shape (edges,); `value` is the sum of the cohorts' cheapest ways.
    """

    def __init__(self, net: Net, fixed_money: FloatArray, *, seed: int = 0) -> None:
        self.net = net
        self.fixed_money = fixed_money
        self.offset = potential_offsets(net)
        self.work = work_of(net)
        self.halves = halves(net, self.work)
        self.kernels = kernels(ascent_kernels, int(self.work.sum()))
        self.random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Back to no shares at all."""
        self.potentials: FloatArray = np.zeros(self.offset[-1])
        self.left = self.fixed_money.copy()
        self.value = 0.0

    def start(self, is_time_up: Callable[[], bool]) -> Iterator[float]:
        """Begin in each known way, keep the best; yields the best value after each."""
        kept: tuple[FloatArray, FloatArray] | None = None
        order = nearest_first(self.net)
        for lean, shares in _STARTS:
            self.reset()
            for share in shares:
                self.round(order, share, lean, is_time_up)
            if kept is not None:
                self._keep_better_streams(*kept)
            kept = self.potentials, self.left
            yield self.value
            if is_time_up():
                return

    def _keep_better_streams(self, potentials: FloatArray, left: FloatArray) -> None:
        """Go back to other potentials in the streams where they prove more."""
        net = self.net
        now = np.bincount(net.stream_of_cohort, weights=self.values(), minlength=net.streams)
        then = np.bincount(net.stream_of_cohort, weights=self.values(potentials), minlength=net.streams)
        is_worse = then > now
        self.left = np.where(is_worse[net.stream_of_edge], left, self.left)
        rows = np.repeat(is_worse[net.stream_of_cohort], np.diff(self.offset))
        self.potentials = np.where(rows, potentials, self.potentials)
        self.value = self._total()

    def _total(self) -> float:
        return float(self.values().sum()) + self.net.forced_money

    def climb(self, is_time_up: Callable[[], bool]) -> float:
        """One round in a random order with a random lean; the value."""
        order = self.random.permutation(len(self.net.cohorts.base))
        self.round(order, 1.0, float(self.random.random()), is_time_up)
        return self.value

    def round(self, order: IntArray, share: float, lean: float, is_time_up: Callable[[], bool]) -> None:
        """One pass over the cohorts; a cohort that time does not suffice for keeps its potentials."""
        orders = [order[is_mine[order]] for is_mine in self.halves] or [order]
        at_once([partial(self._ascend, mine, share, lean, is_time_up) for mine in orders])
        self.value = self._total()

    def _ascend(self, order: IntArray, share: float, lean: float, is_time_up: Callable[[], bool]) -> None:
        for chunk in in_chunks(order, self.work):
            if is_time_up():
                break
            self.kernels.ascend(
                self.net.edges, self.net.cohorts, self.left, chunk, self.potentials, self.offset, share, lean
            )

    def values(self, potentials: FloatArray | None = None) -> FloatArray:
        """Every cohort's part of the bound; shape (cohorts,)."""
        cohorts = self.net.cohorts
        if not len(cohorts.base):
            return np.zeros(0)
        width = cohorts.high - cohorts.low + 1
        at = self.offset[:-1] + cohorts.max_hops * width + cohorts.base - cohorts.low
        values: FloatArray = (self.potentials if potentials is None else potentials)[at]
        return values


def in_chunks(order: IntArray, work: IntArray) -> Iterator[IntArray]:
    """The order in pieces of about `STEPS_PER_CALL` steps each."""
    piece = np.cumsum(work[order]) // STEPS_PER_CALL
    bounds = np.flatnonzero(np.diff(piece)) + 1
    yield from (chunk for chunk in np.split(order, bounds) if len(chunk))
