"""Weighing a night's candidates: measured by building, or projected and probed where that matters to the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any

import msgspec
import numpy as np

from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Cohort
from planner.history.records import History
from planner.night.making import Maker, find_chains
from planner.optimize.assemble import Assembly
from planner.optimize.probing import Effort, probe_in_rounds
from planner.optimize.problem import IntArray
from planner.optimize.projection_errors import Measured, Uncertainty
from planner.optimize.solve import Options
from planner.project.quantities import Projection
from planner.publish.publisher import is_published
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Need, Proposal, Pruned, Weight, WeightStatus
from planner.weigh.chains import Chain, Pair
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.rules import propose_pairs

Weights = Mapping[Candidate, Weight]

AssembleWith = Callable[[Weights], Assembly]
"""The problem that a night would solve with these weights."""

# What a candidate weighs that could not be built: no plan takes it.
_UNBUILDABLE_BYTES = 1e15


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
    """One run of weighing.

    `full_pulls_of` gives what pairs download without a delta; `assemble_with` and `solve_options` are for trial plans.
    """

    scenario: Scenario
    history: History
    cohorts: Sequence[Cohort]
    maker: Maker
    full_pulls_of: Callable[[set[tuple[str, str]]], Mapping[tuple[str, str], int]]
    assemble_with: AssembleWith
    solve_options: Options
    failed: dict[Candidate, str] = field(default_factory=dict)

    def weigh(self) -> Weighing:
        """Propose, weigh, and prune. What is measured is kept as it comes, so that a cancelled run loses nothing."""
        section = self.scenario.weigh
        able = [cohort for cohort in self.cohorts if cohort.max_hops != 0]
        proposals, pruned = propose_pairs(self.history, able, section.rules, most_candidates=section.most_candidates)
        catalogue = self.maker.catalogue
        self.failed = catalogue.failures()
        wanted = self._published(proposals) + self._candidates(proposals)
        before = catalogue.weights().keys()
        projections = self._project_and_probe(wanted)
        wanted += self._weigh_composed()
        measured = catalogue.weights()
        known = {candidate: weigh_projected(found) for candidate, found in projections.items()} | measured
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
            measured=len(measured.keys() & set(wanted) - before),
            accuracy=judge_projections(catalogue.weights(WeightStatus.PROJECTED), measured),
        )

    # -- measuring and projecting ------------------------------------------------------------------------------

    def _project_and_probe(self, wanted: Sequence[Candidate]) -> dict[Candidate, Projection]:
        """Measure all candidates, or within the budget those that matter; what is left of the projections."""
        budget_core_s = self.scenario.weigh.probe_core_s
        projections = {} if budget_core_s is None else self._project(wanted)
        self._measure([candidate for candidate in wanted if candidate not in projections], {})
        if budget_core_s is None or not projections:
            return {}
        self._record(projections)
        projections = self._probe(wanted, projections, budget_core_s)
        self._record(projections)
        return projections

    def _record(self, projections: Mapping[Candidate, Projection]) -> None:
        for candidate, found in projections.items():
            self.maker.catalogue.record_weight(candidate, weigh_projected(found))

    def _probe(
        self, wanted: Sequence[Candidate], projections: Mapping[Candidate, Projection], budget_core_s: float
    ) -> dict[Candidate, Projection]:
        """Measure what decides between plans, and plan again, until the plan is stable.

        What is left of the projections, moved by what the probes tell of their neighbours.
        """
        known = self.maker.catalogue.weights()
        weights = {one: weigh_projected(projections[one]) for one in wanted if one in projections}
        assembly = self.assemble_with(weights | {one: known[one] for one in wanted if one in known})
        rounds = probe_in_rounds(
            assembly.problem,
            _uncertainty(assembly, projections),
            partial(self._measure_rows, assembly),
            Effort(budget_cpu_s=budget_core_s, seed=self.scenario.solve.seed),
            options=self.solve_options,
        )
        probed = 0
        for one in rounds:
            probed += len(one.probed)
            doubt = "the plan is stable" if one.is_stable else f"up to {one.most_regret_fraction:.1%} might be saved"
            self.maker.reporter.say(f"{probed} candidates probed: {doubt}")
        known = self.maker.catalogue.weights()
        moved = one.problem.candidates
        return {
            candidate: _move(projections[candidate], wire_bytes, core_s)
            for candidate, wire_bytes, core_s in zip(
                assembly.candidates, moved.wire_bytes.tolist(), moved.server_cpu_s.tolist(), strict=True
            )
            if candidate in projections and candidate not in known and candidate not in self.failed
        }

    def _measure_rows(self, assembly: Assembly, rows: IntArray) -> Measured:
        """Probe candidates by their numbers; one that cannot be built is of no use to any plan."""
        probes = [assembly.candidates[row] for row in rows.tolist()]
        self._measure(probes, {})
        weights = self.maker.catalogue.weights()
        found = [weights.get(one) for one in probes]
        wire_bytes = [_UNBUILDABLE_BYTES if weight is None else weight.wire_bytes for weight in found]
        stored_bytes = [_UNBUILDABLE_BYTES if weight is None else weight.stored_bytes for weight in found]
        core_s = np.array([0.0 if weight is None else weight.server_cpu_s for weight in found])
        return Measured(
            candidate=rows,
            wire_bytes=np.array(wire_bytes, np.float64),
            stored_bytes=np.array(stored_bytes, np.float64),
            server_cpu_s=core_s,
            probe_cpu_s=core_s,
        )

    def _project(self, wanted: Sequence[Candidate]) -> dict[Candidate, Projection]:
        """Projections of what was never measured, as far as there is a way to project it."""
        maker, known = self.maker, self.maker.catalogue.weights()
        unknown = [candidate for candidate in wanted if candidate not in known and candidate not in self.failed]
        return maker.site.project(self.history, unknown, known, workers=maker.workers, report=maker.reporter.advance)

    def _measure(self, wanted: Sequence[Candidate], chains: Mapping[Pair, Chain]) -> None:
        """Make what was never weighed."""
        known = self.maker.catalogue.weights()
        missing = [candidate for candidate in wanted if candidate not in known and candidate not in self.failed]
        self.failed |= {one.candidate: one.reason for one in self.maker.make("weigh", missing, chains)}

    def _weigh_composed(self) -> list[Candidate]:
        """Composed deltas of every cohort's pair, of hops that were measured."""
        if COMPOSED not in self.scenario.codecs():
            return []
        asked = dict.fromkeys((cohort.base, cohort.target) for cohort in self.cohorts if cohort.max_hops != 0)
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
        client_cpu_s=projection.client_cpu_s.middle,
        peak_memory_bytes=round(projection.peak_memory_bytes.middle),
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


def _move(projection: Projection, wire_bytes: float, server_cpu_s: float) -> Projection:
    """A projection around other middles of what decides between plans."""
    return replace(
        projection,
        wire_bytes=projection.wire_bytes.move(wire_bytes),
        server_cpu_s=projection.server_cpu_s.move(server_cpu_s),
    )


def _uncertainty(assembly: Assembly, projections: Mapping[Candidate, Projection]) -> Uncertainty:
    """The intervals of a problem's candidates; what was measured has none."""
    found = [projections.get(candidate) for candidate in assembly.candidates]
    wire = [(1.0, 1.0) if one is None else one.wire_bytes.factors for one in found]
    cpu = [(1.0, 1.0) if one is None else one.server_cpu_s.factors for one in found]
    return Uncertainty(
        wire_low_factor=np.array([low for low, _ in wire]),
        wire_high_factor=np.array([high for _, high in wire]),
        cpu_low_factor=np.array([low for low, _ in cpu]),
        cpu_high_factor=np.array([high for _, high in cpu]),
        probe_cpu_s=np.array([0.0 if one is None else one.server_cpu_s.middle for one in found]),
    )
