"""Columns read as arrays: whatever is wrong with a text, the answer is that for its decoded document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from planner.errors import InputError
from planner.optimize.interchange import graph_digest, graph_from_dict, parse_graph
from planner.optimize.problem import Problem
from tests.optimize.tiny import random_graph

ODD_VALUES: list[Any] = [
    *(None, True, False, "4", "", [], [1], {}, {"a": [2]}, 0, -0.0, 0.0, 1.0, 1.5, -1, -1.0, 3, 3.0, 1e16, 2**53 + 1),
    *(
        1e30,
        10**30,
        10**30 + 19_884_624_838_657,
        10**31,
        1e300,
        2**62,
        2**63 - 1,
        2**63,
        2.0**63,
        2**64,
        10**25,
        5e-324,
    ),
]


def _spoil(graph: dict[str, Any], rng: np.random.Generator) -> None:
    """One change somewhere: a value, a column's length or type, a key that is missing or unknown."""
    section = graph[str(rng.choice(["candidates", "candidates", "parts", "demands", "demands", "prices", "limits"]))]
    if not isinstance(section, dict) or not section or rng.random() < 0.05:
        graph[str(rng.choice([*graph]))] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
        return
    key = str(rng.choice([*section]))
    odd, column = ODD_VALUES[rng.integers(len(ODD_VALUES))], section[key]
    match rng.integers(12):
        case 0:
            section.pop(key)
        case 1:
            section[key] = odd
        case 2:
            section["surprise"] = odd
        case 3 if isinstance(graph["commits"], list):
            graph["commits"].append(odd)
        case 4 if isinstance(column, list) and column:
            column.pop()
        case 5 if isinstance(column, list):
            section[key] = [float(value) if type(value) is int else value for value in column]
        case _ if isinstance(column, list) and column:
            column[int(rng.integers(len(column)))] = odd
        case _:
            section[key] = odd


def _outcome(read: Callable[[], Problem]) -> str:
    try:
        return graph_digest(read())
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("block", range(10))
def test_text_is_read_as_its_decoded_document_is(block: int) -> None:
    """The same problem, or the same faults in the same order, whether columns are read as arrays or value by value."""
    refused = 0
    for seed in range(block * 100, block * 100 + 100):
        rng = np.random.default_rng(seed)
        graph: Any = random_graph(seed)
        for _ in range(rng.integers(1, 4)):
            _spoil(graph, rng)
        outcome = _outcome(lambda graph=graph: parse_graph(json.dumps(graph)))  # type: ignore[misc]
        assert outcome == _outcome(lambda graph=graph: graph_from_dict(json.loads(json.dumps(graph))))  # type: ignore[misc]
        refused += ": " in outcome
    assert 20 < refused < 98


@pytest.mark.parametrize(
    "text",
    [
        b'{"commits": ["a"], "candidates": {"base": [0, 1e400]}}',
        b'{"surprise": "\xff"}',
        b'{"demands": {"surprise": "\xff"}}',
        b'{"demands": {"clients": [1, "\xff"]}}',
        b'{"parts": {"built": [true, "\\q"]}}',
        b'{"parts": [1, "\xff"]}',
    ],
)
def test_bad_json_is_located_in_the_whole_text(text: bytes) -> None:
    """Inside a column too, what the error says is what decoding the document in one piece says."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as expected:
        msgspec.json.decode(text)
    with pytest.raises(InputError) as caught:
        parse_graph(text)
    assert str(caught.value) == f"graph: is not JSON: reason={str(expected.value)!r}"
