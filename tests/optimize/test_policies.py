"""What peers would do, checked by hand on lines of releases, and laws that hold on any graph."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest

from planner.optimize.policies import (
    POLICIES,
    Choice,
    all_to_head,
    consecutive,
    first_plus_last_n,
    flat_manager,
    flatpak,
    fleet_distinct,
    follow_policy,
    last_n,
    nix2005,
    paired_star,
    skip_list,
    top_k,
)
from planner.optimize.problem import Problem
from planner.optimize.solve import solve
from tests.optimize.tiny import random_problem, two_step

BASES = [0, 1, 2, 3, 0, 1, 2, 3, 4]
TARGETS = [4, 4, 4, 4, 1, 2, 3, 4, 3]
WIRE_BYTES = [90, 30, 20, 10, 70, 10, 10, 11, 10]


def _line(**changes: object) -> Problem:
    """Empty, v1, v2, v3, v4: candidates 0-3 to v4 from each, 4-6 consecutive, 7 a larger v3 -> v4, 8 a downgrade."""
    graph: dict[str, object] = {
        "commits": ["", "v1", "v2", "v3", "v4"],
        "candidates": {"base": BASES, "target": TARGETS, "wire_bytes": WIRE_BYTES},
        "demands": {"base": [0, 1, 3], "target": [4, 4, 4], "clients": [1, 2, 3], "full_pull_bytes": [100, 100, 100]},
    }
    return two_step(**{**graph, **changes})


def _with(wire_bytes: dict[int, float] | None = None, built: tuple[int, ...] = ()) -> Problem:
    """The line with some candidates of another size, or built."""
    sizes = [float((wire_bytes or {}).get(index, size)) for index, size in enumerate(WIRE_BYTES)]
    is_built = [index in built for index in range(len(sizes))]
    return _line(candidates={"base": BASES, "target": TARGETS, "wire_bytes": sizes, "built": is_built})


def _demands(base: list[int], clients: list[float], target: int = 4, **columns: object) -> dict[str, object]:
    """Demands of one target; the columns that are not given have their defaults."""
    full = [100] * len(base)
    return {"base": base, "target": [target] * len(base), "clients": clients, "full_pull_bytes": full, **columns}


def _chain(commits: int, wire_bytes: float, full_pull_bytes: float) -> Problem:
    """Releases 0, 1, ... with consecutive deltas of one size, and one client of each old release."""
    old = list(range(commits - 1))
    return two_step(
        commits=[f"v{index}" for index in range(commits)],
        candidates={"base": old, "target": [index + 1 for index in old], "wire_bytes": [wire_bytes] * len(old)},
        demands=_demands(old, [1] * len(old), commits - 1, full_pull_bytes=[full_pull_bytes] * len(old)),
    )


def _all_pairs(lines: list[list[int]], commits: int) -> Problem:
    """Every pair of an older and a newer release of each line, which share nothing; the bytes are the distance."""
    pairs = [pair for line in lines for pair in combinations(line, 2)]
    last = max(line[-1] for line in lines)
    return two_step(
        commits=[f"v{index}" for index in range(commits)],
        candidates={
            "base": [base for base, _ in pairs],
            "target": [target for _, target in pairs],
            "wire_bytes": [target - base for base, target in pairs],
        },
        demands=_demands([lines[-1][0]], [1], last),
    )


def _chosen(choice: Choice) -> list[int]:
    return np.flatnonzero(choice.is_open).tolist()


def _pairs(problem: Problem, choice: Choice) -> set[tuple[int, int]]:
    rows, chosen = problem.candidates, _chosen(choice)
    return set(zip(rows.base[chosen].tolist(), rows.target[chosen].tolist(), strict=True))


def test_all_to_head_is_the_smallest_delta_of_every_asking_base() -> None:
    """From empty, v1 and v3; not v2, which nobody is on; not the larger delta from v3."""
    assert _chosen(all_to_head(_line())) == [0, 1, 3]


def test_fleet_distinct_is_from_what_devices_run() -> None:
    """From v3, where a device is; not from empty, and not from v1, where none is left."""
    assert _chosen(fleet_distinct(_line(demands=_demands([0, 1, 3, 3, 4], [1, 0, 3, 2, 9])))) == [3]


def test_top_k_is_from_the_bases_with_the_most_clients() -> None:
    """Two cohorts of v1 count together; v2 and v3 tie and the newer one goes first; v4 is there already."""
    problem = _line(demands=_demands([1, 2, 1, 3, 4], [2, 3, 2, 3, 9]))
    assert _chosen(top_k(problem, 1)) == [1]
    assert _chosen(top_k(problem, 2)) == [1, 3]
    assert _chosen(top_k(problem)) == [1, 2, 3]
    assert _chosen(top_k(_line(demands=_demands([1, 2], [2, 0])))) == [1]


def test_last_n_is_from_the_newest_older_releases() -> None:
    """Into v4 only, newest bases first, never from empty and never a downgrade."""
    assert _chosen(last_n(_line())) == [1, 2, 3]
    assert _chosen(last_n(_line(), 2)) == [2, 3]


def test_first_plus_last_n_adds_the_oldest_release() -> None:
    """v1 is the oldest that has a delta to v4; v2 is neither first nor last."""
    assert _chosen(first_plus_last_n(_line(), 1)) == [1, 3]
    assert _chosen(first_plus_last_n(_line())) == [1, 2, 3]


def test_consecutive_is_one_chain() -> None:
    """Each release from the one before it that has a delta: v1 -> v2 -> v3 -> v4."""
    assert _chosen(consecutive(_line())) == [3, 5, 6]


def test_consecutive_clients_take_at_most_ten_hops() -> None:
    """Of twelve releases, the oldest's clients are eleven hops away and pull in full; the next ones take ten."""
    routes = follow_policy(_chain(12, 1, 1000), consecutive).selection.routes
    assert [None if route is None else len(route) for route in routes] == [None, *range(10, 0, -1)]


