"""The rules of following, with a client and a remote in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from planner.errors import FollowError
from planner.follow.follower import Abilities, Followed, follow
from planner.publish.routes import MAX_INDEX_BYTES, Hop, LayerRoute, PublishedRoute, format_index, index_path
from tests.follow.fakes import FakeClient, FakeRemote

BASE, MIDDLE, OTHER, TARGET = "a" * 64, "b" * 64, "c" * 64, "d" * 64


def _route(*commits: str, ref: str | None = "main", hop_bytes: int = 10) -> PublishedRoute:
    hops = tuple(Hop(commit=c, codec="zstd", wire_bytes=hop_bytes, path=f"deltas/{c[:2]}") for c in commits)
    return PublishedRoute(ref=ref, target=commits[-1], wire_bytes=hop_bytes * len(hops), hops=hops)


def _full(ref: str | None = "main", target: str = TARGET) -> PublishedRoute:
    return PublishedRoute(ref=ref, target=target, wire_bytes=1000, hops=None)


def _remote(*routes: PublishedRoute, base: str = BASE) -> FakeRemote:
    return FakeRemote({index_path(base): format_index(base, routes).encode()})


def _client(**options: object) -> FakeClient:
    return FakeClient({"main": TARGET}, {BASE}, {"main": BASE}, **options)  # type: ignore[arg-type]


def _follow(client: FakeClient, remote: FakeRemote, abilities: Abilities | None = None, base: str = BASE) -> Followed:
    return follow(client, remote, base=base, want="main", is_ref=True, abilities=abilities)


def _expect_full_pull(client: FakeClient, done: Followed, reason: str) -> None:
    assert done.fallback_reason is not None
    assert reason in done.fallback_reason
    assert client.calls[-3:] == ["full d", "check d", "finish d"]
    assert client.refs == {"main": TARGET}


@pytest.mark.parametrize("commits", [(TARGET,), (MIDDLE, TARGET), (MIDDLE, OTHER, TARGET)])
def test_the_route_is_walked_hop_by_hop(commits: Sequence[str]) -> None:
    """Each hop from where the one before ended, then the check, and only then does the ref move."""
    client = _client()
    done = _follow(client, _remote(_route(*commits)))
    assert client.calls == [*(f"take {c[:1]}" for c in commits), "check d", "finish d"]
    assert (done.hops, done.wire_bytes, done.fallback_reason) == (len(commits), 10 * len(commits), None)
    assert (client.refs, client.held) == ({"main": TARGET}, {TARGET})


def test_a_client_that_has_nothing_starts_from_empty() -> None:
    """The empty commit is a base like any other."""
    client = FakeClient({"main": TARGET}, set())
    done = _follow(client, _remote(_route(MIDDLE, TARGET), base=""), base="")
    assert (done.hops, done.fallback_reason) == (2, None)


def test_a_client_that_is_there_takes_nothing() -> None:
    """It is checked, its ref is set, and no index is needed."""
    client = FakeClient({"main": TARGET}, {TARGET})
    done = _follow(client, FakeRemote({}), base=TARGET)
    assert client.calls == ["check d", "finish d"]
    assert (done.hops, done.wire_bytes, done.fallback_reason) == (0, 0, None)


@pytest.mark.parametrize("broken", [MIDDLE, OTHER, TARGET])
def test_a_hop_that_fails_ends_the_route(broken: str) -> None:
    """No later hop is tried; the full pull is, and the hops that worked are counted with their bytes."""
    client = _client(broken=frozenset([broken]))
    done = _follow(client, _remote(_route(MIDDLE, OTHER, TARGET)))
    _expect_full_pull(client, done, "the hop failed")
    worked = [MIDDLE, OTHER, TARGET].index(broken)
    assert (done.hops, done.wire_bytes) == (worked, 10 * worked + 1000)
    assert client.calls[worked] == f"take {broken[:1]}"


def test_a_target_that_is_damaged_after_the_route_is_pulled_in_full() -> None:
    """Every hop worked, yet the check has the last word."""
    client = _client(damaged={TARGET})
    _expect_full_pull(client, _follow(client, _remote(_route(TARGET))), "not whole")


_GOOD = format_index(BASE, [_route(MIDDLE, TARGET)]).encode()


@pytest.mark.parametrize(
    "index",
    [
        None,
        b"",
        _GOOD[:-1],
        _GOOD[:-4],
        _GOOD[: len(_GOOD) // 2],
        format_index(OTHER, [_route(TARGET)]).encode(),
        _GOOD.replace(b"route main", b"route \xff\xfe"),
        _GOOD.replace(MIDDLE.encode(), b"../" + MIDDLE.encode()[3:]),
        _GOOD + b" " * MAX_INDEX_BYTES,
    ],
    ids=["missing", "empty", "no newline", "no end", "half", "other base", "not text", "hostile", "oversized"],
)
def test_an_index_that_cannot_be_trusted_means_a_full_pull(index: bytes | None) -> None:
    """Not one hop of it is taken."""
    client = _client()
    done = _follow(client, FakeRemote({} if index is None else {index_path(BASE): index}))
    _expect_full_pull(client, done, "")
    assert not [call for call in client.calls if call.startswith("take")]


@pytest.mark.parametrize(
    "route",
    [_route(MIDDLE, OTHER), _route(MIDDLE, TARGET, ref="other"), _route(MIDDLE, TARGET, ref=None), _full(target=OTHER)],
    ids=["other end", "other ref", "no ref", "full pull of another"],
)
def test_a_route_to_something_else_than_the_head_is_never_followed(route: PublishedRoute) -> None:
    """The index's word on where a ref is does not count; the head's does."""
    client = _client()
    _expect_full_pull(client, _follow(client, _remote(route)), "no route to the target")
    assert not [call for call in client.calls if call.startswith("take")]


def test_a_planned_full_pull_is_no_fallback() -> None:
    """The plan chose it, so there is no reason to give."""
    client = _client()
    done = _follow(client, _remote(_full()))
    assert client.calls == ["full d", "check d", "finish d"]
    assert (done.hops, done.wire_bytes, done.fallback_reason) == (0, 1000, None)


@pytest.mark.parametrize(
    ("abilities", "taken"),
    [
        (Abilities(), 3),
        (Abilities(max_hops=3), 3),
        (Abilities(max_hops=2), 2),
        (Abilities(max_hops=1), 1),
        (Abilities(max_hops=0), 0),
        (Abilities(max_wire_bytes=30), 3),
        (Abilities(max_wire_bytes=29), 2),
        (Abilities(max_hops=2, max_wire_bytes=19), 1),
    ],
)
def test_the_first_route_within_the_clients_abilities_is_taken(abilities: Abilities, taken: int) -> None:
    """A server offers several; the client takes the longest that it may follow, and a full pull if none is left."""
    client = _client()
    routes = [_route(TARGET), _route(MIDDLE, TARGET), _route(MIDDLE, OTHER, TARGET), _full()]
    done = _follow(client, _remote(*routes), abilities)
    assert (done.hops, done.fallback_reason) == (taken, None)


def test_a_full_pull_beyond_the_abilities_is_a_fallback() -> None:
    """There is no other way to the target, and the report says why it was taken."""
    client = _client()
    _expect_full_pull(client, _follow(client, _remote(_full()), Abilities(max_wire_bytes=999)), "no route")


def test_a_commit_can_be_asked_for_instead_of_a_ref() -> None:
    """Then only routes without a ref count, and the server's head is not asked."""
    client = FakeClient({}, {BASE})
    remote = _remote(_route(TARGET, ref="main"), _route(MIDDLE, TARGET, ref=None))
    done = follow(client, remote, base=BASE, want=TARGET, is_ref=False)
    assert (done.hops, done.ref, client.refs) == (2, None, {"pinned": TARGET})


