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

    def learn(self, terms: Matrix, measured: Vector) -> Belief:
        """After measurements: terms (m, n) of candidates and their measured weights (m,), all above 0."""
        if not len(measured):
            return self
        rows = terms / measured[:, None]
        belief = self
        # The noise says how much to trust the rows, and the rows tell the noise: twice round is enough.
        for _ in range(2):
            precision = _invert(self.covariance) + rows.T @ rows / belief.noise**2
            covariance = _invert(precision)
            pull = _invert(self.covariance) @ self.factors + rows.sum(axis=0) / belief.noise**2
            factors = covariance @ pull
            errors = rows @ factors - 1.0
            squares = _NOISE_MEASUREMENTS * self.noise**2 + float(errors @ errors)
            noise = float(np.sqrt(squares / (_NOISE_MEASUREMENTS + len(measured))))
            belief = replace(belief, factors=factors, covariance=covariance, noise=noise)
        return belief

    def project(self, terms: Matrix) -> tuple[Vector, Vector]:
        """Weights (m,) of candidates with these terms (m, n), and their relative standard errors."""
        weights = np.maximum(terms @ self.factors, 1e-9)
        variance = np.einsum("ij,jk,ik->i", terms, self.covariance, terms) / weights**2
        return weights, np.sqrt(variance + self.noise**2)


def _invert(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), np.float64)
