"""Walk a route: hop by hop to the end commit, check it, and pull in full where the route fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from planner.errors import FollowError, InputError, PlannerError
from planner.follow.remote import Remote
from planner.publish.routes import MAX_INDEX_BYTES, Hop, LayerRoute, PublishedRoute, index_path, parse_index

LAYER_REF = "deltaplan/layer"
"""Where a client keeps the layers that its tree is composed of: refs below this one, from 1 on."""


class Client(Protocol):
    """What following asks of a client's repository."""

    def head(self, ref: str) -> str:
        """The commit that the server says a ref is.

        Raises:
            FollowError: the server does not say.
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
    """What the client may do; the server's word is never taken beyond these."""

    max_hops: int | None = None
    max_wire_bytes: int | None = None
    layers: bool = False

    def allow(self, route: PublishedRoute) -> bool:
        """Whether a client with these abilities may follow the route."""
        if route.layers and not self.layers:
            return False
        hops_fit = self.max_hops is None or len(route.hops or ()) <= self.max_hops
        return hops_fit and (self.max_wire_bytes is None or route.wire_bytes <= self.max_wire_bytes)


def follow(
    client: Client, remote: Remote, *, base: str, want: str, is_ref: bool, abilities: Abilities | None = None
) -> Followed:
    """Take a client from `base` to the ref or commit it wants, by its route if there is one.

    A route that is missing, damaged or ends somewhere else than the server's head of the ref is not
    followed to the end: the client pulls in full instead, which is always right and only dearer. The ref moves
    last, once the target was found to be whole.

    Raises:
        FollowError: not even a full pull reached the target; the client keeps what it had.
    """
    ref = want if is_ref else None
    target = client.head(want) if is_ref else want
    hops, wire_bytes, reason, layers = 0, 0, None, tuple[str, ...]()
    try:
        route = _route(client, remote, base, target, ref, abilities or Abilities())
        whole = LayerRoute(base=base, target=target, wire_bytes=route.wire_bytes, hops=route.hops)
        for way in route.layers or (whole,):
            start = way.base
            for hop in way.hops or ():
                client.take(hop, start)
                start, hops, wire_bytes = hop.commit, hops + 1, wire_bytes + hop.wire_bytes
            if way.hops is None:
                wire_bytes += client.pull_in_full(way.target)
        if route.layers:
            layers = tuple(layer.target for layer in route.layers)
            client.unite(layers, target)
        client.check(target)
    except (FollowError, InputError) as error:
        reason, layers = str(error), ()
        wire_bytes += _pull_in_full(client, target, reason)
    client.finish(target, ref, layers or client.layers(target))
    return Followed(
        base=base, target=target, ref=ref, hops=hops, wire_bytes=wire_bytes, fallback_reason=reason, layers=layers
    )


def _pull_in_full(client: Client, target: str, reason: str) -> int:
    try:
        wire_bytes = client.pull_in_full(target)
        client.check(target)
    except PlannerError as error:
        raise FollowError(
            "neither the route nor a full pull reached the target", route=reason, full_pull=str(error)
        ) from error
    return wire_bytes


def _route(
    client: Client, remote: Remote, base: str, target: str, ref: str | None, abilities: Abilities
) -> PublishedRoute:
    """The published route that this client may follow to the target.

    Raises:
        FollowError: there is none.
    """
    if base == target:
        return PublishedRoute(ref=ref, target=target, wire_bytes=0, hops=())
    data = remote.fetch(index_path(base), max_bytes=MAX_INDEX_BYTES)
    try:
        routes = parse_index(data.decode(), base)
    except UnicodeDecodeError as error:
        raise FollowError("the route index is not text", reason=str(error)) from error
    for route in routes:
        is_fitting = route.target == target and route.ref == ref and abilities.allow(route)
        if is_fitting and all(client.holds(layer.base) for layer in route.layers):
            return route
    raise FollowError("the route index has no route to the target for this client", target=target)
