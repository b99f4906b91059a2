"""Walk a route: hop by hop to the end commit, check it, and pull in full where the route fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from planner.errors import FollowError, InputError, PlannerError
from planner.follow.deadlines import finished_within, left_s
from planner.follow.remote import Remote
from planner.history.records import EMPTY
from planner.publish.routes import (
    MAX_INDEX_BYTES,
    Hop,
    LayerRoute,
    PublishedRoute,
    index_path,
    parse_index,
    parse_waypoints,
)
from planner.publish.signatures import PublicKey, verify

LAYER_REF = "deltaplan/layer"
"""Where a client keeps the layers that its tree is composed of: refs below this one, from 1 on."""


MAX_ROUTE_BYTES = 100_000_000_000
"""A client follows no route of more, whatever an index promises: no tree that is served here is as large."""

MAX_ROUTE_S = 6 * 3600.0
"""A client that has not arrived by then pulls in full: an hour for each of a few hops, the bound on one pull."""


class Client(Protocol):
    """What following asks of a client's repository."""

    def head(self, ref: str, keys: Sequence[PublicKey] = ()) -> str:
        """The commit that the server says a ref is; with keys only if it is signed, or by the tool's own means.

        Raises:
            FollowError: the server does not say, or is not to be believed.
        """

    def expect_newer(self, target: str, base: str) -> None:
        """Compare the dates of the server's commit and of one that is held; equal ones will do. Nothing is kept.

        Raises:
            FollowError: the target is older, or a date cannot be known.
        """

    def take(self, hop: Hop, base: str) -> None:
        """Apply one delta to `base`; afterwards the hop's commit is complete in the client. No ref moves.

        Raises:
            FollowError: the delta is missing or damaged, or does not give the commit.
        """

    def holds(self, commit: str) -> bool:
        """Whether the client has a commit, which may be the empty one."""

    def layers(self, commit: str) -> tuple[str, ...]:
        """What the commit is composed of, where the client holds all of that; else nothing."""

    def unite(self, layers: Sequence[str], target: str) -> None:
        """Make the target of commits that the client holds: the union of their trees is the target's.

        No ref moves.

        Raises:
            FollowError: the union is another tree, layers conflict, or the server does not give the target's commit.
        """

    def pull_in_full(self, target: str) -> int:
        """Fetch what is missing or damaged of the target; the bytes it took, or 0 where they cannot be known.

        No ref moves.

        Raises:
            FollowError: the server lacks an object, or has a damaged one.
        """

    def check(self, target: str) -> None:
        """Check that the target is complete and undamaged in the client.

        Raises:
            FollowError: it is not.
        """

    def finish(self, target: str, ref: str | None, layers: Sequence[str] = ()) -> None:
        """Point the ref to the target, which was checked; of other commits keep the layers that it is made of.

        Raises:
            PlannerError: it cannot be done; the ref is where it was, or at the target.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a client asks of its server's word.

    With `keys`, index and summary must be signed by one of them. Without `allow_downgrade` a ref never goes back to an
    older commit: a summary of last year is signed, too.
    """

    keys: tuple[PublicKey, ...] = ()
    allow_downgrade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How a client reached its target: `hops` deltas, `wire_bytes` in all, and why it pulled in full, if it did.

    `layers` are the commits that it united, if that was its way.
    """

    base: str
    target: str
    ref: str | None
    hops: int
    wire_bytes: int
    fallback_reason: str | None
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the client may do; the server's word is never taken beyond these. `codecs` is None for all."""

    max_hops: int | None = None
    max_wire_bytes: int | None = None
    layers: bool = False
    max_route_s: float = MAX_ROUTE_S
    codecs: tuple[str, ...] | None = None

    def allow(self, route: PublishedRoute) -> bool:
        """Whether a client with these abilities may follow the route."""
        if (route.layers and not self.layers) or (route.hops and route.wire_bytes > MAX_ROUTE_BYTES):
            return False
        if self.codecs is not None and any(hop.codec not in self.codecs for hop in route.hops or ()):
            return False
        hops_fit = self.max_hops is None or len(route.hops or ()) <= self.max_hops
        return hops_fit and (self.max_wire_bytes is None or route.wire_bytes <= self.max_wire_bytes)


