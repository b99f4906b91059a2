"""From the solver's dual solution to a certificate: positions become commits, mirrored nets are turned back."""

from __future__ import annotations

import dataclasses

import numpy as np

from planner.optimize.certificate import verify_certificate
from planner.optimize.certificate_record import Certificate, CohortPotentials
from planner.optimize.core import count_hops
from planner.optimize.duals import Duals
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem


def certify(problem: Problem, duals: Duals | None) -> Certificate:
    """The certificate of a dual solution, with the bound that it proves; without duals, one that proves 0."""
    if duals is None:
        return Certificate(order=np.arange(len(problem.commits)))
    certificate = Certificate(
        order=_commit_at(problem, duals.net)[:: -1 if duals.net.is_mirrored else 1],
        cohorts=(*_cohorts(problem, duals), *_forced(problem, duals.net)),
        money_per_stored_byte=duals.money_per_stored_byte,
        money_per_cpu_s=duals.money_per_cpu_s,
    )
    return dataclasses.replace(certificate, bound=verify_certificate(problem, certificate))


def _commit_at(problem: Problem, net: Net) -> IntArray:
    """The commit at each of the net's positions; those that nothing refers to fill what is left."""
    rows, demands, cohorts = problem.candidates, problem.demands, net.cohorts
    turn = -1 if net.is_mirrored else 1
    tails, heads = (rows.base[net.candidate], rows.target[net.candidate])[::turn]
    bases, targets = (demands.base[net.first_demand], demands.target[net.first_demand])[::turn]
    commit_at = np.full(len(problem.commits), -1, dtype=np.int64)
    commit_at[net.edges.tail], commit_at[net.edges.head] = tails, heads
    commit_at[cohorts.base], commit_at[cohorts.target] = bases, targets
    commit_at[commit_at < 0] = np.setdiff1d(np.arange(len(commit_at)), commit_at)
    return commit_at


def _cohorts(problem: Problem, duals: Duals) -> tuple[CohortPotentials, ...]:
    net, cohorts, commits = duals.net, duals.net.cohorts, len(problem.commits)
    commit_at = _commit_at(problem, net)
    by_cohort = np.argsort(net.cohort_of, kind="stable")  # those in none come first
    bounds = np.searchsorted(net.cohort_of[by_cohort], np.arange(len(cohorts.base) + 1))
    found, offset = [], 0
    for k in range(len(cohorts.base)):
        low, high, rows = int(cohorts.low[k]), int(cohorts.high[k]), int(cohorts.max_hops[k]) + 1
        size = rows * (high - low + 1)
        own = np.maximum(duals.potentials[offset : offset + size], 0.0).reshape((rows, high - low + 1))
        offset += size
        top = float(own[-1, cohorts.base[k] - low])
        if net.is_mirrored:
            own = _turned_back(own, top, int(cohorts.base[k]) - low)
        elif rows > 1:
            # With all hops left a client is at its base.
            own[-1] = top
        listed = np.flatnonzero((own != top).any(axis=0))
        shares = np.zeros(0) if duals.part_shares is None else duals.part_shares[k]
        found.append(
            CohortPotentials(
                demands=by_cohort[bounds[k] : bounds[k + 1]],
                first=commits - 1 - high if net.is_mirrored else low,
                rest=top,
                commits=commit_at[low + listed],
                potentials=own[:, listed],
                parts=np.flatnonzero(shares > 0.0),
                part_shares=shares[shares > 0.0],
            )
        )
    return tuple(found)


def _forced(problem: Problem, net: Net) -> tuple[CohortPotentials, ...]:
    """Demands that only a full pull can serve and the net leaves out: potentials fall only where no hop leads."""
    demands, rows, commits = problem.demands, problem.candidates, len(problem.commits)
    behind: dict[int, IntArray] = {}
    found = []
    for demand in np.flatnonzero((net.cohort_of < 0) & (demands.base != demands.target)).tolist():
        target = int(demands.target[demand])
        if target not in behind:
            hops = count_hops(commits, target, rows.target, rows.base, commits)
            behind[target] = np.flatnonzero(hops <= commits)
        full_pull = float(problem.full_pull_money[demand])
        is_far = int(demands.base[demand]) not in behind[target] and np.isfinite(full_pull)
        listed = behind[target] if is_far else behind[target][:0]
        found.append(
            CohortPotentials(
                demands=np.array([demand]),
                first=0,
                # More than the full pull, so that dividing by a ratio leaves enough.
                rest=2.0 * full_pull * float(demands.clients[demand]) if is_far else 0.0,
                commits=listed,
                potentials=np.zeros((1, len(listed))),
            )
        )
    return tuple(found)


def _turned_back(own: FloatArray, top: float, target: int) -> FloatArray:
    """Potentials of the problem's own direction from those of a mirrored net; `target` is its base's column.

    Mirrored rows count hops left on the way back, so `top` less them bounds a way with exactly so many hops to go; with
    at most so many it is the least of these.
    """
    exactly = np.maximum(top - own[::-1], 0.0)
    if len(exactly) == 1:
        return exactly
    at_target = exactly[0, target]
    exactly[0] = top
    turned: FloatArray = np.r_[exactly[:1], np.minimum.accumulate(exactly[1:], axis=0)]
    turned[:, target] = at_target
    turned[-1] = top  # with all hops left a client is at its base
    return turned
