"""Walk a route: hop by hop to the end commit, check it, and pull in full where the route fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from planner.errors import FollowError, InputError, PlannerError
from planner.follow.remote import Remote
from planner.publish.routes import MAX_INDEX_BYTES, Hop, PublishedRoute, index_path, parse_index


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

    def finish(self, target: str, ref: str | None) -> None:
        """Point the ref to the target, which was checked, and drop the intermediate commits.

        Raises:
            PlannerError: it cannot be done; the ref is where it was, or at the target.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How a client reached its target: `hops` deltas, `wire_bytes` in all, and why it pulled in full, if it did."""

    base: str
    target: str
    ref: str | None
    hops: int
    wire_bytes: int
    fallback_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the client may do; the server's word is never taken beyond these."""

    max_hops: int | None = None
    max_wire_bytes: int | None = None

    def allow(self, route: PublishedRoute) -> bool:
        """Whether a client with these abilities may follow the route."""
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
    hops, wire_bytes, reason = 0, 0, None
    try:
        route = _route(remote, base, target, ref, abilities or Abilities())
        for hop in route.hops or ():
            client.take(hop, route.hops[hops - 1].commit if hops and route.hops else base)
            hops, wire_bytes = hops + 1, wire_bytes + hop.wire_bytes
        if route.hops is None:
            wire_bytes = client.pull_in_full(target)
        client.check(target)
    except (FollowError, InputError) as error:
        reason = str(error)
        wire_bytes += _pull_in_full(client, target, reason)
    client.finish(target, ref)
    return Followed(base=base, target=target, ref=ref, hops=hops, wire_bytes=wire_bytes, fallback_reason=reason)


def _pull_in_full(client: Client, target: str, reason: str) -> int:
    try:
        wire_bytes = client.pull_in_full(target)
        client.check(target)
    except PlannerError as error:
        raise FollowError(
            "neither the route nor a full pull reached the target", route=reason, full_pull=str(error)
        ) from error
    return wire_bytes


def _route(remote: Remote, base: str, target: str, ref: str | None, abilities: Abilities) -> PublishedRoute:
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
    fitting = [r for r in routes if r.target == target and r.ref == ref and abilities.allow(r)]
    if not fitting:
        raise FollowError("the route index has no route to the target for this client", target=target)
    return fitting[0]
