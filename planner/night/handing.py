"""Handing over what of a plan is ready: the deltas, and the best routes over what clients can then use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from planner.build.pool import Pool
from planner.demand.policy import Policy
from planner.history.records import History
from planner.night.passing import find_passing
from planner.night.repositories import Site
from planner.night.routing import Routing, find_waypoints
from planner.night.session import Session
from planner.optimize.assemble import FULL_PULL, Assembly
from planner.optimize.evaluate import Route
from planner.optimize.plan import Plan
from planner.optimize.problem import BoolArray
from planner.optimize.routes import choose_routes
from planner.publish.publisher import Published, is_published, publish
from planner.publish.signatures import SigningKey
from planner.weigh.candidates import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What clients have now: `routes` per cohort, and the deltas that these, or the plan, still need."""

    published: Published
    routes: tuple[Route, ...]
    used: frozenset[Candidate]
    is_complete: bool


@dataclass(frozen=True)
class HandOver:
    """One plan's hand-over; `run` may be called again whenever more is ready."""

    site: Site
    pool: Pool
    history: History
    session: Session
    assembly: Assembly
    plan: Plan
    policy: Policy
    key: SigningKey | None = None

    def run(self) -> HandedOver:
        """Publish what is ready. While something is missing, what was published before is used beside it.

        Raises:
            as `publish`.
        """
        known = self.session.catalogue.artifacts()
        chosen = self.assembly.candidates_of(self.plan.build)
        is_there = {one for one in self._rows if is_published(self.site, one)}
        ready = [one for one in chosen if one in is_there or (one in known and self.pool.has(known[one]))]
        is_complete = len(ready) == len(chosen)
        usable = set(ready) if is_complete else is_there | set(ready)
        measured = self._measured
        is_open = np.array([one in usable or one.codec == FULL_PULL for one in self.assembly.candidates], dtype=bool)
        is_open &= self._may_open(is_complete)
        is_as_planned = is_complete and measured is self.assembly
        routes = self.plan.routes if is_as_planned else choose_routes(measured.problem, is_open)
        published_routes = Routing(measured, routes, self.history, self.site).routes()
        passing = find_passing(self.site.path, self.site.served_heads(), published_routes)
        artifacts = [known[one] for one in ready if one in known]
        published = publish(
            self.site,
            self.pool,
            artifacts,
            published_routes,
            self.key,
            passing=passing,
            waypoints=find_waypoints(self.policy),
        )
        self.site.record_routes(self.history, published_routes)
        hops = {measured.candidates[row] for route in routes for row in route or ()}
        return HandedOver(
            published=published,
            routes=routes,
            used=frozenset(one for one in hops.union(chosen) if one.codec != FULL_PULL),
            is_complete=is_complete,
        )

    def _may_open(self, is_complete: bool) -> BoolArray:
        """With everything built the rows that the plan chose, of which several may be of one delta; else any."""
        rows = np.ones(len(self.assembly.candidates), dtype=bool)
        if is_complete:
            rows[:] = False
            rows[list(self.plan.build)] = True
        return rows

    @cached_property
    def _rows(self) -> frozenset[Candidate]:
        return frozenset(one for one in self.assembly.candidates if one.codec != FULL_PULL)

    @property
    def _measured(self) -> Assembly:
        """The problem with the bytes of what is built by now: routes promise those, and no projected ones."""
        weights = self.session.catalogue.weights()
        rows = self.assembly.problem.candidates
        found = [weights.get(one) for one in self.assembly.candidates]
        wire_bytes = np.array(
            [old if new is None else new.wire_bytes for new, old in zip(found, rows.wire_bytes.tolist(), strict=True)],
            dtype=np.float64,
        )
        if np.array_equal(wire_bytes, rows.wire_bytes):
            return self.assembly
        return replace(
            self.assembly, problem=self.assembly.problem.replace(candidates=replace(rows, wire_bytes=wire_bytes))
        )