def test_consecutive_clients_never_download_more_than_a_full_pull() -> None:
    """A chain as large as the full pull is taken, a larger one is not, though the policy built all of it."""
    judged = follow_policy(_chain(4, 5, 10), consecutive)
    assert judged.selection.routes == (None, (1, 2), (2,))
    assert judged.selection.build == (0, 1, 2)
    assert judged.is_feasible


def test_consecutive_clients_compare_bytes_even_where_bytes_are_free() -> None:
    """Without a price for what is sent the chain costs nothing, and still it is too large for the oldest's clients."""
    problem = _chain(4, 5, 10)
    free = problem.replace(prices=dataclasses.replace(problem.prices, egress_per_gb=0.0))
    assert follow_policy(free, consecutive).selection.routes == (None, (1, 2), (2,))


def test_consecutive_clients_without_full_pull_take_any_bytes_but_no_more_hops() -> None:
    """Nothing to compare the chain with; but eleven hops are one too many, and nothing is left for the oldest."""
    problem = _chain(12, 1, 1)
    demands = dataclasses.replace(problem.demands, full_pull_bytes=np.full(11, np.inf))
    judged = follow_policy(problem.replace(demands=demands), consecutive)
    assert [len(route or ()) for route in judged.selection.routes] == [0, *range(10, 0, -1)]
    assert judged.violations == ("routes[0]: a full pull is not allowed",)


def test_skip_list_has_power_of_two_strides_that_end_at_their_multiples() -> None:
    """Nine releases: all neighbours, 2, 4, 6, 8 from two before, 4 and 8 from four before, 8 from the first."""
    problem = _all_pairs([list(range(9))], 9)
    strided = {(0, 2), (2, 4), (4, 6), (6, 8), (0, 4), (4, 8), (0, 8)}
    assert _pairs(problem, skip_list(problem)) == {(index, index + 1) for index in range(8)} | strided


