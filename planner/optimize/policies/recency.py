"""Policies that look at the line of releases only, not at who is on it.

The graph has no parents: the commit before another is the newest older one that has a candidate to it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from planner.optimize.policies.choice import (
    Choice,
    is_empty_commit,
    keep,
    one_per_pair,
    pair_keys,
    streams,
)
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem

MOST_HOPS = 10
"""Velopack's clients take a full package where more deltas than this lie before them (`deltasCount > 10`)."""

MOST_OF_FULL = 0.60
"""Nix rejected a patch of this fraction of the full archive or more (`NIX_PATCH_FRACTION`)."""


def last_n(problem: Problem, releases: int = 4) -> Choice:
    """Direct deltas to every wanted commit from the newest older commits that have one.

    Source: Firefox partial updates, 4 most recent releases (`mozilla-releng/shipit:api/src/shipit_api/admin/api.py`,
    `_suggest_partials`).
    """
    return Choice(is_open=keep(problem, _newest(problem, _from_older(problem, _is_target(problem)), releases)))


def first_plus_last_n(problem: Problem, releases: int = 10) -> Choice:
    """As `last_n`, and from the oldest commit that has a delta: the first build that clients can update from.

    Source: Clear Linux's nightly job, first build of the format and last `NUM_DELTA_BUILDS`
    (`clearlinux/clr-distro-factory:build/mixer.sh`, `globals.sh`).
    """
    older = _from_older(problem, _is_target(problem))
    target = problem.candidates.target[older]
    is_first = np.searchsorted(target, target) == np.arange(len(older))
    return Choice(is_open=keep(problem, older[is_first], _newest(problem, older, releases)))


def consecutive(problem: Problem) -> Choice:
    """Each commit from the one before it; clients pull in full rather than take 10 hops or more bytes than that.

    Source: Velopack (`velopack/velopack:src/lib-csharp/UpdateManager.cs`, `DownloadUpdatesAsync`); Squirrel.Windows
    before it, without the limit on hops.
    """
    chain = _newest(problem, _from_older(problem), 1)
    return Choice(is_open=keep(problem, chain), max_hops=MOST_HOPS, never_above_full_pull=True)


def skip_list(problem: Problem) -> Choice:
    """Deltas over 1, 2, 4, ... releases that end at a multiple of their stride: about 2 per commit, 2 log2 n hops.

    Releases are counted from the oldest of a stream, so a new release changes no older delta.

    Source: Subversion's skip-deltas (`apache/subversion:notes/skip-deltas`), with every stride that divides the
    position instead of the largest alone, so that clients on any base can climb to it.
    """
    lowest, rows = streams(problem), problem.candidates
    order = np.argsort(lowest, kind="stable")
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order)) - np.searchsorted(lowest[order], lowest[order])
    stride = position[rows.target] - position[rows.base]
    is_stride = (rows.base < rows.target) & (stride & (stride - 1) == 0) & _has_ends(problem)
    is_aligned = position[rows.target] % np.maximum(stride, 1) == 0
    return Choice(is_open=keep(problem, one_per_pair(problem, is_stride & is_aligned)))


def paired_star(problem: Problem) -> Choice:
    """Deltas from one hub to every commit and back: any commit to any other in two hops.

    A stream's hub is its oldest commit with candidates to and from the same other commit; where nothing goes back,
    the oldest commit that has a delta to a newer one.

    Source: Windows quality updates, forward and reverse differentials against the release to manufacturing
    (Microsoft, Windows updates using forward and reverse differentials, 2018).
    """
    rows, lowest = problem.candidates, streams(problem)
    has_ends = _has_ends(problem)
    there, back = pair_keys(problem, rows.base, rows.target), pair_keys(problem, rows.target, rows.base)
    none = len(problem.commits)
    hub, start = np.full(none, none), np.full(none, none)
    is_paired = np.isin(back, there[has_ends]) & has_ends & (rows.base != rows.target)
    np.minimum.at(hub, lowest[rows.base[is_paired]], rows.base[is_paired])
    is_forward = has_ends & (rows.base < rows.target)
    np.minimum.at(start, lowest[rows.base[is_forward]], rows.base[is_forward])
    hub = np.where(hub < none, hub, start)[lowest]
    is_spoke = (rows.base == hub[rows.base]) | (rows.target == hub[rows.target])
    return Choice(is_open=keep(problem, one_per_pair(problem, is_spoke & has_ends & (rows.base != rows.target))))


