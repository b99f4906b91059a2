"""Tonight's problem and the periods to come, as one problem.

A delta to tonight's head still serves as a hop after the next release. So the periods stand side by side: each has
its own nodes, demands, and copies of the candidates that exist by then. What candidates cost holds periods together:

- storage is paid for each period in which a delta is kept; one that is published is either kept from tonight until it
  is used last, or made again;
- the core-seconds of a delta are a part that its copies of all periods share: it is made once.

`solve` and `evaluate` know nothing of it. Tonight's rows come first, with the numbers that they have in tonight's
problem, so that tonight's routes can be read off.

A little too hopeful: a delta that is made in one period and used in a later one is not charged for periods in between
in which nobody uses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from planner.demand.cohorts import Cohort
from planner.optimize.assemble import FULL_PULL, Assembly
from planner.optimize.evaluate import Selection
from planner.optimize.forecast import Forecast
from planner.optimize.problem import NO_HOP_LIMIT, Candidates, Demands, Limits, Parts, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """All periods as one problem; `kept[row]` is tonight's row of a published delta that the row has kept for later."""

    assembly: Assembly
    problem: Problem
    kept: Mapping[int, int]

    def tonight(self, selection: Selection) -> Selection:
        """What a selection of all periods means for tonight's problem.

        Built or kept is what tonight's routes use, and what is published and used later. What only the future uses and
        can be made then is not made tonight.
        """
        now = len(self.assembly.problem.demands)
        used = {row for route in selection.routes[:now] for row in route or ()}
        used |= {self.kept[row] for route in selection.routes[now:] for row in route or () if row in self.kept}
        return Selection(build=tuple(sorted(used)), routes=selection.routes[:now])


def extend(assembly: Assembly, forecast: Forecast) -> Ahead:
    """Tonight's problem with the periods that a forecast has. Without any it is the same problem.

    Limits of one night hold for all nights together, as many times as there are nights.
    """
    if not any(forecast.cohorts):
        return Ahead(assembly=assembly, problem=assembly.problem, kept={})
    return _Extender(assembly, forecast).run()


@dataclass(slots=True)
class _Table:
    """Rows beyond tonight's: candidates, parts, and which candidate needs which part."""

    first_row: int
    first_part: int
    rows: list[tuple[int, int, float, float, float, float, bool]] = field(default_factory=list)
    parts: list[tuple[float, float, bool]] = field(default_factory=list)
    needs: list[tuple[int, int]] = field(default_factory=list)

    def add_part(self, stored_bytes: float, server_cpu_s: float, *, built: bool = False) -> int:
        """A part's number."""
        self.parts.append((stored_bytes, server_cpu_s, built))
        return self.first_part + len(self.parts) - 1

    def add_row(
        self, ends: tuple[int, int], wire_bytes: float, stored_bytes: float, client_cpu_s: float, needs: Iterable[int]
    ) -> int:
        """A candidate's number; its core-seconds are parts."""
        row = self.first_row + len(self.rows)
        self.rows.append((*ends, wire_bytes, stored_bytes, 0.0, client_cpu_s, False))
        self.needs += [(row, part) for part in needs]
        return row


