"""What a person wants to know about a plan, as plain records: the same for tables, JSON and notebooks."""

from __future__ import annotations

from dataclasses import dataclass

from planner.history.records import History
from planner.optimize.assemble import FULL_PULL, Assembly
from planner.optimize.evaluate import Evaluation
from planner.optimize.plan import Plan
from planner.optimize.policies import POLICIES, follow_policy
from planner.optimize.problem import Problem
from planner.weigh.candidates import Candidate

SHOWN_POLICIES = ("all_to_head", "last_n", "first_plus_last_n", "consecutive", "skip_list")
"""Policies that a plan is shown against: what most servers do, and what takes no time at any size."""

_SLOW_POLICY = "lmg_all"
_LARGEST_FOR_SLOW = 5_000
"""Candidates up to which the best of the known heuristics, which takes seconds on large graphs, is shown too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """One cohort: its way, and what one client downloads against a full pull (None: not allowed)."""

    base: str
    target: str
    clients: float
    route: tuple[str, ...] | None
    wire_bytes: int
    full_pull_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """One way to choose deltas: what it builds, stores and sends per planning period, and what that costs.

    `fault` says what is wrong with it where it is not feasible: a limit that it breaks, or clients without a way.
    """

    name: str
    deltas: int
    stored_bytes: int
    server_cpu_s: float
    egress_bytes: int
    mean_hops: float
    money: float
    is_feasible: bool
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A plan against a full pull for every cohort and against peer policies; all weights are measured."""

    routes: tuple[RouteRow, ...]
    policies: tuple[PolicyRow, ...]
    money: float
    lower_bound: float
    gap: float
    status: str


def summarize(assembly: Assembly, plan: Plan, history: History, *, every_policy: bool = False) -> PlanSummary:
    """The plan's summary; peers are judged by the same `evaluate` on the same graph.

    `every_policy`: against all that are known, however long they take, and not only those that people are shown.
    """
    problem = assembly.problem
    names = POLICIES if every_policy else shown_policies(problem)
    peers = [_policy_row(assembly, name, follow_policy(problem, POLICIES[name])) for name in names]
    return PlanSummary(
        routes=tuple(_route_row(assembly, plan, index, history) for index in range(len(assembly.cohorts))),
        policies=(_policy_row(assembly, "this plan", plan.evaluation), *peers),
        money=plan.cost.total,
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        status=str(plan.status),
    )


def shown_policies(problem: Problem) -> tuple[str, ...]:
    """The policies that people are shown a plan against."""
    is_small = len(problem.candidates) <= _LARGEST_FOR_SLOW
    return (*SHOWN_POLICIES, _SLOW_POLICY) if is_small else SHOWN_POLICIES


def fault_of(judged: Evaluation) -> str:
    """What is wrong with a selection, in a few words; empty where nothing is."""
    faults = [words for path, words in _LIMIT_FAULTS.items() if any(v.startswith(path) for v in judged.violations)]
    stranded = sum(violation.startswith("routes[") for violation in judged.violations)
    if stranded:
        faults.append(f"no way for {stranded} of {len(judged.selection.routes)}")
    return ", ".join(faults) or ("" if judged.is_feasible else judged.violations[0])


_LIMIT_FAULTS = {"limits.stored_bytes": "stores too much", "limits.server_cpu_s": "builds too long"}


def _route_row(assembly: Assembly, plan: Plan, index: int, history: History) -> RouteRow:
    cohort, route = assembly.cohorts[index], plan.routes[index]
    full = float(assembly.problem.demands.full_pull_bytes[index])
    full_pull_bytes = int(full) if full < float("inf") else None
    stops = None if route is None else tuple(_name_stop(assembly.candidates[hop], history) for hop in route)
    sent = full if route is None else assembly.problem.candidates.wire_bytes[list(route)].sum()
    return RouteRow(
        base=history.name_of(cohort.base),
        target=cohort.ref or history.name_of(cohort.target),
        clients=cohort.clients,
        route=stops,
        wire_bytes=int(sent),
        full_pull_bytes=full_pull_bytes,
    )


def _name_stop(candidate: Candidate, history: History) -> str:
    name = history.name_of(candidate.target)
    return f"{name} in full" if candidate.codec == FULL_PULL else name


def _policy_row(assembly: Assembly, name: str, judged: Evaluation) -> PolicyRow:
    demands = assembly.problem.demands
    clients = float(demands.clients.sum())
    hops = sum(float(demands.clients[index]) * len(route or ()) for index, route in enumerate(judged.selection.routes))
    return PolicyRow(
        name=name,
        deltas=len(assembly.candidates_of(judged.selection.build)),
        stored_bytes=int(judged.stored_bytes),
        server_cpu_s=judged.server_cpu_s,
        egress_bytes=int(judged.egress_bytes),
        mean_hops=hops / clients if clients else 0.0,
        money=judged.cost.total,
        is_feasible=judged.is_feasible,
        fault=fault_of(judged),
    )
