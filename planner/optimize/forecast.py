"""What the next nights will bring: coming releases of each ref, what deltas to them weigh, and who will ask.

Clients of a cohort are those who update before the next release. Of the clients that are behind, a share updates in
each period; the others ask again in the next one, for the release that is the head then, and those who updated ask for
it, too. So as many clients ask in every period as ask tonight, from newer bases each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median

from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Cohort
from planner.history.records import History
from planner.weigh.candidates import Candidate, Weight, WeightStatus

_PAST_RELEASES = 12
"""Steps of a line that its coming ones are judged by: older ones say less about how it is released now."""

_GROWTH = 3.0
"""Weights over a distance are this norm of those of its steps: for built deltas it was within 3 to 5 % in the median,
see docs/decisions/0012-projections.md. With 1 they would add up, which is far too much: steps change the same files."""

_NEGLIGIBLE_FRACTION = 1e-4
"""Of a line's clients: a base with fewer gets no cohort in the periods to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The periods to come, 1 being the one after tonight.

    `cohorts[t - 1]` ask in period t, for commits that do not exist yet; `appears` gives the period from which one of
    those does. `weighed` are deltas to them, `full_pull_bytes` what their clients download without any.
    """

    appears: Mapping[str, int]
    weighed: Mapping[Candidate, Weight]
    full_pull_bytes: Mapping[tuple[str, str], float]
    cohorts: tuple[tuple[Cohort, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One ref: its commits to come, behind its head, and what one step weighs by each codec."""

    head: str
    coming: tuple[str, ...]
    cohorts: tuple[Cohort, ...]
    step: Mapping[str, Weight]
    step_pull_bytes: float


def forecast(
    history: History,
    cohorts: Sequence[Cohort],
    weighed: Mapping[Candidate, Weight],
    full_pull_bytes: Mapping[tuple[str, str], int],
    *,
    releases: int,
    updating_share: float,
) -> Forecast:
    """The next `releases` of every ref that is asked for.

    `updating_share` of the clients that are behind update before the next release. `weighed` is all that was ever
    weighed of these lines: the past steps of a line forecast its coming ones. A ref of which no step was weighed has no
    future, nor do clients that ask for a commit itself, keep layers apart, or take no deltas.
    """
    lines = list(_lines(history, cohorts, weighed, full_pull_bytes, releases))
    found: dict[Candidate, Weight] = {}
    pulls: dict[tuple[str, str], float] = {}
    periods: list[list[Cohort]] = [[] for _ in range(releases)]
    for line in lines:
        found |= dict(_deltas(line, weighed))
        pulls |= dict(_pulls(line, full_pull_bytes))
        for number, asking in enumerate(periods):
            asking.extend(_asking(line, number + 1, updating_share))
    return Forecast(
        appears={commit: period for line in lines for period, commit in enumerate(line.coming, start=1)},
        weighed=found,
        full_pull_bytes=pulls,
        cohorts=tuple(map(tuple, periods)),
    )


def grow(first: float, step: float, steps: int) -> float:
    """What a distance weighs that is `steps` longer than one of weight `first`.

    >>> round(grow(0.0, 10.0, 1), 6), round(grow(10.0, 10.0, 7), 6)
    (10.0, 20.0)
    """
    return float((first**_GROWTH + steps * step**_GROWTH) ** (1 / _GROWTH))


def _lines(
    history: History,
    cohorts: Sequence[Cohort],
    weighed: Mapping[Candidate, Weight],
    full_pull_bytes: Mapping[tuple[str, str], int],
    releases: int,
) -> Iterator[_Line]:
    by_ref: dict[tuple[str, str], list[Cohort]] = {}
    for cohort in cohorts:
        is_served = cohort.base != cohort.target and cohort.max_hops != 0 and not cohort.layers
        if cohort.ref is not None and is_served and (cohort.base, cohort.target) in full_pull_bytes:
            by_ref.setdefault((cohort.ref, cohort.target), []).append(cohort)
    by_pair: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in weighed:
        if candidate.codec != COMPOSED:
            by_pair.setdefault((candidate.base, candidate.target), []).append(candidate)
    for (ref, head), asking in by_ref.items():
        line = [head, *islice(history.ancestors(head), _PAST_RELEASES)]
        pairs = list(zip(line[1:], line, strict=False))
        steps: dict[str, list[Weight]] = {}
        for pair in pairs:
            for one in by_pair.get(pair, ()):
                steps.setdefault(one.codec, []).append(weighed[one])
        pulls = [full_pull_bytes[pair] for pair in pairs if pair in full_pull_bytes]
        pulls = pulls or [min(full_pull_bytes[one.base, head] for one in asking)]
        if steps:
            yield _Line(
                head=head,
                coming=tuple(f"{ref} +{number}" for number in range(1, releases + 1)),
                cohorts=tuple(asking),
                step={codec: _middle(some) for codec, some in steps.items()},
                step_pull_bytes=float(median(pulls)),
            )