@pytest.mark.parametrize("routes", [[], [_route(MIDDLE, TARGET)], [_full()]], ids=["no route", "route", "full pull"])
def test_where_nothing_works_the_client_keeps_what_it_had(routes: list[PublishedRoute]) -> None:
    """It is a FollowError with both reasons, and no ref moved."""
    client = _client(broken=frozenset([TARGET]), broken_full=frozenset([TARGET]))
    with pytest.raises(FollowError, match="neither the route nor a full pull") as caught:
        _follow(client, _remote(*routes))
    assert caught.value.facts.keys() == {"route", "full_pull"}
    assert client.refs == {"main": BASE}
    assert BASE in client.held


def test_a_server_that_does_not_know_the_ref_changes_nothing() -> None:
    """Nothing is pulled."""
    client = _client()
    with pytest.raises(FollowError, match="no such ref"):
        follow(client, _remote(_route(TARGET)), base=BASE, want="other", is_ref=True)
    assert client.calls == []


# -- layer by layer ----------------------------------------------------------------------------------------------

OLD, NEW, PART = "e" * 64, "f" * 64, "9" * 64


def _layered() -> PublishedRoute:
    """The first layer in two hops, the second as it is."""
    way = _route(MIDDLE, NEW)
    layers = (
        LayerRoute(base=OLD, target=NEW, wire_bytes=way.wire_bytes, hops=way.hops),
        LayerRoute(base=PART, target=PART, wire_bytes=0, hops=()),
    )
    return PublishedRoute(ref="main", target=TARGET, wire_bytes=way.wire_bytes, hops=way.hops, layers=layers)


