"""Graphs and plans as JSON: round trips, defaults, and every kind of fault with its data path."""

from __future__ import annotations

import dataclasses
import json
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from planner.errors import InfeasibleError, InputError
from planner.optimize.interchange import (
    encode_plan,
    graph_digest,
    graph_from_dict,
    graph_to_dict,
    parse_graph,
    parse_plan,
    plan_to_dict,
)
from planner.optimize.problem import NO_HOP_LIMIT, Limits, Prices
from planner.optimize.solve import solve
from tests.optimize.tiny import random_graph, random_problem, two_step

MINIMAL = {
    "format": "deltaplan-graph/1",
    "commits": ["", "A"],
    "candidates": {"base": [0, 0], "target": [1, 1], "wire_bytes": [3, 4.5]},
    "demands": {"base": [0], "target": [1], "clients": [2.5]},
}


def _changed(*path_and_value: Any) -> dict[str, Any]:
    """The minimal graph with one value set; the last key may be new."""
    *path, last, value = path_and_value
    graph: dict[str, Any] = deepcopy(MINIMAL)
    place = graph
    for key in path:
        place = place.setdefault(key, {})
    place[last] = value
    return graph


def _without(*path: str) -> dict[str, Any]:
    graph: dict[str, Any] = deepcopy(MINIMAL)
    place = graph
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return graph


@pytest.mark.parametrize("seed", range(30))
def test_graph_survives_the_round_trip(seed: int) -> None:
    """Written and read again, a graph is the same to the last column, and so is its digest."""
    problem = random_problem(seed)
    text = json.dumps(graph_to_dict(problem))
    again = parse_graph(text)
    assert graph_to_dict(again) == graph_to_dict(problem)
    assert graph_digest(again) == graph_digest(problem)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_read_is_what_was_written(seed: int) -> None:
    """Every given value arrives in its array; nulls become 'no limit'."""
    graph: Any = random_graph(seed)
    problem = graph_from_dict(graph)
    for section in ("candidates", "parts"):
        for name, column in graph[section].items():
            assert getattr(getattr(problem, section), name).tolist() == column
    for name, missing in (("full_pull_bytes", np.inf), ("max_wire_bytes", np.inf), ("max_hops", NO_HOP_LIMIT)):
        expected = [missing if value is None else value for value in graph["demands"][name]]
        assert getattr(problem.demands, name).tolist() == expected
    assert problem.prices == Prices(**graph["prices"])
    assert problem.limits == Limits(**graph["limits"])


def test_missing_columns_take_their_defaults() -> None:
    """Stored is wire, nothing costs CPU or is built, no parts, no limits, no full pull, all prices 0."""
    problem = graph_from_dict(MINIMAL)
    rows, demands = problem.candidates, problem.demands
    assert rows.stored_bytes.tolist() == rows.wire_bytes.tolist() == [3.0, 4.5]
    assert rows.server_cpu_s.tolist() == rows.client_cpu_s.tolist() == [0.0, 0.0]
    assert rows.built.tolist() == [False, False]
    assert len(problem.parts) == 0
    assert (demands.full_pull_bytes[0], demands.max_wire_bytes[0], demands.max_hops[0]) == (
        np.inf,
        np.inf,
        NO_HOP_LIMIT,
    )
    assert (problem.prices, problem.limits) == (Prices(), Limits())


@pytest.mark.parametrize(
    "path_and_value",
    [
        ("candidates", "stored_bytes", [3.0, 4.5]),
        ("candidates", "built", [False, False]),
        ("candidates", "server_cpu_s", [0, -0.0]),
        ("demands", "max_hops", [None]),
        ("demands", "max_wire_bytes", [None]),
        ("demands", "full_pull_bytes", [None]),
        ("parts", "stored_bytes", []),
        ("prices", "per_hop", 0),
        ("limits", "server_cpu_s", None),
        ("demands", "base", [0.0]),
    ],
)
def test_digest_is_the_same_with_defaults_written_or_omitted(path_and_value: tuple[Any, ...]) -> None:
    """Graphs that mean the same have the same digest."""
    assert graph_digest(graph_from_dict(_changed(*path_and_value))) == graph_digest(graph_from_dict(MINIMAL))


@pytest.mark.parametrize(
    "path_and_value",
    [
        ("commits", ["", "B"]),
        ("candidates", "wire_bytes", [3, 4]),
        ("demands", "max_hops", [7]),
        ("prices", "per_hop", 1),
        ("limits", "stored_bytes", 0),
    ],
)
def test_digest_differs_where_the_meaning_differs(path_and_value: tuple[Any, ...]) -> None:
    """One value changed, another digest."""
    assert graph_digest(graph_from_dict(_changed(*path_and_value))) != graph_digest(graph_from_dict(MINIMAL))


