"""A bound that anybody can check: the dual solution in the problem's own terms, and the additions that verify it.

Weak duality: split the fixed money of candidates and parts into shares between cohorts, none paid twice, and price the
limited quantities; then each cohort's cheapest way at its shares, all added up, less what the limits come to, is at
most what any plan costs. A cohort's potentials bound its cheapest way from below where along no hop they fall by more
than the hop's money and shares, so the potentials alone say how large the shares must be. `verify_certificate`
recomputes these and repairs what does not fit; it uses none of the code that finds bounds.

Source: Balakrishnan, Magnanti and Wong 1989, section 2; the hops left as layers are Gouveia 1996.
"""

from __future__ import annotations

import numpy as np

from planner.errors import raise_collected
from planner.optimize.certificate_faults import find_faults
from planner.optimize.certificate_hops import Hops, hops_between, most_uses
from planner.optimize.certificate_record import Certificate, CohortPotentials
from planner.optimize.problem import FloatArray, IntArray, Problem

VERIFY_ROUNDING = 1e-9
"""Fraction of every sum that is given away: far more than the additions below can err."""


def verify_certificate(problem: Problem, certificate: Certificate) -> float:
    """The bound that a certificate proves: no plan for the problem costs less. At least 0, whatever it claims.

    Shares that exceed the fixed money are repaired, not believed: either all potentials are divided by the worst
    ratio, or the excess is taken off the bound (as if the candidate cost that much more), whichever leaves more. A
    demand in no cohort counts nothing. O(rows * candidates) steps per cohort, memory of one cohort at a time.

    Raises:
        InputError: the certificate is none of this problem; every fault is named with its data path.
    """
    raise_collected(find_faults(problem, certificate))
    place = np.empty(len(problem.commits), dtype=np.int64)
    place[certificate.order] = np.arange(len(place))
    hops = hops_between(problem, place)
    gains, load, part_load = _shares(problem, certificate, hops, place)
    caps = np.array([_full_pulls(problem, cohort) for cohort in certificate.cohorts])
    fixed, part_fixed, allowance = _fixed_money(problem, certificate)
    part_left = np.maximum(part_fixed - part_load, 0.0)
    fixed = fixed[hops.candidate] + _even_shares(hops, part_left)
    proven = _repaired(gains, caps, np.r_[load, part_load], np.r_[fixed, part_fixed])
    return max(proven - allowance * (1.0 + VERIFY_ROUNDING), 0.0)


