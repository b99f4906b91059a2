"""Candidate rules on histories made by hand."""

from __future__ import annotations

import pytest

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.records import History
from planner.weigh.rules import RULES, propose_pairs
from tests.demand.histories import checksum_of, make_history, make_line


def _asking(target: str, **clients: float) -> list[Cohort]:
    """Cohorts that want `target`, by base; `new` stands for clients that have nothing yet."""
    names = {"new": ""}
    return [
        Cohort(base=checksum_of(names.get(base, base)), target=checksum_of(target), clients=count)
        for base, count in clients.items()
    ]


def _named(history: History, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(history.name_of(base), history.name_of(target)) for base, target in pairs]


def _by_rule(history: History, cohorts: list[Cohort], rule: str) -> list[tuple[str, str]]:
    """What one rule says, unpruned, by name."""
    return _named(history, list(dict.fromkeys(RULES[rule](history, cohorts))))


def _kept(history: History, cohorts: list[Cohort], *rules: str) -> list[tuple[str, str]]:
    return _named(history, [(p.base, p.target) for p in propose_pairs(history, cohorts, rules)[0]])


def _pruned(history: History, cohorts: list[Cohort], *rules: str) -> dict[tuple[str, str], str]:
    pruned = propose_pairs(history, cohorts, rules)[1]
    assert all(one.codec == "" for one in pruned)
    return {(history.name_of(one.base), history.name_of(one.target)): one.reason for one in pruned}


def test_direct_is_every_cohorts_base_to_its_target() -> None:
    """From empty too."""
    asking = _asking("v4", v1=1, new=2, v3=3)
    assert _by_rule(make_line(4), asking, "direct") == [("v1", "v4"), ("(empty)", "v4"), ("v3", "v4")]


def test_parent_is_the_chain_back_from_the_target() -> None:
    """Each release from the one before it; releases after the target have no part in it."""
    assert _by_rule(make_line(5), _asking("v4", v1=1), "parent") == [("v3", "v4"), ("v2", "v3"), ("v1", "v2")]


def test_window_is_the_last_five_releases_before_the_target() -> None:
    """Straight to the target, newest first, whether anybody is on them or not."""
    pairs = _by_rule(make_line(8), _asking("v8", v1=1), "window")
    assert pairs == [(f"v{number}", "v8") for number in (7, 6, 5, 4, 3)]


def test_powers_are_steps_of_one_two_four_before_every_release() -> None:
    """A skip list: from any release to the target in a logarithm of hops."""
    pairs = _by_rule(make_line(6), _asking("v6", v1=1), "powers")
    into = {n: [b for b, t in pairs if t == f"v{n}"] for n in range(1, 7)}
    assert into == {
        6: ["v5", "v4", "v2"],
        5: ["v4", "v3", "v1"],
        4: ["v3", "v2"],
        3: ["v2", "v1"],
        2: ["v1"],
        1: [],
    }


def _merged() -> History:
    """Bases b1 <- b2 and part releases p1, p2; m1 = b1 + p1, and its successor m2 = b2 + p2."""
    parents = {"b1": None, "p1": None, "m1": None, "b2": "b1", "p2": "p1", "m2": "m1"}
    return make_history(parents, layers={"m1": ["b1", "p1"], "m2": ["b2", "p2", "gone"]})


def test_bare_base_goes_through_the_layers_of_a_merged_target() -> None:
    """Any base to each layer, each layer to the target; a layer that the history lacks is left out."""
    pairs = _by_rule(_merged(), _asking("m2", m1=5, new=1), "bare-base")
    assert pairs == [
        ("m1", "b2"),
        ("b2", "m2"),
        ("m1", "p2"),
        ("p2", "m2"),
        ("(empty)", "b2"),
        ("(empty)", "p2"),
    ]


def test_bare_base_has_nothing_to_say_about_plain_commits() -> None:
    """No layers, no pairs."""
    assert _by_rule(make_line(3), _asking("v3", v1=1), "bare-base") == []


def test_client_on_a_layer_goes_straight_to_the_merged_commit() -> None:
    """The pair from the layer to itself is dropped with its reason; the other half is the delta."""
    asking = _asking("m2", b2=1)
    assert ("b2", "m2") in _kept(_merged(), asking, "bare-base")
    assert _pruned(_merged(), asking, "bare-base")["b2", "b2"] == "base and target are the same commit"


