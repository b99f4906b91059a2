"""Demand from a model, where nobody counted: how old the clients' releases are, by half-life."""

from __future__ import annotations

from itertools import islice
from math import isfinite

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.records import History

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
) -> tuple[Cohort, ...]:
    """Clients spread over the releases before `ref`'s head, newest first.

    A release that is `half_life_releases` older has half the clients. All `clients` want the head; they
    sum to `clients` over the releases that get a cohort (none where the head is the only release).

    Raises:
        InputError: the ref is unknown, or a number makes no sense.
    """
    if ref not in history.refs:
        raise InputError("is no ref", path="demand.adoption.ref", got=ref)
    if not half_life_releases > 0:
        raise InputError("is not positive", path="demand.adoption.half_life_releases", got=half_life_releases)
    if not (clients >= 0 and isfinite(clients)):
        raise InputError("is not a number of clients", path="demand.adoption.clients", got=clients)
    head = history.refs[ref]
    bases = list(islice(history.ancestors(head), _MOST_RELEASES))
    # Relative to the newest of them, so that a short half-life does not round them all to 0.
    weights = [0.5 ** (age / half_life_releases) for age in range(len(bases))]
    negligible = _NEGLIGIBLE_FRACTION * sum(weights)
    kept = [(base, weight) for base, weight in zip(bases, weights, strict=True) if weight >= negligible]
    total = sum(weight for _, weight in kept)
    return tuple(
        Cohort(base=base, target=head, clients=clients * weight / total, ref=ref, max_hops=max_hops, layers=layers)
        for base, weight in kept
    )
