"""Demand tables: what rows mean, and every fault with its line."""

from __future__ import annotations

import pytest

from planner.demand.cohorts import Cohort, Demand, UnknownBase
from planner.demand.table import demand_row, parse_demand_csv
from planner.errors import InputError
from tests.demand.histories import checksum_of, make_history, make_line

HISTORY = make_line(3)
V1, V2, V3 = map(checksum_of, ("v1", "v2", "v3"))


def _parse(text: str) -> Demand:
    return parse_demand_csv(text, HISTORY, name="fleet.csv")


def test_row_is_a_cohort() -> None:
    """Base, target and clients; empty cells are no limits."""
    demand = _parse("base,target,clients,max_hops,max_wire_bytes\nv1,v3,12.5,1,5000\nv2,v3,3,,\n")
    assert demand.cohorts == (
        Cohort(base=V1, target=V3, clients=12.5, max_hops=1, max_wire_bytes=5000),
        Cohort(base=V2, target=V3, clients=3.0),
    )
    assert (demand.unknown, demand.clients) == ((), 15.5)


@pytest.mark.parametrize("name", ["v1", V1, V1[:8], V1[:20], " v1 "])
def test_commit_may_be_named_by_version_checksum_or_prefix(name: str) -> None:
    """All mean the same commit, spaces around them or not."""
    assert _parse(f"base,target,clients\n{name},v3,1\n").cohorts[0].base == V1


def test_ref_is_remembered_where_clients_ask_for_it() -> None:
    """`stable` is v3 today; who asks for v3 itself has no ref."""
    first, second = _parse("base,target,clients\nv1,stable,1\nv1,v3,1\n").cohorts
    assert (first.target, first.ref) == (V3, "stable")
    assert (second.target, second.ref) == (V3, None)


def test_empty_base_is_a_client_that_has_nothing() -> None:
    """A new device pulls from empty."""
    assert _parse("base,target,clients\n,v3,4\n").cohorts[0].base == ""


@pytest.mark.parametrize("base", ["v9", "deadbeef" * 8, V1[:7]])
def test_unknown_base_is_reported_and_never_dropped(base: str) -> None:
    """The history does not have it: its clients count, with their line; a prefix under 8 digits names nothing."""
    demand = _parse(f"base,target,clients\nv1,v3,1\n{base},v3,7\n")
    assert demand.unknown == (UnknownBase(base=base, target=V3, clients=7.0, path="fleet.csv:3"),)
    assert (len(demand.cohorts), demand.clients) == (1, 8.0)


def test_base_that_means_two_commits_is_not_guessed() -> None:
    """Two releases with one version: the clients are reported, not placed on either."""
    history = make_history({"a": None, "b": "a"}, refs={"stable": "b"})
    twins = {
        key: type(commit)(
            checksum=commit.checksum,
            parent=commit.parent,
            committed_at=commit.committed_at,
            tree=commit.tree,
            metadata={"version": "1.0"},
        )
        for key, commit in history.commits.items()
    }
    ambiguous = type(history)(commits=twins, trees={}, refs=history.refs)
    demand = parse_demand_csv("base,target,clients\n1.0,stable,3\n", ambiguous)
    assert (demand.cohorts, demand.unknown[0].base, demand.clients) == ((), "1.0", 3.0)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffbase,target,clients\nv1,v3,2\n",
        "base,target,clients\r\nv1,v3,2\r\n",
        "base,target,clients\rv1,v3,2\r",
        "base,target,clients\nv1,v3,2",
        '"base","target","clients"\n"v1","v3","2"\n',
        "base , target, clients\n v1,v3 , 2 \n",
        "\n\nbase,target,clients\n\nv1,v3,2\n  \n\n",
        "clients,target,base\n2,v3,v1\n",
        "base,target,clients\nv1,v3,2e0\n",
    ],
)
def test_ways_to_write_the_same_table(text: str) -> None:
    """Byte order mark, any line end, quotes, spaces, blank lines, columns in any order."""
    assert _parse(text).cohorts == (Cohort(base=V1, target=V3, clients=2.0),)


