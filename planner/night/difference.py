"""What a plan changes on the server, delta by delta, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import inf

import numpy as np

from planner.optimize.assemble import Assembly
from planner.optimize.evaluate import Route, Selection
from planner.optimize.explain_routes import client_money
from planner.optimize.routes import choose_routes
from planner.report.night_record import DeltaChange, DeltaRecord
from planner.units import GB, format_bytes
from planner.weigh.candidates import Candidate

_MOST_PRICED = 50
"""Retired deltas whose price is worked out, one routing each; for the others a sentence must do."""

Name = Callable[[Candidate], str]

_Usage = tuple[float, int, float]
_NOBODY: _Usage = (0.0, 0, 0.0)


def describe_difference(
    assembly: Assembly,
    selection: Selection,
    served: Mapping[Candidate, int],
    name: Name,
    draining: Collection[Candidate] = (),
) -> tuple[DeltaRecord, ...]:
    """What to build, keep and retire, in this order.

    Args:
        assembly: tonight's problem.
        selection: what was chosen, and each cohort's route.
        served: our deltas that clients find now, with their bytes; those of others are never retired.
        name: a candidate as a person names it.
        draining: served deltas that are retired already.
    """
    built = {
        one for one, is_built in zip(assembly.candidates, assembly.problem.candidates.built, strict=True) if is_built
    }
    used = _usage(assembly, selection.routes)
    chosen = dict.fromkeys(assembly.candidates_of(selection.build), _NOBODY)
    wire_bytes = dict(zip(assembly.candidates, assembly.problem.candidates.wire_bytes.tolist(), strict=True))
    changes = [
        record_delta(
            one, name, "keep" if one in built else "build", int(wire_bytes[one]), _why_used(*usage), clients=usage[0]
        )
        for one, usage in (chosen | {one: usage for one, usage in used.items() if one in chosen}).items()
    ]
    gone = [one for one in served if one not in chosen and one not in draining]
    reasons = _why_retired(assembly, selection, gone)
    changes += [
        record_delta(one, name, "retire", served[one], reason) for one, reason in zip(gone, reasons, strict=True)
    ]
    return tuple(sorted(changes, key=lambda one: ("build", "keep", "retire").index(one.change)))


def record_delta(
    candidate: Candidate, name: Name, change: DeltaChange, wire_bytes: int, reason: str, clients: float = 0.0
) -> DeltaRecord:
    """The record of a delta."""
    return DeltaRecord(
        base=candidate.base,
        target=candidate.target,
        codec=candidate.codec,
        name=name(candidate),
        change=change,
        wire_bytes=wire_bytes,
        clients=clients,
        reason=reason,
    )


def _usage(assembly: Assembly, routes: Sequence[Route]) -> dict[Candidate, _Usage]:
    """Per candidate: clients, cohorts, and the bytes that these clients save against pulling in full."""
    found: dict[Candidate, _Usage] = {}
    demands, wire_bytes = assembly.problem.demands, assembly.problem.candidates.wire_bytes
    for demand, route in enumerate(routes):
        clients, full_bytes = float(demands.clients[demand]), float(demands.full_pull_bytes[demand])
        sent_bytes = float(wire_bytes[list(route or ())].sum())
        saved_bytes = clients * (full_bytes - sent_bytes) if full_bytes < inf else 0.0
        for one in assembly.candidates_of(route or ()):
            before = found.get(one, _NOBODY)
            found[one] = before[0] + clients, before[1] + 1, before[2] + saved_bytes
    return found


def _why_used(clients: float, cohorts: int, saved_bytes: float) -> str:
    if not cohorts:
        return "shares parts with others, so that all are cheaper"
    of = f"{cohorts} cohorts" if cohorts > 1 else "1 cohort"
    return f"{clients:,.0f} clients of {of} go by it and download {format_bytes(saved_bytes)} less than in full"


def _why_retired(assembly: Assembly, selection: Selection, gone: Iterable[Candidate]) -> Iterator[str]:
    rows = {one: row for row, one in enumerate(assembly.candidates)}
    targets = {cohort.target for cohort in assembly.cohorts}
    starts = {cohort.base for cohort in assembly.cohorts}
    for number, one in enumerate(gone):
        if one in rows and number < _MOST_PRICED:
            yield _price(assembly, selection, rows[one])
        elif one.target not in targets and one.base not in starts:
            yield "no client is on its base or wants its target"
        elif one.target not in targets:
            yield "nobody wants its target any more"
        else:
            yield "other routes are cheaper than keeping it"


def _price(assembly: Assembly, selection: Selection, row: int) -> str:
    """What keeping one more delta costs, and what it would save."""
    problem = assembly.problem
    is_open = np.zeros(len(assembly.candidates), dtype=bool)
    is_open[[*selection.build, row]] = True
    saved = sum(
        float(problem.demands.clients[demand])
        * (client_money(problem, demand, old) - client_money(problem, demand, new))
        for demand, (old, new) in enumerate(zip(selection.routes, choose_routes(problem, is_open), strict=True))
        if old != new
    )
    costs = float(problem.candidates.stored_bytes[row]) * problem.prices.storage_per_gb / GB
    return f"keeping it would cost {costs:.4g} and save clients {saved:.4g}"


def bytes_per_client(assembly: Assembly, routes: Sequence[Route]) -> float:
    """Mean bytes that a client downloads by these routes; one without any way counts none."""
    demands, wire_bytes = assembly.problem.demands, assembly.problem.candidates.wire_bytes
    full_bytes = np.where(np.isfinite(demands.full_pull_bytes), demands.full_pull_bytes, 0.0).tolist()
    sent = [
        full if route is None else float(wire_bytes[list(route)].sum())
        for full, route in zip(full_bytes, routes, strict=True)
    ]
    clients = float(demands.clients.sum())
    return float(demands.clients @ np.array(sent)) / clients if clients else 0.0
