"""A night as one page of HTML that needs nothing else: no network, no script, no other file.

The verdict is first, in one sentence; then what a person must know, what clients download, and how it came to that.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from math import isfinite
from typing import NamedTuple

from planner.report.explanations import format_money
from planner.report.markup import Part, element, trusted
from planner.report.night_charts import Bar, bars, scatter, timeline
from planner.report.night_figures import (
    Pair,
    byte_pairs,
    core_pairs,
    duration_s,
    format_clients,
    format_share,
    left_s,
    median_ratio,
    verdict,
)
from planner.report.night_record import DeltaChange, JobOutcome, JobRecord, NightRecord, PlanRecord
from planner.report.night_style import STYLE
from planner.report.night_tables import (
    delta_table,
    farthest_table,
    lost_table,
    more,
    reason_list,
    shorten,
)
from planner.units import format_bytes, format_duration

Pairs = list[tuple[JobRecord, Pair]]

_STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()

POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: show itself, in this one style. Whatever a name could smuggle in would not run."""


_MOST_NOTICES = 10
"""Faults, and notes, that are shown: what matters below should not be far."""


class _Change(NamedTuple):
    kind: DeltaChange
    title: str
    is_open: bool
    """What changed tonight is shown at once; what is as it was, on demand."""


_CHANGES = (
    _Change("build", "To build", True),
    _Change("retire", "Retired: no route names them any more", True),
    _Change("unlink", "Unlinked: clients find them no more", True),
    _Change("remove", "Removed", True),
    _Change("keep", "Kept", False),
)

_OUTCOMES: tuple[tuple[JobOutcome, str], ...] = (("failed", "Failed"), ("left", "Left for another night"))


