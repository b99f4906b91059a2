"""The plan's routes as clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.demand.cohorts import Cohort
from planner.demand.layers import layer_steps
from planner.history.records import History
from planner.optimize.assemble import Assembly
from planner.optimize.plan import Plan
from planner.publish.publisher import RepositoryTools
from planner.publish.routes import Hop, LayerRoute, PublishedRoute


@dataclass(frozen=True, slots=True)
class Routing:
    """What it takes to write a plan's routes."""

    assembly: Assembly
    plan: Plan
    history: History
    tools: RepositoryTools

    def routes(self) -> dict[str, list[PublishedRoute]]:
        """The plan's routes per base; cohorts that differ in nothing that a client can see share one."""
        routes: dict[str, list[PublishedRoute]] = {}
        for index, cohort in enumerate(self.assembly.cohorts):
            published = self._route(index, cohort)
            if published not in routes.setdefault(cohort.base, []):
                routes[cohort.base].append(published)
        return routes

    def _route(self, index: int, cohort: Cohort) -> PublishedRoute:
        rows = self.plan.routes[index]
        if rows is None:
            full_pull_bytes = int(self.assembly.problem.demands.full_pull_bytes[index])
            return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=full_pull_bytes, hops=None)
        hops = tuple(map(self._hop, rows))
        is_layered = cohort.layers and bool(hops) and hops[-1].commit != cohort.target
        return PublishedRoute(
            ref=cohort.ref,
            target=cohort.target,
            wire_bytes=sum(hop.wire_bytes for hop in hops),
            hops=hops,
            layers=self._layers(cohort, hops) if is_layered else (),
        )

    def _hop(self, row: int) -> Hop:
        candidate = self.assembly.candidates[row]
        return Hop(
            commit=candidate.target,
            codec=candidate.codec,
            wire_bytes=int(self.assembly.problem.candidates.wire_bytes[row]),
            path=self.tools.published_path(candidate.base, candidate.target, candidate.codec),
        )

    def _layers(self, cohort: Cohort, hops: Sequence[Hop]) -> tuple[LayerRoute, ...]:
        """The walk's hops, layer by layer."""
        left, layers = list(hops), []
        for base, target in layer_steps(self.history, cohort.base, cohort.target):
            at, taken = base, list[Hop]()
            while at != target:
                taken.append(left.pop(0))
                at = taken[-1].commit
            layers.append(LayerRoute(base=base, target=target, hops=tuple(taken)))
        return tuple(layers)
