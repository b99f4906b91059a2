"""The adoption model: half-lives, sums, and the tail that is left out."""

from __future__ import annotations

from math import fsum, inf, nan

import pytest

from planner.demand.adoption import adoption_cohorts
from planner.errors import InputError
from tests.demand.histories import checksum_of, make_line


@pytest.mark.parametrize("half_life_releases", [1e-4, 0.01, 0.5, 1.0, 3.0, 100.0, inf])
@pytest.mark.parametrize("releases", [2, 3, 30])
def test_cohorts_sum_to_the_clients(releases: int, half_life_releases: float) -> None:
    """Nobody is lost, however short the half-life and however long the history."""
    cohorts = adoption_cohorts(make_line(releases), "stable", clients=1234.5, half_life_releases=half_life_releases)
    assert fsum(cohort.clients for cohort in cohorts) == pytest.approx(1234.5)


@pytest.mark.parametrize("half_life_releases", [1, 2, 5])
def test_release_one_half_life_older_has_half_the_clients(half_life_releases: int) -> None:
    """The law of the model, for every pair of releases so far apart."""
    cohorts = adoption_cohorts(make_line(16), "stable", clients=1000, half_life_releases=half_life_releases)
    clients = [cohort.clients for cohort in cohorts]
    pairs = list(zip(clients, clients[half_life_releases:], strict=False))
    assert pairs
    assert all(older == pytest.approx(newer / 2) for newer, older in pairs)


def test_everybody_wants_the_head_from_the_releases_before_it() -> None:
    """Newest base first; the head itself has no cohort; ref and hop limit are passed on."""
    cohorts = adoption_cohorts(make_line(4), "stable", clients=7, half_life_releases=1, max_hops=2)
    assert [cohort.base for cohort in cohorts] == [checksum_of(name) for name in ("v3", "v2", "v1")]
    assert [cohort.clients for cohort in cohorts] == pytest.approx([4.0, 2.0, 1.0])
    assert {(cohort.target, cohort.ref, cohort.max_hops) for cohort in cohorts} == {(checksum_of("v4"), "stable", 2)}


def test_negligible_tail_gets_no_cohorts() -> None:
    """With half-life 1, the 20th release back has 2^-20 of the clients, under a millionth: 19 cohorts."""
    few = adoption_cohorts(make_line(40), "stable", clients=1e9, half_life_releases=1)
    assert len(few) == 19
    assert min(cohort.clients for cohort in few) >= 1e9 * 0.9e-6


def test_head_without_older_releases_has_no_demand() -> None:
    """Nobody can be on a release before the first."""
    assert adoption_cohorts(make_line(1), "stable", clients=5, half_life_releases=1) == ()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ref": "beta"}, r"demand\.adoption\.ref: is no ref: got='beta'"),
        ({"half_life_releases": 0.0}, r"demand\.adoption\.half_life_releases: is not positive"),
        ({"half_life_releases": -1.0}, r"demand\.adoption\.half_life_releases: is not positive"),
        ({"half_life_releases": nan}, r"demand\.adoption\.half_life_releases: is not positive"),
        ({"clients": -1.0}, r"demand\.adoption\.clients: is not a number of clients: got=-1\.0"),
        ({"clients": nan}, r"demand\.adoption\.clients: is not a number of clients"),
        ({"clients": inf}, r"demand\.adoption\.clients: is not a number of clients"),
    ],
)
def test_number_that_makes_no_sense_is_refused(changes: dict[str, float | str], fault: str) -> None:
    """Each by its path in the scenario."""
    arguments = {"ref": "stable", "clients": 10.0, "half_life_releases": 2.0, **changes}
    with pytest.raises(InputError, match=fault):
        adoption_cohorts(make_line(3), **arguments)  # type: ignore[arg-type]
