"""From weighed candidates and cohorts to the problem: order, defaults, and what rows mean."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from planner.demand.cohorts import Cohort
from planner.history.records import EMPTY, Commit, History
from planner.optimize.assemble import assemble
from planner.optimize.problem import NO_HOP_LIMIT, Limits, Prices
from planner.optimize.solve import solve
from planner.weigh.candidates import Candidate, Weight, WeightStatus

# Oldest first, and not in the order of their names.
NAMES = ("c" * 64, "a" * 64, "b" * 64)


def _history() -> History:
    commits = {
        name: Commit(checksum=name, parent=None, committed_at=datetime(2024, 1, day, tzinfo=UTC), tree="0" * 64)
        for day, name in enumerate(NAMES, start=1)
    }
    return History(commits=commits, trees={}, refs={})


def _weight(wire_bytes: int) -> Weight:
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=wire_bytes + 1,
        server_cpu_s=wire_bytes / 10,
        client_cpu_s=wire_bytes / 100,
        peak_memory_bytes=0,
        status=WeightStatus.MEASURED,
    )


C, A, B = NAMES
WEIGHED = {
    Candidate(base=A, target=B, codec="x"): _weight(5),
    Candidate(base=C, target=A, codec="y"): _weight(4),
    Candidate(base=C, target=A, codec="x"): _weight(3),
    Candidate(base=EMPTY, target=B, codec="x"): _weight(9),
}


def test_rows_are_in_the_historys_order() -> None:
    """Commits oldest first after the empty one; candidates by base, target and codec; weights go along."""
    assembly = assemble(_history(), [Cohort(base=C, target=B, clients=2.0)], WEIGHED, {})
    assert assembly.problem.commits == ("", C, A, B)
    named = [(candidate.base, candidate.target, candidate.codec) for candidate in assembly.candidates]
    assert named == [(EMPTY, B, "x"), (C, A, "x"), (C, A, "y"), (A, B, "x")]
    rows = assembly.problem.candidates
    assert (rows.base.tolist(), rows.target.tolist()) == ([0, 1, 1, 2], [3, 2, 2, 3])
    assert (rows.wire_bytes.tolist(), rows.stored_bytes.tolist()) == ([9, 3, 4, 5], [10, 4, 5, 6])
    assert (rows.server_cpu_s.tolist(), rows.client_cpu_s.tolist()) == ([0.9, 0.3, 0.4, 0.5], [0.09, 0.03, 0.04, 0.05])


def test_order_of_the_mapping_does_not_matter() -> None:
    """The same weights in another order give the same rows."""
    cohorts = [Cohort(base=C, target=B, clients=2.0)]
    backwards = dict(reversed(WEIGHED.items()))
    assert (
        assemble(_history(), cohorts, backwards, {}).candidates == assemble(_history(), cohorts, WEIGHED, {}).candidates
    )


def test_commits_that_nothing_names_are_left_out() -> None:
    """A long history costs nothing where only its end is asked for."""
    assembly = assemble(_history(), [Cohort(base=A, target=B, clients=1.0)], {}, {})
    assert assembly.problem.commits == (A, B)


def test_absent_limits_are_no_limits() -> None:
    """None becomes 'no limit', a missing full pull 'not allowed'; given values arrive."""
    cohorts = [
        Cohort(base=C, target=B, clients=1.5),
        Cohort(base=EMPTY, target=B, clients=0.0, max_hops=1, max_wire_bytes=77),
    ]
    demands = assemble(_history(), cohorts, WEIGHED, {(EMPTY, B): 50}).problem.demands
    assert (demands.base.tolist(), demands.target.tolist(), demands.clients.tolist()) == ([1, 0], [3, 3], [1.5, 0.0])
    assert demands.max_hops.tolist() == [NO_HOP_LIMIT, 1]
    assert demands.max_wire_bytes.tolist() == [np.inf, 77]
    assert demands.full_pull_bytes.tolist() == [np.inf, 50]


def test_what_is_built_is_marked_and_prices_arrive() -> None:
    """Published candidates are sunk CPU; the plan that follows uses the rows' meaning."""
    built = {Candidate(base=C, target=A, codec="y")}
    prices, limits = Prices(server_cpu_per_hour=3600.0), Limits(server_cpu_s=1.0)
    cohorts = [Cohort(base=C, target=B, clients=2.0)]
    assembly = assemble(_history(), cohorts, WEIGHED, {}, built=built, prices=prices, limits=limits)
    assert assembly.problem.candidates.built.tolist() == [False, False, True, False]
    assert (assembly.problem.prices, assembly.problem.limits) == (prices, limits)
    assert assembly.cohorts == tuple(cohorts)
    chosen = [assembly.candidates[index].codec for index in solve(assembly.problem).routes[0] or ()]
    assert chosen == ["y", "x"]


def test_commits_are_called_by_their_versions_where_these_are_unique() -> None:
    """A graph that people read names releases; two commits of one version keep their checksums."""
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    commits = {
        checksum: Commit(
            checksum=checksum,
            parent=None,
            committed_at=moment,
            tree="",
            metadata={"version": version} if version else {},
        )
        for checksum, version in (("a" * 64, "1.0"), ("b" * 64, "2.0"), ("c" * 64, "2.0"), ("d" * 64, ""))
    }
    history = History(commits=commits, trees={}, refs={})
    cohorts = [Cohort(base=base, target="a" * 64, clients=1) for base in ("", *list(commits)[1:])]
    assert assemble(history, cohorts, {}, {}).problem.commits == ("", "1.0", "b" * 64, "c" * 64, "d" * 64)
