"""Candidate rules on histories made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.records import History, Tree
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


def test_window_is_every_release_from_the_last_five_before_it() -> None:
    """Whether anybody is on them or not, the nearest first; releases after the target have no part in it."""
    pairs = _by_rule(make_line(9), _asking("v8", v1=1), "window")
    assert pairs[:8] == [(f"v{number - 1}", f"v{number}") for number in range(8, 1, -1)] + [("v6", "v8")]
    assert set(pairs) == {(f"v{a}", f"v{b}") for b in range(1, 9) for a in range(max(1, b - 5), b)}


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
        ("b2", "m2"),
        ("p2", "m2"),
        ("m1", "b2"),
        ("m1", "p2"),
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


def test_big_demand_goes_through_the_bases_with_most_clients() -> None:
    """Hub by hub: it to the target, then every older base to it; nobody goes 'through' having nothing."""
    asking = _asking("v6", v1=10, v2=1, v3=30, v4=20, v5=2, new=99)
    pairs = _by_rule(make_line(6), asking, "big-demand")
    assert [base for base, hub in pairs if hub == "v6"] == ["v3", "v4", "v1", "v5", "v2"]
    assert [base for base, hub in pairs if hub == "v3"] == ["v1", "v2", "(empty)"]
    assert pairs[:4] == [("v3", "v6"), ("v1", "v3"), ("v2", "v3"), ("(empty)", "v3")]


def test_big_demand_has_ten_hubs() -> None:
    """The newest of equals; bases with fewer clients are none."""
    pairs = _by_rule(make_line(14), _asking("v14", **{f"v{n}": 2 if n == 3 else 1 for n in range(1, 14)}), "big-demand")
    assert [base for base, hub in pairs if hub == "v14"] == ["v3", *(f"v{n}" for n in range(13, 4, -1))]


def test_relays_lead_on_from_releases_that_nobody_is_on() -> None:
    """From the five after each base to the target, then to each of the biggest bases; never back."""
    pairs = _by_rule(make_line(12), _asking("v12", v2=1, v8=9, new=4), "relays")
    relays = [3, 4, 5, 6, 7, 9, 10, 11]
    assert set(pairs[: len(relays)]) == {(f"v{n}", "v12") for n in relays}
    assert set(pairs[len(relays) :]) == {(f"v{n}", "v8") for n in (3, 4, 5, 6, 7)}


def test_big_pairs_join_the_biggest_bases_older_to_newer() -> None:
    """The biggest two first, then the third with both, and so on."""
    asking = _asking("v6", v4=9, v2=8, v5=7, v1=1, new=50)
    pairs = _by_rule(make_line(6), asking, "big-pairs")
    assert pairs[:3] == [("v2", "v4"), ("v4", "v5"), ("v2", "v5")]
    assert set(pairs[3:]) == {("v1", "v2"), ("v1", "v4"), ("v1", "v5")}


def test_targets_take_turns() -> None:
    """Where only the first pairs are kept, those of no target are all of them."""
    asking = [*_asking("v5", v1=9, v2=8, v3=7), *_asking("v6", v1=1, v4=2)]
    pairs = _by_rule(make_line(6), asking, "big-demand")
    assert pairs[:2] == [("v1", "v5"), ("v4", "v6")]


def test_big_demand_counts_a_base_once() -> None:
    """Two cohorts on one base (other abilities) are one hub with the sum of their clients."""
    cohorts = [*_asking("v6", v1=6, v2=5, v3=4), *_asking("v6", v2=2, v3=1, v4=3)]
    pairs = _by_rule(make_line(6), cohorts, "big-demand")
    assert [base for base, hub in pairs if hub == "v6"] == ["v2", "v1", "v3", "v4"]
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
        [("v2", "v3"), ("v1", "v2"), ("v1", "v3"), ("v2", "v4"), ("v1", "v4")], "no demand's route can use it"
    )


def test_pair_is_useful_only_to_one_cohort_at_a_time() -> None:
    """The way v2 -> v3 joins what one cohort reaches to what reaches another's target: nobody follows it."""
    asking = [*_asking("v2", v1=1), *_asking("v4", v3=1)]
    assert _kept(make_line(4), asking, "parent") == [("v3", "v4"), ("v1", "v2")]
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


