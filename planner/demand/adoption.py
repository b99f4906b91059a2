"""Demand from a model, where nobody counted: how old the clients' releases are, by half-life."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from math import isfinite

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.records import History
from planner.history.trees import natural_key

_NEGLIGIBLE_FRACTION = 1e-6
"""Releases with less than this fraction of the clients get no cohort; theirs count with the others'."""

_MOST_RELEASES = 10_000


def adoption_cohorts(
    history: History,
    ref: str,
    *,
    clients: float,
    half_life_releases: float,
    max_hops: int | None = None,
    layers: bool = False,
    client_version: str | None = None,
) -> tuple[Cohort, ...]:
    """Clients spread over the releases before `ref`'s head, newest first; `ref` may have wildcards, as in `device/*`.

    A release that is `half_life_releases` older has half the clients. All `clients` want the head; they
    sum to `clients` over the releases that get a cohort (none where the head is the only release).

    Raises:
        InputError: the ref is unknown, or a number makes no sense.
    """
    _check(clients, half_life_releases, "demand.adoption")
    return tuple(
        Cohort(
            base=base,
            target=history.refs[one],
            clients=clients * share,
            ref=one,
            max_hops=max_hops,
            layers=layers,
            client_version=client_version,
        )
        for one in _match(history, ref, "demand.adoption.ref")
        for base, share in _spread(history.ancestors(history.refs[one]), half_life_releases)
    )


def factory_cohorts(
    history: History,
    refs: Sequence[str],
    bases: Sequence[str],
    *,
    clients: float,
    half_life_releases: float,
    max_hops: int | None = None,
    layers: bool = False,
    client_version: str | None = None,
) -> tuple[Cohort, ...]:
    """Clients that never ran what they want: each of `refs` has `clients`, on the releases of all `bases` alike.

    Both may have wildcards. A base's release that is `half_life_releases` older than its newest one has half the
    clients of that.

    Raises:
        InputError: a ref is unknown, or a number makes no sense.
    """
    _check(clients, half_life_releases, "demand.factory")
    lines = list(dict.fromkeys(one for base in bases for one in _match(history, base, "demand.factory.bases")))
    wanted = dict.fromkeys(one for ref in refs for one in _match(history, ref, "demand.factory.refs"))
    shares: dict[str, float] = {}
    for line in lines:
        head = history.refs[line]
        for base, share in _spread(chain([head], history.ancestors(head)), half_life_releases):
            shares[base] = shares.get(base, 0.0) + share / len(lines)
    return tuple(
        Cohort(
            base=base,
            target=history.refs[one],
            clients=clients * share,
            ref=one,
            max_hops=max_hops,
            layers=layers,
            client_version=client_version,
        )
        for one in wanted
        for base, share in shares.items()
        if base != history.refs[one]
    )


def _check(clients: float, half_life_releases: float, path: str) -> None:
    if not half_life_releases > 0:
        raise InputError("is not positive", path=f"{path}.half_life_releases", got=half_life_releases)
    if not (clients >= 0 and isfinite(clients)):
        raise InputError("is not a number of clients", path=f"{path}.clients", got=clients)


def _match(history: History, pattern: str, path: str) -> list[str]:
    """The refs that a name with wildcards means, in order."""
    found = [pattern] if pattern in history.refs else sorted(fnmatch.filter(history.refs, pattern), key=natural_key)
    if not found:
        raise InputError("is no ref", path=path, got=pattern)
    return found


def _spread(releases: Iterable[str], half_life_releases: float) -> Iterator[tuple[str, float]]:
    """Releases, newest first, with their shares of the clients, which sum to 1."""
    bases = list(islice(releases, _MOST_RELEASES))
    # Relative to the newest of them, so that a short half-life does not round them all to 0.
    weights = [0.5 ** (age / half_life_releases) for age in range(len(bases))]
    negligible = _NEGLIGIBLE_FRACTION * sum(weights)
    kept = [(base, weight) for base, weight in zip(bases, weights, strict=True) if weight >= negligible]
    total = sum(weight for _, weight in kept)
    yield from ((base, weight / total) for base, weight in kept)
