"""A cluster's nodes as demand: what each holds, counted, and nothing else of it kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from planner.demand.cohorts import Cohort
from planner.demand.nodes import parse_nodes
from planner.errors import InputError
from planner.history.records import MANIFEST_KEY, VERSION_KEY, History
from tests.demand.histories import checksum_of, make_line

V1, V2, V3 = map(checksum_of, ("v1", "v2", "v3"))
REF = "registry.example_5000/app"
NAME = "registry.example:5000/app"


def make_history() -> History:
    """Three releases of an image, each with its name and its manifest's digest."""
    line = make_line(3)
    commits = {
        checksum: replace(commit, metadata={VERSION_KEY: f"{NAME}:{commit.version}", MANIFEST_KEY: checksum[::-1]})
        for checksum, commit in line.commits.items()
    }
    return replace(line, commits=commits, refs={REF: V3})


def nodes(*held: list[list[str]]) -> bytes:
    """The nodes that hold these images, each with all its names."""
    items = [
        {
            "metadata": {"name": f"alice-laptop-{number}", "labels": {"owner": "alice"}},
            "status": {"images": [{"names": names, "sizeBytes": 1} for names in images]},
        }
        for number, images in enumerate(held)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()


def test_nodes_are_counted_by_the_newest_image_they_hold() -> None:
    demand = parse_nodes(
        nodes(
            [[f"{NAME}:v1"], [f"{NAME}:v2"], ["other/app:1"]],
            [[f"{NAME}@sha256:{V2[::-1]}", "nonsense"]],
            [[f"{NAME}:v1"]],
            [[f"{NAME}:v3"], [f"{NAME}:v1"]],
            [],
        ),
        make_history(),
    )
    expected = [Cohort(base=V1, target=V3, clients=1.0, ref=REF), Cohort(base=V2, target=V3, clients=2.0, ref=REF)]
    assert sorted(demand.cohorts, key=lambda one: one.clients) == expected
    assert demand.unknown == ()


def test_images_of_a_known_ref_that_the_history_lacks_pull_in_full() -> None:
    demand = parse_nodes(nodes([[f"{NAME}:v0"]], [[f"{NAME}:v0"], [f"{NAME}:v2"]]), make_history())
    assert [(row.base, row.target, row.clients) for row in demand.unknown] == [(f"{NAME}:v0", V3, 1.0)]
    assert [(row.base, row.clients) for row in demand.cohorts] == [(V2, 1.0)]


def test_nothing_of_the_nodes_is_kept() -> None:
    assert "alice" not in repr(parse_nodes(nodes([[f"{NAME}:v1"]], [[f"{NAME}:v9"]]), make_history()))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"items":[{"status":{"images":7}}]}', b"\xff"])
def test_what_is_no_list_of_nodes_is_named(data: bytes) -> None:
    with pytest.raises(InputError, match="is no list of nodes"):
        parse_nodes(data, make_history(), name="nodes.json")


def test_nodes_without_images_ask_for_nothing() -> None:
    assert parse_nodes(b'{"items":[{},{"status":{}},{"status":{"images":null}}]}', make_history()).clients == 0
