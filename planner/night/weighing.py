"""Weighing a night's candidates: measured by building, or projected and probed where that matters to the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import msgspec

from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Cohort
from planner.history.records import History
from planner.night.making import Maker, find_chains
from planner.optimize.assemble import Assembly
from planner.optimize.plan import Plan
from planner.project.projector import Projection
from planner.publish.publisher import is_published
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Need, Proposal, Pruned, Weight, WeightStatus
from planner.weigh.chains import Chain, Pair
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.rules import propose_pairs

Weights = Mapping[Candidate, Weight]

PlanWith = Callable[[Weights], tuple[Assembly, Plan]]
"""The plan that a night would make with these weights."""

MOST_ROUNDS = 6
"""Of probing and planning again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far projections were off, once their candidates were measured: medians, as fractions of what was measured."""

    candidates: int
    wire_bytes_error: float
    server_cpu_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """What `weigh` found: candidates with weights and whence, how many were measured now, and what was dropped."""

    weighed: Mapping[Candidate, Weight]
    rules: Mapping[tuple[str, str], str]
    pruned: tuple[Pruned, ...]
    measured: int
    accuracy: Accuracy | None = None


@dataclass(slots=True)
class Weigher:
    """One run of weighing. `full_pulls_of` gives what pairs download without a delta, `plan_with` plans on trial."""

    scenario: Scenario
    history: History
    cohorts: Sequence[Cohort]
    maker: Maker
    full_pulls_of: Callable[[set[tuple[str, str]]], Mapping[tuple[str, str], int]]
    plan_with: PlanWith
    failed: dict[Candidate, str] = field(default_factory=dict)

    def weigh(self) -> Weighing:
        """Propose, weigh, and prune. What is measured is kept as it comes, so that a cancelled run loses nothing."""
        proposals, pruned = propose_pairs(self.history, self.cohorts, self.scenario.weigh.rules)
        catalogue = self.maker.catalogue
        self.failed = catalogue.failures()
        wanted = self._published(proposals) + self._candidates(proposals)
        before = catalogue.weights().keys()
        projections = self._project_and_probe(wanted)
        wanted += self._weigh_composed()
        known = {candidate: weigh_projected(found) for candidate, found in projections.items()} | catalogue.weights()
        failures = tuple(
            Pruned(base=c.base, target=c.target, codec=c.codec, reason=f"cannot be built: {self.failed[c]}")
            for c in wanted
            if c in self.failed
        )
        weighed = {c: known[c] for c in wanted if c in known}
        kept, rejected = self._prune(weighed, projections, catalogue.needs())
        return Weighing(
            weighed=kept,
            rules={(c.base, c.target): COMPOSED for c in wanted} | {(p.base, p.target): p.rule for p in proposals},
            pruned=(*pruned, *failures, *rejected),
            measured=len(catalogue.weights().keys() & set(wanted) - before),
            accuracy=judge_projections(catalogue.weights(WeightStatus.PROJECTED), catalogue.weights()),
        )

    # -- measuring and projecting ------------------------------------------------------------------------------

    def _project_and_probe(self, wanted: Sequence[Candidate]) -> dict[Candidate, Projection]:
        """Measure all candidates, or within the budget those that matter; what is left of the projections."""
        budget_core_s = self.scenario.weigh.probe_core_s
        projections = {} if budget_core_s is None else self._project(wanted)
        self._measure([candidate for candidate in wanted if candidate not in projections], {})
        left_core_s = budget_core_s or 0.0
        for _ in range(MOST_ROUNDS):
            probes = self._choose_probes(wanted, projections, left_core_s)
            if not probes:
                break
            self._measure(probes, {})
            known = self.maker.catalogue.weights()
            left_core_s -= sum(known[one].server_cpu_s for one in probes if one in known)
            # What was measured tells of what was not.
            projections = self._project([one for one in wanted if one not in self.failed])
        for candidate, found in projections.items():
            self.maker.catalogue.record_weight(candidate, weigh_projected(found))
        return projections

    def _project(self, wanted: Sequence[Candidate]) -> dict[Candidate, Projection]:
        """Projections of what was never measured, as far as there is a way to project it."""
        maker, known = self.maker, self.maker.catalogue.weights()
        unknown = [candidate for candidate in wanted if candidate not in known and candidate not in self.failed]
        return maker.site.project(self.history, unknown, known, workers=maker.workers, report=maker.reporter.advance)

    def _choose_probes(
        self, wanted: Sequence[Candidate], projections: Mapping[Candidate, Projection], left_core_s: float
    ) -> list[Candidate]:
        """What a plan would build although it was only projected, the most uncertain money first, within the budget."""
        known = self.maker.catalogue.weights()
        weights = {one: weigh_projected(found) for one, found in projections.items()}
        weights |= {one: known[one] for one in wanted if one in known}
        if not projections or left_core_s <= 0 or not weights:
            return []
        assembly, plan = self.plan_with(weights)
        chosen = [assembly.candidates[number] for number in plan.build]
        probes = []
        for one in sorted((one for one in chosen if one in projections), key=lambda one: _doubt(projections[one])):
            if projections[one].server_cpu_s.middle <= left_core_s:
                left_core_s -= projections[one].server_cpu_s.middle
                probes.append(one)
        return probes

    def _measure(self, wanted: Sequence[Candidate], chains: Mapping[Pair, Chain]) -> None:
        """Make what was never weighed."""
        known = self.maker.catalogue.weights()
        missing = [candidate for candidate in wanted if candidate not in known and candidate not in self.failed]
        self.failed |= {one.candidate: one.reason for one in self.maker.make("weigh", missing, chains)}

    def _weigh_composed(self) -> list[Candidate]:
        """Composed deltas of every cohort's pair, of hops that were measured."""
        if COMPOSED not in self.scenario.codecs():
            return []
        asked = dict.fromkeys((cohort.base, cohort.target) for cohort in self.cohorts)
        chains = find_chains(list(asked), self.maker.catalogue)
        composed = [Candidate(base=base, target=target, codec=COMPOSED) for base, target in chains]
        self._measure(composed, chains)
        return composed

    # -- candidates --------------------------------------------------------------------------------------------

    def _candidates(self, proposals: Sequence[Proposal]) -> list[Candidate]:
        codecs = [codec for codec in self.scenario.codecs() if codec != COMPOSED]
        return [Candidate(base=p.base, target=p.target, codec=codec) for p in proposals for codec in codecs]

    def _published(self, proposals: Sequence[Proposal]) -> list[Candidate]:
        """Deltas of the proposed pairs that clients find although no codec of this night would make them."""
        known = self.maker.catalogue.weights()
        found = []
        for proposal in proposals:
            weight = self.maker.site.weigh_published(proposal.base, proposal.target)
            if weight is None or weight[0] in self.scenario.codecs():
                continue
            candidate = Candidate(base=proposal.base, target=proposal.target, codec=weight[0])
            if candidate not in known:
                self.maker.catalogue.record_weight(candidate, weight[1])
            found.append(candidate)
        return found

    def _prune(
        self,
        weighed: Weights,
        projections: Mapping[Candidate, Projection],
        needs: Mapping[Candidate, Sequence[Need]],
    ) -> tuple[dict[Candidate, Weight], tuple[Pruned, ...]]:
        """What is worth planning with. A projected candidate is dropped only if it would be at its least."""
        at_least = {
            candidate: replace(weight, wire_bytes=int(projections[candidate].wire_bytes.low))
            if candidate in projections
            else weight
            for candidate, weight in weighed.items()
        }
        around = Surroundings(
            history=self.history,
            full_pull_bytes=self.full_pulls_of({(candidate.base, candidate.target) for candidate in weighed}),
            published=frozenset(candidate for candidate in weighed if is_published(self.maker.site, candidate)),
            needs=needs,
        )
        kept, rejected = prune_weighed(at_least, around)
        return {candidate: weighed[candidate] for candidate in kept}, rejected


