"""Building in order of value, and publishing on the way: a night that is cut short has paid for itself so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from planner.build.jobs import Failed
from planner.night.making import Maker
from planner.night.session import Session
from planner.optimize.assemble import Assembly
from planner.optimize.plan import Plan
from planner.optimize.schedule import Lot, order_builds
from planner.weigh.candidates import Candidate
from planner.weigh.chains import Chain, Pair

_BATCH_S = 60.0
"""Seconds of all workers that a batch is expected to take: what deltas have in common is made per batch."""
_BATCHES_OF_A_WINDOW = 8
"""A batch takes at most this part of what is left, so that it can still be seen that the rest will not fit."""
_PUBLISHING_SHARE = 0.1
"""Of the time, what publishing on the way may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnytimeBuild:
    """One plan's build.

    `publish` hands over what is ready; `chains_of` says what composed deltas are made of.
    """

    session: Session
    maker: Maker
    assembly: Assembly
    plan: Plan
    chains_of: Callable[[Sequence[Candidate]], dict[Pair, Chain]]
    publish: Callable[[], object]

    def run(self) -> list[Failed]:
        """Make what the window allows, the most valuable first; what failed.

        Raises:
            PlannerError: something that is no candidate's fault; what was made before is kept.
        """
        failed: list[Failed] = []
        monotonic_s = self.session.clock.monotonic_s
        published_at_s, publishing_s = monotonic_s(), 0.0
        waiting = list(self._lots())
        made_any = False
        while waiting:
            batch, waiting = self._next_batch(waiting)
            candidates = self.maker.lacking(batch)
            failed += self.maker.make("build", candidates, self.chains_of(candidates))
            made_any = made_any or bool(candidates)
            is_due = publishing_s <= _PUBLISHING_SHARE * (monotonic_s() - published_at_s)
            if waiting and made_any and is_due:
                started_s = monotonic_s()
                self.publish()
                published_at_s, publishing_s = monotonic_s(), monotonic_s() - started_s
                self.session.gate.reserve_s = 2 * publishing_s
        return failed

    def _lots(self) -> Iterator[tuple[float, list[Candidate]]]:
        """Core-seconds and candidates of each lot, in order; what is proven already takes none."""
        rows = self.assembly.candidates
        lacking = set(self.maker.lacking(self.assembly.candidates_of(self.plan.build)))
        expected = self.session.log.expected
        core_s = np.array(
            [expected[one].server_cpu_s if one in lacking and one in expected else 0.0 for one in rows],
            dtype=np.float64,
        )
        problem = self.assembly.problem
        lots: Sequence[Lot] = order_builds(problem, self.plan.build, self.plan.routes, problem.candidates.built, core_s)
        for lot in lots:
            yield lot.core_s, [one for one in self.assembly.candidates_of(lot.rows) if one in lacking]

    def _next_batch(
        self, waiting: list[tuple[float, list[Candidate]]]
    ) -> tuple[list[Candidate], list[tuple[float, list[Candidate]]]]:
        """The first lots, as many as are worth preparing together, and the rest; those that do not fit are left."""
        gate, workers = self.session.gate, self.maker.workers
        most_core_s = min(_BATCH_S, gate.left_s / _BATCHES_OF_A_WINDOW) * workers
        batch: dict[Candidate, None] = {}
        total_core_s = 0.0
        for number, (core_s, candidates) in enumerate(waiting):
            reason = gate.refuse((total_core_s + core_s) / workers, 0.0)
            if batch and (reason or total_core_s + core_s > most_core_s):
                return list(batch), waiting[number:]
            if reason:
                for one in candidates:
                    self.session.log.left("build", one, reason)
                continue
            batch.update(dict.fromkeys(candidates))
            total_core_s += core_s
        return list(batch), []
