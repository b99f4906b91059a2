"""`deltaplan-certificate/1`: what is written is read back, and what is wrong is refused with its path."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.optimize.certificate import verify_certificate
from planner.optimize.certificate_duals import certify
from planner.optimize.certificate_format import certificate_to_dict, parse_certificate
from planner.optimize.problem import Problem
from tests.optimize.test_certificate import climbed
from tests.optimize.tiny import random_problem, two_step


def document_of(problem: Problem, seed: int = 3) -> dict[str, Any]:
    return certificate_to_dict(certify(problem, climbed(problem, seed)[1]), problem)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_written_proves_the_same_when_read(seed: int) -> None:
    """No digit is lost."""
    problem = random_problem(seed)
    written = certify(problem, climbed(problem, seed)[1])
    document = json.dumps(certificate_to_dict(written, problem))
    read = parse_certificate(document, problem)
    assert verify_certificate(problem, read) == written.bound == read.bound
    assert json.dumps(certificate_to_dict(read, problem)) == document


def test_without_duals_the_certificate_proves_nothing() -> None:
    """And says so."""
    problem = two_step()
    assert verify_certificate(problem, certify(problem, None)) == certify(problem, None).bound == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "deltaplan-certificate/2"}, "format"),
        ({"extra": 1}, "extra"),
        ({"graph_digest": "0"}, "another graph"),
        ({"bound": "1"}, "bound"),
        ({"bound": -1}, "bound"),
        ({"order": [0, 1]}, "order: does not have every commit once"),
        ({"order": [0, 1, 2**80]}, "order"),
        ({"order": [0, 1, 1.5]}, "order"),
        ({"prices": {"money_per_stored_byte": 1}}, "does not limit"),
        ({"cohorts": [{}]}, "cohorts"),
        ({"cohorts": {}}, "cohorts"),
    ],
)
def test_faults_are_refused(change: dict[str, Any], words: str) -> None:
    """Unknown keys, wrong types, other graphs, numbers out of range."""
    problem = two_step()
    with pytest.raises(InputError, match=words):
        parse_certificate(json.dumps({**document_of(problem), **change}), problem)


def test_faults_of_cohorts_are_collected() -> None:
    """A person mends them together."""
    problem = two_step()
    document = document_of(problem)
    document["cohorts"][0].update(rest=1e200, parts=[5], part_shares=[1])
    with pytest.raises(InputError, match=r"cohorts\[0\]\.rest.*cohorts\[0\]\.parts"):
        parse_certificate(json.dumps(document), problem)
    document["cohorts"][0]["potentials"] = [[1, 2, 3, 4], []]
    with pytest.raises(InputError, match=r"potentials\[0\].*got=4.*potentials\[1\]"):
        parse_certificate(json.dumps(document), problem)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "[" * 10_000, '{"format": NaN}', "\ud800".encode("utf-16", "surrogatepass")]
)
def test_what_is_no_document_is_an_input_error(text: Any) -> None:
    """Nothing else leaves the reader."""
    with pytest.raises(InputError):
        parse_certificate(text, two_step())


@given(
    st.fixed_dictionaries(
        {
            "demands": st.lists(st.integers(-1, 2**70), max_size=3),
            "first": st.integers(-1, 2**64),
            "rest": st.floats(allow_nan=False, allow_infinity=False),
            "commits": st.lists(st.integers(0, 4), max_size=4),
            "potentials": st.lists(st.lists(st.floats(0, 1e300), max_size=4), max_size=4),
        }
    )
)
@settings(deadline=None, max_examples=200)
def test_hostile_cohorts_prove_no_more_than_the_optimum(cohort: dict[str, Any]) -> None:
    """Whatever a cohort says, it is refused or true: the optimum of this world is 24."""
    problem = two_step()
    document = {**document_of(problem), "cohorts": [cohort]}
    try:
        proven = verify_certificate(problem, parse_certificate(json.dumps(document), problem))
    except InputError:
        return
    assert proven <= 24.0
    assert not np.isnan(proven)