def _middle(weights: Sequence[Weight]) -> Weight:
    """Each quantity's median."""
    return Weight(
        wire_bytes=round(median(one.wire_bytes for one in weights)),
        stored_bytes=round(median(one.stored_bytes for one in weights)),
        server_cpu_s=float(median(one.server_cpu_s for one in weights)),
        client_cpu_s=float(median(one.client_cpu_s for one in weights)),
        peak_memory_bytes=max(one.peak_memory_bytes for one in weights),
        status=WeightStatus.PROJECTED,
    )


def _deltas(line: _Line, weighed: Mapping[Candidate, Weight]) -> Iterator[tuple[Candidate, Weight]]:
    """Between coming releases, and to them from wherever tonight's deltas to the head begin."""
    to_head = [(one, weight) for one, weight in weighed.items() if one.target == line.head and one.codec in line.step]
    for steps, target in enumerate(line.coming, start=1):
        for codec, step in line.step.items():
            for before, base in enumerate((line.head, *line.coming)[:steps]):
                yield Candidate(base=base, target=target, codec=codec), _grown(None, step, steps - before)
        for one, weight in to_head:
            yield replace(one, target=target), _grown(weight, line.step[one.codec], steps)


def _grown(first: Weight | None, step: Weight, steps: int) -> Weight:
    def of(first_amount: float, step_amount: float) -> float:
        return grow(first_amount, step_amount, steps)

    return Weight(
        wire_bytes=round(of(first.wire_bytes if first else 0, step.wire_bytes)),
        stored_bytes=round(of(first.stored_bytes if first else 0, step.stored_bytes)),
        server_cpu_s=of(first.server_cpu_s if first else 0.0, step.server_cpu_s),
        client_cpu_s=of(first.client_cpu_s if first else 0.0, step.client_cpu_s),
        peak_memory_bytes=step.peak_memory_bytes,
        status=WeightStatus.PROJECTED,
    )


def _pulls(line: _Line, full_pull_bytes: Mapping[tuple[str, str], int]) -> Iterator[tuple[tuple[str, str], float]]:
    for steps, target in enumerate(line.coming, start=1):
        for before, base in enumerate((line.head, *line.coming)[:steps]):
            yield (base, target), grow(0.0, line.step_pull_bytes, steps - before)
        for cohort in line.cohorts:
            first = full_pull_bytes[cohort.base, line.head]
            yield (cohort.base, target), grow(first, line.step_pull_bytes, steps)


def _asking(line: _Line, period: int, share: float) -> Iterator[Cohort]:
    """Who asks in a period: those who did not update before, and those who did, from what they updated to."""
    target = line.coming[period - 1]
    total = sum(cohort.clients for cohort in line.cohorts)
    abilities: dict[tuple[int | None, int | None], float] = {}
    for cohort in line.cohorts:
        left = cohort.clients * (1 - share) ** period
        if left > _NEGLIGIBLE_FRACTION * total:
            yield replace(cohort, target=target, clients=left)
        able = cohort.max_hops, cohort.max_wire_bytes
        abilities[able] = abilities.get(able, 0.0) + cohort.clients
    for (max_hops, max_wire_bytes), clients in abilities.items():
        for before, base in enumerate((line.head, *line.coming)[:period]):
            left = clients * share * (1 - share) ** (period - 1 - before)
            if left > _NEGLIGIBLE_FRACTION * total:
                yield replace(
                    line.cohorts[0],
                    base=base,
                    target=target,
                    clients=left,
                    max_hops=max_hops,
                    max_wire_bytes=max_wire_bytes,
                )