def test_limit_in_whole_numbers_has_the_digest_of_its_float() -> None:
    """`Limits(stored_bytes=7)` made in Python is the graph file's 7.0."""
    problem = graph_from_dict(MINIMAL)
    whole, written = (problem.replace(limits=Limits(stored_bytes=amount)) for amount in (7, 7.0))
    assert graph_digest(whole) == graph_digest(written)


def test_digest_of_arrays_made_in_python_is_that_of_the_file() -> None:
    """Whole numbers, other widths and byte orders, -0.0 and an infinite limit: what they mean counts."""
    problem = graph_from_dict(MINIMAL)
    rows, demands = problem.candidates, problem.demands
    other = problem.replace(
        candidates=dataclasses.replace(
            rows, base=rows.base.astype(np.int32), server_cpu_s=np.array([-0.0, 0.0]), built=np.zeros(4, bool)[::2]
        ),
        demands=dataclasses.replace(
            demands, target=demands.target.astype(">i8"), clients=demands.clients.astype(">f8")
        ),
        limits=Limits(stored_bytes=np.inf),
    )
    assert graph_digest(other) == graph_digest(problem)
    whole = dataclasses.replace(rows, server_cpu_s=np.zeros(2, dtype=np.int64))
    assert graph_digest(problem.replace(candidates=whole)) == graph_digest(problem)


@pytest.mark.parametrize(
    ("one", "other"), [(["ab", "c"], ["a", "bc"]), (["a\x00"], ["a", "\x00"]), (["\ud800"], ["\ud801"])]
)
def test_digest_tells_names_apart_whatever_they_hold(one: list[str], other: list[str]) -> None:
    """Names that read alike end to end, and names that only JSON's escapes can write."""
    digests = [graph_digest(two_step().replace(commits=tuple(names))) for names in (one, other)]
    assert digests[0] != digests[1]


