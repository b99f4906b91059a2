"""Which layers a client fetches on its own, place by place."""

from __future__ import annotations

from datetime import UTC, datetime

from planner.demand.cohorts import Cohort
from planner.demand.layers import layer_steps, with_layers
from planner.history.records import EMPTY, LAYERS_KEY, Commit, History

B1, B2, S1, S2, OLD, NEW, WIDE = (digit * 64 for digit in "1234567")
MIXES = {OLD: (B1, S1), NEW: (B2, S2), WIDE: (B2, S1, S2)}
HISTORY = History(
    commits={
        name: Commit(
            checksum=name,
            parent=None,
            committed_at=datetime(2024, 1, 1, tzinfo=UTC),
            tree="0" * 64,
            metadata={LAYERS_KEY: " ".join(MIXES[name])} if name in MIXES else {},
        )
        for name in (B1, B2, S1, S2, OLD, NEW, WIDE)
    },
    trees={},
    refs={},
)


def test_layers_are_matched_by_their_place() -> None:
    assert layer_steps(HISTORY, OLD, NEW) == ((B1, B2), (S1, S2))
    assert layer_steps(HISTORY, OLD, WIDE) == ((B1, B2), (S1, S1), (EMPTY, S2))
    assert layer_steps(HISTORY, WIDE, NEW) == ((B2, B2), (S1, S2))


def test_a_bare_base_is_one_layer_and_nothing_is_none() -> None:
    assert layer_steps(HISTORY, B1, NEW) == ((B1, B2), (EMPTY, S2))
    assert layer_steps(HISTORY, EMPTY, NEW) == ((EMPTY, B2), (EMPTY, S2))


def test_each_layer_that_changes_is_asked_for_beside_the_merged_tree() -> None:
    layered = Cohort(base=WIDE, target=NEW, clients=3, ref="device", layers=True)
    plain = Cohort(base=OLD, target=NEW, clients=2, ref="device")
    assert with_layers(HISTORY, [layered, plain]) == (
        Cohort(base=WIDE, target=NEW, clients=3, ref="device"),
        Cohort(base=S1, target=S2, clients=3),
        plain,
    )