def test_skip_list_counts_each_product_for_itself() -> None:
    """Two products' releases alternate; each is a line of its own: 0, 2, 4 and 1, 3, 5."""
    problem = _all_pairs([[0, 2, 4], [1, 3, 5]], 6)
    assert _pairs(problem, skip_list(problem)) == {(0, 2), (2, 4), (0, 4), (1, 3), (3, 5), (1, 5)}


def test_products_are_not_one_line_because_both_have_deltas_from_empty() -> None:
    """a1, b1, a2, b2: each product's second release is next to its first; on one line they would be two apart."""
    ends = {"base": [0, 0, 0, 0, 1, 2], "target": [1, 2, 3, 4, 3, 4], "wire_bytes": [9, 9, 9, 9, 1, 1]}
    problem = two_step(commits=["", "a1", "b1", "a2", "b2"], candidates=ends, demands=_demands([1], [1], 3))
    assert _chosen(skip_list(problem)) == [4, 5]


def test_skip_list_takes_few_hops_from_every_base() -> None:
    """100 releases: at most two per bit of the distance, from deltas of which there are less than two per release."""
    problem = _all_pairs([list(range(100))], 100)
    old = list(range(99))
    demands = _demands(old, [1] * 99, 99, full_pull_bytes=[1e9] * 99, max_hops=[14] * 99)
    judged = follow_policy(two_step(commits=list(problem.commits), **_columns(problem), demands=demands), skip_list)
    assert None not in judged.selection.routes
    assert len(judged.selection.build) < 200


def _columns(problem: Problem) -> dict[str, object]:
    rows = problem.candidates
    columns = {"base": rows.base, "target": rows.target, "wire_bytes": rows.wire_bytes}
    return {"candidates": {name: column.tolist() for name, column in columns.items()}}


def test_paired_star_goes_through_the_oldest_commit_with_a_way_back() -> None:
    """Only v3 and v4 have deltas both ways: v3 is the hub, from v2 and v4, and to v4 (the smaller one)."""
    assert _chosen(paired_star(_line())) == [3, 6, 8]


def test_paired_star_takes_two_hops_from_anywhere() -> None:
    """Forward and back through v1: v2 -> v1 -> v3, though v2 -> v3 would be smaller."""
    problem = two_step(
        commits=["", "v1", "v2", "v3"],
        candidates={"base": [1, 2, 1, 3, 2, 0], "target": [2, 1, 3, 1, 3, 3], "wire_bytes": [9, 9, 9, 9, 1, 50]},
        demands=_demands([2], [1], 3),
    )
    judged = follow_policy(problem, paired_star)
    assert judged.selection.build == (0, 1, 2, 3)
    assert judged.selection.routes == ((1, 2),)


def test_paired_star_without_a_way_back_goes_forward_from_the_oldest() -> None:
    """Per product: from v0 to v2 and v4, from v1 to v3 and v5; nothing into a hub, because nothing is there."""
    problem = _all_pairs([[0, 2, 4], [1, 3, 5]], 6)
    assert _pairs(problem, paired_star(problem)) == {(0, 2), (0, 4), (1, 3), (1, 5)}


def test_nix2005_is_the_chain_that_ends_at_what_is_wanted() -> None:
    """All three deltas are below 0.6 of the full sizes: v4 90 (from empty), v2 and v3 80 (the median of 70 and 90)."""
    assert _chosen(nix2005(_line())) == [3, 5, 6]
    assert _chosen(nix2005(_line(demands=_demands([1], [1], 3)))) == [5, 6]


def test_nix2005_rejects_large_deltas_and_what_only_they_made_useful() -> None:
    """v2 -> v3 may be 47 bytes but not 48, 0.6 of 80; without it, v1 -> v2 leads to nothing that is wanted."""
    assert _chosen(nix2005(_with({6: 47}))) == [3, 5, 6]
    assert _chosen(nix2005(_with({6: 48}))) == [3]


def test_flatpak_is_from_empty_and_from_the_parent() -> None:
    """Into the head v4, unless its ref is ignored; v3 as another ref's head brings its own parent."""
    assert _chosen(flatpak(_line())) == [0, 3]
    assert _chosen(flatpak(_line(), ignored={"v4"})) == []
    two_heads = {"base": [1, 1], "target": [3, 4], "clients": [1, 1], "full_pull_bytes": [100, 100]}
    assert _chosen(flatpak(_line(demands=two_heads))) == [0, 3, 6]


