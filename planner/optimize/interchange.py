"""Graphs and plans as JSON: `deltaplan-graph/1` and `deltaplan-plan/1` (`docs/formats.md`).

Reading is strict: unknown keys, wrong types, lengths that differ, negative sizes, NaN and indexes out of
range are refused, all of them together, each with its data path.
"""

from __future__ import annotations

from itertools import chain
from math import inf
from typing import Any, Literal

import msgspec

from planner.errors import InputError, raise_collected
from planner.optimize.columns import decode_document
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.graph_reader import GRAPH_FORMAT, SECTIONS, GraphReader
from planner.optimize.plan import Plan, Status
from planner.optimize.problem import NO_HOP_LIMIT, Problem

PLAN_FORMAT = "deltaplan-plan/1"


def parse_graph(data: bytes | str) -> Problem:
    """The problem that a `deltaplan-graph/1` document describes.

    Raises:
        InputError: the document breaks the format; every fault found is named with its data path.
    """
    try:
        document: object = decode_document(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Decoded in one piece, the error says where in the whole text it is.
        document = _decode(data)
    return graph_from_dict(document)


def _decode(data: bytes | str) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("is not JSON", path="graph", reason=str(error)) from error


def graph_from_dict(document: object) -> Problem:
    """The problem in a decoded `deltaplan-graph/1` document; `Raises:` as `parse_graph`."""
    reader = GraphReader(document)
    problem = reader.problem()
    raise_collected(reader.errors)
    assert problem is not None  # noqa: S101 - no error was collected
    return problem


def graph_to_dict(problem: Problem) -> dict[str, Any]:
    """The problem as a `deltaplan-graph/1` document with every column written out."""
    rows, parts, demands = problem.candidates, problem.parts, problem.demands
    return {
        "format": GRAPH_FORMAT,
        "commits": list(problem.commits),
        "candidates": {key: getattr(rows, key).tolist() for key in SECTIONS["candidates"]},
        "parts": {key: getattr(parts, key).tolist() for key in SECTIONS["parts"]},
        "demands": {
            "base": demands.base.tolist(),
            "target": demands.target.tolist(),
            "clients": demands.clients.tolist(),
            "full_pull_bytes": [_float_or_null(value) for value in demands.full_pull_bytes.tolist()],
            "max_hops": [None if value == NO_HOP_LIMIT else value for value in demands.max_hops.tolist()],
            "max_wire_bytes": [_float_or_null(value) for value in demands.max_wire_bytes.tolist()],
        },
        "prices": {key: float(getattr(problem.prices, key)) for key in SECTIONS["prices"]},
        "limits": {key: _float_or_null(getattr(problem.limits, key)) for key in SECTIONS["limits"]},
    }


def _float_or_null(value: float | None) -> float | None:
    return None if value is None or value == inf else float(value)


def graph_digest(problem: Problem) -> str:
    """sha256 of what the graph says: equal for graphs that mean the same, defaults written or not."""
    return problem.digest


def plan_to_dict(plan: Plan, problem: Problem) -> dict[str, Any]:
    """The plan as a `deltaplan-plan/1` document."""
    cost = plan.cost
    return {
        "format": PLAN_FORMAT,
        "build": list(plan.build),
        "routes": [None if route is None else list(route) for route in plan.routes],
        "cost": {
            "total": float(cost.total),
            "storage": float(cost.storage),
            "server_cpu": float(cost.server_cpu),
            "egress": float(cost.egress),
            "client_cpu": float(cost.client_cpu),
            "hops": float(cost.hops),
        },
        "stored_bytes": float(plan.evaluation.stored_bytes),
        "server_cpu_s": float(plan.evaluation.server_cpu_s),
        "egress_bytes": float(plan.evaluation.egress_bytes),
        "lower_bound": float(plan.lower_bound),
        "gap": float(plan.gap),
        "status": str(plan.status),
        "shadow_prices": {name: float(price) for name, price in plan.shadow_prices.items()},
        "seed": plan.seed,
        "wall_s": float(plan.wall_s),
        "graph_digest": graph_digest(problem),
    }


def encode_plan(plan: Plan, problem: Problem) -> bytes:
    """The text of a `deltaplan-plan/1` file, on one line; the same plan gives the same bytes."""
    return msgspec.json.encode(plan_to_dict(plan, problem)) + b"\n"


class _PlanFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`deltaplan-plan/1` as it is written; the money and totals are recomputed, not believed."""

    format: Literal["deltaplan-plan/1"]
    build: tuple[int, ...]
    routes: tuple[tuple[int, ...] | None, ...]
    cost: dict[str, float]
    stored_bytes: float
    server_cpu_s: float
    egress_bytes: float
    lower_bound: float
    gap: float
    status: Status
    shadow_prices: dict[str, float]
    seed: int
    wall_s: float
    graph_digest: str


def parse_plan(data: bytes | str, problem: Problem) -> Plan:
    """The plan in a `deltaplan-plan/1` document, judged again on its graph.

    Raises:
        InputError: the document breaks the format, belongs to another graph, or is not feasible on it.
    """
    try:
        file = msgspec.json.decode(data, type=_PlanFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("is no plan", path="plan", reason=str(error)) from error
    digest = graph_digest(problem)
    if file.graph_digest != digest:
        raise InputError("belongs to another graph", path="plan.graph_digest", got=file.graph_digest, expected=digest)
    selection = Selection(build=file.build, routes=file.routes)
    hops = chain(file.build, chain.from_iterable(route for route in file.routes if route is not None))
    if any(not 0 <= hop < len(problem.candidates) for hop in hops):
        raise InputError("names a candidate that does not exist", path="plan.build")
    evaluation = evaluate(problem, selection)
    if not evaluation.is_feasible:
        raise InputError("is not feasible", path="plan", reason=evaluation.violations[0])
    return Plan(
        evaluation=evaluation,
        lower_bound=file.lower_bound,
        status=file.status,
        shadow_prices=file.shadow_prices,
        seed=file.seed,
        wall_s=file.wall_s,
    )
