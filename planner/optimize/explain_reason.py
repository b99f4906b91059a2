"""Why a candidate is in a plan or is not: what having it costs and saves, what decides, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite

import numpy as np

from planner.optimize.duals import Duals
from planner.optimize.evaluate import Evaluation, Selection, evaluate
from planner.optimize.exact import SHADOW_UNITS
from planner.optimize.explain_proof import Proof, prove_candidate
from planner.optimize.explain_routes import client_money, select_over
from planner.optimize.explain_wire import Drift
from planner.optimize.plan import Plan
from planner.optimize.problem import NO_HOP_LIMIT, Problem
from planner.units import GB, S_PER_HOUR

PRICE_OF = {
    "storage": "prices.storage_per_gb",
    "server_cpu": "prices.server_cpu_per_hour",
    "egress": "prices.egress_per_gb",
    "client_cpu": "prices.client_cpu_per_hour",
    "hops": "prices.per_hop",
}
"""Each addend of a plan's cost, and the price that makes it."""

_ROUNDING = 1e-12
"""Fraction of a plan's cost below which money is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A demand that goes over the candidate where it is there: what all its clients save; None: no other way."""

    demand: int
    clients: float
    saved_money: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The amount of each quantity that alone changes the candidate's fate; None: no amount of it does.

    Of a candidate that is not chosen: so many bytes or core-seconds fewer, or clients more (spread as they are over the
    demands that would use it), and somebody uses it, and adding it breaks no limit and costs nothing. Of a chosen one:
    so many more (clients: fewer), and the plan without it costs no more, or a limit is reached.
    """

    stored_bytes: float | None = None
    server_cpu_s: float | None = None
    wire_bytes: float | None = None
    clients: float | None = None


_NOTHING = Margin(stored_bytes=0.0, server_cpu_s=0.0, wire_bytes=0.0, clients=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A plan with the candidate against the plan without it, every client on its cheapest way over what is kept.

    One of the two is the plan itself. `balance_money` is what having the candidate costs in all:
    `storage_money + server_cpu_money + parts_money + companions_money - freed_money - other_saved_money` less what the
    `switches` save. `companions` are other candidates that are kept only with it, `freed` those kept only without it;
    `parts_money` is for parts that are newly needed, those of companions included. `limit_money` is what the difference
    in the use of each limit is worth at the plan's shadow prices. `violations` are the rules that the changed plan
    breaks. `decisive` names the price or limit that keeps the candidate where it is, or is empty.
    """

    candidate: int
    is_chosen: bool
    storage_money: float
    server_cpu_money: float
    parts_money: float
    companions: tuple[int, ...]
    companions_money: float
    freed: tuple[int, ...]
    freed_money: float
    switches: tuple[Switch, ...]
    other_saved_money: float
    balance_money: float
    stored_bytes: float
    server_cpu_s: float
    violations: tuple[str, ...]
    decisive: str
    margin: Margin
    limit_money: Mapping[str, float] = field(default_factory=dict)
    proof: Proof | None = None


def give_reason(problem: Problem, plan: Plan, candidate: int, duals: Duals | None = None) -> Reason:
    """Why a candidate is in the plan, or is not; `duals` (default: the plan's) add what is proven about it.

    Only this one candidate's fate is changed: others enter with it in no case. Takes time by the demands and the
    candidates that the plan keeps, not by all that there are.
    """
    question = _Question(problem, plan, candidate)
    duals = plan.duals if duals is None else duals
    have, lack = question.have, question.lack
    new, freed = _difference(have, lack), _difference(lack, have)
    companions = [hop for hop in new if hop != candidate]
    parts, freed_parts = _new_parts(problem, have, lack), _new_parts(problem, lack, have)
    rows, prices, money = problem.candidates, problem.prices, problem.candidate_money
    storage = float(rows.stored_bytes[candidate]) * prices.storage_per_gb / GB
    return Reason(
        candidate=candidate,
        is_chosen=question.is_chosen,
        storage_money=storage,
        server_cpu_money=float(money[candidate]) - storage,
        parts_money=float(problem.part_money[parts].sum()),
        companions=tuple(companions),
        companions_money=float(money[companions].sum()),
        freed=tuple(freed),
        freed_money=float(money[freed].sum() + problem.part_money[freed_parts].sum()),
        switches=question.switches,
        other_saved_money=question.other_saved_money(),
        balance_money=question.balance_money,
        stored_bytes=have.stored_bytes - lack.stored_bytes,
        server_cpu_s=have.server_cpu_s - lack.server_cpu_s,
        violations=question.changed.violations,
        decisive=question.decisive(),
        margin=question.stay() if question.is_chosen else question.entry(),
        limit_money={
            name: price / SHADOW_UNITS[name] * (getattr(have, name) - getattr(lack, name))
            for name, price in plan.shadow_prices.items()
        },
        proof=None if duals is None else prove_candidate(problem, plan, candidate, duals),
    )