def weigh_projected(projection: Projection) -> Weight:
    """A projection's middle as a weight; what a client downloads is what the server stores."""
    wire_bytes = round(projection.wire_bytes.middle)
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=wire_bytes,
        server_cpu_s=projection.server_cpu_s.middle,
        client_cpu_s=projection.client_cpu_s,
        peak_memory_bytes=projection.peak_memory_bytes,
        status=WeightStatus.PROJECTED,
    )


def judge_projections(projected: Weights, measured: Weights) -> Accuracy | None:
    """How far off the projections of what was measured later were; None if there are none."""
    pairs = [(weight, measured[one]) for one, weight in projected.items() if one in measured]
    if not pairs:
        return None
    return Accuracy(
        candidates=len(pairs),
        wire_bytes_error=median(abs(one.wire_bytes / other.wire_bytes - 1) for one, other in pairs),
        server_cpu_error=median(abs(one.server_cpu_s / max(other.server_cpu_s, 1e-6) - 1) for one, other in pairs),
    )


def weighing_document(weighing: Weighing) -> dict[str, Any]:
    """`candidates.json`: what is kept with its weight and rule, what was dropped with the reason."""
    return {
        "kept": [
            {
                **msgspec.to_builtins(candidate),
                "rule": weighing.rules[candidate.base, candidate.target],
                **msgspec.to_builtins(weight),
            }
            for candidate, weight in weighing.weighed.items()
        ],
        "pruned": [msgspec.to_builtins(pruned) for pruned in weighing.pruned],
        "accuracy": msgspec.to_builtins(weighing.accuracy),
    }


def _doubt(projection: Projection) -> float:
    """A sort key: the widest interval of bytes first."""
    return projection.wire_bytes.low - projection.wire_bytes.high
