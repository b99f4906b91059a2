"""Streams: what has nothing to do with each other is told apart, and what is settled stays so until it changes."""

from __future__ import annotations

from dataclasses import replace

from planner.demand.cohorts import Cohort
from planner.history.records import EMPTY
from planner.weigh.candidates import Candidate, Need
from planner.weigh.streams import Stream, find_open, find_streams

TERMS = b"prices"


def one(base: str, target: str) -> Candidate:
    return Candidate(base=base, target=target, codec="native")


def ask(base: str, target: str, clients: float = 100.0) -> Cohort:
    return Cohort(base=base, target=target, clients=clients)


A = [one("a1", "a2"), one("a2", "a3"), one("a1", "a3")]
B = [one("b1", "b2")]
COHORTS = [ask("a1", "a3"), ask("b1", "b2"), ask("c1", "c2")]


def fingerprints(streams: tuple[Stream, ...]) -> set[str]:
    return {stream.fingerprint(TERMS) for stream in streams}


def test_refs_are_streams_of_their_own() -> None:
    streams = find_streams([*A, *B], COHORTS, {})
    assert [set(stream.candidates) for stream in streams] == [set(A), set(B), set()]
    assert [stream.cohorts for stream in streams] == [(COHORTS[0],), (COHORTS[1],), (COHORTS[2],)]


def test_a_shared_base_joins() -> None:
    streams = find_streams([*A, *B, one("a1", "b2")], COHORTS[:2], {})
    assert len(streams) == 1


def test_cohorts_join_what_no_candidate_joins() -> None:
    assert len(find_streams([*A, *B], [ask("a1", "b2")], {})) == 1


def test_a_shared_need_joins() -> None:
    need = (Need(key="file:x", stored_bytes=1, server_cpu_s=0.0),)
    assert len(find_streams([*A, *B], COHORTS[:2], {A[0]: need, B[0]: need})) == 1


def test_everybody_may_begin_with_nothing() -> None:
    offered = [one(EMPTY, "a3"), one(EMPTY, "b2")]
    assert len(find_streams(offered, [ask(EMPTY, "a3"), ask(EMPTY, "b2")], {})) == 2


def test_what_is_settled_is_not_open() -> None:
    streams = find_streams([*A, *B], COHORTS, {})
    assert find_open(streams, fingerprints(streams), TERMS) == ()
    assert find_open(streams, set(), TERMS) == streams


def test_a_new_commit_opens_its_own_stream_only() -> None:
    settled = fingerprints(find_streams([*A, *B], COHORTS, {}))
    grown = find_streams([*A, one("a3", "a4"), *B], [*COHORTS, ask("a3", "a4")], {})
    (still_open,) = find_open(grown, settled, TERMS)
    assert one("a3", "a4") in still_open.candidates


def test_other_prices_open_all() -> None:
    streams = find_streams([*A, *B], COHORTS, {})
    assert find_open(streams, fingerprints(streams), b"other prices") == streams


def test_a_few_more_clients_open_nothing_but_many_do() -> None:
    streams = find_streams(B, [ask("b1", "b2", 100.0)], {})
    settled = fingerprints(streams)
    assert find_open(find_streams(B, [ask("b1", "b2", 110.0)], {}), settled, TERMS) == ()
    assert len(find_open(find_streams(B, [ask("b1", "b2", 1000.0)], {}), settled, TERMS)) == 1
    assert len(find_open(find_streams(B, [ask("b1", "b2", 0.0)], {}), settled, TERMS)) == 1


def test_abilities_count() -> None:
    settled = fingerprints(find_streams(B, [COHORTS[1]], {}))
    for other in (
        replace(COHORTS[1], max_hops=0),
        replace(COHORTS[1], max_hops=1),
        replace(COHORTS[1], max_wire_bytes=0),
    ):
        assert len(find_open(find_streams(B, [other], {}), settled, TERMS)) == 1


def test_the_order_of_candidates_and_cohorts_is_of_no_account() -> None:
    settled = fingerprints(find_streams([*A, *B], COHORTS, {}))
    assert find_open(find_streams([*B, *A[::-1]], COHORTS[::-1], {}), settled, TERMS) == ()
