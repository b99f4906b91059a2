"""Beliefs: measurements move factors to where they are, and intervals hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from planner.project.belief import Belief

PRIOR = Belief.prior((1.0, 2.0, 0.5), (0.02, 0.3, 0.3), 0.1)


def draw(rng: np.random.Generator, factors: np.ndarray, noise: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates' terms and measured weights."""
    terms = rng.lognormal(5, 1, (count, len(factors)))
    return terms, terms @ factors * np.exp(rng.normal(0, noise, count))


def test_nothing_measured_changes_nothing() -> None:
    assert PRIOR.learn(np.zeros((0, 3)), np.zeros(0)) is PRIOR


def test_many_measurements_find_the_factors_and_the_noise() -> None:
    rng = np.random.default_rng(1)
    factors = np.array([1.0, 3.0, 0.25])
    belief = PRIOR.learn(*draw(rng, factors, 0.05, 2000))
    assert belief.factors == pytest.approx(factors, rel=0.05)
    assert belief.noise == pytest.approx(0.05, rel=0.1)


def test_learning_never_makes_less_sure_of_factors() -> None:
    rng = np.random.default_rng(2)
    belief = PRIOR.learn(*draw(rng, np.array([1.0, 2.0, 0.5]), 0.05, 5))
    assert (np.diag(belief.covariance) <= np.diag(PRIOR.covariance) + 1e-12).all()


@pytest.mark.parametrize("measured", [0, 3, 30])
def test_intervals_hold_as_often_as_they_say(measured: int) -> None:
    """Of many repositories whose factors are as the prior says, with its noise."""
    rng = np.random.default_rng(measured)
    held = []
    for _ in range(400):
        factors = np.maximum(PRIOR.factors * (1 + np.array([0.02, 0.3, 0.3]) * rng.normal(size=3)), 0.01)
        belief = PRIOR.learn(*draw(rng, factors, 0.1, measured))
        terms, weights = draw(rng, factors, 0.1, 5)
        projected, errors = belief.project(terms)
        held += list(np.abs(np.log(projected / weights)) <= 1.645 * errors)
    assert 0.85 <= np.mean(held) <= 0.95


def test_doubtful_measurements_teach_less_and_doubts_widen_intervals() -> None:
    rng = np.random.default_rng(5)
    terms, weights = draw(rng, np.array([1.0, 3.0, 0.25]), 0.05, 40)
    sure, unsure = PRIOR.learn(terms, weights), PRIOR.learn(terms, weights, np.full(40, 0.5))
    assert abs(sure.factors[1] - 3.0) < abs(unsure.factors[1] - 3.0)
    assert (np.diag(sure.covariance) < np.diag(unsure.covariance)).all()
    assert (sure.project(terms, np.full(40, 0.2))[1] > sure.project(terms)[1]).all()


def test_noise_is_what_doubts_do_not_explain() -> None:
    rng = np.random.default_rng(6)
    terms, weights = draw(rng, np.array([1.0, 2.0, 0.5]), np.hypot(0.05, 0.2), 4000)
    assert PRIOR.learn(terms, weights, np.full(4000, 0.2)).noise == pytest.approx(0.05, rel=0.5)


def test_weights_are_above_zero() -> None:
    weights, errors = Belief.prior((1.0,), (0.5,), 0.1).project(np.zeros((2, 1)))
    assert (weights > 0).all()
    assert np.isfinite(errors).all()
