"""The plan's routes as clients read them."""

from __future__ import annotations

from planner.optimize.assemble import Assembly
from planner.optimize.plan import Plan
from planner.publish.publisher import RepositoryTools
from planner.publish.routes import Hop, PublishedRoute


def publish_routes(assembly: Assembly, plan: Plan, tools: RepositoryTools) -> dict[str, list[PublishedRoute]]:
    """The plan's routes per base; cohorts that differ in nothing that a client can see share one."""
    routes: dict[str, list[PublishedRoute]] = {}
    for index, cohort in enumerate(assembly.cohorts):
        published = _published_route(assembly, index, plan.routes[index], tools)
        if published not in routes.setdefault(cohort.base, []):
            routes[cohort.base].append(published)
    return routes


def _published_route(
    assembly: Assembly, index: int, route: tuple[int, ...] | None, tools: RepositoryTools
) -> PublishedRoute:
    cohort, rows = assembly.cohorts[index], assembly.problem.candidates
    if route is None:
        full_pull_bytes = int(assembly.problem.demands.full_pull_bytes[index])
        return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=full_pull_bytes, hops=None)
    hops = tuple(
        Hop(
            commit=candidate.target,
            codec=candidate.codec,
            wire_bytes=int(rows.wire_bytes[hop]),
            path=tools.published_path(candidate.base, candidate.target, candidate.codec),
        )
        for hop, candidate in ((hop, assembly.candidates[hop]) for hop in route)
    )
    total_bytes = sum(hop.wire_bytes for hop in hops)
    return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=total_bytes, hops=hops)