def _shares(
    problem: Problem, certificate: Certificate, hops: Hops, place: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The bound of each cohort's ways by routes, and what all shares of each hop and each part add up to at most."""
    load, part_load = np.zeros(len(hops.tail)), np.zeros(len(problem.parts))
    gains = np.zeros(len(certificate.cohorts))
    for k, cohort in enumerate(certificate.cohorts):
        first = cohort.demands[0]
        ends = int(place[problem.demands.base[first]]), int(place[problem.demands.target[first]])
        money = float(problem.demands.clients[cohort.demands].sum()) * hops.hop_money
        if len(cohort.parts):
            part_load[cohort.parts] += cohort.part_shares
            money += _shares_of_parts(hops, cohort, len(part_load))
        gains[k] = max(_add_shares(hops, cohort, place, ends, money, load), 0.0)
        if not problem.demands.max_hops[cohort.demands].any() and _full_pulls(problem, cohort) < np.inf:
            gains[k] = np.inf  # no hop is allowed: what is left is the full pull
    if part_load.any():
        part_load *= most_uses(problem, hops, part_load > 0.0)
    return gains, load, part_load


def _full_pulls(problem: Problem, cohort: CohortPotentials) -> float:
    """What the full pulls of all the cohort's clients cost at least; infinite where none is allowed."""
    full_pull = float(problem.full_pull_money[cohort.demands].min())
    return np.inf if np.isinf(full_pull) else float(problem.demands.clients[cohort.demands].sum()) * full_pull


def _shares_of_parts(hops: Hops, cohort: CohortPotentials, parts: int) -> FloatArray:
    """What the cohort pays of parts on each hop."""
    shares = np.zeros(parts)
    shares[cohort.parts] = cohort.part_shares
    hop, part = hops.pairs
    return np.bincount(hop, weights=shares[part], minlength=len(hops.tail)).astype(np.float64)


def _even_shares(hops: Hops, part_money: FloatArray) -> FloatArray:
    """What each hop gets where every part's money is split evenly between the hops that need it."""
    hop, part = hops.pairs
    needed_by = np.bincount(part, minlength=len(part_money))
    return np.bincount(hop, weights=part_money[part] / needed_by[part], minlength=len(hops.tail)).astype(np.float64)


def _add_shares(
    hops: Hops, cohort: CohortPotentials, place: IntArray, ends: tuple[int, int], money: FloatArray, load: FloatArray
) -> float:
    """Add the shares that the potentials need to `load`; the bound of the cohort's ways by routes.

    With hop rows a client is at its base with all hops left and nowhere else, because its route repeats no commit.
    """
    (base, target), rows = ends, len(cohort.potentials)
    at = place[cohort.commits]
    last = int(at.max(initial=cohort.first - 1))
    # Before `first` potentials are 0, after `last` they are all `rest`: only hops that point back need shares there.
    which: slice | IntArray = slice(int(hops.start[cohort.first]), int(hops.start[last + 1]))
    outside = hops.back[(hops.tail[hops.back] > last) & (hops.head[hops.back] <= last)]
    if len(outside):
        which = np.r_[which, outside]
    tail, head, is_first = hops.tail[which], hops.head[which], hops.tail[which] == base
    here = _row(cohort, 0, at, len(place))
    if rows == 1:
        need = here[tail] - here[head]
        best = here[target]
    else:
        need, best = np.full(len(tail), -np.inf), here[target]
    for h in range(1, rows):
        below, here = here, _row(cohort, h, at, len(place))
        used = is_first if h == rows - 1 else ~is_first
        np.maximum(need, here[tail] - below[head], out=need, where=used)
        best = max(best, below[target])
    load[which] += np.maximum(need - money[which], 0.0)
    return float(here[base] - best)


def _row(cohort: CohortPotentials, h: int, at: IntArray, commits: int) -> FloatArray:
    """The potentials with `h` hops left by place."""
    row = np.full(commits, cohort.rest)
    row[: cohort.first] = 0.0
    row[at] = cohort.potentials[h]
    return row


def _fixed_money(problem: Problem, certificate: Certificate) -> tuple[FloatArray, FloatArray, float]:
    """Money of candidates and parts with their use of the limits priced on top, and what all that is allowed costs."""
    per_byte, per_s, limits = certificate.money_per_stored_byte, certificate.money_per_cpu_s, problem.limits
    money = [
        own + per_byte * table.stored_bytes + per_s * np.where(table.built, 0.0, table.server_cpu_s)
        for own, table in ((problem.candidate_money, problem.candidates), (problem.part_money, problem.parts))
    ]
    return money[0], money[1], per_byte * (limits.stored_bytes or 0.0) + per_s * (limits.server_cpu_s or 0.0)


def _repaired(gains: FloatArray, caps: FloatArray, load: FloatArray, fixed: FloatArray) -> float:
    """The most that is proven when potentials are divided by a ratio and the excess left is taken off."""
    is_paid = fixed > 0.0
    worst = float((load[is_paid] / fixed[is_paid]).max(initial=1.0))
    proven = 0.0
    for ratio in (1.0, worst):
        excess = float(np.maximum(load / ratio - fixed, 0.0).sum())
        value = float(np.minimum(gains / ratio, caps).sum())
        proven = max(proven, value * (1.0 - VERIFY_ROUNDING) - excess * (1.0 + VERIFY_ROUNDING))
    return proven
