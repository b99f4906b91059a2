"""A grid's releases: known mixes only, and layers before what is made of them."""

from __future__ import annotations

import pytest

from planner.history.grid import grid_commits


@pytest.mark.parametrize(("bases", "parts", "releases"), [(1, 1, 1), (2, 3, 4), (3, 2, 5)])
def test_every_product_is_the_union_of_its_part_and_its_base(bases: int, parts: int, releases: int) -> None:
    commits = list(grid_commits(bases, parts, releases))
    assert len(commits) == len({one.name for one in commits}) == releases * (bases + 2 * parts)
    seen: dict[str, int] = {}
    for one in commits:
        assert bool(one.line) != bool(one.layers)
        if one.layers:
            base, part = one.layers
            assert one.name == f"{part}-on-{base}"
            assert seen[base] == seen[part] == one.release
            assert (int(part[1:].split(".")[0]) - 1) % bases + 1 == int(base[1:].split(".")[0])
        seen[one.name] = one.release
    assert [one.release for one in commits] == sorted(one.release for one in commits)