def _keeper(*held: str, unions: Sequence[str] = (NEW, PART)) -> FakeClient:
    return FakeClient({"main": TARGET}, {BASE, *held}, {"main": BASE}, unions={TARGET: tuple(unions)})


def test_layers_are_walked_one_by_one_and_united() -> None:
    """The client keeps them for the next update."""
    client = _keeper(OLD, PART)
    done = _follow(client, _remote(_layered(), _route(TARGET)), Abilities(layers=True))
    assert client.calls == ["take b", "take f", "unite f9", "check d", "finish d"]
    assert (done.hops, done.wire_bytes, done.layers, done.fallback_reason) == (2, 20, (NEW, PART), None)
    assert client.held == {TARGET, NEW, PART}


@pytest.mark.parametrize(
    ("held", "abilities"),
    [((OLD, PART), Abilities()), ((OLD,), Abilities(layers=True)), ((OLD, PART), Abilities(layers=True, max_hops=1))],
)
def test_who_cannot_go_by_layers_goes_by_merged_commits(held: Sequence[str], abilities: Abilities) -> None:
    """Without the ability, without a layer to begin from, or with too few hops; layers are not kept any more."""
    client = _keeper(*held)
    done = _follow(client, _remote(_layered(), _route(TARGET)), abilities)
    assert client.calls == ["take d", "check d", "finish d"]
    assert (done.layers, done.fallback_reason, client.held) == ((), None, {TARGET})


def test_a_layer_without_deltas_is_pulled_in_full() -> None:
    """The other one is walked as planned."""
    route = _layered()
    pulled = LayerRoute(base="", target=PART, wire_bytes=500, hops=None)
    route = replace(route, layers=(route.layers[0], pulled), wire_bytes=route.wire_bytes + 500)
    client = _keeper(OLD)
    done = _follow(client, _remote(route), Abilities(layers=True))
    assert client.calls == ["take b", "take f", "full 9", "unite f9", "check d", "finish d"]
    assert (done.hops, done.wire_bytes, done.fallback_reason) == (2, 1020, None)


def test_a_union_that_is_another_tree_ends_in_a_full_pull() -> None:
    client = _keeper(OLD, PART, unions=(PART, NEW))
    done = _follow(client, _remote(_layered()), Abilities(layers=True))
    _expect_full_pull(client, done, "another tree")
    assert (done.layers, done.wire_bytes) == ((), 1020)


def test_a_client_that_is_there_keeps_its_layers() -> None:
    client = FakeClient({"main": TARGET}, {TARGET, NEW, PART}, unions={TARGET: (NEW, PART)})
    _follow(client, FakeRemote({}), base=TARGET)
    assert client.held == {TARGET, NEW, PART}
