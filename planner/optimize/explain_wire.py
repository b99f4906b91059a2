"""How many wire bytes decide a candidate's fate: its clients come and go one demand at a time as its bytes change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from planner.optimize.evaluate import Route
from planner.optimize.explain_routes import Detour, client_money, find_detours
from planner.optimize.problem import Problem
from planner.units import GB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """From `fewer_bytes` less on the candidate's wire a demand takes this way, until its next turn."""

    fewer_bytes: float
    demand: int
    route: tuple[int, ...]


class Drift:
    """All clients on their cheapest ways while the candidate's wire bytes drift.

    `routes` are the ways without the candidate. Money and use of the limits follow the hops that come into use and
    leave it; `fewer_bytes` is below 0 where the candidate is larger than it is now.
    """

    def __init__(self, problem: Problem, opened: Sequence[int], candidate: int, routes: Sequence[Route]) -> None:
        self.problem, self.candidate = problem, candidate
        self.detours = find_detours(problem, opened, candidate)
        self.per_byte = problem.prices.egress_per_gb / GB
        self.routes = list(routes)
        self.users: Counter[int] = Counter()
        self.part_users: Counter[int] = Counter()
        self.clients_money = self.fixed_money = self.stored_bytes = self.server_cpu_s = self.clients = 0.0
        for demand in range(len(self.routes)):
            self._count(demand, 1)
        self.turns = self._find_turns(routes)

    def _find_turns(self, routes: Sequence[Route]) -> list[_Turn]:
        by_demand: dict[int, list[Detour]] = {}
        for detour in self.detours:
            by_demand.setdefault(detour.demand, []).append(detour)
        turns: list[_Turn] = []
        for demand, detours in by_demand.items():
            now = client_money(self.problem, demand, routes[demand])
            # By rising bytes, each cheaper than the one before.
            own = [(max(self._turning_point(d, now), self._fitting_point(d)), d.route) for d in reversed(detours)]
            for (at, route), (following, _) in pairwise([*own, (inf, ())]):
                if at < following:
                    turns.append(_Turn(fewer_bytes=at, demand=demand, route=route))
        return sorted(turns, key=lambda turn: (turn.fewer_bytes, turn.demand))

    def _turning_point(self, detour: Detour, now: float) -> float:
        """Fewer bytes from which the detour costs less than the way without the candidate."""
        more = detour.client_money - now
        if self.per_byte > 0.0:
            return more / self.per_byte
        return -inf if more < 0.0 else inf

    def _fitting_point(self, detour: Detour) -> float:
        return detour.wire_bytes - float(self.problem.demands.max_wire_bytes[detour.demand])

    def _count(self, demand: int, sign: int) -> None:
        """Let a demand's hops come into use, or leave it."""
        route, clients = self.routes[demand], float(self.problem.demands.clients[demand])
        money = client_money(self.problem, demand, route)
        if clients and money < inf:
            self.clients_money += sign * clients * money
        for hop in route or ():
            self.clients += sign * clients * (hop == self.candidate)
            self.users[hop] += sign
            if self.users[hop] == (sign > 0):
                self._pay(hop, sign)

    def _pay(self, hop: int, sign: int) -> None:
        problem, rows, parts = self.problem, self.problem.candidates, self.problem.parts
        self.fixed_money += sign * float(problem.candidate_money[hop])
        self.stored_bytes += sign * float(rows.stored_bytes[hop])
        self.server_cpu_s += sign * float(rows.server_cpu_s[hop]) * (not rows.built[hop])
        for part in problem.parts_of[hop]:
            self.part_users[part] += sign
            if self.part_users[part] == (sign > 0):
                self.fixed_money += sign * float(problem.part_money[part])
                self.stored_bytes += sign * float(parts.stored_bytes[part])
                self.server_cpu_s += sign * float(parts.server_cpu_s[part]) * (not parts.built[part])

    def _take(self, demand: int, route: Route) -> Route:
        """Put a demand on another way; the one before."""
        before = self.routes[demand]
        self._count(demand, -1)
        self.routes[demand] = route
        self._count(demand, 1)
        return before

    def _breaks_limit(self) -> bool:
        limits = self.problem.limits
        return (limits.stored_bytes is not None and self.stored_bytes > limits.stored_bytes) or (
            limits.server_cpu_s is not None and self.server_cpu_s > limits.server_cpu_s
        )

    def fewest_to_enter(self, most_money: float) -> float | None:
        """Fewer wire bytes from which on all of it costs at most so much within the limits; None: no amount does."""
        low, rounding = 0.0, 1e-12 * most_money
        most_bytes = float(self.problem.candidates.wire_bytes[self.candidate])
        waiting = [turn for turn in self.turns if turn.fewer_bytes > 0.0]
        for turn in self.turns[: len(self.turns) - len(waiting)]:
            self._take(turn.demand, turn.route)
        for number in range(len(waiting) + 1):
            high = waiting[number].fewer_bytes if number < len(waiting) else inf
            excess = self.fixed_money + self.clients_money - most_money
            slope = self.per_byte * self.clients
            needed = low if excess <= rounding else excess / slope if slope > 0.0 else inf
            needed = max(low, needed)
            if needed < high and needed <= most_bytes and self.users[self.candidate] and not self._breaks_limit():
                return needed
            if high > most_bytes:
                break
            low = high
            self._take(waiting[number].demand, waiting[number].route)
        return None

    def most_to_stay(self, most_money: float) -> float | None:
        """More wire bytes from which on all of it costs at least so much, or nobody uses it; None: no amount does."""
        taken: list[tuple[_Turn, Route]] = []
        for turn in self.turns:
            if turn.fewer_bytes > 0.0:
                break
            taken.append((turn, self._take(turn.demand, turn.route)))
        high = 0.0
        for turn, before in reversed(taken):
            slope, room = self.per_byte * self.clients, most_money - self.fixed_money - self.clients_money
            at = -room / slope if slope > 0.0 else 0.0 if room <= 0.0 else -inf
            if at >= turn.fewer_bytes:
                return abs(min(at, high))
            if turn.fewer_bytes == -inf:
                return None
            high = turn.fewer_bytes
            self._take(turn.demand, before)
        return -high
