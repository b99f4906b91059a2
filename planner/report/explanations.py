"""Explanations as a person reads them on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from planner.optimize.explain import Alternative
from planner.optimize.explain_reason import Margin, Reason, Switch
from planner.optimize.problem import Problem
from planner.report.tables import plain_table
from planner.units import format_bytes, format_duration

_WORDS = {
    "prices.storage_per_gb": "price of storage",
    "prices.server_cpu_per_hour": "price of server CPU",
    "prices.egress_per_gb": "price of egress",
    "prices.client_cpu_per_hour": "price of client CPU",
    "prices.per_hop": "price per hop",
    "limits.stored_bytes": "limit on storage",
    "limits.server_cpu_s": "limit on server CPU",
    "demands.max_hops": "clients' limit on hops",
    "demands.max_wire_bytes": "clients' limit on bytes",
    "demands": "clients without another way",
}
"""What decides, as a person reads it; JSON has the names of the format."""

_MOST_SWITCHES = 5
"""Cohorts that are listed by themselves; the others are summed up in one line."""

Namer = Callable[[int], str]
"""What a person calls a candidate, a commit or a demand, by its index."""


def format_money(money: float, digits: int = 4) -> str:
    """Money with so many significant digits.

    >>> [format_money(m) for m in (0.0, 12.3456, -0.00123456, 123456.7)]
    ['0', '12.35', '-0.001235', '123457']
    """
    money = money or 0.0  # -0.0 would show its sign
    return f"{money:.0f}" if abs(money) >= 10_000 else f"{money:.{digits}g}"


def _signed(money: float, digits: int = 4) -> str:
    return f"{'+' if money > 0 else ''}{format_money(money, digits)}"


def alternatives_view(
    alternatives: Sequence[Alternative], clients: float, title: str, *, name_target: Namer
) -> RenderableType:
    """A demand's ways, what its clients and (newly) the server pay, how much more this is in all, what is against each.

    `name_target` names the commit that a candidate leads to.
    """
    table = plain_table(title)
    table.add_column("way", overflow="fold", min_width=8)
    table.add_column("route", overflow="fold", min_width=8)
    for name in ("download", "clients pay", "server pays", "in all"):
        table.add_column(name, justify="right")
    table.add_column("against it", overflow="fold", min_width=12)
    for one in alternatives:
        stops = [name_target(hop) for hop in one.route or ()]
        table.add_row(
            one.kind,
            "full pull" if one.route is None else " → ".join(stops),
            format_bytes(one.client_bytes),
            format_money(clients * one.client_money, 3),
            format_money(one.fixed_money - one.freed_money, 3),
            "" if one.kind == "planned" else _signed(one.more_money, 3),
            one.fault or _WORDS.get(one.decisive, one.decisive) or ("" if one.kind == "planned" else "as cheap"),
        )
    return table


def reason_view(
    problem: Problem, reason: Reason, title: str, *, name_candidate: Namer, name_demand: Namer
) -> RenderableType:
    """What a candidate costs and saves, what decides about it, and what would change that."""
    state = "built" if reason.is_chosen else "not built"
    table = plain_table(f"{title}: {state}")
    table.add_column("with it, against the plan without it" if reason.is_chosen else "with it, against the plan")
    table.add_column("money", justify="right", no_wrap=True)
    for words, money in _addends(problem, reason, name_candidate, name_demand):
        table.add_row(words, _signed(money))
    is_needed = any(switch.saved_money is None for switch in reason.switches)
    table.add_row("in all", "no plan without it" if is_needed else _signed(reason.balance_money), style="bold")
    return Group(table, *map(Text, _sentences(reason)), Text())


def _addends(problem: Problem, reason: Reason, name_candidate: Namer, name_demand: Namer) -> list[tuple[str, float]]:
    rows, index = problem.candidates, reason.candidate
    cpu = "built already" if rows.built[index] else format_duration(float(rows.server_cpu_s[index]))
    found = [
        (f"storage, {format_bytes(float(rows.stored_bytes[index]))}", reason.storage_money),
        (f"server CPU, {cpu}", reason.server_cpu_money),
    ]
    if reason.parts_money:
        found.append(("shared parts that are newly kept", reason.parts_money))
    if reason.companions:
        found.append((f"kept with it: {_list(reason.companions, name_candidate)}", reason.companions_money))
    found += _savings(reason.switches, name_demand)
    if not reason.switches:
        found.append(("no client would take it", 0.0))
    if reason.freed:
        found.append((f"no longer kept: {_list(reason.freed, name_candidate)}", -reason.freed_money))
    if reason.other_saved_money:
        found.append(("other clients", -reason.other_saved_money))
    return found


def _list(indexes: Sequence[int], name: Namer, most: int = 3) -> str:
    more = f" and {len(indexes) - most} more" if len(indexes) > most else ""
    return ", ".join(name(index) for index in indexes[:most]) + more


def _savings(switches: Sequence[Switch], name_demand: Namer) -> list[tuple[str, float]]:
    ordered = sorted(switches, key=lambda one: (one.saved_money is not None, -(one.saved_money or 0.0), one.demand))
    found = []
    for one in ordered[:_MOST_SWITCHES]:
        way = "" if one.saved_money is not None else ", who have no other way"
        found.append((f"{name_demand(one.demand)}, {one.clients:g} clients{way}", -(one.saved_money or 0.0)))
    rest = ordered[_MOST_SWITCHES:]
    if rest:
        clients = sum(one.clients for one in rest)
        found.append((f"{len(rest)} more cohorts, {clients:g} clients", -sum(one.saved_money or 0.0 for one in rest)))
    return found


def _sentences(reason: Reason) -> list[str]:
    lines = []
    if reason.violations:
        change = "without it" if reason.is_chosen else "with it"
        lines.append(f"{change}, the plan breaks a rule: {reason.violations[0]}")
    if reason.decisive:
        lines.append(f"decided by the {_WORDS.get(reason.decisive, reason.decisive)}")
    lines += [
        f"what it takes of the {_WORDS[f'limits.{name}']} is worth {format_money(money)} at the shadow price"
        for name, money in reason.limit_money.items()
        if money
    ]
    lines.append(_margin_sentence(reason))
    if reason.proof is not None and not reason.is_chosen:
        least = format_money(reason.proof.with_it_money)
        proven = (
            "proven: it is in no better plan; any plan with it costs"
            if reason.proof.is_excluded
            else "a plan with it costs"
        )
        lines.append(f"{proven} at least {least}")
    return lines


def _margin_sentence(reason: Reason) -> str:
    amounts = list(_amounts(reason.margin, ("more", "fewer") if reason.is_chosen else ("fewer", "more")))
    if reason.is_chosen:
        if reason.violations:
            return "it cannot be left out, whatever it costs"
        return (
            f"it leaves the plan with any one of: {', '.join(amounts)}" if amounts else "no single amount drives it out"
        )
    if not reason.violations and reason.margin.clients == 0.0:
        return "it may be added at no cost: another plan is as cheap or cheaper"
    return f"it enters the plan with any one of: {', '.join(amounts)}" if amounts else "no single amount lets it enter"


def _amounts(margin: Margin, words: tuple[str, str]) -> list[str]:
    first, second = words
    found = []
    if margin.stored_bytes is not None:
        found.append(f"{format_bytes(margin.stored_bytes)} {first} stored")
    if margin.server_cpu_s is not None:
        found.append(f"{format_duration(margin.server_cpu_s)} {'less' if first == 'fewer' else first} server CPU")
    if margin.wire_bytes is not None:
        found.append(f"{format_bytes(margin.wire_bytes)} {first} per client")
    if margin.clients is not None:
        found.append(f"{margin.clients:.4g} clients {second}")
    return found
