"""Certificates as JSON: `deltaplan-certificate/1` (`docs/formats.md`).

Reading is strict: unknown keys and wrong types are refused here, and what does not fit the graph by
`verify_certificate`, all faults together. Nothing that a file says is believed, its bound included.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from planner.errors import InputError, raise_collected
from planner.optimize.certificate_faults import find_faults
from planner.optimize.certificate_record import Certificate, CohortPotentials
from planner.optimize.interchange import graph_digest
from planner.optimize.problem import FloatArray, IntArray, Problem

CERTIFICATE_FORMAT = "deltaplan-certificate/1"

_Index = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Money = Annotated[float, msgspec.Meta(ge=0.0)]


class _Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    money_per_stored_byte: _Money = 0.0
    money_per_cpu_s: _Money = 0.0


class _Cohort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    demands: list[_Index]
    first: _Index
    rest: _Money
    commits: list[_Index]
    potentials: list[list[_Money]]
    parts: list[_Index] = []
    part_shares: list[_Money] = []


class _CertificateFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["deltaplan-certificate/1"]
    graph_digest: str
    bound: _Money
    order: list[_Index]
    cohorts: list[_Cohort]
    prices: _Prices = _Prices()


def certificate_to_dict(certificate: Certificate, problem: Problem) -> dict[str, Any]:
    """The certificate as a `deltaplan-certificate/1` document."""
    return {
        "format": CERTIFICATE_FORMAT,
        "graph_digest": graph_digest(problem),
        "bound": certificate.bound,
        "prices": {
            "money_per_stored_byte": certificate.money_per_stored_byte,
            "money_per_cpu_s": certificate.money_per_cpu_s,
        },
        "order": certificate.order.tolist(),
        "cohorts": [
            {
                "demands": cohort.demands.tolist(),
                "first": cohort.first,
                "rest": cohort.rest,
                "commits": cohort.commits.tolist(),
                "potentials": cohort.potentials.tolist(),
                "parts": cohort.parts.tolist(),
                "part_shares": cohort.part_shares.tolist(),
            }
            for cohort in certificate.cohorts
        ],
    }


def parse_certificate(data: bytes | str, problem: Problem) -> Certificate:
    """The certificate in a `deltaplan-certificate/1` document; what it proves is still to be verified.

    Raises:
        InputError: the document breaks the format, or belongs to another graph; every fault is named.
    """
    try:
        file = msgspec.json.decode(data, type=_CertificateFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("is no certificate", path="certificate", reason=str(error)) from error
    digest = graph_digest(problem)
    if file.graph_digest != digest:
        path = "certificate.graph_digest"
        raise InputError("belongs to another graph", path=path, got=file.graph_digest, expected=digest)
    _check_rows(file)
    certificate = Certificate(
        order=_indexes(file.order),
        cohorts=tuple(_cohort(cohort) for cohort in file.cohorts),
        money_per_stored_byte=file.prices.money_per_stored_byte,
        money_per_cpu_s=file.prices.money_per_cpu_s,
        bound=file.bound,
    )
    raise_collected(find_faults(problem, certificate))
    return certificate


def _check_rows(file: _CertificateFile) -> None:
    """Raise where a row of potentials does not have a number per commit listed."""
    raise_collected(
        InputError(
            "has another length than the commits listed",
            path=f"cohorts[{k}].potentials[{h}]",
            got=len(row),
            expected=len(cohort.commits),
        )
        for k, cohort in enumerate(file.cohorts)
        for h, row in enumerate(cohort.potentials)
        if len(row) != len(cohort.commits)
    )


def _cohort(cohort: _Cohort) -> CohortPotentials:
    return CohortPotentials(
        demands=_indexes(cohort.demands),
        first=cohort.first,
        rest=cohort.rest,
        commits=_indexes(cohort.commits),
        potentials=_money(cohort.potentials).reshape((len(cohort.potentials), len(cohort.commits))),
        parts=_indexes(cohort.parts),
        part_shares=_money(cohort.part_shares),
    )


def _indexes(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def _money(values: list[float] | list[list[float]]) -> FloatArray:
    return np.array(values, dtype=np.float64)
