"""What is believed of a few factors, and what measurements make of it: linear regression with a prior.

A candidate's weight is a sum of terms (folders, texts, binaries, ...) times factors that differ between repositories
and machines. Errors are relative: a row is divided by what it is compared with, so that small candidates count as much
as large ones.

Source: C. Bishop, "Pattern Recognition and Machine Learning" (2006), sections 3.3.1 and 3.3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Of the noise, how many measurements the prior is worth.
_NOISE_MEASUREMENTS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Factors (n,) with their covariance (n, n), and the relative error of a weight when the factors are right."""

    factors: Vector
    covariance: Matrix
    noise: float

    @classmethod
    def prior(cls, factors: Sequence[float], spreads: Sequence[float], noise: float) -> Self:
        """Factors that may each be off by a fraction, independently."""
        middle = np.array(factors, np.float64)
        return cls(factors=middle, covariance=np.diag((np.array(spreads) * middle) ** 2), noise=noise)

    def learn(self, terms: Matrix, measured: Vector, doubts: Vector | None = None) -> Belief:
        """After measurements: terms (m, n) of candidates and their measured weights (m,), all above 0.

        `doubts` (m,) are relative errors of the terms themselves; the noise that is learnt comes on top of them.
        """
        if not len(measured):
            return self
        rows = terms / measured[:, None]
        doubts = np.zeros(len(measured)) if doubts is None else doubts
        belief = self
        # The noise says how much to trust the rows, and the rows tell the noise: a few rounds settle both.
        for _ in range(5):
            trust = 1.0 / (belief.noise**2 + doubts**2)
            precision = _invert(self.covariance) + (rows * trust[:, None]).T @ rows
            covariance = _invert(precision)
            pull = _invert(self.covariance) @ self.factors + (rows * trust[:, None]).sum(axis=0)
            factors = covariance @ pull
            errors = rows @ factors - 1.0
            # Of each error, the share that the terms' doubts do not explain.
            share = belief.noise**2 * trust
            squares = _NOISE_MEASUREMENTS * self.noise**2 + float((share * errors**2 * share).sum())
            counted = _NOISE_MEASUREMENTS + float(share.sum())
            noise = float(np.sqrt(squares / counted))
            belief = replace(belief, factors=factors, covariance=covariance, noise=noise)
        return belief

    def project(self, terms: Matrix, doubts: Vector | None = None) -> tuple[Vector, Vector]:
        """Weights (m,) of candidates with these terms (m, n) and doubts (m,), and their relative standard errors."""
        weights = np.maximum(terms @ self.factors, 1e-9)
        variance = np.einsum("ij,jk,ik->i", terms, self.covariance, terms) / weights**2
        own = 0.0 if doubts is None else doubts**2
        return weights, np.sqrt(variance + self.noise**2 + own)


def _invert(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), np.float64)
