"""Rules over a line of eight releases: where clients must stop, what is kept away from, and who gets no deltas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.demand.cohorts import Cohort, Demand
from planner.demand.policy import Policy, apply_policy, version_key
from planner.errors import InputError
from planner.history.records import History
from tests.demand.histories import make_line


@pytest.fixture(scope="module")
def history() -> History:
    return make_line(8)


@pytest.fixture(scope="module")
def commits(history: History) -> list[str]:
    return list(history.commits)


def cohort(base: str, target: str, clients: float = 10.0, **changes: object) -> Cohort:
    return replace(Cohort(base=base, target=target, clients=clients, ref="main"), **changes)


def ask(*cohorts: Cohort) -> Demand:
    return Demand(cohorts=cohorts)


def test_clients_before_a_barrier_want_it_first_and_then_come_on(history: History, commits: list[str]) -> None:
    """Two barriers: who is before both goes from one to the other, and joins those who are there."""
    policy = Policy(history=history, barriers=(commits[5], commits[2]))
    demand = ask(
        cohort(commits[0], commits[7], 3.0), cohort(commits[2], commits[7], 4.0), cohort(commits[6], commits[7])
    )
    done = apply_policy(demand, policy, ["native"])
    ends = {(commits.index(one.base), commits.index(one.target)): one.clients for one in done.cohorts}
    assert ends == {(0, 2): 3.0, (2, 5): 7.0, (5, 7): 7.0, (6, 7): 10.0}
    assert len(done.notes) == 3
    assert all("first" in note for note in done.notes)


def test_a_barrier_is_no_matter_for_those_behind_it_on_it_or_on_another_line(
    history: History, commits: list[str]
) -> None:
    policy = Policy(history=history, barriers=(commits[3],))
    demand = ask(
        cohort(commits[3], commits[7]),
        cohort(commits[5], commits[7]),
        cohort(commits[0], commits[3]),
        cohort("", commits[7]),
        cohort(commits[7], commits[1]),
    )
    assert apply_policy(demand, policy, ["native"]) == demand


def test_no_delta_crosses_a_barrier_or_leads_to_a_forbidden_commit(history: History, commits: list[str]) -> None:
    policy = Policy(history=history, barriers=(commits[3],), forbidden=frozenset([commits[5]]))
    refused = {
        (b, t)
        for b, base in enumerate(commits)
        for t, target in enumerate(commits)
        if b < t and policy.refuse(base, target)
    }
    assert refused == {(b, t) for b in range(8) for t in range(b + 1, 8) if b < 3 < t or t == 5}
    assert "barrier" in policy.refuse(commits[0], commits[4])
    assert "no route may" in policy.refuse(commits[4], commits[5])


def test_waypoints_are_told_to_every_base_before_a_barrier(history: History, commits: list[str]) -> None:
    """Whether anybody is known to be on it or not."""
    policy = Policy(history=history, barriers=(commits[2], commits[4]))
    told = {(commits.index(base), ref): commits.index(stop) for base, ref, stop in policy.waypoints()}
    assert told == {(0, "stable"): 2, (1, "stable"): 2, (2, "stable"): 4, (3, "stable"): 4}


def test_who_wants_a_forbidden_commit_is_an_error(history: History, commits: list[str]) -> None:
    policy = Policy(history=history, forbidden=frozenset([commits[7]]))
    with pytest.raises(InputError, match=r"demand\[0\]: wants a commit that no route may lead to"):
        apply_policy(ask(cohort(commits[0], commits[7])), policy, ["native"])
    assert apply_policy(ask(cohort(commits[7], commits[6])), policy, ["native"]).cohorts[0].base == commits[7]


def test_old_bases_pull_in_full(history: History, commits: list[str]) -> None:
    """By a named commit or by days; releases are a day apart."""
    demand = ask(*(cohort(base, commits[7]) for base in commits[:7]))
    by_name = apply_policy(demand, Policy(history=history, oldest=commits[3]), ["native"])
    assert [one.max_hops for one in by_name.cohorts] == [0, 0, 0, None, None, None, None]
    by_age = apply_policy(demand, Policy(history=history, max_age_days=2.0), ["native"])
    assert [one.max_hops for one in by_age.cohorts] == [0, 0, 0, 0, 0, None, None]
    assert len(by_age.notes) == 5
    assert all("full pull by policy" in note for note in by_age.notes)


def test_age_counts_anew_from_a_barrier(history: History, commits: list[str]) -> None:
    """Whoever is on it is no longer old."""
    policy = Policy(history=history, barriers=(commits[6],), max_age_days=2.0)
    done = apply_policy(ask(cohort(commits[0], commits[7])), policy, ["native"])
    assert [one.max_hops for one in done.cohorts] == [0, None]


def test_versions_decide_which_codecs_clients_take(history: History, commits: list[str]) -> None:
    policy = Policy(history=history, minimum_version={"native": "2020.8", "composed": "2022.10"})
    demand = ask(*(cohort(commits[0], commits[7], client_version=one) for one in (None, "2019.1", "2022.7", "2022.10")))
    done = apply_policy(demand, policy, ["native", "composed"])
    assert [(one.codecs, one.max_hops) for one in done.cohorts] == [
        (None, None),
        (None, 0),
        (("native",), None),
        (None, None),
    ]


@pytest.mark.parametrize(("older", "newer"), [("2022.7", "2022.10"), ("", "0"), ("1.9", "2"), ("v3.1", "v3.1.1")])
def test_versions_are_compared_by_their_numbers(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)
