"""What changed from one plan to the next, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property

from planner.optimize.evaluate import Evaluation, Route
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem


class Cause(StrEnum):
    """Why something changed: the first of these, in this order, that applies to it."""

    NO_LONGER_OFFERED = "no longer offered"
    DEMAND_GONE = "demand gone"
    NEW_COMMIT = "new commit"
    NEW_DEMAND = "new demand"
    NEWLY_OFFERED = "newly offered"
    LIMIT = "limit"
    PRICE = "price"
    WEIGHT = "other weights"
    DEMAND_SHIFTED = "demand shifted"
    CHEAPER_ROUTE = "cheaper route"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateChange:
    """A candidate that was `added`, `dropped` or `kept`; `candidate` and `previous` are its indexes, where it has them.

    `detail` names the commit, limit or prices behind the cause.
    """

    kind: str
    base: str
    target: str
    candidate: int | None
    previous: int | None
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """A demand that both graphs have, with another route: commits after each hop; None is a full pull."""

    demand: int
    base: str
    target: str
    clients: float
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None
    cause: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandChange:
    """A demand that only one of the graphs has: `new` or `gone`."""

    kind: str
    base: str
    target: str
    clients: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChange:
    """From yesterday's plan to today's.

    `standing_money` is what yesterday's plan as it stands would cost today, None where it is not feasible;
    `standing_fault` says then why not. `unbuilt` are candidates that both plans keep and the new graph does not call
    built, so that their server CPU is paid again.
    """

    candidates: tuple[CandidateChange, ...]
    routes: tuple[RouteChange, ...]
    demands: tuple[DemandChange, ...]
    standing_money: float | None
    standing_fault: str
    money: float
    saved_money: float | None
    unbuilt: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Replanning:
    """Two graphs, their plans, and what of the first became what of the second."""

    previous: Problem
    before: Plan
    problem: Problem
    after: Plan
    standing: Evaluation
    candidate_of: Mapping[int, int]
    demand_of: Mapping[int, int]

    @cached_property
    def offered_before(self) -> set[int]:
        """Candidates of the new graph that the previous one had too, of those that the plans keep."""
        return set(self.candidate_of.values())

    @cached_property
    def demand_before(self) -> Mapping[int, int]:
        """For each demand that both graphs have, its index in the previous one."""
        return {new: old for old, new in self.demand_of.items()}

    @cached_property
    def known_commits(self) -> frozenset[str]:
        """Commits of the previous graph."""
        return frozenset(self.previous.commits)

    @cached_property
    def limit(self) -> str:
        """Limits that explain a change: the standing plan breaks them, or they moved and one of the plans felt them."""
        broken = [text.split(":")[0] for text in self.standing.violations if text.startswith("limits.")]
        moved = [
            f"limits.{name}"
            for name in _changed_fields(self.previous.limits, self.problem.limits)
            if any(plan.shadow_prices.get(name, 0.0) > 0.0 for plan in (self.before, self.after))
        ]
        return ", ".join(dict.fromkeys([*broken, *moved]))

    @cached_property
    def price(self) -> str:
        """Prices that differ."""
        return ", ".join(f"prices.{name}" for name in _changed_fields(self.previous.prices, self.problem.prices))


def _changed_fields(before: object, after: object) -> list[str]:
    names = [field.name for field in fields(after)]  # type: ignore[arg-type]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def describe_change(change: Replanning) -> PlanChange:
    """What changed, and why."""
    standing = change.standing
    money = change.after.cost.total
    is_standing = standing.is_feasible
    kept = {change.candidate_of[hop] for hop in change.before.build if hop in change.candidate_of}
    unbuilt = [hop for hop in change.after.build if hop in kept and not change.problem.candidates.built[hop]]
    return PlanChange(
        candidates=tuple(_candidate_changes(change)),
        routes=tuple(_route_changes(change)),
        demands=tuple(_demand_changes(change)),
        standing_money=standing.cost.total if is_standing else None,
        standing_fault="" if is_standing else _fault(change),
        money=money,
        saved_money=standing.cost.total - money if is_standing else None,
        unbuilt=tuple(unbuilt),
    )


def _fault(change: Replanning) -> str:
    """The first rule that yesterday's plan breaks today, in a person's words."""
    first = change.standing.violations[0]
    if not first.startswith("routes["):
        return first
    demand = int(first[len("routes[") : first.index("]")])
    base, target = _ends_of_demand(change.problem, demand)
    return f"clients on {base!r} that want {target!r} have no way"


def _ends_of_demand(problem: Problem, demand: int) -> tuple[str, str]:
    return problem.commits[problem.demands.base[demand]], problem.commits[problem.demands.target[demand]]


def _ends(problem: Problem, candidate: int) -> tuple[str, str]:
    rows = problem.candidates
    return problem.commits[rows.base[candidate]], problem.commits[rows.target[candidate]]


def _users(plan: Plan) -> dict[int, list[int]]:
    users: dict[int, list[int]] = {}
    for demand, route in enumerate(plan.routes):
        for hop in route or ():
            users.setdefault(hop, []).append(demand)
    return users


def _candidate_changes(change: Replanning) -> Iterable[CandidateChange]:
    yield from _kept_and_added(change)
    yield from _dropped(change)


def _kept_and_added(change: Replanning) -> Iterable[CandidateChange]:
    old_of = {new: old for old, new in change.candidate_of.items()}
    before, users = set(change.before.build), _users(change.after)
    for hop in change.after.build:
        old, (base, target) = old_of.get(hop), _ends(change.problem, hop)
        if old in before:
            yield CandidateChange(kind="kept", base=base, target=target, candidate=hop, previous=old)
            continue
        news = users.get(hop, [])
        olds = [change.demand_before[k] for k in news if k in change.demand_before]
        cause, detail = _cause(change, _hops(change.before, olds), [hop], olds, news)
        yield CandidateChange(
            kind="added", base=base, target=target, candidate=hop, previous=old, cause=cause, detail=detail
        )


def _dropped(change: Replanning) -> Iterable[CandidateChange]:
    after, users = set(change.after.build), _users(change.before)
    for hop in change.before.build:
        new, (base, target) = change.candidate_of.get(hop), _ends(change.previous, hop)
        if new in after:
            continue
        olds = users.get(hop, [])
        news = [change.demand_of[k] for k in olds if k in change.demand_of]
        # A delta goes as well where the one before or after it on its clients' routes went.
        cause, detail = _cause(change, [hop, *_hops(change.before, olds)], _hops(change.after, news), olds, news)
        yield CandidateChange(
            kind="dropped", base=base, target=target, candidate=new, previous=hop, cause=cause, detail=detail
        )


def _hops(plan: Plan, demands: Iterable[int]) -> list[int]:
    """All hops of some demands' routes."""
    return [hop for demand in demands for hop in plan.routes[demand] or ()]


