"""The page says first what matters, needs nothing else, and takes data for data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.report.markup import element
from planner.report.night_figures import verdict
from planner.report.night_page import night_page
from planner.report.night_record import NightRecord
from tests.report.nights import BAD, GOOD, HOSTILE, HOSTILE_NIGHT, NOTHING, PLAN, delta, large_night, step

NIGHTS = {"good": GOOD, "bad": BAD, "nothing": NOTHING, "hostile": HOSTILE_NIGHT, "large": large_night(2_000)}
REFERENCES = {"src", "href", "action", "srcset", "data", "poster", "background", "style", "formaction", "xlink:href"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "h1", "h2", "h3", "p", "ul", "li"),
    *("strong", "div", "span", "svg", "rect", "line", "circle", "text", "figure", "table", "thead", "tbody", "tr"),
    *("th", "td", "details", "summary", "dl", "dt", "dd"),
}


def parse(page: str) -> ET.Element:
    """The page as XML, which is stricter than any browser."""
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>"))


def words(page: str) -> str:
    """What a reader finds on the page."""
    return " ".join(" ".join(parse(page).itertext()).split())


class Tags(HTMLParser):
    """Elements as a browser's parser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.found.append((tag, attrs))


@pytest.mark.parametrize("name", NIGHTS)
def test_a_page_is_well_formed_and_refers_to_nothing(name: str) -> None:
    """No script, no file, no address; names of handlers and inline styles would be against its policy too."""
    page = night_page(NIGHTS[name])
    page.encode()
    parse(page)
    found = Tags(page).found
    assert {tag for tag, _ in found} <= TAGS
    attributes = {key for _, attributes in found for key, _ in attributes}
    assert not attributes & REFERENCES
    assert not any(key.startswith("on") for key in attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert re.findall(r"https?:", page) == []


def test_the_policy_lets_the_page_only_show_itself() -> None:
    """The browser's test sees that the style still works under it."""
    policies = [dict(found).get("content") for tag, found in Tags(night_page(GOOD)).found if tag == "meta"]
    policy = next(text for text in policies if text and text.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_hostile_names_are_text_wherever_they_stand() -> None:
    """In notes, faults, tables, the title and figures; they add no element to those of a harmless night."""
    page = night_page(HOSTILE_NIGHT)
    for raw in ("<script", "<img", "onerror='", "\x00", "\u202e", "\ud800", "</style><scr"):
        assert raw not in page
    assert words(page).count("<script>alert(") >= 10
    assert page.count("<style>") == page.count("</style>") == 1
    assert HOSTILE not in page


@given(st.text())
def test_any_text_is_well_formed_and_adds_no_element(text: str) -> None:
    written = element("td", text, title=text)
    found = ET.fromstring(written)
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
    assert (found.tag, len(found), found.text or "", found.get("title")) == ("td", 0, shown, shown)


def sentences() -> Iterator[tuple[str, NightRecord, str]]:
    """Nights, and how their verdicts begin."""
    yield (
        "all",
        GOOD,
        "All 14 chosen deltas are published; 92 % of clients need no full pull; bytes per client: 12.5 MB",
    )
    yield (
        "some",
        BAD,
        "12 of 14 chosen deltas are made, 1 failed and 1 left for another night (build ended early); 92 %",
    )
    yield "none", NOTHING, "There is no plan for tonight, and clients find what they found before (import ended early)."
    one = replace(GOOD, deltas=(delta(1),), plan=replace(PLAN, clients_covered=2314.9))
    yield "one", one, "The one chosen delta is published; 99 % of clients"
    yield (
        "empty",
        replace(GOOD, deltas=(), plan=replace(PLAN, clients=0, clients_covered=0)),
        "No delta pays for itself",
    )
    yield "same", replace(GOOD, plan=replace(PLAN, before_bytes_per_client=3.2e6)), "All 14 chosen deltas are published"
    unpublished = replace(GOOD, is_complete=False, steps=(step("publish", 1, 1, "no space", 11),))
    yield "unpublished", unpublished, "Not all of 14 chosen deltas could be published (publish ended early);"


@pytest.mark.parametrize(("record", "begin"), [pytest.param(night, text, id=name) for name, night, text in sentences()])
def test_the_verdict_is_the_first_heading(record: NightRecord, begin: str) -> None:
    """One sentence, as in the title."""
    assert verdict(record).startswith(begin)
    page = parse(night_page(record))
    assert page.findtext(".//h1") == verdict(record)
    assert (page.findtext(".//title") or "").endswith(verdict(record))


def test_a_bad_night_says_why() -> None:
    """The fault, the notes, the jobs' reasons, and that one delta was made at the second attempt."""
    text = words(night_page(BAD))
    for expected in (
        "✖ build ended early deltas could not be made: failed=1",
        "run 6 was killed in the step build",
        "Failed: 2",
        "the tool was killed: signal=9",
        "the disk is full (made since)",
        "Left for another night: 1",
        "the window of 5 min 00 s is over at the line",
        "exit status 6",
    ):
        assert expected in text
    assert "What to know" not in words(night_page(GOOD))


def test_a_good_night_shows_the_plan_and_its_bound() -> None:
    text = words(night_page(GOOD))
    assert "The plan costs 0.0509; no plan costs less than 0.0505, as proven." in text
    assert "0.79 %" in text
    assert "not known" in words(night_page(replace(GOOD, plan=replace(PLAN, gap=float("inf")))))
    assert "To build: 10 (34.0 MB)" in text
    assert "Kept: 4" in text
    assert "of the window of 4 h 00 min, 3 h 54 min were left" in text


def test_dots_lie_on_the_diagonal_where_both_agree() -> None:
    """Down the page is up the axis; powers of ten with units stand at both axes."""
    jobs = [replace(GOOD.jobs[0], wire_bytes=value, projected_wire_bytes=value, core_s=None) for value in (10, 10**6)]
    page = parse(night_page(replace(GOOD, jobs=tuple(jobs))))
    line = next(one for one in page.iter("line") if one.get("class") == "even")
    dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in page.iter("circle")]
    ends = [(float(line.get(f"x{end}", "")), float(line.get(f"y{end}", ""))) for end in "12"]
    for dot, end in zip(sorted(dots), ends, strict=True):
        assert dot == pytest.approx(end, abs=2.6)
    ticks = {text.text for text in page.iter("text")}
    assert {"10 B", "1 MB", "projected →", "measured →"} <= ticks


def test_a_large_night_is_a_small_page() -> None:
    """Top rows and a count, for jobs, deltas, notes and dots."""
    page = night_page(large_night(100_000))
    assert len(page.encode()) < 200_000
    assert "and 19,975 more, in report.json" in words(page)
    long = replace(GOOD, notes=("x" * 1_000_000,), scenario="y" * 1_000_000)
    assert len(night_page(long).encode()) < 100_000