def night_page(record: NightRecord) -> str:
    """The page, as `report.html`. It stays small however large the night was, and escapes whatever the record holds."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{shorten(record.scenario)}, night {record.run}: {verdict(record)}"),
        element("style", trusted(STYLE)),
    )
    sections = (section for make in _SECTIONS for section in make(record))
    body = element("body", element("main", *sections))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _header(record: NightRecord) -> Iterator[Part]:
    about = f"{shorten(record.scenario)} · night {record.run} · {record.started_at} to {record.ended_at}"
    status = f"exit status {record.exit_status}"
    yield element("header", element("p", f"{about} · {status}", class_="soft"), element("h1", verdict(record)))


def _notices(record: NightRecord) -> Iterator[Part]:
    faults = [
        element("li", element("strong", f"✖ {step.name} ended early "), shorten(step.fault), class_="fault")
        for step in record.faults[:_MOST_NOTICES]
    ]
    notes = [element("li", element("strong", "Note: "), shorten(note)) for note in record.notes[:_MOST_NOTICES]]
    if faults or notes:
        yield element("h2", "What to know")
        yield element("ul", *faults, *notes, class_="notices")
        yield more(len(record.faults) + len(record.notes) - len(faults) - len(notes))


def _downloads(record: NightRecord) -> Iterator[Part]:
    if record.plan is None:
        return
    plan = record.plan
    rows = (
        ("without any delta", plan.full_pull_bytes_per_client, "other"),
        ("before this night", plan.before_bytes_per_client, "other"),
        ("now", plan.after_bytes_per_client, "main"),
    )
    most = max(1.0, *(value for _, value, _ in rows))
    yield element("h2", "Bytes per client, on average")
    yield bars(Bar(label=name, text=format_bytes(value), share=value / most, look=look) for name, value, look in rows)
    yield element("h2", "Clients that need no full pull")
    text = f"{format_clients(plan.clients_covered)} of {format_clients(plan.clients)}"
    share = plan.clients_covered / plan.clients if plan.clients else 0.0
    yield bars([Bar(label=format_share(plan.clients_covered, plan.clients), text=text, share=share)])


def _steps(record: NightRecord) -> Iterator[Part]:
    if not record.steps:
        return
    yield element("h2", "Steps")
    yield timeline(record.steps, record.window_s)
    took_s, spare_s = duration_s(record), left_s(record)
    words = f"{format_duration(took_s)} in all"
    if record.window_s is not None and spare_s is not None:
        window = format_duration(record.window_s)
        if spare_s:
            words += f"; of the window of {window}, {format_duration(spare_s)} were left"
        else:
            words += f"; the window of {window} is over at the line"
    yield element("p", words + ". CPU: core-seconds, with those of the step's jobs.", class_="soft")


def _deltas(record: NightRecord) -> Iterator[Part]:
    if not record.deltas:
        return
    yield element("h2", "Deltas by change")
    for change in _CHANGES:
        some = [one for one in record.deltas if one.change == change.kind]
        if some:
            stored = format_bytes(sum(one.wire_bytes for one in some))
            summary = element("summary", f"{change.title}: {len(some):,} ({stored})")
            inside = delta_table(some, f"Deltas: {change.title}")
            yield element("details", summary, inside, open="open" if change.is_open else None)


def _lost(record: NightRecord) -> Iterator[Part]:
    made = {
        (job.base, job.target, job.codec): number for number, job in enumerate(record.jobs) if job.outcome == "made"
    }
    places = {id(job): number for number, job in enumerate(record.jobs)}
    if any(job.outcome != "made" for job in record.jobs):
        yield element("h2", "Not made")
    for outcome, title in _OUTCOMES:
        some = [job for job in record.jobs if job.outcome == outcome]
        if some:
            yield element("h3", f"{title}: {len(some):,}")
            yield reason_list(some)
            yield lost_table(
                some, lambda job: made.get((job.base, job.target, job.codec), -1) > places[id(job)], f"Jobs: {title}"
            )


_ABOUT_DOTS = "A dot is a delta that was made, a larger one several at its place; on the dashed line, both agree."


def _projections(record: NightRecord) -> Iterator[Part]:
    in_bytes, in_cores = list(byte_pairs(record.jobs)), list(core_pairs(record.jobs))
    kinds: tuple[tuple[str, Pairs, bool, Callable[[float], str]], ...] = (
        ("Bytes", in_bytes, True, format_bytes),
        ("Core-seconds", in_cores, False, format_duration),
    )
    if not in_bytes and not in_cores:
        return
    yield element("h2", "Projected and measured")
    yield element("p", _ABOUT_DOTS)
    drawn = [scatter([pair for _, pair in some], title, is_bytes=is_b) for title, some, is_b, _ in kinds if some]
    yield element("div", *drawn, class_="plots")
    for title, some, _, format_value in kinds:
        ratio = median_ratio(some)
        if ratio is not None:
            words = f"{title}: {ratio:.2f} of the projection at the median of {len(some):,}; the farthest from it:"
            yield element("h3", words)
            yield farthest_table(some, format_value, f"{title}, farthest from the projection")


def _plan(record: NightRecord) -> Iterator[Part]:
    if record.plan is None:
        return
    yield element("h2", "The plan")
    plan = record.plan
    cost, bound = format_money(plan.cost), format_money(plan.lower_bound)
    words = f"The plan costs {cost}; no plan costs less than {bound}, as proven."
    yield element("p", f"{words} Both are in the scenario's money, per planning period.")
    yield element("dl", *(element("div", element("dt", name), element("dd", text)) for name, text in _figures(plan)))


def _figures(plan: PlanRecord) -> Iterator[tuple[str, str]]:
    yield "cost", format_money(plan.cost)
    yield "lower bound", format_money(plan.lower_bound)
    yield "gap", f"{100 * plan.gap:.2f} %" if isfinite(plan.gap) else "not known"
    yield "method", shorten(plan.method)
    yield "stored", format_bytes(plan.stored_bytes)
    yield "server CPU", format_duration(plan.server_cpu_s)
    yield "clients", format_clients(plan.clients)
    yield "covered", f"{format_clients(plan.clients_covered)} ({format_share(plan.clients_covered, plan.clients)})"


def _footer(_: NightRecord) -> Iterator[Part]:
    yield element("footer", element("p", "report.json beside this page has every row.", class_="soft"))


_SECTIONS: tuple[Callable[[NightRecord], Iterator[Part]], ...] = (
    _header,
    _notices,
    _downloads,
    _steps,
    _deltas,
    _lost,
    _projections,
    _plan,
    _footer,
)
