"""What makes a certificate none of its problem, with data paths; what it proves is for `verify_certificate` to say."""

from __future__ import annotations

import numpy as np

from planner.errors import InputError
from planner.optimize.certificate_record import Certificate, CohortPotentials
from planner.optimize.problem import FloatArray, IntArray, Problem

LARGEST_MONEY = 1e100
"""No potential, share or price is larger: sums and products with quantities of a graph stay finite."""


def find_faults(problem: Problem, certificate: Certificate) -> list[InputError]:
    """Every reason why the certificate cannot be verified on the problem; none: it can."""
    commits = len(problem.commits)
    if not np.array_equal(np.sort(certificate.order), np.arange(commits)):
        return [InputError("does not have every commit once", path="order")]
    faults = _price_faults(problem, certificate)
    place = np.empty(commits, dtype=np.int64)
    place[certificate.order] = np.arange(commits)
    is_covered = np.zeros(len(problem.demands), dtype=bool)
    for k, cohort in enumerate(certificate.cohorts):
        path = f"cohorts[{k}]"
        fault = _demands_fault(problem, cohort, is_covered)
        if fault:
            faults.append(InputError(fault, path=f"{path}.demands"))
            continue
        is_covered[cohort.demands] = True
        for key, message in _potential_faults(problem, cohort, place) + _part_faults(problem, cohort):
            faults.append(InputError(message, path=f"{path}.{key}"))
    return faults


def _is_money(values: FloatArray | float) -> bool:
    """Whether all values are finite, not negative and not absurd; NaN is not."""
    numbers = np.asarray(values)
    return bool(((numbers >= 0.0) & (numbers <= LARGEST_MONEY)).all())


def _are_indexes(values: IntArray, bound: int) -> bool:
    """Whether all values are different indexes below `bound`."""
    is_inside = values.ndim == 1 and values.dtype.kind == "i" and bool(((values >= 0) & (values < bound)).all())
    return is_inside and len(np.unique(values)) == len(values)


def _price_faults(problem: Problem, certificate: Certificate) -> list[InputError]:
    faults = []
    for key, price, allowed in (
        ("money_per_stored_byte", certificate.money_per_stored_byte, problem.limits.stored_bytes),
        ("money_per_cpu_s", certificate.money_per_cpu_s, problem.limits.server_cpu_s),
    ):
        if not _is_money(price):
            faults.append(InputError("is no price", path=f"prices.{key}", got=price))
        elif price > 0.0 and allowed is None:
            faults.append(InputError("prices what the graph does not limit", path=f"prices.{key}", got=price))
    return faults


def _demands_fault(problem: Problem, cohort: CohortPotentials, is_covered: np.ndarray) -> str:
    demands = problem.demands
    if not len(cohort.demands) or not _are_indexes(cohort.demands, len(demands)):
        return "are no indexes of different demands"
    if is_covered[cohort.demands].any():
        return "are in another cohort too"
    bases, targets = np.unique(demands.base[cohort.demands]), np.unique(demands.target[cohort.demands])
    if len(bases) > 1 or len(targets) > 1:
        return "have different bases or targets"
    return "have nothing to decide" if bases[0] == targets[0] else ""


def _potential_faults(problem: Problem, cohort: CohortPotentials, place: IntArray) -> list[tuple[str, str]]:
    commits = len(place)
    if not 0 <= cohort.first <= commits:
        return [("first", "is out of range")]
    if not _are_indexes(cohort.commits, commits):
        return [("commits", "are no indexes of different commits")]
    faults = []
    if (place[cohort.commits] < cohort.first).any():
        faults.append(("commits", "are before `first` in the order"))
    if not _is_money(cohort.rest):
        faults.append(("rest", "is negative, no number or too large"))
    shape = cohort.potentials.shape
    if len(shape) != 2 or shape[1] != len(cohort.commits) or not 1 <= shape[0] <= commits:
        return [*faults, ("potentials", "are not a row per number of hops left with a number per commit")]
    longest = int(np.minimum(problem.demands.max_hops[cohort.demands], commits - 1).max())
    if 1 < shape[0] <= longest:
        faults.append(("potentials", "have fewer rows than the demands may have hops"))
    if not _is_money(cohort.potentials):
        faults.append(("potentials", "are negative, no numbers or too large"))
    return faults


def _part_faults(problem: Problem, cohort: CohortPotentials) -> list[tuple[str, str]]:
    if not _are_indexes(cohort.parts, len(problem.parts)):
        return [("parts", "are no indexes of different parts")]
    if cohort.part_shares.shape != cohort.parts.shape or not _is_money(cohort.part_shares):
        return [("part_shares", "are not an amount of money per part")]
    return []