FAULTS: list[tuple[dict[str, Any], str]] = [
    (_changed("surprise", 1), "surprise: is an unknown key"),
    (_changed("candidates", "weight", [1]), "candidates.weight: is an unknown key"),
    (_changed("parts", "bytes", []), "parts.bytes: is an unknown key"),
    (_changed("demands", "hops", [1]), "demands.hops: is an unknown key"),
    (_changed("prices", "egress", 1), "prices.egress: is an unknown key"),
    (_changed("limits", "egress", 1), "limits.egress: is an unknown key"),
    (_without("format"), "format: is missing"),
    (_without("commits"), "commits: is missing"),
    (_without("candidates"), "candidates: is missing"),
    (_without("demands"), "demands: is missing"),
    (_without("candidates", "base"), "candidates.base: is missing"),
    (_without("candidates", "target"), "candidates.target: is missing"),
    (_without("candidates", "wire_bytes"), "candidates.wire_bytes: is missing"),
    (_without("demands", "clients"), "demands.clients: is missing"),
    (_changed("format", "deltaplan-graph/2"), "format: is not deltaplan-graph/1: got='deltaplan-graph/2'"),
    (_changed("format", None), "format: is not deltaplan-graph/1: got=None"),
    (_changed("commits", "A"), "commits: is not an array"),
    (_changed("commits", ["", 3]), "commits[1]: is not a string: got=3"),
    (_changed("commits", ["A", "A"]), "commits[1]: repeats a name: got='A', first=0"),
    (_changed("candidates", []), "candidates: is not an object"),
    (_changed("limits", None), "limits: is not an object"),
    (
        _changed("candidates", "built", [True]),
        "candidates.built: has another length than the columns beside it: got=1, expected=2",
    ),
    (
        _changed("demands", "clients", [1, 2]),
        "demands.clients: has another length than the columns beside it: got=2, expected=1",
    ),
    (_changed("candidates", "target", 1), "candidates.target: is not an array"),
    (_changed("candidates", "wire_bytes", [3, -1]), "candidates.wire_bytes[1]: is negative: got=-1"),
    (_changed("demands", "clients", [-0.5]), "demands.clients[0]: is negative: got=-0.5"),
    (_changed("prices", "per_hop", -1), "prices.per_hop: is negative: got=-1"),
    (_changed("limits", "stored_bytes", -1), "limits.stored_bytes: is negative: got=-1"),
    (_changed("candidates", "wire_bytes", [3, None]), "candidates.wire_bytes[1]: is null: got=None"),
    (_changed("candidates", "stored_bytes", [3, None]), "candidates.stored_bytes[1]: is null: got=None"),
    (_changed("prices", "per_hop", None), "prices.per_hop: is null: got=None"),
    (_changed("candidates", "wire_bytes", [3, True]), "candidates.wire_bytes[1]: is not a number: got=True"),
    (_changed("candidates", "wire_bytes", [3, "4"]), "candidates.wire_bytes[1]: is not a number: got='4'"),
    (_changed("candidates", "base", [0, False]), "candidates.base[1]: is not an index: got=False"),
    (_changed("candidates", "base", [0, 0.5]), "candidates.base[1]: is not an index: got=0.5"),
    (_changed("candidates", "base", [0, 2]), "candidates.base[1]: is out of range 0..1: got=2"),
    (_changed("candidates", "base", [0, -1]), "candidates.base[1]: is out of range 0..1: got=-1"),
    (_changed("demands", "target", [2]), "demands.target[0]: is out of range 0..1: got=2"),
    (_changed("candidates", "built", [True, 0]), "candidates.built[1]: is not true or false: got=0"),
    (_changed("demands", "max_hops", [-1]), "demands.max_hops[0]: is negative: got=-1"),
    (_changed("demands", "max_hops", [1.5]), "demands.max_hops[0]: is not a count: got=1.5"),
    (_changed("demands", "max_hops", [True]), "demands.max_hops[0]: is not a count: got=True"),
    (
        _changed("candidates", "wire_bytes", [3, 10**31]),
        f"candidates.wire_bytes[1]: is larger than 1e+30: got={10**31}",
    ),
    (_changed("candidates", "wire_bytes", [3, 10**400]), "candidates.wire_bytes[1]: is larger than 1e+30"),
    (_changed("prices", "per_hop", float("inf")), "prices.per_hop: is larger than 1e+30: got=inf"),
    (_changed("prices", "per_hop", float("nan")), "prices.per_hop: is not a number: got=nan"),
    (_changed("parts", {"candidate": [0], "part": [0]}), "parts.part[0]: is out of range: got=0"),
    (
        _changed("parts", {"stored_bytes": [1], "candidate": [2], "part": [0]}),
        "parts.candidate[0]: is out of range 0..1",
    ),
    (_changed("parts", {"stored_bytes": [1], "candidate": [0]}), "parts.part: is missing"),
]


NOT_JSON = ("larger than 1e+30: got=inf", "got=nan", "candidates.wire_bytes[1]: is larger than 1e+30")
"""Faults that only a document made in Python can have: JSON has no such numbers."""


@pytest.mark.parametrize("is_text", [False, True])
@pytest.mark.parametrize(("graph", "fault"), FAULTS, ids=[fault[:40] for _, fault in FAULTS])
def test_fault_is_named_by_its_path_and_nothing_else_is(graph: dict[str, Any], fault: str, is_text: bool) -> None:
    """One fault, one message that starts with where it is: no echo from the columns beside it."""
    if is_text and fault.endswith(NOT_JSON):
        return
    with pytest.raises(InputError) as caught:
        _ = parse_graph(json.dumps(graph)) if is_text else graph_from_dict(graph)
    assert str(caught.value).startswith(fault)
    assert "; " not in str(caught.value)


def test_all_faults_are_collected() -> None:
    """A person mends them together: faults of every section in one error."""
    graph = _changed("candidates", "wire_bytes", [-1, None])
    graph["demands"]["target"] = [5]
    graph["prices"] = {"per_hop": "free"}
    graph["limits"] = {"disk": 1}
    with pytest.raises(InputError) as caught:
        graph_from_dict(graph)
    paths = [fault.split(": ")[0] for fault in str(caught.value).split("; ")]
    assert sorted(paths) == [
        "candidates.wire_bytes[0]",
        "candidates.wire_bytes[1]",
        "demands.target[0]",
        "limits.disk",
        "prices.per_hop",
    ]


