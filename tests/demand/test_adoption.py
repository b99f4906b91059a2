"""The adoption model: half-lives, sums, and the tail that is left out."""

from __future__ import annotations

from math import fsum, inf, nan

import pytest

from planner.demand.adoption import adoption_cohorts, factory_cohorts
from planner.errors import InputError
from planner.history.records import History
from tests.demand.histories import checksum_of, make_history, make_line


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


# -- wildcards, and devices from the factory ---------------------------------------------------------------------


def _two_lines(releases: int = 3) -> History:
    """Two lines of bases and two of products, each with releases of its own."""
    parents: dict[str, str | None] = {}
    for ref in ("base/1", "base/2", "device/1", "device/2"):
        names = [f"{ref}-{number}" for number in range(1, releases + 1)]
        parents |= dict(zip(names, [None, *names], strict=False))
    return make_history(parents, refs={name.rsplit("-", 1)[0]: name for name in parents})


def test_a_pattern_means_each_of_its_refs() -> None:
    history = _two_lines()
    cohorts = adoption_cohorts(history, "device/*", clients=100, half_life_releases=1, layers=True)
    assert {cohort.ref for cohort in cohorts} == {"device/1", "device/2"}
    assert fsum(cohort.clients for cohort in cohorts) == pytest.approx(200)
    assert all(cohort.layers for cohort in cohorts)


def test_new_devices_are_on_every_release_of_every_base() -> None:
    """As many on each line; in a line, half as many on the release before."""
    history = _two_lines()
    cohorts = factory_cohorts(history, ["device/*"], ["base/*"], clients=140, half_life_releases=1, max_hops=3)
    assert len(cohorts) == 2 * 2 * 3
    for ref in ("device/1", "device/2"):
        of_ref = [cohort for cohort in cohorts if cohort.ref == ref]
        assert [cohort.clients for cohort in of_ref] == pytest.approx([40, 20, 10, 40, 20, 10])
        assert [cohort.base for cohort in of_ref] == [
            checksum_of(f"base/{line}-{number}") for line in (1, 2) for number in (3, 2, 1)
        ]
        assert {(cohort.target, cohort.max_hops) for cohort in of_ref} == {(history.refs[ref], 3)}


def test_a_device_that_is_there_asks_for_nothing() -> None:
    history = _two_lines()
    cohorts = factory_cohorts(history, ["base/1"], ["base/1"], clients=7, half_life_releases=1)
    assert history.refs["base/1"] not in {cohort.base for cohort in cohorts}


@pytest.mark.parametrize(("refs", "bases"), [(["device/9"], ["base/*"]), (["device/*"], ["bare/*"])])
def test_a_pattern_without_refs_is_refused(refs: list[str], bases: list[str]) -> None:
    with pytest.raises(InputError, match="is no ref"):
        factory_cohorts(_two_lines(), refs, bases, clients=1, half_life_releases=1)
