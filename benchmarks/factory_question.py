"""The factory question on real packages: direct deltas, routes, layers kept apart, or the plan's own mix?

python -m benchmarks.factory_question [--kind store|ostree] [--json]

Bases and parts of `scenarios/factory-layers.toml`, every device able to keep layers apart. `direct`: a delta from each
base to each merged target. `routed`: the cheapest plan of merged and bare commits, one tree per device. `layered`: the
cheapest plan in which base and part are fetched on their own and united. `mix`: the plan that may do all of that, each
cohort in its way. They are made for the fleet as it is and for others of other sizes; costs are proven to `gap`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from planner.demand.cohorts import Cohort
from planner.night.night import Night
from planner.night.opening import open_night
from planner.optimize.assemble import assemble
from planner.optimize.policies import POLICIES, follow_policy
from planner.optimize.solve import solve
from planner.units import format_bytes
from planner.weigh.candidates import Candidate, Need, Weight
from planner.weigh.catalogue import Catalogue

SCENARIO = Path(__file__).resolve().parent.parent / "scenarios" / "factory-layers.toml"
FLEETS = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class World:
    """What there is to choose from."""

    night: Night
    cohorts: Sequence[Cohort]
    weights: Mapping[Candidate, Weight]
    needs: Mapping[Candidate, Sequence[Need]]
    full_pulls: Mapping[tuple[str, str], int]

    def judge(self, way: str, fleet: float) -> dict[str, float | str]:
        """One way for a fleet of so many times the size."""
        layers = way in ("layered", "mix")
        cohorts = [replace(one, clients=one.clients * fleet, layers=layers) for one in self.cohorts]
        targets = {one.target for one in cohorts}
        weights = self.weights
        if way == "layered":
            weights = {one: weight for one, weight in weights.items() if one.target not in targets}
        problem = assemble(
            self.night.history,
            cohorts,
            weights,
            self.full_pulls,
            needs=self.needs,
            prices=self.night.scenario.optimizer_prices(),
        ).problem
        if way == "direct":
            judged, gap = follow_policy(problem, POLICIES["all_to_head"]), 0.0
        else:
            plan = solve(problem)
            judged, gap = plan.evaluation, plan.gap
        return {
            "fleet": fleet,
            "way": way,
            "stored_bytes": judged.stored_bytes,
            "server_cpu_s": judged.server_cpu_s,
            "client_bytes": judged.egress_bytes / sum(one.clients for one in cohorts),
            "money": judged.cost.total,
            "gap": gap,
        }


def main() -> None:
    """Weigh, plan each way, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("store", "ostree"), default="store", help="which repository and deltas")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = weigh(arguments.kind, Path(folder))
        rows = [world.judge(way, fleet) for fleet in FLEETS for way in ("direct", "routed", "layered", "mix")]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("fleet", "way", "stored", "core-s", "a client downloads", "money", "gap", box=SIMPLE, pad_edge=False)
    for row in rows:
        table.add_row(
            f"x {row['fleet']:g}",
            str(row["way"]),
            format_bytes(float(row["stored_bytes"])),
            f"{row['server_cpu_s']:.1f}",
            format_bytes(float(row["client_bytes"])),
            f"{row['money']:.4f}",
            f"{row['gap']:.2%}",
        )
    Console(width=100).print(table)


def weigh(kind: str, folder: Path) -> World:
    """The scenario's candidates, those of layers too, built and measured."""
    text = SCENARIO.read_text()
    if kind == "ostree":
        text = text.replace('codecs = ["hdiffpatch"]\n', "") + '\n[repository]\nkind = "ostree"\n'
    scenario = folder / "scenario.toml"
    scenario.write_text(text.replace("clients = ", "layers = true, clients = ").replace(", layers = true }", " }"))
    night = open_night(scenario, work=folder / "work")
    night.import_()
    night.compose()
    night.weigh()
    with Catalogue(night.workspace.catalogue_path) as catalogue:
        known, needs = catalogue.weights(), catalogue.needs()
    file = night.workspace.read_json("candidates.json", "weigh")
    kept = [Candidate(base=row["base"], target=row["target"], codec=row["codec"]) for row in file["kept"]]
    weights = {one: known[one] for one in kept}
    merged: dict[tuple[str, str], Cohort] = {}
    for cohort in night.demand.cohorts:
        before = merged.get((cohort.base, cohort.target))
        clients = cohort.clients + (before.clients if before else 0.0)
        merged[cohort.base, cohort.target] = replace(cohort, clients=clients)
    return World(night, tuple(merged.values()), weights, needs, night.full_pulls)


if __name__ == "__main__":
    main()