def test_too_many_pairs_lose_the_last_of_each_rule() -> None:
    """With the reason; a rule with few pairs keeps them all, and so do the demands' own pairs."""
    history, asking = make_line(30), _asking("v30", v1=9, v5=1)
    proposals, pruned = propose_pairs(history, asking, ["direct", "powers", "parent", "window"], most_candidates=90)
    assert len(proposals) == 90
    reasons = {one.reason for one in pruned}
    assert reasons == {f"more than 90 candidates: among the last of the rule {rule}" for rule in ("powers", "window")}
    dropped = {(one.base, one.target) for one in pruned}
    assert not dropped & {(cohort.base, cohort.target) for cohort in asking}
    assert not dropped & set(RULES["parent"](history, asking))


@pytest.mark.parametrize("most_candidates", range(1, 40, 3))
def test_direct_pair_of_a_cohort_is_never_dropped(most_candidates: int) -> None:
    """Whichever rule proposed it, and even where these pairs alone are too many; nothing vanishes without a word."""
    history, asking = make_line(12), _asking("v12", v1=3, v4=2, v7=1, v11=5)
    proposals, pruned = propose_pairs(history, asking, ["big-demand", "window"], most_candidates=most_candidates)
    kept = {(one.base, one.target) for one in proposals}
    assert {(cohort.base, cohort.target) for cohort in asking} <= kept
    assert len(kept) <= max(most_candidates, len(asking))
    assert kept | {(one.base, one.target) for one in pruned} == set(RULES["window"](history, asking)) | set(
        RULES["big-demand"](history, asking)
    )


def test_what_is_kept_of_too_many_leads_somewhere() -> None:
    """A pair that only led on to dropped ones is dropped too, as one that no route can use."""
    history, asking = make_line(40), _asking("v40", v1=1)
    proposals, pruned = propose_pairs(history, asking, ["direct", "parent"], most_candidates=10)
    assert [one.rule for one in proposals] == ["direct"]
    assert {one.reason for one in pruned if "route" in one.reason} == {"no demand's route can use it"}
    assert len(pruned) == 39


def _built(versions: dict[str, str]) -> History:
    """A line of commits whose ten files are at the versions given as letters."""
    line = make_line(len(versions))
    trees = {
        name: Tree(files={f"f{n}": f"{n}{v}" for n, v in enumerate(row)}, dirs={}) for name, row in versions.items()
    }
    commits = {
        checksum: replace(commit, tree=name)
        for (checksum, commit), name in zip(line.commits.items(), trees, strict=True)
    }
    return replace(line, commits=commits, trees=trees)


def test_rebuilds_gather_bases_before_them() -> None:
    """v4 changed all: v3 and v4 are joined and lead to the target, and every older base leads to v3."""
    rows = ["aaaaaaaaaa", "baaaaaaaaa", "bbaaaaaaaa", "xxxxxxxxxx", "yxxxxxxxxx", "yyxxxxxxxx"]
    history = _built({f"t{number}": row for number, row in enumerate(rows)})
    pairs = _by_rule(history, _asking("v6", v1=1, v2=1, v5=1), "rebuilds")
    assert pairs == [
        ("v3", "v4"),
        ("v4", "v6"),
        ("v3", "v6"),
        ("v1", "v3"),
        ("v2", "v3"),
    ]


def test_without_rebuilds_nothing_is_proposed_for_them() -> None:
    """Each release changes as much as the next."""
    history = _built({f"t{number}": row for number, row in enumerate(["aaaa", "bbbb", "cccc", "dddd"])})
    assert _by_rule(history, _asking("v4", v1=1), "rebuilds") == []
