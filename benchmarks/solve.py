"""Solve the public benchmark graphs: size, cost, bound, gap, time, and the published value where there is one.

python benchmarks/solve.py [--graphs FOLDER] [--time-limit SECONDS]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner.graphs import read_graph, solve

DEFAULT_GRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "graphs"

PUBLISHED = {
    "uflp-cap71": 932615.750,
    "uflp-cap101": 796648.4375,
    "uflp-cap131": 793439.5625,
    "uflp-capa": 17156454.478,
    "fcnet-k20x380b": 11343.0,
    "fcnet-g55x188c": 35464.0,
    "fcnet-h50x2450b": 3030.2,
    "versioning-datasharing-x1.5": 13722.0,
}


def main() -> None:
    """Print one row per graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=Path, default=DEFAULT_GRAPHS)
    parser.add_argument("--time-limit", type=float, default=60.0)
    arguments = parser.parse_args()
    table = Table(title="deltaplan solve")
    for name in ("graph", "candidates", "demands", "cost", "bound", "gap", "published", "s", "peak MB", "method"):
        table.add_column(name, justify="left" if name in ("graph", "method") else "right")
    for path in sorted(arguments.graphs.glob("*.json")):
        problem = read_graph(path)
        started_s = time.perf_counter()
        plan = solve(problem, time_limit_s=arguments.time_limit)
        wall_s = time.perf_counter() - started_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        published = PUBLISHED.get(path.stem)
        table.add_row(
            path.stem,
            str(len(problem.candidates)),
            str(len(problem.demands)),
            f"{plan.cost.total:.6g}",
            f"{plan.lower_bound:.6g}",
            f"{plan.gap:.3%}",
            "" if published is None else f"{published:.6g}",
            f"{wall_s:.2f}",
            f"{peak_mb:.0f}",
            plan.method,
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
