"""Rejections that look at weights: small predicates, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from planner.history.records import History
from planner.weigh.candidates import Candidate, Need, Pruned, Weight
from planner.weigh.stock_client import OSTREE_CODECS, pick_base

Weighed = Mapping[Candidate, Weight]
Rejections = Iterator[tuple[Candidate, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a rejection may look at besides the weights.

    `full_pull_bytes` gives, per pair, what a client on the base downloads without any delta; `published` is
    what clients can already find: it is never rejected, and keeps others off its pair. `needs` is what of a candidate's
    weight others may share.
    """

    history: History
    full_pull_bytes: Mapping[tuple[str, str], int]
    published: frozenset[Candidate] = frozenset()
    needs: Mapping[Candidate, Sequence[Need]] = field(default_factory=dict)

    def own(self, candidate: Candidate, weight: Weight) -> Weight:
        """A weight without what others may pay: the least that the candidate costs."""
        needs = self.needs.get(candidate, ())
        if not needs:
            return weight
        return replace(
            weight,
            stored_bytes=max(0, weight.stored_bytes - sum(need.stored_bytes for need in needs)),
            server_cpu_s=max(0.0, weight.server_cpu_s - sum(need.server_cpu_s for need in needs)),
        )


def prune_weighed(weighed: Weighed, around: Surroundings) -> tuple[dict[Candidate, Weight], tuple[Pruned, ...]]:
    """The candidates worth handing to the optimizer, and the others with the reason."""
    kept, pruned = dict(weighed), []
    for stage in (_taken, _not_smaller, _dominated, _misleading):
        for candidate, reason in list(stage(kept, around)):
            if candidate in kept and candidate not in around.published:
                del kept[candidate]
                pruned.append(
                    Pruned(base=candidate.base, target=candidate.target, codec=candidate.codec, reason=reason)
                )
    return kept, tuple(pruned)


def _taken(weighed: Weighed, around: Surroundings) -> Rejections:
    """A second static delta of a pair has no place: clients look for one, which is never replaced."""
    taken = {(one.base, one.target): one.codec for one in around.published if one.codec in OSTREE_CODECS}
    for candidate in weighed:
        codec = taken.get((candidate.base, candidate.target), candidate.codec)
        if candidate.codec in OSTREE_CODECS and codec != candidate.codec:
            yield candidate, f"another delta of these commits is published: {codec}"


def _not_smaller(weighed: Weighed, around: Surroundings) -> Rejections:
    """A delta as large as the loose objects saves nobody a byte and costs the server."""
    for candidate, weight in weighed.items():
        full_pull_bytes = around.full_pull_bytes.get((candidate.base, candidate.target))
        if full_pull_bytes is not None and weight.wire_bytes >= full_pull_bytes:
            yield candidate, f"not smaller than a full pull: {weight.wire_bytes} B against {full_pull_bytes} B"


def _dominated(weighed: Weighed, around: Surroundings) -> Rejections:
    """A codec that another codec beats on the same pair in every respect; equals keep the first by name.

    Whoever pays for what they share with others, the winner must win.
    """
    pairs: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in sorted(weighed):
        pairs.setdefault((candidate.base, candidate.target), []).append(candidate)
    for rivals in pairs.values():
        for loser in rivals if len(rivals) > 1 else ():
            least = around.own(loser, weighed[loser])
            for winner in rivals:
                is_worse = _is_no_better(least, weighed[winner])
                if winner is not loser and is_worse and (not _is_no_better(weighed[winner], least) or winner < loser):
                    yield loser, f"dominated by {winner.codec} on the same pair"
                    break


def _is_no_better(one: Weight, other: Weight) -> bool:
    return (
        one.wire_bytes >= other.wire_bytes
        and one.stored_bytes >= other.stored_bytes
        and one.server_cpu_s >= other.server_cpu_s
        and one.client_cpu_s >= other.client_cpu_s
    )


def _misleading(weighed: Weighed, around: Surroundings) -> Rejections:
    """A static delta that a stock client would take although an older commit that it still holds has a smaller one.

    A client on `base` may still hold any ancestor of it, and takes the delta from the newest.
    """
    stock = {candidate: weight for candidate, weight in weighed.items() if candidate.codec in OSTREE_CODECS}
    by_target: dict[str, dict[str, int]] = {}
    for candidate, weight in stock.items():
        of_target = by_target.setdefault(candidate.target, {})
        of_target[candidate.base] = min(weight.wire_bytes, of_target.get(candidate.base, weight.wire_bytes))
    for candidate, weight in stock.items():
        rivals = by_target[candidate.target]
        for older in around.history.ancestors(candidate.base):
            is_smaller = older in rivals and rivals[older] < weight.wire_bytes
            if is_smaller and pick_base(around.history, (older, candidate.base), rivals.keys()) == candidate.base:
                name = around.history.name_of(older)
                yield candidate, f"a stock client that still holds {name} would take this larger one"
                break