def _route_changes(change: Replanning) -> Iterable[RouteChange]:
    for old, demand in sorted(change.demand_of.items(), key=lambda pair: pair[1]):
        before, after = change.before.routes[old], change.after.routes[demand]
        carried = None if before is None else tuple(change.candidate_of.get(hop, -1) for hop in before)
        if carried == after:
            continue
        base, target = _ends_of_demand(change.problem, demand)
        cause, detail = _cause(change, before or (), after or (), [old], [demand])
        yield RouteChange(
            demand=demand,
            base=base,
            target=target,
            clients=float(change.problem.demands.clients[demand]),
            before=_stops(change.previous, before),
            after=_stops(change.problem, after),
            cause=cause,
            detail=detail,
        )


def _stops(problem: Problem, route: Route) -> tuple[str, ...] | None:
    return None if route is None else tuple(_ends(problem, hop)[1] for hop in route)


def _demand_changes(change: Replanning) -> Iterable[DemandChange]:
    for kind, problem, known in (
        ("new", change.problem, change.demand_before),
        ("gone", change.previous, change.demand_of),
    ):
        for demand in range(len(problem.demands)):
            if demand not in known:
                base, target = _ends_of_demand(problem, demand)
                clients = float(problem.demands.clients[demand])
                yield DemandChange(kind=kind, base=base, target=target, clients=clients)


def _cause(
    change: Replanning, before: Iterable[int], after: Iterable[int], olds: list[int], news: list[int]
) -> tuple[str, str]:
    """The first cause that applies to hops given up, hops taken instead, and the demands concerned in both graphs."""
    left, taken = list(before), list(after)
    lost = next((hop for hop in left if hop not in change.candidate_of), None)
    commits = [name for hop in taken for name in _ends(change.problem, hop) if name not in change.known_commits]
    offered = next((hop for hop in taken if hop not in change.offered_before), None)
    for cause, applies, detail in (
        (Cause.NO_LONGER_OFFERED, lost is not None, "" if lost is None else " → ".join(_ends(change.previous, lost))),
        (Cause.DEMAND_GONE, bool(olds) and not news, ""),
        (Cause.NEW_COMMIT, bool(commits), commits[0] if commits else ""),
        (Cause.NEW_DEMAND, bool(news) and not olds, ""),
        (
            Cause.NEWLY_OFFERED,
            offered is not None,
            "" if offered is None else " → ".join(_ends(change.problem, offered)),
        ),
        (Cause.LIMIT, bool(change.limit), change.limit),
        (Cause.PRICE, bool(change.price), change.price),
        (Cause.WEIGHT, any(_weighs_otherwise(change, hop) for hop in left), ""),
        (Cause.DEMAND_SHIFTED, _clients(change.previous, olds) != _clients(change.problem, news), ""),
    ):
        if applies:
            return str(cause), detail
    return str(Cause.CHEAPER_ROUTE), ""


def _weighs_otherwise(change: Replanning, hop: int) -> bool:
    rows, new_rows = change.previous.candidates, change.problem.candidates
    new = change.candidate_of.get(hop)
    if new is None:
        return False
    names = ("wire_bytes", "stored_bytes", "server_cpu_s", "client_cpu_s", "built")
    return any(getattr(rows, name)[hop] != getattr(new_rows, name)[new] for name in names)


def _clients(problem: Problem, demands: list[int]) -> float:
    return float(problem.demands.clients[demands].sum())
