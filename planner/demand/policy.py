"""What routes may and may not do: mandatory stops, commits to keep away from, and who gets deltas at all.

barrier         a commit that clients on older releases of its line must deploy before anything newer: whoever is
                before it wants it first, and comes on from there another day
forbidden       a commit that no route leads to or through; who is on it may leave
oldest, age     clients on a base that is too old pull in full
versions        clients whose version is too old for a codec take none of its deltas
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from planner.demand.cohorts import Cohort, Demand
from planner.errors import InputError, raise_collected
from planner.history.records import EMPTY, History

_S_PER_DAY = 86_400.0
_MOST_NOTES = 20


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules over one history; commits are checksums, versions are of clients, by codec."""

    history: History
    barriers: tuple[str, ...] = ()
    forbidden: frozenset[str] = frozenset()
    oldest: str | None = None
    max_age_days: float | None = None
    minimum_version: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _sides(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        """For each barrier, the older and the newer commits of its line; barriers in the history's order."""
        found = {}
        order = {commit: number for number, commit in enumerate(self.history.commits)}
        for barrier in sorted(self.barriers, key=order.__getitem__):
            newer = {barrier}
            for commit in self.history.commits.values():
                if commit.parent in newer:
                    newer.add(commit.checksum)
            found[barrier] = frozenset(self.history.ancestors(barrier)), frozenset(newer - {barrier})
        return found

    def next_stop(self, base: str, target: str) -> str:
        """The first barrier between two commits, or the target where there is none."""
        between = [one for one, (older, newer) in self._sides.items() if base in older and target in newer]
        # Of barriers in a row the first one is older than all others.
        return next((one for one in between if not any(other in self._sides[one][0] for other in between)), target)

    def refuse(self, base: str, target: str) -> str:
        """Why no delta of these commits may be on a route; empty where one may."""
        if target in self.forbidden:
            return f"leads to {self.history.name_of(target)}, which no route may"
        stop = self.next_stop(base, target)
        return "" if stop == target else f"crosses the barrier {self.history.name_of(stop)}"

    def waypoints(self) -> Iterator[tuple[str, str, str]]:
        """Each base before a barrier with a ref whose head is behind it: base, ref, and the commit to deploy first."""
        for ref, head in self.history.refs.items():
            for older, newer in self._sides.values():
                if head in newer:
                    yield from ((base, ref, self.next_stop(base, head)) for base in older)

    def age_fault(self, cohort: Cohort) -> str:
        """Why a cohort's base is too old for deltas; empty where it is not."""
        commits = self.history.commits
        if cohort.base == EMPTY or cohort.base not in commits:
            return ""
        base_at = commits[cohort.base].committed_at
        if self.oldest is not None and base_at < commits[self.oldest].committed_at:
            return f"older than {self.history.name_of(self.oldest)}"
        age_days = (commits[cohort.target].committed_at - base_at).total_seconds() / _S_PER_DAY
        if self.max_age_days is not None and age_days > self.max_age_days:
            return f"{age_days:.0f} days older than what they want"
        return ""

    def codecs_for(self, cohort: Cohort, codecs: Collection[str]) -> tuple[str, ...] | None:
        """The codecs that a cohort's clients can apply; None where these are all, or their version is not known."""
        if cohort.client_version is None:
            return None
        version = version_key(cohort.client_version)
        able = tuple(sorted(one for one in codecs if version >= version_key(self.minimum_version.get(one, ""))))
        return None if len(able) == len(set(codecs)) else able


def version_key(version: str) -> tuple[int, ...]:
    """A version's numbers, for comparing; what is no number is passed over.

    >>> version_key("2022.7") < version_key("2022.10"), version_key("v1.2-3"), version_key("")
    (True, (1, 2, 3), ())
    """
    return tuple(int(word) for word in re.findall(r"\d{1,9}", version))


def apply_policy(demand: Demand, policy: Policy, codecs: Collection[str]) -> Demand:
    """The demand as routes may serve it, with a note for every cohort that is served in another way than asked.

    Cohorts before a barrier want the barrier, and their clients are added to those that come on from there.

    Raises:
        InputError: somebody wants a forbidden commit.
    """
    faults = [
        InputError("wants a commit that no route may lead to", path=f"demand[{number}]", got=name)
        for number, cohort in enumerate(demand.cohorts)
        if cohort.target in policy.forbidden
        for name in [policy.history.name_of(cohort.target)]
    ]
    raise_collected(faults)
    notes: list[str] = []
    staged = _merge([stage for cohort in demand.cohorts for stage in _stages(cohort, policy, notes)])
    able = _merge([_limit(cohort, policy, codecs, notes) for cohort in staged])
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"and {len(notes) - _MOST_NOTES} more cohorts by policy"]
    return replace(demand, cohorts=able, notes=(*demand.notes, *notes))


def _limit(cohort: Cohort, policy: Policy, codecs: Collection[str], notes: list[str]) -> Cohort:
    """A cohort that takes no deltas, or only some, if that is the policy."""
    fault = policy.age_fault(cohort)
    able = policy.codecs_for(cohort, codecs)
    if not fault and able == ():
        fault = f"version {cohort.client_version} is too old for every codec"
    if fault:
        notes.append(f"{_name(cohort, policy.history)}: full pull by policy: {fault}")
        return replace(cohort, max_hops=0)
    return cohort if able is None else replace(cohort, codecs=able, layers=False)


def _stages(cohort: Cohort, policy: Policy, notes: list[str]) -> Iterator[Cohort]:
    """A cohort from barrier to barrier."""
    base = cohort.base
    while (stop := policy.next_stop(base, cohort.target)) != cohort.target:
        notes.append(f"{_name(replace(cohort, base=base), policy.history)}: by {policy.history.name_of(stop)} first")
        yield replace(cohort, base=base, target=stop)
        base = stop
    yield replace(cohort, base=base)


def _merge(cohorts: Sequence[Cohort]) -> tuple[Cohort, ...]:
    """Cohorts that differ in their clients only are one."""
    clients: dict[Cohort, float] = {}
    for cohort in cohorts:
        key = replace(cohort, clients=0.0)
        clients[key] = clients.get(key, 0.0) + cohort.clients
    return tuple(replace(cohort, clients=total) for cohort, total in clients.items())


def _name(cohort: Cohort, history: History) -> str:
    return f"{history.name_of(cohort.base)} -> {cohort.ref or history.name_of(cohort.target)}"