def _difference(one: Evaluation, other: Evaluation) -> list[int]:
    return sorted(set(one.selection.build) - set(other.selection.build))


def _new_parts(problem: Problem, one: Evaluation, other: Evaluation) -> list[int]:
    kept, before = (problem.parts_needed_by(np.array(e.selection.build, dtype=np.int64)) for e in (one, other))
    return sorted(set(kept.tolist()) - set(before.tolist()))


class _Question:
    """One candidate, the plan with it (`have`) and without it (`lack`)."""

    def __init__(self, problem: Problem, plan: Plan, candidate: int) -> None:
        self.problem, self.plan, self.candidate = problem, plan, candidate
        self.is_chosen = candidate in plan.build
        self.without = [hop for hop in plan.build if hop != candidate]
        opened = self.without if self.is_chosen else sorted((*self.without, candidate))
        self.changed = evaluate(problem, keep_added(select_over(problem, opened), opened, candidate))
        pair = plan.evaluation, self.changed
        self.have, self.lack = pair if self.is_chosen else pair[::-1]
        self.balance_money = self.have.cost.total - self.lack.cost.total
        self.rounding = _ROUNDING * max(self.have.cost.total, self.lack.cost.total)
        self.switches = tuple(
            self._switch(demand)
            for demand, route in enumerate(self.have.selection.routes)
            if route is not None and candidate in route
        )

    def _saved(self, demand: int) -> float:
        """What one client of a demand saves where the candidate is there; infinite without another way."""
        routes = self.lack.selection.routes[demand], self.have.selection.routes[demand]
        if routes[0] == routes[1]:
            return 0.0
        lack, have = (client_money(self.problem, demand, route) for route in routes)
        return lack - have

    def _switch(self, demand: int) -> Switch:
        clients, saved = float(self.problem.demands.clients[demand]), self._saved(demand)
        return Switch(demand=demand, clients=clients, saved_money=clients * saved if isfinite(saved) else None)

    def other_saved_money(self) -> float:
        """What demands save that do not go over the candidate: the plan's routes need not be their cheapest ones."""
        users = {switch.demand for switch in self.switches}
        saved = [(k, self._saved(k)) for k in range(len(self.problem.demands)) if k not in users]
        return float(sum(float(self.problem.demands.clients[k]) * one for k, one in saved if isfinite(one)))

    def _over(self, judged: Evaluation) -> dict[str, float]:
        """By how much each limit is exceeded (below 0: what is left of it)."""
        limits = ((name, getattr(self.problem.limits, name)) for name in SHADOW_UNITS)
        return {name: -inf if most is None else getattr(judged, name) - most for name, most in limits}

    def _per_unit(self) -> dict[str, float]:
        prices, is_built = self.problem.prices, bool(self.problem.candidates.built[self.candidate])
        per_s = prices.server_cpu_per_hour / S_PER_HOUR
        return {"stored_bytes": prices.storage_per_gb / GB, "server_cpu_s": 0.0 if is_built else per_s}

    # -- what it would take ------------------------------------------------------------------------------------

    def entry(self) -> Margin:
        """By how much a candidate that is not chosen has to improve."""
        if not self.switches:
            return Margin(wire_bytes=self._drift().fewest_to_enter(self.lack.cost.total))
        over = self._over(self.have)
        is_within = max(over.values()) <= 0.0
        if self.balance_money <= self.rounding and is_within:
            return _NOTHING
        return Margin(
            stored_bytes=self._fewer("stored_bytes", over),
            server_cpu_s=self._fewer("server_cpu_s", over),
            wire_bytes=self._drift().fewest_to_enter(self.lack.cost.total),
            clients=self._clients(self.balance_money) if is_within else None,
        )

    def _fewer(self, name: str, over: Mapping[str, float]) -> float | None:
        """How much less of one quantity is enough, where there is so much to save."""
        rows = self.problem.candidates
        own = float(getattr(rows, name)[self.candidate])
        if name == "server_cpu_s" and rows.built[self.candidate]:
            own = 0.0
        if any(excess > 0.0 for other, excess in over.items() if other != name):
            return None
        per_unit, missing = self._per_unit()[name], max(self.balance_money, 0.0)
        if missing > self.rounding and not per_unit:
            return None
        needed = max(missing / per_unit if per_unit else 0.0, over[name], 0.0)
        return needed if needed <= own else None

    def _clients(self, money: float) -> float | None:
        """How many clients of the switches, spread as they are, save so much; None: they save nothing."""
        saved = sum(switch.saved_money or 0.0 for switch in self.switches)
        clients = sum(switch.clients for switch in self.switches)
        return money / saved * clients if saved > 0.0 else None

    def _drift(self) -> Drift:
        lack = self.lack if self.is_chosen else None
        routes = select_over(self.problem, self.without).routes if lack is None else lack.selection.routes
        return Drift(self.problem, self.without, self.candidate, routes)

    def stay(self) -> Margin:
        """By how much a chosen candidate may worsen."""
        if self.changed.violations:
            return Margin()
        spare = -self.balance_money
        if spare <= self.rounding:
            return _NOTHING
        clients = self._clients(spare)
        return Margin(
            stored_bytes=self._more("stored_bytes", spare),
            server_cpu_s=self._more("server_cpu_s", spare),
            wire_bytes=self._drift().most_to_stay(self.lack.cost.total),
            clients=clients if clients is not None and clients <= sum(one.clients for one in self.switches) else None,
        )

    def _more(self, name: str, spare: float) -> float | None:
        """How much more of one quantity the candidate may take: for its money, and within the limit."""
        per_unit, room = self._per_unit()[name], -self._over(self.have)[name]
        if name == "server_cpu_s" and self.problem.candidates.built[self.candidate]:
            return None
        most = min(spare / per_unit if per_unit else inf, room)
        return most if most < inf else None

    # -- what decides ------------------------------------------------------------------------------------------

    def decisive(self) -> str:
        """The price or limit that keeps the candidate where it is; empty where nothing does."""
        if self.changed.violations:
            broken = [name for name in SHADOW_UNITS if self._over(self.changed)[name] > 0.0]
            return f"limits.{broken[0]}" if broken else "demands"
        if self.is_chosen:
            return self._dearest(-1.0)
        if self.balance_money <= self.rounding:
            return ""
        return self._decisive_limit() or (self._dearest(1.0) if self.switches else self._nearest())

    def _dearest(self, sign: float) -> str:
        """The price that makes the largest part of the balance."""
        more = {
            name: sign * (getattr(self.have.cost, key) - getattr(self.lack.cost, key)) for key, name in PRICE_OF.items()
        }
        name = max(more, key=lambda key: more[key])
        return name if more[name] > 0.0 else ""

    def _decisive_limit(self) -> str:
        """A limit of the demands without which the candidate would pay, or empty."""
        demands = self.problem.demands
        for name, none in (("max_hops", NO_HOP_LIMIT), ("max_wire_bytes", inf)):
            column = getattr(demands, name)
            if not (column != none).any():
                continue
            relaxed = self.problem.replace(demands=replace(demands, **{name: np.full_like(column, none)}))
            opened = sorted((*self.without, self.candidate))
            costs = [evaluate(relaxed, select_over(relaxed, some)).cost.total for some in (opened, self.without)]
            if costs[0] < costs[1] - self.rounding:
                return f"demands.{name}"
        return ""

    def _nearest(self) -> str:
        """Nobody would use it: the price that is most in the way of the demand for which it is least dear."""
        problem, drift = self.problem, self._drift()
        rows, prices = problem.candidates, problem.prices
        ways = [
            (one.client_money - client_money(problem, one.demand, drift.routes[one.demand]), one)
            for one in drift.detours
        ]
        if not ways:
            return ""
        detour = min(ways, key=lambda way: way[0])[1]
        now = drift.routes[detour.demand]
        hops = [list(route) if route is not None else [] for route in (detour.route, now)]
        pull = float(problem.demands.full_pull_bytes[detour.demand]) if now is None else 0.0
        cpu = [float(rows.client_cpu_s[some].sum()) for some in hops]
        more = {
            "egress": (detour.wire_bytes - float(rows.wire_bytes[hops[1]].sum()) - pull) * prices.egress_per_gb / GB,
            "client_cpu": (cpu[0] - cpu[1]) * prices.client_cpu_per_hour / S_PER_HOUR,
            "hops": (len(hops[0]) - len(hops[1])) * prices.per_hop,
        }
        name = max(more, key=lambda key: more[key])
        return PRICE_OF[name] if more[name] > 0.0 else ""


def keep_added(selection: Selection, opened: Sequence[int], candidate: int) -> Selection:
    """An added candidate is kept (and paid) even if nobody uses it."""
    if candidate not in opened or candidate in selection.build:
        return selection
    return Selection(build=tuple(sorted((*selection.build, candidate))), routes=selection.routes)