@pytest.mark.parametrize("text", ["base,target,clients\n", "base,target,clients"])
def test_table_without_rows_is_no_demand(text: str) -> None:
    """Nobody asks: an answer, not a fault."""
    assert _parse(text) == Demand(cohorts=())


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("base,target", "fleet.csv:1: column is missing: column='clients'"),
        ("base,target,clients,hops", "fleet.csv:1: column is unknown: column='hops'"),
        ("base,target,clients,base", "fleet.csv:1: column is repeated: column='base'"),
        ("Base,target,clients", "column is missing: column='base'; fleet.csv:1: column is unknown: column='Base'"),
        ("", "column='base'; fleet.csv:1: column is missing: column='target'; fleet.csv:1: column is missing"),
    ],
)
def test_fault_of_the_header_is_named(header: str, fault: str) -> None:
    """Missing, unknown and repeated columns, all of them; an empty file misses every column."""
    with pytest.raises(InputError) as caught:
        _parse(header)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("v1,v3,-1,,", "fleet.csv:3.clients: is negative: got='-1'"),
        ("v1,v3,many,,", "fleet.csv:3.clients: is not a number: got='many'"),
        ("v1,v3,,,", "fleet.csv:3.clients: is not a number: got=''"),
        ("v1,v3,nan,,", "fleet.csv:3.clients: is not finite: got='nan'"),
        ("v1,v3,1e999,,", "fleet.csv:3.clients: is not finite: got='1e999'"),
        ("v1,v9,1,,", "fleet.csv:3.target: is no ref, version or commit: got='v9'"),
        ("v1,,1,,", "fleet.csv:3.target: is empty: nobody asks for the empty commit"),
        ("v1,v3,1,-1,", "fleet.csv:3.max_hops: is not a count: got='-1'"),
        ("v1,v3,1,1.5,", "fleet.csv:3.max_hops: is not a count: got='1.5'"),
        ("v1,v3,1,\u0663,", "fleet.csv:3.max_hops: is not a count: got='\u0663'"),
        ("v1,v3,1,,1 MB", "fleet.csv:3.max_wire_bytes: is not a count: got='1 MB'"),
        (f"v1,v3,1,,{2**63}", f"fleet.csv:3.max_wire_bytes: is larger than any count: got='{2**63}'"),
        (f"v1,v3,1,,{'9' * 5000}", "fleet.csv:3.max_wire_bytes: is larger than any count"),
        ("v9,v3,1,x,", "fleet.csv:3.max_hops: is not a count: got='x'"),
        ("v1,v3,1", "fleet.csv:3: has another number of cells than the header: got=3"),
        ("v1,v3,1,,,", "fleet.csv:3: has another number of cells than the header: got=6"),
        ('v1,"v3"x,1,,', "fleet.csv:3: is not CSV: reason="),
        ('v1,"v3,1,,', "is not CSV: reason="),
    ],
)
def test_fault_of_a_row_is_named_by_its_line(row: str, fault: str) -> None:
    """The line that an editor shows, the column, and what stands there."""
    with pytest.raises(InputError) as caught:
        _parse(f"base,target,clients,max_hops,max_wire_bytes\nv1,v3,1,,\n{row}\n")
    assert fault in str(caught.value)


def test_header_that_is_no_csv_is_an_input_error() -> None:
    """A quote that never ends is a fault with its place, not a crash."""
    with pytest.raises(InputError, match=r"fleet\.csv:\d+: is not CSV"):
        _parse('base,"target,clients\nv1,v3,1\n')


def test_all_faults_of_all_rows_are_collected() -> None:
    """Two faults in one row, one in the next, and the line numbers count blank and quoted lines."""
    with pytest.raises(InputError) as caught:
        _parse('base,target,clients\nv1,v9,-1\n\n"v\n1",v3,no\nv1,v3,1\n')
    assert str(caught.value).split("; ") == [
        "fleet.csv:2.clients: is negative: got='-1'",
        "fleet.csv:2.target: is no ref, version or commit: got='v9'",
        "fleet.csv:5.clients: is not a number: got='no'",
    ]


def test_largest_count_is_accepted() -> None:
    """2^63 - 1, with zeros in front or not."""
    cohort = _parse(f"base,target,clients,max_wire_bytes\nv1,v3,1,00{2**63 - 1}\n").cohorts[0]
    assert cohort.max_wire_bytes == 2**63 - 1


def test_row_may_hold_numbers_and_nothing() -> None:
    """As a scenario's TOML gives them: numbers are numbers, None is no limit."""
    row = {"base": "v1", "target": "stable", "clients": 3, "max_hops": 2, "max_wire_bytes": None}
    expected = Cohort(base=V1, target=V3, clients=3.0, ref="stable", max_hops=2)
    assert demand_row(row, HISTORY, path="demand.cohorts[0]") == expected
    with pytest.raises(InputError, match=r"demand\.cohorts\[0\]\.clients: is not a number: got='True'"):
        demand_row({**row, "clients": True}, HISTORY, path="demand.cohorts[0]")
