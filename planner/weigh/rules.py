"""Named rules that propose which pairs of commits deserve a delta.

Each rule looks at the history and the demand only, never at weights; what it proposes may be pruned later,
with a reason. A pair that several rules propose is kept once, under the first rule's name. A rule begins with the pairs
that matter most, since where there are too many its last ones are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.records import EMPTY, History
from planner.weigh.candidates import Proposal, Pruned
from planner.weigh.rebuilds import find_rebuilds
from planner.weigh.usefulness import drop_least_useful, find_useless, take_turns

Pairs = Iterator[tuple[str, str]]

MOST_CANDIDATES = 20_000
"""Pairs kept by default: each has to be weighed, and the optimizer takes seconds for so many, minutes for 500,000."""

# On streams of 1,000 commits these keep the loss against all pairs below 0.5 % and stay below MOST_CANDIDATES; see
# docs/decisions/0010-candidate-rules.md before changing one.
_WINDOW_RELEASES = 5
_HUBS = 10
_BIG_BASES = 70
_MOST_REBUILDS = 8


def _direct(_history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Every cohort's base to its target."""
    yield from ((cohort.base, cohort.target) for cohort in cohorts)


def _parent(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Each release from the one before it, back from every target."""
    for line in _lines(history, cohorts):
        yield from _steps(line, 1)


def _window(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Each release from the last ones before it: deltas between neighbours are small, and bring everybody to a hub."""
    lines = _lines(history, cohorts)
    for step in range(1, _WINDOW_RELEASES + 1):
        yield from take_turns(_steps(line, step) for line in lines)


def _powers(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Releases 1, 2, 4, 8, ... before every release of every target's line: skip lists, few hops over any distance."""
    lines = _lines(history, cohorts)
    step = 1
    while any(step < len(line) for line in lines):
        yield from take_turns(_steps(line, step) for line in lines)
        step *= 2


def _bare_base(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Through the commits that a merged target is composed of: any base to the layer, the layer to the target."""
    layers = {
        target: [layer for layer in history.commits[target].layers if layer in history.commits]
        for target in dict.fromkeys(cohort.target for cohort in cohorts)
        if target in history.commits
    }
    yield from ((layer, target) for target, below in layers.items() for layer in below)
    for cohort in sorted(cohorts, key=lambda cohort: -cohort.clients):
        yield from ((cohort.base, layer) for layer in layers.get(cohort.target, ()))


def _big_demand(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Through the bases that most clients are on, whose delta to the target pays anyway: every older base to each."""
    order = _order(history)
    yield from take_turns(
        _through(target, _biggest(clients, order)[:_HUBS], [base for base in clients if base in order], order)
        for target, clients in _clients(cohorts).items()
    )


def _through(target: str, hubs: Sequence[str], bases: Sequence[str], order: Mapping[str, int]) -> Pairs:
    """Hub by hub: the hub to the target, then every base that is older than the hub to it."""
    for hub in hubs:
        yield hub, target
        yield from ((base, hub) for base in bases if order[base] < order[hub])


def _relays(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """From releases that nobody is on, but that the window leads clients to: on to the target and to the biggest bases.

    A base's own delta over a long distance may be larger than that of a neighbour by more than the step to it.
    """
    order = _order(history)
    place = {commit: (line, number) for line in _lines(history, cohorts) for number, commit in enumerate(line)}

    def of_target(target: str, clients: Mapping[str, float]) -> Pairs:
        relays: dict[str, None] = {}
        for base in clients:
            line, number = place.get(base, ([], 0))
            relays.update(dict.fromkeys(line[max(0, number - _WINDOW_RELEASES) : number]))
        for hub in (target, *_biggest(clients, order)[:_HUBS]):
            yield from ((one, hub) for one in relays if one not in clients and order[one] < order.get(hub, 0))

    yield from take_turns(of_target(*asked) for asked in _clients(cohorts).items())


def _big_pairs(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Among the bases that most clients are on: where building is dear only they get deltas, in any chains."""
    order = _order(history)
    yield from take_turns(
        _among(_biggest(clients, order)[:_BIG_BASES], order) for clients in _clients(cohorts).values()
    )


def _among(commits: Sequence[str], order: Mapping[str, int]) -> Pairs:
    """Every older to every newer of the commits, pairs of the first ones first."""
    for place, commit in enumerate(commits):
        for earlier in commits[:place]:
            yield (earlier, commit) if order[earlier] < order[commit] else (commit, earlier)


def _rebuilds(history: History, cohorts: Sequence[Cohort]) -> Pairs:
    """Over a rebuild once for all: a delta over it is about as large from any base, so bases gather before it.

    The releases before and after each rebuild among each other and to every target; then every base to the last release
    before the next rebuild.
    """
    yield from take_turns(_over_rebuilds(history, line, cohorts) for line in _lines(history, cohorts))


def _over_rebuilds(history: History, line: Sequence[str], cohorts: Sequence[Cohort]) -> Pairs:
    rebuilds = find_rebuilds(history, line, most=_MOST_REBUILDS)
    place = {commit: number for number, commit in enumerate(line)}
    sides = list(dict.fromkeys(line[number] for rebuild in rebuilds for number in (rebuild, rebuild + 1)))
    yield from ((older, newer) for newer, older in combinations(sides, 2))
    for target in dict.fromkeys(cohort.target for cohort in cohorts if cohort.target in place):
        yield from ((side, target) for side in sides if place[side] > place[target])
    for base in dict.fromkeys(cohort.base for cohort in cohorts if cohort.base in place):
        lasts = [rebuild + 1 for rebuild in rebuilds if rebuild + 1 < place[base]]
        yield from ((base, line[last]) for last in lasts[-1:])


def _lines(history: History, cohorts: Sequence[Cohort]) -> list[list[str]]:
    """Each target with its ancestors, nearest first; a target that is an ancestor of another has no line of its own."""
    order = _order(history)
    lines: list[list[str]] = []
    seen: set[str] = set()
    for target in sorted({cohort.target for cohort in cohorts} & history.commits.keys(), key=lambda t: -order[t]):
        if target not in seen:
            lines.append([target, *history.ancestors(target)])
            seen.update(lines[-1])
    return lines


def _steps(line: Sequence[str], step: int) -> Pairs:
    """Every commit of a line from the one `step` before it, the newest first."""
    yield from zip(line[step:], line, strict=False)


def _order(history: History) -> dict[str, int]:
    """The number of each commit from the oldest on; the empty commit is before all."""
    return {commit: number for number, commit in enumerate((EMPTY, *history.commits))}


def _clients(cohorts: Sequence[Cohort]) -> dict[str, dict[str, float]]:
    """Clients by target, then base: several cohorts may be on one base."""
    found: dict[str, dict[str, float]] = {}
    for cohort in cohorts:
        of_target = found.setdefault(cohort.target, {})
        of_target[cohort.base] = of_target.get(cohort.base, 0.0) + cohort.clients
    return {target: {b: n for b, n in clients.items() if b != target} for target, clients in found.items()}


def _biggest(clients: Mapping[str, float], order: Mapping[str, int]) -> list[str]:
    """Bases by clients, most first, the newest of equals; clients that have nothing are on no base."""
    known = [base for base in clients if base != EMPTY and base in order]
    return sorted(known, key=lambda base: (-clients[base], -order[base]))


RULES: Mapping[str, Callable[[History, Sequence[Cohort]], Pairs]] = {
    "direct": _direct,
    "parent": _parent,
    "window": _window,
    "powers": _powers,
    "bare-base": _bare_base,
    "big-demand": _big_demand,
    "relays": _relays,
    "big-pairs": _big_pairs,
    "rebuilds": _rebuilds,
}


def propose_pairs(
    history: History, cohorts: Sequence[Cohort], rules: Iterable[str], *, most_candidates: int = MOST_CANDIDATES
) -> tuple[tuple[Proposal, ...], tuple[Pruned, ...]]:
    """Pairs by the named rules, in the rules' order, without repeats; and those pruned at once, with the reason.

    Above `most_candidates` each rule loses its last pairs, but no cohort the pair of its own base and target.

    Raises:
        InputError: a rule has no such name.
    """
    found = _find_pairs(history, cohorts, rules)
    pruned = {pair: reason for pair in found if (reason := _fault(history, *pair))}
    order = _order(history)

    def prune_useless() -> None:
        useless = find_useless(found.keys() - pruned.keys(), cohorts, order)
        pruned.update((pair, "no demand's route can use it") for pair in useless)

    prune_useless()
    if len(found) - len(pruned) > most_candidates:
        left = {pair: rule for pair, rule in found.items() if pair not in pruned}
        asked = {(cohort.base, cohort.target) for cohort in cohorts}
        for pair, rule in drop_least_useful(left, asked, most_candidates=most_candidates).items():
            pruned[pair] = f"more than {most_candidates} candidates: among the last of the rule {rule}"
        prune_useless()  # some led on to what was dropped
    return (
        tuple(Proposal(base=b, target=t, rule=rule) for (b, t), rule in found.items() if (b, t) not in pruned),
        tuple(Pruned(base=b, target=t, codec="", reason=pruned[b, t]) for b, t in found if (b, t) in pruned),
    )


def _find_pairs(history: History, cohorts: Sequence[Cohort], rules: Iterable[str]) -> dict[tuple[str, str], str]:
    """Every proposed pair with the first rule that proposes it, in the rules' order."""
    found: dict[tuple[str, str], str] = {}
    for number, rule in enumerate(rules):
        if rule not in RULES:
            raise InputError("is no candidate rule", path=f"weigh.rules[{number}]", got=rule, known=sorted(RULES))
        for pair in RULES[rule](history, cohorts):
            found.setdefault(pair, rule)
    return found


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
