"""Chains: which hops a composed delta is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MOST_HOPS = 8
"""Hops of one composed delta at most; each keeps in it what later hops read."""

Pair = tuple[str, str]
"""A delta's base and target."""

Chain = tuple[Pair, ...]
"""Hops that follow each other."""


def cheapest_chains(
    pairs: Iterable[Pair], wire_bytes: Mapping[Pair, int], most_hops: int = MOST_HOPS
) -> dict[Pair, Chain]:
    """For each pair that has any, the hops from its base to its target with the fewest bytes together, at least two.

    `wire_bytes` are the deltas that there are. Of chains of equal size the one with fewer hops counts.

    >>> cheapest_chains([("a", "c")], {("a", "b"): 5, ("b", "c"): 6, ("a", "c"): 1})
    {('a', 'c'): (('a', 'b'), ('b', 'c'))}
    """
    following: dict[str, list[tuple[str, int]]] = {}
    for (start, end), size_bytes in sorted(wire_bytes.items()):
        following.setdefault(start, []).append((end, size_bytes))
    chains = ((pair, _cheapest(*pair, following, most_hops)) for pair in pairs)
    return {pair: chain for pair, chain in chains if chain is not None}


def _cheapest(base: str, target: str, following: Mapping[str, list[tuple[str, int]]], most_hops: int) -> Chain | None:
    """The hops with the fewest bytes that are not the one from base to target.

    Without that one the best way of so many hops passes no commit twice: leaving a circle out would be better.
    """
    best: tuple[int, Chain] | None = None
    last: dict[str, tuple[int, Chain]] = {base: (0, ())}
    for _ in range(most_hops):
        found: dict[str, tuple[int, Chain]] = {}
        for start, (total_bytes, chain) in last.items():
            for end, size_bytes in following.get(start, ()):
                is_less = end not in found or total_bytes + size_bytes < found[end][0]
                if is_less and (start, end) != (base, target):
                    found[end] = (total_bytes + size_bytes, (*chain, (start, end)))
        way = found.pop(target, None)
        if way is not None and (best is None or way[0] < best[0]):
            best = way
        last = found
    return best[1] if best else None
