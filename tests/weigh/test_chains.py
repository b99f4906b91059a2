"""Chains: the fewest bytes by at least two hops, as trying all of them finds."""

from __future__ import annotations

import random
from itertools import pairwise

import networkx as nx
import pytest

from planner.weigh.chains import Pair, cheapest_chains

COMMITS = "abcdef"


def draw(seed: int) -> dict[Pair, int]:
    rng = random.Random(seed)
    pairs = [(one, other) for one in COMMITS for other in COMMITS if one != other]
    return {pair: rng.randrange(1, 30) for pair in pairs if rng.random() < 0.5}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("most_hops", [1, 2, 3, 8])
def test_no_other_chain_has_fewer_bytes(seed: int, most_hops: int) -> None:
    wire_bytes = draw(seed)
    graph = nx.DiGraph(list(wire_bytes))
    graph.add_nodes_from(COMMITS)
    wanted = [(one, other) for one in COMMITS for other in COMMITS if one != other]
    found = cheapest_chains(wanted, wire_bytes, most_hops)
    for base, target in wanted:
        paths = [path for path in nx.all_simple_paths(graph, base, target, cutoff=most_hops) if len(path) > 2]
        least = min((sum(wire_bytes[hop] for hop in pairwise(path)) for path in paths), default=None)
        chain = found.get((base, target))
        if least is None or chain is None:
            assert (least is None) == (chain is None)
            continue
        assert sum(wire_bytes[hop] for hop in chain) == least
        assert 2 <= len(chain) <= most_hops
        assert (chain[0][0], chain[-1][1]) == (base, target)
        assert all(one[1] == other[0] for one, other in pairwise(chain))


def test_of_equal_chains_the_shorter_one_counts() -> None:
    wire_bytes = {("a", "b"): 1, ("b", "c"): 1, ("c", "d"): 2, ("b", "d"): 3}
    assert cheapest_chains([("a", "d")], wire_bytes) == {("a", "d"): (("a", "b"), ("b", "d"))}
