"""The dual solution behind a bound: what certificates are written from and explanations read."""

from __future__ import annotations

from dataclasses import dataclass

from planner.optimize.net import Net
from planner.optimize.problem import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Duals:
    """Potentials in the layout of `ascent_kernels`, and what a unit of each limited quantity is priced on top.

    `potentials[offset[k]:offset[k + 1]]` are cohort k's (`ascent.potential_offsets`). `part_shares` (cohorts, parts) is
    what each cohort pays of each part, None where the problem has no parts.
    """

    net: Net
    potentials: FloatArray
    money_per_stored_byte: float = 0.0
    money_per_cpu_s: float = 0.0
    part_shares: FloatArray | None = None
