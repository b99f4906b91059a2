"""What a candidate weighs: four quantities, what is believed of each, and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from planner.project.belief import Belief


class Quantity(StrEnum):
    """What is projected, by its name in a weight."""

    WIRE_BYTES = "wire_bytes"
    SERVER_CPU_S = "server_cpu_s"
    CLIENT_CPU_S = "client_cpu_s"
    PEAK_MEMORY_BYTES = "peak_memory_bytes"


Beliefs = Mapping[Quantity, Belief]

NATIVE_BELIEFS: Beliefs = {
    Quantity.WIRE_BYTES: Belief.prior((1.0, 0.85, 0.5, 0.66, 0.75), (0.02, 0.1, 0.25, 0.25, 0.25), 0.07),
    Quantity.SERVER_CPU_S: Belief.prior((0.76, 4.1e-7, 2.6e-6, 0.02), (0.5, 0.5, 0.5, 10.0), 0.15),
    Quantity.CLIENT_CPU_S: Belief.prior((5.5e-9, 6.8e-8, 2.7e-4, 0.014), (0.25, 0.25, 0.25, 1.0), 0.45),
    Quantity.PEAK_MEMORY_BYTES: Belief.prior((1.78e8, 4.2, 0.87), (0.1, 0.25, 0.25), 0.18),
}
"""Before anything was measured, of our own deltas: factors of the terms (`projector.Terms`), in their order."""

DOUBTS: Mapping[Quantity, float] = {
    Quantity.WIRE_BYTES: 1.0,
    Quantity.SERVER_CPU_S: 2.0,
    Quantity.CLIENT_CPU_S: 0.0,
    Quantity.PEAK_MEMORY_BYTES: 0.0,
}
"""Doubt of each quantity over that of bytes: seconds of two differences differ more than their bytes; what a client
makes is known."""

DEVIATIONS = 1.645
"""Standard errors on either side that hold 90 % of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A projected quantity: nine times in ten it is between `low` and `high`."""

    low: float
    middle: float
    high: float

    @classmethod
    def around(cls, middle: float, error: float) -> Interval:
        """The interval of a middle with this relative standard error."""
        factor = float(np.exp(DEVIATIONS * error))
        return cls(low=middle / factor, middle=middle, high=middle * factor)

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
    """A candidate's projected weight: bytes that a client downloads, core-seconds to build and to apply, memory.

    `peak_memory_bytes` is of the largest process that makes or applies it.
    """

    wire_bytes: Interval
    server_cpu_s: Interval
    client_cpu_s: Interval
    peak_memory_bytes: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a built delta weighed."""

    wire_bytes: int
    server_cpu_s: float
    client_cpu_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of candidates: by quantity the terms that it is a sum of, times factors; relative errors of those of bytes (m,).

    - wire_bytes (m, 5): a superblock's, folders', and what texts, binaries and wholes take by the builder's estimate;
    - server_cpu_s (m, 4): the differences' seconds, bytes of texts and wholes to pack, of binaries, and 1;
    - client_cpu_s (m, 4): bytes that the client makes, bytes it downloads, objects, and 1;
    - peak_memory_bytes (m, 3): 1, bytes of the largest object, bytes that the client makes.
    """

    of: Mapping[Quantity, NDArray[np.float64]]
    doubts: NDArray[np.float64]

    def doubts_of(self, quantity: Quantity) -> NDArray[np.float64]:
        """Relative errors of a quantity's terms (m,)."""
        return DOUBTS[quantity] * self.doubts

    def learn(self, beliefs: Beliefs, measured: Mapping[Quantity, NDArray[np.float64]]) -> Beliefs:
        """What is believed after these candidates were measured (m,); 0 is what nobody measured."""
        return {one: self._learn(one, belief, measured[one]) for one, belief in beliefs.items()}

    def _learn(self, quantity: Quantity, belief: Belief, measured: NDArray[np.float64]) -> Belief:
        rows = measured > 0.0
        return belief.learn(self.of[quantity][rows], measured[rows], self.doubts_of(quantity)[rows])
