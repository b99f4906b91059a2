"""The plan's routes as clients read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.demand.cohorts import Cohort
from planner.demand.layers import layer_steps
from planner.demand.policy import Policy
from planner.history.records import History
from planner.optimize.assemble import FULL_PULL, Assembly
from planner.optimize.evaluate import Route
from planner.publish.publisher import RepositoryTools
from planner.publish.routes import Hop, LayerRoute, PublishedRoute


@dataclass(frozen=True, slots=True)
class Routing:
    """What it takes to write routes: `ways` has one per cohort, in candidate rows."""

    assembly: Assembly
    ways: Sequence[Route]
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
        rows = self.ways[index]
        if rows is None:
            full_pull_bytes = int(self.assembly.problem.demands.full_pull_bytes[index])
            return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=full_pull_bytes, hops=None)
        last = self.assembly.candidates[rows[-1]].target if rows else cohort.target
        if last != cohort.target:
            layers = tuple(self._layers(cohort, rows))
            return PublishedRoute(
                ref=cohort.ref,
                target=cohort.target,
                wire_bytes=sum(layer.wire_bytes for layer in layers),
                hops=tuple(hop for layer in layers for hop in layer.hops or ()),
                layers=layers,
            )
        hops = tuple(map(self._hop, rows))
        total_bytes = sum(hop.wire_bytes for hop in hops)
        return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=total_bytes, hops=hops)

    def _hop(self, row: int) -> Hop:
        candidate = self.assembly.candidates[row]
        return Hop(
            commit=candidate.target,
            codec=candidate.codec,
            wire_bytes=self._wire_bytes(row),
            path=self.tools.published_path(candidate.base, candidate.target, candidate.codec),
        )

    def _wire_bytes(self, row: int) -> int:
        return int(self.assembly.problem.candidates.wire_bytes[row])

    def _layers(self, cohort: Cohort, rows: Sequence[int]) -> Iterator[LayerRoute]:
        """The walk, layer by layer."""
        left = deque(rows)
        for base, target in layer_steps(self.history, cohort.base, cohort.target):
            at, taken = base, list[int]()
            while at != target:
                taken.append(left.popleft())
                at = self.assembly.candidates[taken[-1]].target
            is_pulled = any(self.assembly.candidates[row].codec == FULL_PULL for row in taken)
            yield LayerRoute(
                base=base,
                target=target,
                wire_bytes=sum(map(self._wire_bytes, taken)),
                hops=None if is_pulled else tuple(map(self._hop, taken)),
            )


def find_waypoints(policy: Policy) -> dict[str, dict[str, str]]:
    """For each base, the refs for which its clients must deploy another commit first, and which."""
    found: dict[str, dict[str, str]] = {}
    for base, ref, stop in policy.waypoints():
        found.setdefault(base, {})[ref] = stop
    return found
