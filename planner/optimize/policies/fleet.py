"""Policies that look at where clients are: direct deltas only."""

from __future__ import annotations

import numpy as np

from planner.optimize.policies.choice import Choice, is_empty_commit, keep, one_per_pair, pair_keys
from planner.optimize.problem import BoolArray, IntArray, Problem


def all_to_head(problem: Problem) -> Choice:
    """A direct delta from every base that is asked for to what is wanted there, also from empty.

    Source: Foundries, deltas from the versions of all devices on a tag
    (`foundriesio/fioctl:subcommands/targets/deltas.go`, `--by-tag`).
    """
    return Choice(is_open=keep(problem, _direct(problem, problem.demands.base != problem.demands.target)))


def fleet_distinct(problem: Problem) -> Choice:
    """A direct delta from every distinct base that devices run now to their target.

    A device always runs something, so there is none from empty, and a base without clients is nobody's.

    Source: NervesHub, `SELECT DISTINCT` firmware of a deployment group's devices
    (`nerves-hub/nerves_hub_web:lib/nerves_hub/devices/deployments.ex`, `workers/firmware_delta_builder.ex`).
    """
    demands = problem.demands
    has_device = (demands.clients > 0) & ~is_empty_commit(problem)[demands.base] & (demands.base != demands.target)
    return Choice(is_open=keep(problem, _direct(problem, has_device)))


def top_k(problem: Problem, bases: int = 4) -> Choice:
    """Direct deltas to each target from the bases with the most clients (newest on ties), as many as `last_n` takes.

    Bases without clients or candidates are passed over.

    Source: Firefox's documented intent, partials from the versions most used now
    (`mozilla-releng/relengdocs:how-to/release/firefox/index.rst`); balena, from the release most devices are on.
    """
    rows, demands = problem.candidates, problem.demands
    direct = _direct(problem, (demands.clients > 0) & (demands.base != demands.target))
    asked, which = np.unique(pair_keys(problem, demands.base, demands.target), return_inverse=True)
    clients_of = np.bincount(which.reshape(-1), weights=demands.clients, minlength=len(asked))
    clients = clients_of[np.searchsorted(asked, pair_keys(problem, rows.base[direct], rows.target[direct]))]
    direct = direct[np.lexsort((-rows.base[direct], -clients, rows.target[direct]))]
    target = rows.target[direct]
    rank = np.arange(len(direct)) - np.searchsorted(target, target)
    return Choice(is_open=keep(problem, direct[rank < bases]))


def _direct(problem: Problem, is_asked: BoolArray) -> IntArray:
    """The smallest candidate of each marked demand's pair, where it has one."""
    rows, demands = problem.candidates, problem.demands
    wanted = np.unique(pair_keys(problem, demands.base[is_asked], demands.target[is_asked]))
    return one_per_pair(problem, np.isin(pair_keys(problem, rows.base, rows.target), wanted))