def test_big_demand_goes_through_the_three_bases_with_most_clients() -> None:
    """Every base, the empty one included, to each of the three; nobody goes 'through' having nothing."""
    asking = _asking("v6", v1=10, v2=1, v3=30, v4=20, v5=2, new=99)
    pairs = _by_rule(make_line(6), asking, "big-demand")
    assert list(dict.fromkeys(hub for _, hub in pairs)) == ["v3", "v4", "v1"]
    assert [base for base, hub in pairs if hub == "v3"] == ["v1", "v2", "v4", "v5", "(empty)"]


def test_big_demand_counts_a_base_once() -> None:
    """Two cohorts on one base (other abilities) are one hub with the sum of their clients."""
    cohorts = [*_asking("v6", v1=6, v2=5, v3=4), *_asking("v6", v2=2, v3=1, v4=3)]
    pairs = _by_rule(make_line(6), cohorts, "big-demand")
    assert list(dict.fromkeys(hub for _, hub in pairs)) == ["v2", "v1", "v3"]
    assert not [pair for pair in pairs if pair[0] == pair[1]]


def test_pair_of_several_rules_is_kept_once_under_the_first() -> None:
    """v2 -> v3 is direct, parent and window: it is direct."""
    proposals, _ = propose_pairs(make_line(3), _asking("v3", v2=1), ["direct", "parent", "window"])
    assert [(p.rule, p.base, p.target) for p in proposals] == [("direct", checksum_of("v2"), checksum_of("v3"))]


def test_pairs_that_no_route_can_use_are_pruned_with_the_reason() -> None:
    """Nobody is on v1 or v2: deltas from there lead no client anywhere."""
    history, asking = make_line(4), _asking("v4", v3=1)
    assert _kept(history, asking, "parent", "window") == [("v3", "v4")]
    assert _pruned(history, asking, "parent", "window") == dict.fromkeys(
        [("v2", "v3"), ("v1", "v2"), ("v2", "v4"), ("v1", "v4")], "no demand's route can use it"
    )


def test_pair_is_useful_only_to_one_cohort_at_a_time() -> None:
    """The way v2 -> v3 joins what one cohort reaches to what reaches another's target: nobody follows it."""
    asking = [*_asking("v2", v1=1), *_asking("v4", v3=1)]
    assert _kept(make_line(4), asking, "parent") == [("v1", "v2"), ("v3", "v4")]
    assert ("v2", "v3") in _kept(make_line(4), [*asking, *_asking("v4", v1=1)], "parent")


@pytest.mark.parametrize(
    ("cohort", "reason"),
    [
        (Cohort(base=checksum_of("v2"), target=checksum_of("v2"), clients=1), "base and target are the same commit"),
        (Cohort(base=checksum_of("v1"), target="", clients=1), "the target is the empty commit"),
        (Cohort(base=checksum_of("lost"), target=checksum_of("v2"), clients=1), "the server does not have the base"),
        (Cohort(base=checksum_of("v1"), target=checksum_of("lost"), clients=1), "the server does not have the target"),
    ],
)
def test_pair_that_cannot_be_a_delta_is_pruned_with_the_reason(cohort: Cohort, reason: str) -> None:
    """Before any codec is asked."""
    proposals, pruned = propose_pairs(make_line(2), [cohort], ["direct"])
    assert proposals == ()
    assert [one.reason for one in pruned] == [reason]


def test_proposed_and_pruned_are_all_that_was_found() -> None:
    """No pair vanishes without a word, with all rules at once."""
    asking = _asking("m2", m1=5, b1=2, new=1, p2=3)
    history = _merged()
    found = {pair for rule in RULES for pair in RULES[rule](history, asking)}
    proposals, pruned = propose_pairs(history, asking, RULES)
    told = [(one.base, one.target) for one in (*proposals, *pruned)]
    assert len(told) == len(set(told))
    assert set(told) == found


def test_unknown_rule_is_refused() -> None:
    """By its place in the scenario, with the names there are."""
    with pytest.raises(InputError, match=r"weigh\.rules\[1\]: is no candidate rule: got='magic', known=\['bare-base'"):
        propose_pairs(make_line(2), [], ["direct", "magic"])


@pytest.mark.parametrize("rule", RULES)
def test_no_cohorts_no_pairs(rule: str) -> None:
    """Nobody asks, nothing is proposed."""
    assert propose_pairs(make_line(5), [], [rule]) == ((), ())
