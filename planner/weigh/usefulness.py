"""Which proposed pairs some demand's route can use, and which are left where there are too many."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from planner.demand.cohorts import Cohort

Pair = tuple[str, str]


def find_useless(pairs: Collection[Pair], cohorts: Sequence[Cohort], order: Mapping[str, int]) -> set[Pair]:
    """Pairs on no way from any cohort's base to its target; a way ends where it first reaches the target.

    One bit per target: cohorts with the same target need no closure of their own, since what leads from any of their
    bases to the target serves one of them. `order` numbers commits such that most pairs lead to a higher number: then
    two passes over the pairs are enough; every pair that leads back may take another one.
    """
    bits = {target: 1 << number for number, target in enumerate(dict.fromkeys(cohort.target for cohort in cohorts))}
    ahead: dict[str, int] = {}
    for cohort in cohorts:
        ahead[cohort.base] = ahead.get(cohort.base, 0) | bits[cohort.target]
    behind = dict(bits)
    forwards = sorted(pairs, key=lambda pair: order[pair[0]])
    _spread(ahead, forwards, stops=bits)
    _spread(behind, [(t, b) for b, t in sorted(pairs, key=lambda pair: -order[pair[1]])], stops={})
    return {
        (base, target)
        for base, target in forwards
        if not ahead.get(base, 0) & ~bits.get(base, 0) & behind.get(target, 0)
    }


def _spread(reached: dict[str, int], pairs: Sequence[Pair], *, stops: Mapping[str, int]) -> None:
    """Add each commit's bits to those that pairs lead to, until nothing changes; bits do not leave where they stop."""
    has_changed = True
    while has_changed:
        has_changed = False
        for start, end in pairs:
            bits = reached.get(start, 0) & ~stops.get(start, 0)
            known = reached.get(end, 0)
            if bits & ~known:
                reached[end] = known | bits
                has_changed = True


def drop_least_useful(rules: Mapping[Pair, str], asked: Collection[Pair], *, most_candidates: int) -> dict[Pair, str]:
    """The pairs that exceed `most_candidates`, each with its rule.

    Pairs in `asked` stay, even where they alone are more. What they leave is dealt evenly among the rules; what a rule
    does not need goes to the others. A rule's pairs are taken in its own order, which begins with the most useful.
    """
    by_rule: dict[str, list[Pair]] = {}
    for pair, rule in rules.items():
        if pair not in asked:
            by_rule.setdefault(rule, []).append(pair)
    room = max(0, most_candidates - sum(1 for pair in rules if pair in asked))
    shares = _deal(room, {rule: len(pairs) for rule, pairs in by_rule.items()})
    return {pair: rule for rule, pairs in by_rule.items() for pair in pairs[shares[rule] :]}


def _deal(room: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """How much of `room` each gets: no more than wanted, and evenly where that is too much; ties by name."""
    shares: dict[str, int] = {}
    for left, name in zip(range(len(wanted), 0, -1), sorted(wanted, key=lambda one: (wanted[one], one)), strict=True):
        shares[name] = min(wanted[name], room // left)
        room -= shares[name]
    return shares


def take_turns(several: Iterable[Iterable[Pair]]) -> list[Pair]:
    """One pair of each in turn, so that the first places are shared where only they are kept.

    >>> take_turns([[("a", "b"), ("a", "c")], [("x", "y")]])
    [('a', 'b'), ('x', 'y'), ('a', 'c')]
    """
    waiting, taken = [iter(one) for one in several], []
    while waiting:
        still = []
        for one in waiting:
            pair = next(one, None)
            if pair is not None:
                taken.append(pair)
                still.append(one)
        waiting = still
    return taken
