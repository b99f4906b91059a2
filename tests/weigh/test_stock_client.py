"""What a stock client picks: the newest base that it holds, not the smallest delta."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from planner.weigh.stock_client import pick_base
from tests.demand.histories import checksum_of, make_history, make_line

LINE = make_line(4)


def _pick(held: Iterable[str], published: Iterable[str]) -> str | None:
    picked = pick_base(LINE, (checksum_of(name) for name in held), {checksum_of(name) for name in published})
    return None if picked is None else "(empty)" if picked == "" else LINE.name_of(picked)


@pytest.mark.parametrize(
    ("held", "published", "picked"),
    [
        (["v1", "v2", "v3"], ["v1", "v2"], "v2"),
        (["v3", "v1"], ["v1", "v2", "v3"], "v3"),
        (["v1"], ["v2", ""], None),
        (["v1"], [], None),
        (["v1"], ["", "v1"], "v1"),
        ([], ["", "v1"], "(empty)"),
        ([], ["v1"], None),
        (["unknown"], ["unknown", ""], None),
    ],
)
def test_client_picks_the_newest_base_that_it_holds(held: list[str], published: list[str], picked: str | None) -> None:
    """A from-empty delta only for a client that holds nothing; whoever holds something else pulls objects."""
    assert _pick(held, published) == picked


def test_newest_is_by_the_commits_own_time() -> None:
    """Not by its place in the history: v1 was committed again, later."""
    history = make_history({"v1": None, "v2": "v1"}, days={"v1": 9})
    both = {checksum_of("v1"), checksum_of("v2")}
    assert pick_base(history, both, both) == checksum_of("v1")