def test_many_faults_are_counted() -> None:
    """Ten are shown; the rest is a number, not a megabyte of text."""
    graph = _changed("candidates", {"base": [0] * 50, "target": [1] * 50, "wire_bytes": [-1] * 50})
    with pytest.raises(InputError, match="and 40 more"):
        graph_from_dict(graph)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"commits": ["\xff"]}',
        b'{"commits": ["\\ud800"]}',
        b'{"prices": {"per_hop": NaN}}',
        b'{"prices": {"per_hop": Infinity}}',
        b'{"prices": {"per_hop": -Infinity}}',
        b'{"prices": {"per_hop": 1e400}}',
        b"[" * 100_000,
        b'{"commits":' * 5000 + b"1" + b"}" * 5000,
    ],
    ids=range(11),
)
def test_text_that_is_no_json_is_refused(text: bytes) -> None:
    """Truncated, not UTF-8, numbers that JSON does not have, nested without end: an input error, never a crash."""
    with pytest.raises(InputError, match="graph: is not JSON: reason="):
        parse_graph(text)


@pytest.mark.parametrize("text", ["null", "[]", "3", '"graph"'])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    """One fault, not a list of everything that the document does not have."""
    with pytest.raises(InputError, match=r"^graph: is not an object$"):
        parse_graph(text)


def test_count_may_be_written_as_a_float() -> None:
    """A column with nulls leaves some tools as floats: 2.0 hops are 2."""
    problem = graph_from_dict(_changed("demands", "max_hops", [2.0]))
    assert problem.demands.max_hops.tolist() == [2]


def test_hop_limit_beyond_64_bits_is_no_limit() -> None:
    """No route is that long."""
    problem = graph_from_dict(_changed("demands", "max_hops", [10**25]))
    assert problem.demands.max_hops.tolist() == [NO_HOP_LIMIT]


@pytest.mark.parametrize("seed", range(20))
def test_plan_survives_the_round_trip(seed: int) -> None:
    """Written and read on its graph, a plan has the same selection, money, bound and reason to stop."""
    problem = random_problem(seed)
    try:
        plan = solve(problem)
    except InfeasibleError:
        return
    document = plan_to_dict(plan, problem)
    again = parse_plan(json.dumps(document), problem)
    assert plan_to_dict(again, problem) == document
    assert document["cost"]["total"] == again.cost.total


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format", "deltaplan-plan/2", "is no plan"),
        ("build", [1], r"plan: is not feasible: reason='routes\[0\]: hop 2 is not built'"),
        ("build", [2, 1], "is not feasible: reason='build: is not ascending"),
        ("build", [1, 2, 9], "names a candidate that does not exist"),
        ("build", [-1, 1, 2], "names a candidate that does not exist"),
        ("routes", [[-2, -1]], "names a candidate that does not exist"),
        ("routes", [], "is not feasible: reason='routes: one per demand expected"),
        ("routes", [[2, 1]], r"routes\[0\]: hop 2 does not start where the client is"),
        ("graph_digest", "0" * 64, "plan.graph_digest: belongs to another graph"),
        ("status", "perfect", "is no plan"),
        ("surprise", 1, "is no plan"),
        ("lower_bound", "24", "is no plan"),
    ],
)
def test_tampered_plan_is_refused(key: str, value: object, reason: str) -> None:
    """A plan is judged again on its graph; what the file says about itself is not believed."""
    problem = two_step()
    document = plan_to_dict(solve(problem), problem)
    assert document["build"] == [1, 2]
    with pytest.raises(InputError, match=reason):
        parse_plan(json.dumps({**document, key: value}), problem)


def test_plans_own_numbers_are_recomputed() -> None:
    """A cost that was edited in the file does not survive the reading."""
    problem = two_step()
    document = plan_to_dict(solve(problem), problem)
    edited = {**document, "cost": dict.fromkeys(document["cost"], 0.0), "stored_bytes": 0, "gap": 0.5}
    again = parse_plan(json.dumps(edited), problem)
    assert plan_to_dict(again, problem) == document


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"format": "deltaplan-plan/1"}'])
def test_text_that_is_no_plan_is_refused(text: bytes) -> None:
    """Truncated, empty, not UTF-8, too deep, incomplete."""
    with pytest.raises(InputError, match="plan: is no plan"):
        parse_plan(text, two_step())


def test_plan_file_is_the_plans_document() -> None:
    """The same keys and values as the document; the same bytes each time, numbers of NumPy's types included."""
    problem = two_step(limits={"stored_bytes": 20})
    plan = solve(problem)
    text = encode_plan(plan, problem)
    assert json.loads(text) == plan_to_dict(plan, problem)
    assert list(json.loads(text)) == list(plan_to_dict(plan, problem))
    assert text.endswith(b"}\n")
    assert text == encode_plan(dataclasses.replace(plan, lower_bound=np.float64(plan.lower_bound)), problem)