class _Extender:
    """The periods' rows as they are added to tonight's."""

    def __init__(self, assembly: Assembly, forecast: Forecast) -> None:
        self._assembly = assembly
        self._forecast = forecast
        rows, parts = assembly.problem.candidates, assembly.problem.parts
        self._table = _Table(len(rows), len(parts))
        self._names = list(assembly.problem.commits)
        self._nodes: dict[tuple[str, int], int] = {}
        self._kept: dict[int, int] = {}
        # Tonight's rows give away what they share with later periods.
        self._stored_bytes = rows.stored_bytes.copy()
        self._server_cpu_s = rows.server_cpu_s.copy()
        self._part_cpu_s = parts.server_cpu_s.copy()
        self._making_of_part: dict[int, int] = {}
        self._storing_part: dict[tuple[int, int], int] = {}

    def run(self) -> Ahead:
        """The whole problem."""
        periods = range(1, len(self._forecast.cohorts) + 1)
        for row in self._lasting():
            self._copy(row, periods)
        for candidate, weight in self._forecast.weighed.items():
            making = self._table.add_part(0.0, weight.server_cpu_s)
            for period in periods[self._forecast.appears[candidate.target] - 1 :]:
                ends = self._node(candidate.base, period), self._node(candidate.target, period)
                self._table.add_row(ends, weight.wire_bytes, weight.stored_bytes, weight.client_cpu_s, [making])
        problem = self._assembly.problem
        demands = self._demands()
        limits, nights = problem.limits, len(periods) + 1
        return Ahead(
            assembly=self._assembly,
            problem=problem.replace(
                commits=tuple(self._names),
                candidates=self._candidates(),
                parts=self._parts(),
                demands=demands,
                limits=Limits(
                    stored_bytes=None if limits.stored_bytes is None else nights * limits.stored_bytes,
                    server_cpu_s=None if limits.server_cpu_s is None else nights * limits.server_cpu_s,
                ),
            ),
            kept=self._kept,
        )

    def _node(self, commit: str, period: int) -> int:
        """The place of a commit in a period to come."""
        found = self._nodes.get((commit, period))
        if found is None:
            found = self._nodes[commit, period] = len(self._names)
            self._names.append(f"{commit} in period {period}")
        return found

    def _lasting(self) -> list[int]:
        """Tonight's rows that lead on to a coming release, from where somebody will be; one for each candidate."""
        first: dict[object, int] = {}
        for row, candidate in enumerate(self._assembly.candidates):
            if candidate.codec != FULL_PULL:
                first.setdefault(candidate, row)
        ends = {
            row: (self._assembly.candidates[row].base, self._assembly.candidates[row].target) for row in first.values()
        }
        leading = _reach({one.base for one in self._forecast.weighed}, [(b, t) for b, t in ends.values()], back=True)
        asking = {cohort.base for asking in self._forecast.cohorts for cohort in asking}
        coming = _reach(asking, [(b, t) for b, t in ends.values()], back=False)
        return [row for row, (base, target) in ends.items() if base in coming and target in leading]

    def _copy(self, row: int, periods: range) -> None:
        """The same delta in later periods; what it costs is moved from tonight's row to parts that all need."""
        rows, table = self._assembly.problem.candidates, self._table
        candidate, stored_bytes = self._assembly.candidates[row], float(self._stored_bytes[row])
        wire_bytes, client_cpu_s = float(rows.wire_bytes[row]), float(rows.client_cpu_s[row])
        # Of a published one the seconds are those of making it again.
        making = table.add_part(0.0, float(self._server_cpu_s[row]))
        is_built, storing = bool(rows.built[row]), list[int]()
        if is_built:
            storing.append(table.add_part(stored_bytes, 0.0, built=True))
            table.needs.append((row, storing[0]))
            self._stored_bytes[row] = 0.0
        else:
            table.needs.append((row, making))
            self._server_cpu_s[row] = 0.0
        for period in periods:
            ends = self._node(candidate.base, period), self._node(candidate.target, period)
            shared = list(self._share_parts(row, period))
            table.add_row(ends, wire_bytes, stored_bytes, client_cpu_s, [making, *shared])
            if is_built:
                storing.append(table.add_part(stored_bytes, 0.0, built=True))
                self._kept[table.add_row(ends, wire_bytes, 0.0, client_cpu_s, [*storing, *shared])] = row

    def _share_parts(self, row: int, period: int) -> Iterable[int]:
        """What a row needs besides itself: each part is made once, and stored in each period."""
        parts = self._assembly.problem.parts
        for part in self._assembly.problem.parts_of[row]:
            if part not in self._making_of_part:
                is_built = bool(parts.built[part])
                self._making_of_part[part] = self._table.add_part(0.0, float(parts.server_cpu_s[part]), built=is_built)
                self._part_cpu_s[part] = 0.0
            if (part, period) not in self._storing_part:
                self._storing_part[part, period] = self._table.add_part(float(parts.stored_bytes[part]), 0.0)
            yield self._making_of_part[part]
            yield self._storing_part[part, period]

    def _candidates(self) -> Candidates:
        old = self._assembly.problem.candidates
        new = np.array(self._table.rows, dtype=np.float64).reshape(-1, 7).T
        return Candidates(
            base=np.concatenate([old.base, new[0].astype(np.int64)]),
            target=np.concatenate([old.target, new[1].astype(np.int64)]),
            wire_bytes=np.concatenate([old.wire_bytes, new[2]]),
            stored_bytes=np.concatenate([self._stored_bytes, new[3]]),
            server_cpu_s=np.concatenate([self._server_cpu_s, new[4]]),
            client_cpu_s=np.concatenate([old.client_cpu_s, new[5]]),
            built=np.concatenate([old.built, new[6].astype(bool)]),
        )

    def _parts(self) -> Parts:
        old = self._assembly.problem.parts
        new = np.array(self._table.parts, dtype=np.float64).reshape(-1, 3).T
        # Whoever needed a part whose making is shared now needs its making, too.
        needed = zip(old.candidate.tolist(), old.part.tolist(), strict=True)
        making = [(row, self._making_of_part[part]) for row, part in needed if part in self._making_of_part]
        pairs = np.array([*self._table.needs, *making], dtype=np.int64).reshape(-1, 2).T
        return Parts(
            stored_bytes=np.concatenate([old.stored_bytes, new[0]]),
            server_cpu_s=np.concatenate([self._part_cpu_s, new[1]]),
            built=np.concatenate([old.built, new[2].astype(bool)]),
            candidate=np.concatenate([old.candidate, pairs[0]]),
            part=np.concatenate([old.part, pairs[1]]),
        )

    def _demands(self) -> Demands:
        old = self._assembly.problem.demands
        new: list[tuple[int, Cohort]] = [
            (period, cohort) for period, asking in enumerate(self._forecast.cohorts, start=1) for cohort in asking
        ]
        pulls = self._forecast.full_pull_bytes
        hops = [NO_HOP_LIMIT if cohort.max_hops is None else cohort.max_hops for _, cohort in new]
        most_bytes = [inf if cohort.max_wire_bytes is None else float(cohort.max_wire_bytes) for _, cohort in new]
        return Demands(
            base=np.append(old.base, np.array([self._node(one.base, t) for t, one in new], np.int64)),
            target=np.append(old.target, np.array([self._node(one.target, t) for t, one in new], np.int64)),
            clients=np.append(old.clients, [one.clients for _, one in new]),
            full_pull_bytes=np.append(old.full_pull_bytes, [pulls.get((one.base, one.target), inf) for _, one in new]),
            max_hops=np.append(old.max_hops, np.array(hops, np.int64)),
            max_wire_bytes=np.append(old.max_wire_bytes, most_bytes),
        )


def _reach(starts: Collection[str], pairs: Iterable[tuple[str, str]], *, back: bool) -> set[str]:
    """Where deltas lead from some commits, or what leads to them; they themselves included."""
    following: dict[str, list[str]] = {}
    for base, target in pairs:
        following.setdefault(target if back else base, []).append(base if back else target)
    found, waiting = set(starts), list(starts)
    while waiting:
        for commit in following.get(waiting.pop(), ()):
            if commit not in found:
                found.add(commit)
                waiting.append(commit)
    return found


def fit(ahead: Ahead, selection: Selection) -> Selection:
    """Tonight's part of a selection without what is only kept for later, for nights in which that has no room."""
    now = replace(selection, routes=selection.routes[: len(ahead.assembly.problem.demands)])
    return Selection(build=tuple(sorted({row for route in now.routes for row in route or ()})), routes=now.routes)
