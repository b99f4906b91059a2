"""Plans, builds and proves direct and recursive deltas for an update server.

The names below are the package's public face; each is loaded when it is first used.

    import planner

    plan = planner.solve(planner.read_graph("graph.json"))
    night = planner.open_night("scenarios/factory-bases.toml", work="night")
    night.import_(); night.weigh(); night.plan(); night.build(); night.publish(); night.follow()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.errors import InfeasibleError, InputError, PlannerError
    from planner.graphs import read_certificate, read_graph, solve, write_plan
    from planner.night.night import Night
    from planner.night.opening import open_night
    from planner.optimize.certificate import verify_certificate
    from planner.optimize.evaluate import Evaluation, Selection, evaluate
    from planner.optimize.explain import explain_candidate, explain_demand
    from planner.optimize.explain_reason import give_reason
    from planner.optimize.plan import Plan, Status
    from planner.optimize.policies import POLICIES, follow_policy
    from planner.optimize.problem import Limits, Prices, Problem
    from planner.optimize.replan import replan
    from planner.optimize.solve import Options
    from planner.report.summary import summarize

_HOMES = {
    "open_night": "planner.night.opening",
    "read_graph": "planner.graphs",
    "solve": "planner.graphs",
    "read_certificate": "planner.graphs",
    "verify_certificate": "planner.optimize.certificate",
    "write_plan": "planner.graphs",
    "InfeasibleError": "planner.errors",
    "InputError": "planner.errors",
    "PlannerError": "planner.errors",
    "Night": "planner.night.night",
    "Evaluation": "planner.optimize.evaluate",
    "Selection": "planner.optimize.evaluate",
    "evaluate": "planner.optimize.evaluate",
    "explain_candidate": "planner.optimize.explain",
    "explain_demand": "planner.optimize.explain",
    "give_reason": "planner.optimize.explain_reason",
    "Plan": "planner.optimize.plan",
    "Status": "planner.optimize.plan",
    "POLICIES": "planner.optimize.policies",
    "follow_policy": "planner.optimize.policies",
    "Limits": "planner.optimize.problem",
    "Prices": "planner.optimize.problem",
    "Problem": "planner.optimize.problem",
    "replan": "planner.optimize.replan",
    "Options": "planner.optimize.solve",
    "summarize": "planner.report.summary",
}

__all__ = [
    "POLICIES",
    "Evaluation",
    "InfeasibleError",
    "InputError",
    "Limits",
    "Night",
    "Options",
    "Plan",
    "PlannerError",
    "Prices",
    "Problem",
    "Selection",
    "Status",
    "evaluate",
    "explain_candidate",
    "explain_demand",
    "follow_policy",
    "give_reason",
    "open_night",
    "read_certificate",
    "read_graph",
    "replan",
    "solve",
    "summarize",
    "verify_certificate",
    "write_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'planner' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
