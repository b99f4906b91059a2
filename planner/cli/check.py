"""`deltaplan check`: a plan judged again from its graph, and what its certificate proves, without a solver."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import RenderableType
from rich.text import Text

from planner import graphs
from planner.cli.context import JsonOption, TerminalReporter, run_verb
from planner.errors import InputError, raise_collected
from planner.optimize.certificate import verify_certificate
from planner.optimize.interchange import parse_plan, plan_to_dict
from planner.optimize.plan import Plan, relative_gap
from planner.optimize.problem import Problem

_ROUNDING = 1e-9
"""Relative difference of a claim that is rounding: sums of another program may end in other digits."""


def check(
    graph: Annotated[Path, typer.Argument(help="A deltaplan-graph/1 file.", show_default=False)],
    plan: Annotated[Path, typer.Argument(help="A deltaplan-plan/1 file.", show_default=False)],
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="A deltaplan-certificate/1 file: verify its bound too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a plan again from its graph alone, and verify the bound that a certificate proves."""

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        problem = graphs.read_graph(graph)
        judged = _judge(problem, plan)
        proof = None if certificate is None else _verify(problem, judged, certificate)
        return _document(judged, proof), Text(_line(judged, proof))

    run_verb(action, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """What a certificate proves, and whether the plan claims more: that was proven by branching in the solver."""

    bound: float
    gap: float
    is_below_claim: bool


def _judge(problem: Problem, path: Path) -> Plan:
    """The plan, judged again.

    Raises:
        InputError: it cannot be read, is not feasible, or claims what is not so.
    """
    data = graphs.read_document(path)
    plan = parse_plan(data, problem)
    claimed, found = msgspec.json.decode(data), plan_to_dict(plan, problem)
    claims = [(key, claimed[key], found[key]) for key in ("stored_bytes", "server_cpu_s", "egress_bytes")]
    claims += [(f"cost.{key}", claimed["cost"].get(key), value) for key, value in found["cost"].items()]
    faults = [
        InputError("is not what the plan comes to", path=f"plan.{key}", got=claim, expected=value)
        for key, claim, value in claims
        if claim is None or not isclose(claim, value, rel_tol=_ROUNDING)
    ]
    if plan.lower_bound > plan.cost.total * (1.0 + _ROUNDING):
        faults.append(InputError("is above the plan's cost", path="plan.lower_bound", got=plan.lower_bound))
    raise_collected(faults)
    return plan


def _verify(problem: Problem, plan: Plan, path: Path) -> _Proof:
    """What the certificate proves about the plan.

    Raises:
        InputError: it cannot be read, does not fit the graph, or claims more than it proves.
    """
    certificate = graphs.read_certificate(path, problem)
    bound = verify_certificate(problem, certificate)
    if certificate.bound > bound + _ROUNDING * max(bound, plan.cost.total):
        raise InputError("is not proven", path="certificate.bound", got=certificate.bound, proven=bound)
    return _Proof(
        bound=bound,
        gap=relative_gap(plan.cost.total, min(bound, plan.cost.total)),
        is_below_claim=plan.lower_bound > bound + 10 * _ROUNDING * plan.cost.total,
    )


def _document(plan: Plan, proof: _Proof | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "is_feasible": True,
        "cost": plan.cost.total,
        "lower_bound": plan.lower_bound,
        "gap": plan.gap,
    }
    if proof is not None:
        document["certificate"] = {
            "bound": proof.bound,
            "gap": proof.gap,
            "proves_lower_bound": not proof.is_below_claim,
        }
    return document


def _line(plan: Plan, proof: _Proof | None) -> str:
    line = f"feasible: cost {plan.cost.total:.6g} as claimed"
    if proof is None:
        return f"{line}; claimed bound {plan.lower_bound:.6g}, gap {plan.gap:.2%}; no certificate to verify"
    line += f"; the certificate proves {proof.bound:.6g}, gap {proof.gap:.2%}"
    if proof.is_below_claim:
        line += f"; the plan's bound {plan.lower_bound:.6g} is higher: proved by branching, which no certificate shows"
    return line