def follow(
    client: Client,
    remote: Remote,
    *,
    base: str,
    want: str,
    is_ref: bool,
    abilities: Abilities | None = None,
    trust: Trust | None = None,
) -> Followed:
    """Take a client from `base` to the ref or commit it wants, by its route if there is one.

    A route that is missing, damaged or ends somewhere else than the server's head of the ref is not
    followed to the end: the client pulls in full instead, which is always right and only dearer. The ref moves
    last, once the target was found to be whole.

    Raises:
        FollowError: the server's head is not to be believed or older than `base`, or not even a full pull reached the
            target; the client keeps what it had.
    """
    ref, able, trusted = want if is_ref else None, abilities or Abilities(), trust or Trust()
    target = _head(client, base, want, trusted) if is_ref else want
    walked, reason = _Walked(), None
    try:
        with finished_within(able.max_route_s):
            target, routes = _stop(client, remote, base, target, ref, trusted)
            try:
                route = _route(client, routes, base, target, ref, able)
            except FollowError:
                # A night may have published between the head and the routes: they are to a newer head then.
                newer = _head(client, base, want, trusted) if is_ref else want
                if newer == target:
                    raise
                target, routes = _stop(client, remote, base, newer, ref, trusted)
                route = _route(client, routes, base, target, ref, able)
            _walk(client, route, base, walked)
            client.check(target)
    except (FollowError, InputError) as error:
        reason, walked.layers = str(error), ()
        walked.wire_bytes += _pull_in_full(client, target, reason)
    client.finish(target, ref, walked.layers or client.layers(target))
    return Followed(
        base=base,
        target=target,
        ref=ref,
        hops=walked.hops,
        wire_bytes=walked.wire_bytes,
        fallback_reason=reason,
        layers=walked.layers,
    )


def _head(client: Client, base: str, ref: str, trust: Trust) -> str:
    """The commit that the server says a ref is, which is not older than what the client has."""
    target = client.head(ref, trust.keys)
    if not trust.allow_downgrade and EMPTY != base != target:
        client.expect_newer(target, base)
    return target


@dataclass(slots=True)
class _Walked:
    """How far a client came, whether it arrived or not."""

    hops: int = 0
    wire_bytes: int = 0
    layers: tuple[str, ...] = ()


def _walk(client: Client, route: PublishedRoute, base: str, walked: _Walked) -> None:
    """Take the hops of a route, layer by layer where it has layers, and note each."""
    whole = LayerRoute(base=base, target=route.target, wire_bytes=route.wire_bytes, hops=route.hops)
    for way in route.layers or (whole,):
        start = way.base
        for hop in way.hops or ():
            left_s()
            client.take(hop, start)
            start = hop.commit
            walked.hops += 1
            walked.wire_bytes += hop.wire_bytes
        if way.hops is None:
            walked.wire_bytes += client.pull_in_full(way.target)
    if route.layers:
        walked.layers = tuple(layer.target for layer in route.layers)
        client.unite(walked.layers, route.target)


def _pull_in_full(client: Client, target: str, reason: str) -> int:
    try:
        wire_bytes = client.pull_in_full(target)
        client.check(target)
    except PlannerError as error:
        raise FollowError(
            "neither the route nor a full pull reached the target", route=reason, full_pull=str(error)
        ) from error
    return wire_bytes


def _stop(
    client: Client, remote: Remote, base: str, target: str, ref: str | None, trust: Trust
) -> tuple[str, tuple[PublishedRoute, ...]]:
    """Where this update ends, which is the target or a commit that must be deployed before it, and published routes.

    Raises:
        FollowError: the index cannot be fetched or believed, or names a stop that is not between base and target.
    """
    if base == target:
        return target, ()
    data = remote.fetch(index_path(base), max_bytes=MAX_INDEX_BYTES)
    try:
        text = (verify(data, trust.keys) if trust.keys else data).decode()
        routes, stop = parse_index(text, base), parse_waypoints(text).get(ref or "", target)
    except (InputError, UnicodeDecodeError) as error:
        raise FollowError("the route index cannot be believed", reason=str(error)) from error
    if stop != target:
        if base not in (EMPTY, stop):
            client.expect_newer(stop, base)
        client.expect_newer(target, stop)
    return stop, routes


def _route(
    client: Client, routes: Sequence[PublishedRoute], base: str, target: str, ref: str | None, abilities: Abilities
) -> PublishedRoute:
    """The one of the published routes that this client may follow to the target.

    Raises:
        FollowError: there is none.
    """
    if base == target:
        return PublishedRoute(ref=ref, target=target, wire_bytes=0, hops=())
    for route in routes:
        is_fitting = route.target == target and route.ref == ref and abilities.allow(route)
        if is_fitting and all(client.holds(layer.base) for layer in route.layers):
            return route
    raise FollowError("the route index has no route to the target for this client", target=target)
