"""Pruning by weight: each stage on its own, and what no stage may touch."""

from __future__ import annotations

import itertools

import pytest

from planner.weigh.candidates import Candidate, Need, Weight, WeightStatus
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.stock_client import STOCK_CODEC
from tests.demand.histories import checksum_of, make_history, make_line

LINE = make_line(4)


def _candidate(base: str, target: str, codec: str = "x") -> Candidate:
    return Candidate(base=checksum_of(base), target=checksum_of(target), codec=codec)


def _weight(wire_bytes: int, stored_bytes: int = 5, server_cpu_s: float = 5, client_cpu_s: float = 5) -> Weight:
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=stored_bytes,
        server_cpu_s=server_cpu_s,
        client_cpu_s=client_cpu_s,
        peak_memory_bytes=0,
        status=WeightStatus.MEASURED,
    )


def _prune(weighed: dict[Candidate, Weight], **around: object) -> tuple[set[Candidate], dict[Candidate, str]]:
    surroundings = Surroundings(**{"history": LINE, "full_pull_bytes": {}, **around})  # type: ignore[arg-type]
    kept, pruned = prune_weighed(weighed, surroundings)
    assert all(weighed[candidate] is weight for candidate, weight in kept.items())
    reasons = {Candidate(base=one.base, target=one.target, codec=one.codec): one.reason for one in pruned}
    assert set(kept) | set(reasons) == set(weighed)
    assert not set(kept) & set(reasons)
    return set(kept), reasons


def test_delta_as_large_as_a_full_pull_is_pruned() -> None:
    """100 B against 100 B saves nobody a byte; 99 B does; a pair without a known full pull stays."""
    even, smaller, unknown = _candidate("v1", "v2"), _candidate("v2", "v3"), _candidate("v1", "v3")
    full = {(c.base, c.target): 100 for c in (even, smaller)}
    kept, reasons = _prune({even: _weight(100), smaller: _weight(99), unknown: _weight(500)}, full_pull_bytes=full)
    assert kept == {smaller, unknown}
    assert reasons == {even: "not smaller than a full pull: 100 B against 100 B"}


def test_codec_that_another_beats_in_every_respect_is_pruned() -> None:
    """No better anywhere and worse somewhere; the reason names the winner."""
    winner, loser = _candidate("v1", "v2", "fast"), _candidate("v1", "v2", "slow")
    kept, reasons = _prune({loser: _weight(10, server_cpu_s=9), winner: _weight(10)})
    assert kept == {winner}
    assert reasons == {loser: "dominated by fast on the same pair"}


@pytest.mark.parametrize("field", ["wire_bytes", "stored_bytes", "server_cpu_s", "client_cpu_s"])
def test_codec_that_is_better_in_one_respect_stays(field: str) -> None:
    """One advantage, of whatever kind, may be what a price or a limit makes precious."""
    rivals = {_candidate("v1", "v2", "a"): _weight(10, 4, 4, 4), _candidate("v1", "v2", "b"): _weight(11, 5, 5, 5)}
    assert len(_prune(rivals)[0]) == 1
    better = {"wire_bytes": 11, "stored_bytes": 5, "server_cpu_s": 5, "client_cpu_s": 5, field: 1}
    rivals[_candidate("v1", "v2", "b")] = _weight(**better)  # type: ignore[arg-type]
    assert len(_prune(rivals)[0]) == 2


def test_equal_codecs_keep_the_first_by_name() -> None:
    """Whatever the order they come in."""
    equals = {_candidate("v1", "v2", codec): _weight(10) for codec in ("b", "a", "c")}
    for order in itertools.permutations(equals.items()):
        assert _prune(dict(order))[0] == {_candidate("v1", "v2", "a")}


def test_same_codec_on_other_pairs_is_no_rival() -> None:
    """A small delta to v3 says nothing about the delta to v2."""
    weighed = {
        _candidate("v1", "v2"): _weight(10),
        _candidate("v1", "v3"): _weight(1),
        _candidate("v2", "v3"): _weight(1),
    }
    assert _prune(weighed)[0] == set(weighed)


def test_stock_delta_that_makes_a_client_worse_off_is_pruned() -> None:
    """A client on v3 that still holds v1 would take the newer, larger delta."""
    small, large = _candidate("v1", "v4", STOCK_CODEC), _candidate("v3", "v4", STOCK_CODEC)
    kept, reasons = _prune({small: _weight(10), large: _weight(20)})
    assert kept == {small}
    assert reasons == {large: "a stock client that still holds v1 would take this larger one"}


