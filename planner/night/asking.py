"""The scenario's demand: a CSV, a cluster's nodes, rows and models, added up."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec

from planner.demand.adoption import adoption_cohorts, factory_cohorts
from planner.demand.cohorts import Cohort, Demand, UnknownBase
from planner.demand.layers import check_layers
from planner.demand.nodes import parse_nodes
from planner.demand.table import demand_row, parse_demand_csv
from planner.errors import InputError, raise_collected
from planner.history.files import read_bounded
from planner.history.records import History
from planner.scenario_sections import CohortSection, DemandSection

_LOCALE_REF = re.compile(r"runtime/[^/]+\.Locale/[^/]+/[^/]+")
_MAX_FILE_BYTES = 1_000_000_000


def read_demand(section: DemandSection, history: History, home: Path) -> Demand:
    """Who asks for what; a CSV's path is relative to `home`.

    Raises:
        InputError: a file cannot be read, or rows are wrong, all rows of a table named together; or clients that keep
            layers apart want what is no union of them.
    """
    table = _read_csv(home / section.csv, section.csv, history) if section.csv is not None else Demand(cohorts=())
    nodes = _read_nodes(home / section.nodes, section.nodes, history) if section.nodes else Demand(cohorts=())
    rows = _read_rows(section.cohorts, history)
    modelled = [
        cohort for model in section.adoption for cohort in adoption_cohorts(history, **msgspec.structs.asdict(model))
    ]
    modelled += [
        cohort for model in section.factory for cohort in factory_cohorts(history, **msgspec.structs.asdict(model))
    ]
    cohorts = tuple(
        replace(cohort, max_hops=0) if cohort.max_hops is None and _is_locale(cohort) else cohort
        for cohort in (*table.cohorts, *nodes.cohorts, *(row for row in rows if isinstance(row, Cohort)), *modelled)
    )
    check_layers(history, cohorts)
    return Demand(
        cohorts=cohorts,
        unknown=(*table.unknown, *nodes.unknown, *(row for row in rows if isinstance(row, UnknownBase))),
    )


def _is_locale(cohort: Cohort) -> bool:
    """Whether clients pull only some folders of what they want, for which they take no delta.

    Source: flatpak 1.14.10, `common/flatpak-dir.c`, `get_common_pull_options`: with subpaths deltas are disabled.
    Translations are installed by subpaths unless all languages are asked for.
    """
    return bool(cohort.ref and _LOCALE_REF.fullmatch(cohort.ref))


def _read_csv(path: Path, name: str, history: History) -> Demand:
    try:
        text = read_bounded(path, _MAX_FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read", path=str(path), reason=str(error)) from error
    return parse_demand_csv(text, history, name=name)


def _read_nodes(path: Path, name: str, history: History) -> Demand:
    try:
        data = read_bounded(path, _MAX_FILE_BYTES)
    except OSError as error:
        raise InputError("cannot be read", path=str(path), reason=str(error)) from error
    return parse_nodes(data, history, name=name)


def _read_rows(sections: tuple[CohortSection, ...], history: History) -> list[Cohort | UnknownBase]:
    rows, faults = [], []
    for index, section in enumerate(sections):
        try:
            rows.append(demand_row(msgspec.structs.asdict(section), history, path=f"demand.cohorts[{index}]"))
        except InputError as error:
            faults.append(error)
    raise_collected(faults)
    return rows
