"""Looking ahead: what a night's plan minds of the releases to come, as the scenario's `[horizon]` says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from planner.demand.cohorts import Cohort
from planner.history.records import EMPTY, History
from planner.optimize.ahead import solve_ahead
from planner.optimize.assemble import Assembly
from planner.optimize.forecast import forecast
from planner.optimize.plan import Plan
from planner.optimize.solve import Options, solve
from planner.scenario_sections import HorizonSection
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.catalogue import Catalogue
from planner.weigh.usefulness import find_useless


@dataclass(frozen=True, slots=True)
class Outlook:
    """One night's view of the nights to come."""

    section: HorizonSection
    history: History
    cohorts: Sequence[Cohort]
    catalogue: Catalogue

    def with_served(
        self, weighed: Mapping[Candidate, Weight], find_served: Callable[[], Collection[Candidate]]
    ) -> dict[Candidate, Weight]:
        """The candidates, and with a horizon what earlier nights made: no rule of tonight may propose it any more.

        `find_served`, which looks at every delta, is asked only then. Of these only what some client's route could use,
        that was weighed, and that has both ends in the history.
        """
        if not self.section.releases:
            return dict(weighed)
        here = {EMPTY, *self.history.commits}
        known = self.catalogue.weights()
        found = {one: known[one] for one in sorted(find_served()) if one in known and {one.base, one.target} <= here}
        pairs = {(one.base, one.target) for one in (*weighed, *found)}
        order = {commit: number for number, commit in enumerate((EMPTY, *self.history.commits))}
        useless = set(find_useless(pairs, self.cohorts, order))
        return {one: weight for one, weight in found.items() if (one.base, one.target) not in useless} | dict(weighed)

    def solve(self, assembly: Assembly, full_pull_bytes: Mapping[tuple[str, str], int], options: Options) -> Plan:
        """The plan for tonight."""
        if not self.section.releases:
            return solve(assembly.problem, options)
        coming = forecast(
            self.history,
            # Who must stop at a barrier first asks for the head from there, as others do.
            [one for one in assembly.cohorts if one.ref is None or self.history.refs.get(one.ref) == one.target],
            self.catalogue.weights(WeightStatus.PROJECTED) | self.catalogue.weights(),
            full_pull_bytes,
            releases=self.section.releases,
            updating_share=self.section.updating_share,
        )
        return solve_ahead(assembly, coming, options)