def test_stock_delta_that_is_smaller_than_all_older_ones_stays() -> None:
    """The usual case: the newer the base, the smaller the delta; equal ones do no harm either."""
    weighed = {_candidate(f"v{n}", "v4", STOCK_CODEC): _weight(size) for n, size in ((1, 30), (2, 20), (3, 20))}
    assert _prune(weighed)[0] == set(weighed)


def test_only_stock_deltas_can_mislead() -> None:
    """Clients of other codecs follow the route they are given."""
    weighed = {_candidate("v1", "v4"): _weight(10), _candidate("v3", "v4"): _weight(20)}
    assert _prune(weighed)[0] == set(weighed)
    mixed = {_candidate("v1", "v4"): _weight(10), _candidate("v3", "v4", STOCK_CODEC): _weight(20)}
    assert _prune(mixed)[0] == set(mixed)


def test_unrelated_commits_do_not_mislead() -> None:
    """Nobody on a holds b: they are no ancestors of each other."""
    history = make_history({"a": None, "b": None, "head": "b"})
    weighed = {_candidate("a", "head", STOCK_CODEC): _weight(10), _candidate("b", "head", STOCK_CODEC): _weight(20)}
    assert _prune(weighed, history=history)[0] == set(weighed)


def test_every_older_commit_is_looked_at() -> None:
    """v2 is dated after v3, so a client prefers it: no harm; v1 behind it is what misleads."""
    names = {"v1": None, "v2": "v1", "v3": "v2", "v4": "v3"}
    history = make_history(names, days={"v2": 9})
    two, three, one = (_candidate(name, "v4", STOCK_CODEC) for name in ("v2", "v3", "v1"))
    _, reasons = _prune({two: _weight(10), three: _weight(20)}, history=history)
    assert reasons == {}
    _, reasons = _prune({two: _weight(10), three: _weight(20), one: _weight(12)}, history=history)
    assert reasons == {three: "a stock client that still holds v1 would take this larger one"}


def test_what_is_published_is_never_pruned() -> None:
    """Clients can find it already: it stays, at every stage."""
    even, loser = _candidate("v1", "v2", "a"), _candidate("v1", "v3", "slow")
    winner, small = _candidate("v1", "v3", "fast"), _candidate("v1", "v4", STOCK_CODEC)
    large = _candidate("v3", "v4", STOCK_CODEC)
    weighed = {even: _weight(100), loser: _weight(9), winner: _weight(8), small: _weight(1), large: _weight(2)}
    full = {(even.base, even.target): 100}
    assert set(_prune(weighed, full_pull_bytes=full)[1]) == {even, loser, large}
    assert _prune(weighed, full_pull_bytes=full, published=frozenset(weighed))[1] == {}


def test_candidate_is_told_one_reason() -> None:
    """The first stage that rejects it: too large and dominated is too large."""
    large, small = _candidate("v1", "v2", "b"), _candidate("v1", "v2", "a")
    full = {(large.base, large.target): 100}
    _, reasons = _prune({large: _weight(200), small: _weight(10)}, full_pull_bytes=full)
    assert reasons == {large: "not smaller than a full pull: 200 B against 100 B"}


def test_a_second_static_delta_of_a_published_pair_has_no_place() -> None:
    """Whichever codec made the one that is there."""
    published, rival = _candidate("v1", "v2", STOCK_CODEC), _candidate("v1", "v2", "native")
    other = _candidate("v2", "v3", "native")
    weights = {published: _weight(90), rival: _weight(10), other: _weight(10)}
    kept, reasons = _prune(weights, published=frozenset([published]))
    assert kept == {published, other}
    assert reasons == {rival: "another delta of these commits is published: ostree"}


def test_what_others_may_pay_for_is_no_reason_to_be_dropped() -> None:
    """Alone the composed delta costs more in every respect; with its hops made, it takes a tenth of the seconds."""
    direct, composed = _candidate("v1", "v3", "native"), _candidate("v1", "v3", "composed")
    weights = {direct: _weight(10, server_cpu_s=5), composed: _weight(12, server_cpu_s=8)}
    making = Need(key="making:1", stored_bytes=0, server_cpu_s=7.5)
    assert _prune(weights)[0] == {direct}
    assert _prune(weights, needs={composed: [making]})[0] == {direct, composed}
