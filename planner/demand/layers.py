"""Clients that keep layers apart: what they fetch instead of a merged tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.demand.cohorts import Cohort
from planner.errors import InputError
from planner.history.layers import check_union
from planner.history.records import EMPTY, History

Step = tuple[str, str]
"""One layer before the update and after it; `EMPTY` before, where the client has nothing in its place."""


def layer_steps(history: History, base: str, target: str) -> tuple[Step, ...]:
    """How each of the target's layers comes about from what the base is composed of, place by place, in order.

    A base that is not composed of others is one layer.
    """
    held = history.commits[base].layers or (base,) if base != EMPTY else ()
    wanted = history.commits[target].layers
    return tuple((held[place] if place < len(held) else EMPTY, layer) for place, layer in enumerate(wanted))


def check_layers(history: History, cohorts: Sequence[Cohort]) -> None:
    """Check that clients which keep layers apart end on what the server has.

    Raises:
        InputError: a target is no union of layers, or a layer of it or of a base is not in the repository.
    """
    for target in dict.fromkeys(cohort.target for cohort in cohorts if cohort.layers):
        check_union(history, target)
    for base in dict.fromkeys(cohort.base for cohort in cohorts if cohort.layers and cohort.base != EMPTY):
        missing = [layer for layer in history.commits[base].layers if layer not in history.commits]
        if missing:
            raise InputError("has a layer that the repository lacks", got=history.name_of(base), layer=missing[0])


def with_layers(history: History, cohorts: Sequence[Cohort]) -> tuple[Cohort, ...]:
    """The cohorts, none with layers, and beside each that had them one more for each layer that changes.

    These are all the ways that could serve them: what rules propose for these, the cohorts can use.
    """
    return tuple(
        one
        for cohort in cohorts
        for one in (
            replace(cohort, layers=False),
            *(
                replace(cohort, base=before, target=after, ref=None, layers=False)
                for before, after in (layer_steps(history, cohort.base, cohort.target) if cohort.layers else ())
                if before != after
            ),
        )
    )
