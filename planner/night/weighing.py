"""Weighing a night's candidates: measured by building, or projected and probed where that matters to the plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import inf
from typing import Any

import msgspec
import numpy as np

from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Cohort
from planner.history.records import History
from planner.night.making import Maker, find_chains
from planner.night.projected import (
    Accuracy,
    Weights,
    find_uncertainty,
    judge_projections,
    move_projection,
    weigh_projected,
)
from planner.optimize.assemble import Assembly
from planner.optimize.probing import Effort, probe_in_rounds
from planner.optimize.problem import IntArray
from planner.optimize.projection_errors import Measured
from planner.optimize.solve import Options
from planner.project.quantities import Projection
from planner.publish.publisher import is_published
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Need, Proposal, Pruned, Weight, WeightStatus
from planner.weigh.chains import Chain, Pair
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.rules import propose_pairs
from planner.weigh.streams import Stream, find_open, find_streams

AssembleWith = Callable[[Weights, Sequence[Cohort]], Assembly]
"""The problem that a night would solve with these weights and cohorts."""

UNWEIGHED = "not weighed yet"

# Of a window's core-seconds, what probing may take.
_PROBE_SHARE = 0.25
_PORTION_OF_A_WORKER = 4

# What a candidate weighs that could not be built: no plan takes it.
_UNBUILDABLE_BYTES = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """What `weigh` found: candidates with weights and whence, how many were measured now, and what was dropped."""

    weighed: Mapping[Candidate, Weight]
    rules: Mapping[tuple[str, str], str]
    pruned: tuple[Pruned, ...]
    measured: int
    accuracy: Accuracy | None = None


@dataclass(frozen=True, slots=True)
class _Proposed:
    """Pairs that rules propose, and those that were dropped at once."""

    proposals: Sequence[Proposal]
    pruned: Sequence[Pruned]


@dataclass(slots=True)
class Weigher:
    """One run of weighing.

    `full_pulls_of` gives what pairs download without a delta; `assemble_with` and `solve_options` are for trial plans.
    `settled` are the fingerprints of the streams that need no probes; those that are settled now are added.
    """

    scenario: Scenario
    history: History
    cohorts: Sequence[Cohort]
    maker: Maker
    full_pulls_of: Callable[[set[tuple[str, str]]], Mapping[tuple[str, str], int]]
    assemble_with: AssembleWith
    solve_options: Options
    failed: dict[Candidate, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    refuse: Callable[[str, str], str] = lambda base, target: ""  # noqa: ARG005

    def weigh(self) -> Weighing:
        """Propose, weigh, and prune. What is measured is kept as it comes, so that a cancelled run loses nothing."""
        proposed, wanted = self._propose()
        catalogue = self.maker.catalogue
        before = catalogue.weights().keys()
        projections = self._project_and_probe(wanted)
        wanted += self._weigh_composed()
        known = {one: weigh_projected(found) for one, found in projections.items()} | catalogue.weights()
        return self._conclude(proposed, wanted, known, projections, before)

    def look(self) -> Weighing:
        """The same from what is known: nothing is made, and what was never weighed is left out, which is its reason."""
        proposed, wanted = self._propose()
        catalogue = self.maker.catalogue
        known = catalogue.weights(WeightStatus.PROJECTED) | catalogue.weights()
        wanted += [one for one in self._composed_chains()[0] if one in known]
        return self._conclude(proposed, wanted, known, {}, known.keys())

    def _propose(self) -> tuple[_Proposed, list[Candidate]]:
        section, log = self.scenario.weigh, self.maker.log
        able = [cohort for cohort in self.cohorts if cohort.max_hops != 0]
        found, pruned = propose_pairs(self.history, able, section.rules, most_candidates=section.most_candidates)
        refused = {(one.base, one.target): self.refuse(one.base, one.target) for one in found}
        proposals = [one for one in found if not refused[one.base, one.target]]
        pruned = (
            *pruned,
            *(Pruned(base=b, target=t, codec="", reason=reason) for (b, t), reason in refused.items() if reason),
        )
        self.failed = self.maker.catalogue.failures() | log.journal.deferred(log.run)
        return _Proposed(proposals, pruned), self._published(proposals) + self._candidates(proposals)

    def _conclude(
        self,
        proposed: _Proposed,
        wanted: Sequence[Candidate],
        known: Weights,
        projections: Mapping[Candidate, Projection],
        before: Collection[Candidate],
    ) -> Weighing:
        """What is worth planning with, and why the rest is not."""
        catalogue = self.maker.catalogue
        measured = catalogue.weights()
        failures = tuple(
            Pruned(base=c.base, target=c.target, codec=c.codec, reason=reason)
            for c in wanted
            if (reason := self._why_unweighed(c, known))
        )
        weighed = {c: known[c] for c in wanted if c in known}
        kept, rejected = self._prune(weighed, projections, catalogue.needs())
        rules = {(p.base, p.target): p.rule for p in proposed.proposals}
        return Weighing(
            weighed=kept,
            rules={(c.base, c.target): COMPOSED for c in wanted} | rules,
            pruned=(*proposed.pruned, *failures, *rejected),
            measured=len((measured.keys() & set(wanted)) - set(before)),
            accuracy=judge_projections(catalogue.weights(WeightStatus.PROJECTED), measured),
        )

    def _why_unweighed(self, candidate: Candidate, known: Weights) -> str:
        """Why no plan can take a candidate; empty where one can."""
        if candidate in self.failed:
            return f"cannot be built: {self.failed[candidate]}"
        return "" if candidate in known else UNWEIGHED

    # -- measuring and projecting ------------------------------------------------------------------------------

    def _project_and_probe(self, wanted: Sequence[Candidate]) -> dict[Candidate, Projection]:
        """Measure all candidates, or within the budget those that matter; what is left of the projections."""
        budget_core_s = self._probe_budget()
        projections = {} if budget_core_s is None else self._project(wanted)
        self._measure([candidate for candidate in wanted if candidate not in projections], {})
        if budget_core_s is None or not projections:
            return {}
        self._record(projections)
        projections = self._probe(wanted, projections, budget_core_s)
        self._record(projections)
        return projections

    def _probe_budget(self) -> float | None:
        """The scenario's budget for probing; a window leaves most of itself for building."""
        asked_core_s, left_s = self.scenario.weigh.probe_core_s, self.maker.log.gate.left_s
        if left_s == inf:
            return asked_core_s
        share_core_s = _PROBE_SHARE * left_s * self.maker.workers
        return share_core_s if asked_core_s is None else min(asked_core_s, share_core_s)

    def _record(self, projections: Mapping[Candidate, Projection]) -> None:
        catalogue = self.maker.catalogue
        known = catalogue.weights(WeightStatus.PROJECTED)
        found = {candidate: weigh_projected(projection) for candidate, projection in projections.items()}
        self.maker.log.expected.update(found)
        catalogue.record_weights({one: weight for one, weight in found.items() if known.get(one) != weight})

    def _probe(
        self, wanted: Sequence[Candidate], projections: Mapping[Candidate, Projection], budget_core_s: float
    ) -> dict[Candidate, Projection]:
        """Measure what decides between plans, and plan again, until the plan is stable.

        What is left of the projections, moved by what the probes tell of their neighbours.
        """
        known = self.maker.catalogue.weights()
        projected = {one: weigh_projected(projections[one]) for one in wanted if one in projections}
        weights = projected | {one: known[one] for one in wanted if one in known}
        streams, still_open = self._find_streams(weights)
        if not any(stream.candidates for stream in still_open):
            return _settle(projections, projected)
        asking = {cohort for stream in still_open for cohort in stream.cohorts}
        assembly = self.assemble_with(
            {one: weights[one] for stream in still_open for one in stream.candidates},
            [cohort for cohort in self.cohorts if cohort in asking],
        )
        rounds = probe_in_rounds(
            assembly.problem,
            find_uncertainty(assembly, projections),
            partial(self._measure_rows, assembly),
            Effort(budget_cpu_s=budget_core_s, seed=self.scenario.solve.seed),
            options=self.solve_options,
        )
        probed = 0
        for one in rounds:
            probed += len(one.probed)
            doubt = "the plan is stable" if one.is_stable else f"up to {one.most_regret_fraction:.1%} might be saved"
            self.maker.reporter.say(f"{probed} candidates probed: {doubt}")
        # Where the budget ended the rounds, the dearest doubts are gone; tomorrow's budget is for what is new tomorrow.
        self.settled = {stream.fingerprint(self._terms()) for stream in streams}
        known = self.maker.catalogue.weights()
        moved = one.problem.candidates
        found = _settle(projections, projected)
        found |= {
            candidate: move_projection(projections[candidate], wire_bytes, core_s)
            for candidate, wire_bytes, core_s in zip(
                assembly.candidates, moved.wire_bytes.tolist(), moved.server_cpu_s.tolist(), strict=True
            )
            if candidate in projections
        }
        return {one: found[one] for one in found if one not in known and one not in self.failed}

    def _find_streams(self, weights: Weights) -> tuple[Sequence[Stream], Sequence[Stream]]:
        """All streams, and those that are not settled; limits make one of them all."""
        needs = self.maker.catalogue.needs()
        streams = find_streams(weights, self.cohorts, needs)
        has_limits = any(one is not None for one in msgspec.structs.astuple(self.scenario.limits))
        if has_limits:
            streams = (Stream(candidates=tuple(weights), cohorts=tuple(self.cohorts)),)
        return streams, find_open(streams, self.settled, self._terms())

    def _terms(self) -> bytes:
        """What decides which plan is best, whatever the weights are."""
        return msgspec.json.encode((self.scenario.prices, self.scenario.limits, self.scenario.weigh))

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
        return maker.site.project(self.history, unknown, known, executor=maker.executor, report=maker.reporter.advance)

    def _measure(self, wanted: Sequence[Candidate], chains: Mapping[Pair, Chain]) -> None:
        """Make what was never weighed."""
        known = self.maker.catalogue.weights()
        missing = [candidate for candidate in wanted if candidate not in known and candidate not in self.failed]
        for some in self._in_portions(missing):
            self.failed |= {one.candidate: one.reason for one in self.maker.make("weigh", some, chains)}

    def _in_portions(self, missing: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
        """All at once; within a window a few at a time, what most clients would take by itself first."""
        if self.maker.log.gate.left_s == inf:
            yield missing
            return
        clients: dict[tuple[str, str], float] = {}
        for cohort in self.cohorts:
            pair = cohort.base, cohort.target
            clients[pair] = clients.get(pair, 0.0) + cohort.clients
        waiting = iter(sorted(missing, key=lambda one: -clients.get((one.base, one.target), 0.0)))
        while some := tuple(islice(waiting, _PORTION_OF_A_WORKER * self.maker.workers)):
            if self.maker.log.gate.left_s <= 0:
                return
            yield some

    def _weigh_composed(self) -> list[Candidate]:
        """Composed deltas of every cohort's pair, of hops that were measured."""
        composed, chains = self._composed_chains()
        self._measure(composed, chains)
        return composed

    def _composed_chains(self) -> tuple[list[Candidate], dict[Pair, Chain]]:
        if COMPOSED not in self.scenario.codecs():
            return [], {}
        asked = dict.fromkeys((cohort.base, cohort.target) for cohort in self.cohorts if cohort.max_hops != 0)
        chains = find_chains(list(asked), self.maker.catalogue)
        return [Candidate(base=base, target=target, codec=COMPOSED) for base, target in chains], chains

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


def _settle(projections: Mapping[Candidate, Projection], weights: Weights) -> dict[Candidate, Projection]:
    """Projections around the weights that plans are made with."""
    return {
        one: move_projection(projections[one], weights[one].wire_bytes, weights[one].server_cpu_s) for one in weights
    }
