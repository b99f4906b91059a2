"""What a certificate says: prices of the limits, and every cohort's potentials."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planner.optimize.problem import FloatArray, IntArray


def _no_indexes() -> IntArray:
    return np.zeros(0, dtype=np.int64)


def _no_money() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortPotentials:
    """Lower bounds of what the clients of some demands pay from each commit on to their target, shares included.

    `potentials` has shape (rows, listed): one row where any number of hops is allowed, else row h is with h hops left.
    `commits` (listed,) are the commits that they belong to. Of the others, the first `first` ones in the certificate's
    order have potential 0, all others `rest`. The cohort pays `part_shares` of `parts` on every hop that needs them.
    """

    demands: IntArray
    first: int
    rest: float
    commits: IntArray
    potentials: FloatArray
    parts: IntArray = field(default_factory=_no_indexes)
    part_shares: FloatArray = field(default_factory=_no_money)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """A dual solution in the problem's own terms.

    `order` has every commit once; where most candidates point forward in it, it is short and quick to verify. The
    prices are on top of the problem's own. `bound` is what its writer says that it proves, and is never believed.
    """

    order: IntArray
    cohorts: tuple[CohortPotentials, ...] = ()
    money_per_stored_byte: float = 0.0
    money_per_cpu_s: float = 0.0
    bound: float = 0.0
