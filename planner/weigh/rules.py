"""Named rules that propose which pairs of commits deserve a delta.

Each rule looks at the history and the demand only, never at weights; what it proposes may be pruned later,
with a reason. A pair that several rules propose is kept once, under the first rule's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.records import EMPTY, History
from planner.weigh.candidates import Proposal, Pruned

Pairs = Iterator[tuple[str, str]]

_WINDOW_RELEASES = 5
_BIGGEST_BASES = 3


def _direct(_history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Every cohort's base to its target."""
    yield from ((cohort.base, cohort.target) for cohort in cohorts)


def _parent(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Each release from the one before it, back from every target."""
    for target in _targets(cohorts):
        child = target
        for parent in history.ancestors(target):
            yield parent, child
            child = parent


def _window(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """The last releases before every target, straight to it."""
    for target in _targets(cohorts):
        yield from ((base, target) for base in islice(history.ancestors(target), _WINDOW_RELEASES))


def _powers(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Releases 1, 2, 4, 8, ... before every release of every target's line: skip lists."""
    for target in _targets(cohorts):
        line = [target, *history.ancestors(target)]
        for newer, commit in enumerate(line):
            step = 1
            while newer + step < len(line):
                yield line[newer + step], commit
                step *= 2


def _bare_base(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Through the commits that a merged target is composed of: any base to the layer, the layer to the target."""
    for cohort in cohorts:
        commit = history.commits.get(cohort.target)
        for layer in commit.layers if commit else ():
            if layer in history.commits:
                yield cohort.base, layer
                yield layer, cohort.target


def _big_demand(_history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Through the bases that most clients are on: every base to each of them."""
    for target in _targets(cohorts):
        clients: dict[str, float] = {}
        for cohort in cohorts:
            if cohort.target == target and cohort.base not in (target, EMPTY):
                clients[cohort.base] = clients.get(cohort.base, 0.0) + cohort.clients
        hubs = sorted(clients, key=lambda base: (-clients[base], base))[:_BIGGEST_BASES]
        asking = dict.fromkeys(cohort.base for cohort in cohorts if cohort.target == target)
        yield from ((base, hub) for hub in hubs for base in asking if base not in (hub, target))


def _targets(cohorts: Sequence[Cohort]) -> list[str]:
    return list(dict.fromkeys(cohort.target for cohort in cohorts))


RULES: Mapping[str, Callable[[History, Sequence[Cohort]], Pairs]] = {
    "direct": _direct,
    "parent": _parent,
    "window": _window,
    "powers": _powers,
    "bare-base": _bare_base,
    "big-demand": _big_demand,
}


def propose_pairs(
    history: History, cohorts: Sequence[Cohort], rules: Iterable[str]
) -> tuple[tuple[Proposal, ...], tuple[Pruned, ...]]:
    """Pairs by the named rules, in the rules' order, without repeats; and those pruned at once, with the reason.

    Raises:
        InputError: a rule has no such name.
    """
    found: dict[tuple[str, str], str] = {}
    for number, rule in enumerate(rules):
        if rule not in RULES:
            raise InputError("is no candidate rule", path=f"weigh.rules[{number}]", got=rule, known=sorted(RULES))
        for pair in RULES[rule](history, cohorts):
            found.setdefault(pair, rule)
    pruned = {pair: reason for pair in found if (reason := _fault(history, *pair))}
    useless = _useless(set(found) - set(pruned), cohorts)
    pruned.update((pair, "no demand's route can use it") for pair in useless)
    return (
        tuple(Proposal(base=b, target=t, rule=rule) for (b, t), rule in found.items() if (b, t) not in pruned),
        tuple(Pruned(base=b, target=t, codec="", reason=pruned[b, t]) for b, t in found if (b, t) in pruned),
    )


def _fault(history: History, base: str, target: str) -> str:
    """Why a pair cannot be a delta, or nothing."""
    if base == target:
        return "base and target are the same commit"
    if target == EMPTY:
        return "the target is the empty commit"
    if base != EMPTY and base not in history.commits:
        return "the server does not have the base"
    if target not in history.commits:
        return "the server does not have the target"
    return ""


def _useless(pairs: set[tuple[str, str]], cohorts: Sequence[Cohort]) -> set[tuple[str, str]]:
    """Pairs on no way from any cohort's base to its target."""
    ahead, behind = _neighbours(pairs), _neighbours({(target, base) for base, target in pairs})
    useful: set[tuple[str, str]] = set()
    for base, target in {(cohort.base, cohort.target) for cohort in cohorts}:
        reached, reaching = _closure(base, ahead), _closure(target, behind)
        useful.update((b, t) for b, t in pairs if b in reached and t in reaching)
    return pairs - useful


def _neighbours(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for base, target in pairs:
        found.setdefault(base, []).append(target)
    return found


def _closure(start: str, neighbours: Mapping[str, list[str]]) -> set[str]:
    reached, stack = {start}, [start]
    while stack:
        for commit in neighbours.get(stack.pop(), ()):
            if commit not in reached:
                reached.add(commit)
                stack.append(commit)
    return reached
