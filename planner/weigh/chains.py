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
    targets: dict[str, list[str]] = {}
    for base, target in pairs:
        targets.setdefault(base, []).append(target)
    chains = {}
    for base, wanted in targets.items():
        best = _reach(base, following, most_hops)
        chains.update({(base, target): best[target][1] for target in wanted if target in best})
    return chains


def _reach(base: str, following: Mapping[str, list[tuple[str, int]]], most_hops: int) -> dict[str, tuple[int, Chain]]:
    """The fewest bytes to each commit by at least two hops, and these hops."""
    best: dict[str, tuple[int, Chain]] = {}
    last: dict[str, tuple[int, Chain]] = {base: (0, ())}
    for hops in range(1, most_hops + 1):
        found: dict[str, tuple[int, Chain]] = {}
        for start, (total_bytes, chain) in last.items():
            seen = {base, *(end for _, end in chain)}
            for end, size_bytes in following.get(start, ()):
                is_less = end not in found or total_bytes + size_bytes < found[end][0]
                if end not in seen and is_less:
                    found[end] = (total_bytes + size_bytes, (*chain, (start, end)))
        if hops > 1:
            for end, way in found.items():
                if end not in best or way[0] < best[end][0]:
                    best[end] = way
        last = found
    return best