def nix2005(problem: Problem) -> Choice:
    """The chain that ends at each wanted commit: every commit from the one before it, below 0.6 of its full size.

    A commit's full size is its smallest delta from empty or full pull; commits without either count as the median.

    Source: Nix's binary patches, `generatePatches` and `propagatePatches` (`NixOS/nix:perl/lib/Nix/GeneratePatches.pm`
    until 2016; Dolstra 2005, Efficient upgrading in a purely functional component deployment model).
    """
    rows = problem.candidates
    chain = _newest(problem, _from_older(problem), 1)
    chain = chain[rows.wire_bytes[chain] < MOST_OF_FULL * _full_bytes(problem)[rows.target[chain]]]
    before = dict(zip(rows.target[chain].tolist(), chain.tolist(), strict=True))
    useful: set[int] = set()
    for target in np.unique(problem.demands.target).tolist():
        at = target
        while at in before and before[at] not in useful:
            useful.add(before[at])
            at = int(rows.base[before[at]])
    return Choice(is_open=keep(problem, sorted(useful)))


def flatpak(problem: Problem, ignored: Collection[str] = ()) -> Choice:
    """Each wanted commit from empty and from the commit before it, but those that are `ignored`.

    What exists already is not built again; of older deltas the parent's own two are kept if they exist, because a
    client may be downloading them. There is no depth: `--prune-depth` prunes commits, not deltas.

    Source: `flatpak build-update-repo --generate-static-deltas`, `--static-delta-ignore-ref`
    (`flatpak/flatpak:app/flatpak-builtins-build-update-repo.c`, `generate_all_deltas`).
    """
    rows = problem.candidates
    is_head = _is_target(problem) & np.array([name not in ignored for name in problem.commits], dtype=bool)
    to_heads = _newest(problem, _from_older(problem, is_head, prefer_built=True), 1)
    is_parent = np.zeros(len(problem.commits), dtype=bool)
    is_parent[rows.base[to_heads]] = True
    to_parents = _newest(problem, _from_older(problem, is_parent, prefer_built=True), 1)
    kept = np.r_[to_parents, _from_empty(problem, is_parent)]
    return Choice(is_open=keep(problem, _from_empty(problem, is_head), to_heads, kept[rows.built[kept]]))


def flat_manager(problem: Problem, depth: int = 5) -> Choice:
    """Each wanted commit from empty and from its `depth` - 1 newest ancestors; everything else is retired.

    The default is that of appstream branches; apps and runtimes get the depth that the repository's configuration
    gives them, none without an entry.

    Source: `flatpak/flat-manager:common/src/ostree.rs`, `calc_deltas_for_ref`; `src/config.rs`,
    `get_delta_depth_for_ref`; `src/jobs/update_repo_job.rs`, `calculate_deltas`.
    """
    is_head = _is_target(problem) & (depth > 0)
    from_parents = _newest(problem, _from_older(problem, is_head, prefer_built=True), depth - 1)
    return Choice(is_open=keep(problem, _from_empty(problem, is_head), from_parents))


def _is_target(problem: Problem) -> BoolArray:
    """Which commits are wanted; shape (commits,)."""
    is_target = np.zeros(len(problem.commits), dtype=bool)
    is_target[problem.demands.target] = True
    return is_target


def _has_ends(problem: Problem) -> BoolArray:
    """Which candidates neither start nor end at the empty commit; shape (candidates,)."""
    is_empty = is_empty_commit(problem)
    return ~is_empty[problem.candidates.base] & ~is_empty[problem.candidates.target]


def _from_older(problem: Problem, is_into: BoolArray | None = None, *, prefer_built: bool = False) -> IntArray:
    """One candidate per pair from older commits, the empty one aside; by target, then base, ascending."""
    rows = problem.candidates
    is_asked = (rows.base < rows.target) & _has_ends(problem)
    if is_into is not None:
        is_asked &= is_into[rows.target]
    return one_per_pair(problem, is_asked, prefer_built=prefer_built)


def _newest(problem: Problem, older: IntArray, count: int) -> IntArray:
    """Of what `_from_older` gives, for each target those from the `count` newest bases."""
    target = problem.candidates.target[older]
    newer = np.searchsorted(target, target, side="right") - 1 - np.arange(len(older))
    return older[newer < count]


def _from_empty(problem: Problem, is_into: BoolArray) -> IntArray:
    """The delta from empty to each of the commits, one that is built already if there is."""
    rows = problem.candidates
    is_asked = is_empty_commit(problem)[rows.base] & is_into[rows.target] & (rows.base != rows.target)
    return one_per_pair(problem, is_asked, prefer_built=True)


def _full_bytes(problem: Problem) -> FloatArray:
    """Each commit's smallest full pull or delta from empty, where it has none the median; shape (commits,)."""
    rows, demands = problem.candidates, problem.demands
    full_bytes = np.full(len(problem.commits), np.inf)
    np.minimum.at(full_bytes, demands.target, demands.full_pull_bytes)
    is_from_empty = is_empty_commit(problem)[rows.base]
    np.minimum.at(full_bytes, rows.target[is_from_empty], rows.wire_bytes[is_from_empty])
    known = full_bytes[np.isfinite(full_bytes)]
    return np.where(np.isfinite(full_bytes), full_bytes, np.median(known) if len(known) else np.inf)
