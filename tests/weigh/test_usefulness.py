"""Which pairs routes can use, and which are left of too many."""

from __future__ import annotations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from planner.demand.cohorts import Cohort
from planner.weigh.usefulness import drop_least_useful, find_useless, take_turns

_commits = st.sampled_from("abcdefg")
_pairs = st.sets(st.tuples(_commits, _commits).filter(lambda pair: pair[0] != pair[1]), max_size=20)
_ORDER = {commit: number for number, commit in enumerate("abcdefg")}


@given(_pairs, st.lists(st.tuples(_commits, _commits), max_size=6))
def test_useless_are_those_on_no_walk_of_any_cohort(pairs: set[tuple[str, str]], asked: list[tuple[str, str]]) -> None:
    """Each cohort on its own, over graphs with ways back: a walk ends where it first reaches the target."""
    useful = set()
    for base, target in asked:
        graph = nx.DiGraph(pair for pair in pairs if pair[0] != target)
        graph.add_nodes_from("abcdefg")
        reached = nx.descendants(graph, base) | {base}
        reaching = nx.ancestors(graph, target) | {target}
        useful |= {(b, t) for b, t in graph.edges if b in reached and t in reaching}
    cohorts = [Cohort(base=base, target=target, clients=1) for base, target in asked]
    assert find_useless(pairs, cohorts, _ORDER) == pairs - useful


_ruled = st.dictionaries(st.tuples(_commits, _commits), st.sampled_from(["near", "far", "wide"]), max_size=30)


@given(_ruled, _pairs, st.integers(0, 30))
def test_what_is_left_of_too_many(rules: dict[tuple[str, str], str], asked: set[tuple[str, str]], most: int) -> None:
    """Never an asked pair; no more than allowed, and no fewer than fit; of each rule the first ones."""
    dropped = drop_least_useful(rules, asked, most_candidates=most)
    kept = [pair for pair in rules if pair not in dropped]
    assert not dropped.keys() & asked
    assert len(kept) == min(len(rules), max(most, len(rules.keys() & asked)))
    for rule in set(rules.values()):
        own = [pair for pair in rules if rules[pair] == rule and pair not in asked]
        left = [pair for pair in own if pair not in dropped]
        assert own[: len(left)] == left
        assert [dropped[pair] for pair in own[len(left) :]] == [rule] * (len(own) - len(left))


def test_rules_share_evenly_what_one_of_them_does_not_need() -> None:
    """Ten places: two for the small rule, four for each of the others."""
    sizes = {"small": 2, "large": 9, "larger": 20}
    rules = {(rule, str(number)): rule for rule, size in sizes.items() for number in range(size)}
    dropped = drop_least_useful(rules, (), most_candidates=10)
    left = {rule: sum(1 for pair in rules if pair[0] == rule and pair not in dropped) for rule in sizes}
    assert left == {"small": 2, "large": 4, "larger": 4}


def test_turns_go_on_without_those_that_have_no_more() -> None:
    """Nothing is lost."""
    assert take_turns([[], [("a", "b")], [("c", "d"), ("e", "f")]]) == [("a", "b"), ("c", "d"), ("e", "f")]