def test_flatpak_keeps_what_a_client_may_be_downloading() -> None:
    """The grandparent's delta to the parent stays if it exists, and an existing delta is not built a second time."""
    assert _chosen(flatpak(_with(built=(6,)))) == [0, 3, 6]
    assert _chosen(flatpak(_with(built=(7,)))) == [0, 7]
    assert _chosen(flatpak(_with(built=(1, 5, 8)))) == [0, 3]


def test_flat_manager_is_from_empty_and_from_the_newest_ancestors() -> None:
    """Depth counts the delta from empty; older deltas are retired, built or not."""
    assert _chosen(flat_manager(_line())) == [0, 1, 2, 3]
    assert _chosen(flat_manager(_with(built=(1, 6)), 3)) == [0, 2, 3]
    assert _chosen(flat_manager(_line(), 1)) == [0]
    assert _chosen(flat_manager(_line(), 0)) == []


def test_clients_follow_the_policys_deltas_as_far_as_they_may() -> None:
    """On the chain, v1's clients take three hops; a stock client cannot, and pulls in full."""
    assert follow_policy(_line(), consecutive).selection.routes == (None, (5, 6, 3), (3,))
    demands = _demands([1], [2], max_hops=[1])
    assert follow_policy(_line(demands=demands), consecutive).selection.routes == (None,)


def test_policy_keeps_what_nobody_uses() -> None:
    """The chain is built for v3's clients too: all of it is stored, though they use its last delta only."""
    judged = follow_policy(_line(demands=_demands([3], [1])), consecutive)
    assert judged.selection.build == (3, 5, 6)
    assert judged.stored_bytes == 30


def test_policy_may_break_a_limit_and_says_so() -> None:
    """Policies do not know about limits; the judge does."""
    judged = follow_policy(_line(limits={"stored_bytes": 25}), consecutive)
    assert judged.violations == ("limits.stored_bytes: exceeded: needed=30.0, allowed=25.0",)


def test_policies_without_demands_or_candidates_send_nothing() -> None:
    """The smallest graphs there are: nothing is sent, and without candidates nothing is built."""
    none: dict[str, list[int]] = {"base": [], "target": [], "clients": []}
    for policy in POLICIES.values():
        assert follow_policy(_line(demands=none), policy).egress_bytes == 0
        empty = follow_policy(_line(candidates={"base": [], "target": [], "wire_bytes": []}), policy)
        assert empty.selection.build == ()
        assert empty.egress_bytes == 600


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(30))
def test_no_policy_beats_the_optimum(name: str, seed: int) -> None:
    """A feasible policy's plan costs at least the proven bound."""
    problem = random_problem(seed, commits=5, candidates=12)
    judged = follow_policy(problem, POLICIES[name])
    if judged.is_feasible:
        assert judged.cost.total >= solve(problem).lower_bound
    else:
        assert judged.violations


@pytest.mark.parametrize("name", POLICIES)
def test_choices_on_any_graph_are_judged_as_they_are(name: str) -> None:
    """Cycles, parallel candidates, parts, few or no demands: all that is chosen is kept, and routes keep the rules."""
    for seed in range(60):
        problem = random_problem(seed, commits=2 + seed % 6, candidates=1 + seed % 23, demands=seed % 7)
        choice = POLICIES[name](problem)
        judged = follow_policy(problem, POLICIES[name])
        assert (choice.is_open.dtype, choice.is_open.shape) == (np.bool_, (len(problem.candidates),))
        assert list(judged.selection.build) == _chosen(choice)
        faults = [fault for fault in judged.violations if "a full pull" not in fault and "the full pull" not in fault]
        assert all(fault.startswith("limits.") for fault in faults)
        assert all(len(route or ()) <= choice.max_hops for route in judged.selection.routes)
