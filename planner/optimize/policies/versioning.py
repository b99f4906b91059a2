"""LMG and LMG-All: the greedy algorithms of dataset versioning, on update deltas.

Both start from the least that serves everyone and exchange deltas for better ones. What their papers call storage is
the stored bytes where these are limited, and the money of keeping and building where they are not; retrieval is what
the clients cost. Beyond the papers: clients count with their number, an exchange must also lower the total money (with
storage that is free within its limit, as in the papers, every exchange does), parts count in full for each delta,
and where full pulls are allowed there are two starts, deltas for everyone and full pulls for all who may, of which
the one that ends cheaper is kept. Limits on server CPU, hops and a client's bytes are not looked at.
"""

from __future__ import annotations

from functools import partial
from math import fsum, inf

import numpy as np

from planner.optimize.arborescence import minimum_arborescence
from planner.optimize.policies.choice import Choice
from planner.optimize.policies.rooted import Rooted, rooted_groups
from planner.optimize.policies.swaps import Tree, improve
from planner.optimize.problem import BoolArray, Problem


def lmg(problem: Problem) -> Choice:
    """Local move greedy: from the least storage, direct deltas by saved retrieval per further storage.

    Direct deltas are those out of the one base, or into the one target: what materialising a version is there.

    Source: Bhattacherjee et al. 2015, Principles of dataset versioning, section 4.1 (arXiv 1505.05211).
    """
    return Choice(is_open=_grow(problem, any_parent=False))


def lmg_all(problem: Problem) -> Choice:
    """As `lmg`, with any delta in place of any commit's parent.

    Source: Guo et al. 2024, To store or not to store, LMG-All (arXiv 2402.11741;
    `Sooooffia/Graph-Versioning:LMG.cpp`, `LMG_all`).
    """
    return Choice(is_open=_grow(problem, any_parent=True))


def _grow(problem: Problem, *, any_parent: bool) -> BoolArray:
    """The candidates of the trees of all roots, one root after another within the same storage limit.

    A later root uses an earlier one's deltas for nothing; the earlier leave it the storage of its least start.
    """
    is_kept = np.zeros(len(problem.candidates), dtype=bool)
    limit = problem.limits.stored_bytes
    most = inf if limit is None else limit
    reserves = _reserves(problem) if limit is not None else []
    for number, graph in enumerate(rooted_groups(problem, is_kept)):
        tree = _best_tree(graph, most - fsum(reserves[number + 1 :]), any_parent=any_parent)
        used = tree.used()
        most -= fsum(graph.scarce[used])
        is_kept[graph.candidate[used]] = True
    return is_kept


def _reserves(problem: Problem) -> list[float]:
    """What the least start of each root uses; nothing has to be left to anybody where there is one root."""
    nothing = np.zeros(len(problem.candidates), dtype=bool)
    if min(len(np.unique(problem.demands.base)), len(np.unique(problem.demands.target))) <= 1:
        return []
    return [fsum(graph.scarce[_starts(graph)[-1].used()]) for graph in rooted_groups(problem, nothing)]


def _best_tree(graph: Rooted, most: float, *, any_parent: bool) -> Tree:
    """The cheapest tree that the greedy reaches from a start within the limit; the least start where none is."""
    everything = np.ones(len(graph.tail), dtype=bool)
    is_offered = everything if any_parent else graph.tail == graph.root
    starts = _starts(graph)
    fitting = [tree for tree in starts if fsum(graph.scarce[tree.used()]) <= most]
    for tree in fitting:
        # Many trees use the same storage, and the papers take any: exchanges for nothing make the start less arbitrary.
        improve(tree, everything, fsum(graph.scarce[tree.used()]))
        _descend(tree, is_offered, most)
    return min(fitting, key=Tree.total_money) if fitting else starts[-1]


def _starts(graph: Rooted) -> list[Tree]:
    """Deltas to all who can have them by the least storage, and then only to those who may not pull in full.

    The papers' minimum-storage arborescence spans all commits; here the branches that serve nobody are left out.
    """
    spanning = minimum_arborescence(graph.commits, graph.root, graph.tail, graph.head, graph.scarce)
    everyone, least = Tree(graph, spanning), Tree(graph, spanning)
    everyone.shed(lambda commit: not graph.is_wanted[commit])
    if not least.shed(lambda commit: bool(graph.pull_money[commit] < inf)):
        return [everyone]
    return [everyone, least]


def _descend(tree: Tree, is_offered: BoolArray, most: float) -> None:
    """Exchanges, drops what full pulls undercut, and exchanges again with the storage that this frees."""
    improve(tree, is_offered, most)
    spent = inf
    while tree.shed(partial(_is_not_worth_it, tree)) and tree.total_money() < spent:
        spent = tree.total_money()
        improve(tree, is_offered, most)


def _is_not_worth_it(tree: Tree, commit: int) -> bool:
    """Whether the clients of a commit that nothing hangs on cost no more with full pulls than with their delta.

    The very sum by which an exchange is judged: rounding cannot make a delta worth hanging and worth dropping.
    """
    graph = tree.graph
    saved = graph.pull_money[commit] - graph.clients[commit] * tree.money[commit]
    return bool(saved <= graph.fixed_money[tree.parent[commit]])
