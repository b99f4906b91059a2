"""A plan: a selection that was judged, with the bound that was proven for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from planner.optimize.duals import Duals
from planner.optimize.evaluate import Costs, Evaluation, Route, Selection

OPTIMAL_GAP = 1e-6
"""A plan within this relative gap of its bound counts as optimal (`deltaplan-plan/1`)."""


class Status(StrEnum):
    """Why the solver stopped."""

    OPTIMAL = "optimal"
    GAP_LIMIT = "gap_limit"
    TIME_LIMIT = "time_limit"


def relative_gap(cost: float, lower_bound: float) -> float:
    """(cost - bound) / cost, and 0 where both are 0.

    >>> relative_gap(4.0, 3.0), relative_gap(0.0, 0.0)
    (0.25, 0.0)
    """
    return (cost - lower_bound) / cost if cost > 0.0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Chosen candidates, a route per demand, and the proof. Made only from an `Evaluation`.

    `duals` is the best dual solution found without branching: what it proves may lie below `lower_bound`.
    """

    evaluation: Evaluation
    lower_bound: float
    status: Status
    method: str = ""
    shadow_prices: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    wall_s: float = 0.0
    duals: Duals | None = None

    @property
    def selection(self) -> Selection:
        """What was chosen."""
        return self.evaluation.selection

    @property
    def build(self) -> tuple[int, ...]:
        """Chosen candidates, ascending; those already built and kept included."""
        return self.evaluation.selection.build

    @property
    def routes(self) -> tuple[Route, ...]:
        """Per demand, the hops in order; None is a full pull."""
        return self.evaluation.selection.routes

    @property
    def cost(self) -> Costs:
        """Money, by what it pays for."""
        return self.evaluation.cost

    @property
    def gap(self) -> float:
        """Relative distance between the plan's cost and the proven bound."""
        return relative_gap(self.cost.total, self.lower_bound)
