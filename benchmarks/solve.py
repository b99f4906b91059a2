"""Solve graphs of every kind and size: cost, bound, gap, time, memory, the best peer policy, and plain HiGHS.

    python benchmarks/solve.py [--suite quick|full] [--only TEXT] [--graphs FOLDER]
    python benchmarks/solve.py --growth          # time against commits and streams, with the fitted exponents

Every row runs in a process of its own, so that memory is its own; ratios hold within one run of this command.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.instances import many_streams, one_stream, shared_parts, version_graph
from planner.graphs import read_graph, solve
from planner.optimize.formulation import formulate
from planner.optimize.highs import solve_milp
from planner.optimize.policies import POLICIES, follow_policy
from planner.optimize.problem import Limits, Problem
from planner.optimize.reduce import reduce_cohorts

DEFAULT_GRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "graphs"
PLAIN_LIMIT_S = 60.0
MOST_PLAIN_PAIRS = 30_000_000
MOST_POLICY_CANDIDATES = 1_100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What to solve, how far, and what it must reach: a gap within seconds."""

    name: str
    make: Callable[[], Problem]
    gap: float = 0.0
    most_s: float = 30.0
    suite: str = "quick"


def half_limits(problem: Problem, share: float = 0.5) -> Problem:
    """Both limits at a share of what the best plan without limits uses."""
    used = solve(problem, gap=2e-3, time_limit_s=60).evaluation
    return problem.replace(
        limits=Limits(stored_bytes=used.stored_bytes * share, server_cpu_s=used.server_cpu_s * share)
    )


def streams_with_limits(streams: int) -> Problem:
    """Streams that share half of the storage and CPU that they would use; the need is taken from 200 of them."""
    few = half_limits(many_streams(200, 60, fixed_multiplier=10)).limits
    scale = streams / 200
    limits = Limits(stored_bytes=(few.stored_bytes or 0) * scale, server_cpu_s=(few.server_cpu_s or 0) * scale)
    return many_streams(streams, 60, fixed_multiplier=10).replace(limits=limits)


def instances(graphs: Path) -> list[Instance]:
    """Every instance, public graphs first where they are at hand."""
    found = [
        Instance(name=path.stem, make=lambda path=path: read_graph(path), gap=_gap_of(path.stem), most_s=30.0)
        for path in sorted(graphs.glob("*.json"))
    ]
    found += [
        Instance(name=f"stream-110-x{times}", make=lambda t=times: one_stream(110, fixed_multiplier=t))
        for times in (1, 100, 1000)
    ]
    found += [
        Instance(name="stream-200-4hops", make=lambda: one_stream(200, fixed_multiplier=100, max_hops=4), most_s=60.0),
        Instance(
            name="stream-300-limits",
            make=lambda: half_limits(one_stream(300, fixed_multiplier=100)),
            gap=5e-3,
        ),
        Instance(name="parts-40x500", make=lambda: shared_parts(40, 500), gap=2e-2, most_s=60.0),
    ]
    for times in (1, 100, 1000):
        found.append(
            Instance(
                name=f"stream-1000-x{times}",
                make=lambda t=times: one_stream(1000, fixed_multiplier=t),
                gap=1e-3,
                most_s=120.0,
                suite="full",
            )
        )
    found += [
        Instance(
            name="stream-1000-3hops",
            make=lambda: one_stream(1000, fixed_multiplier=100, max_hops=3),
            gap=5e-3,
            most_s=60.0,
            suite="full",
        ),
        Instance(
            name="stream-10000",
            make=lambda: one_stream(10_000, fixed_multiplier=100, window=100),
            gap=1e-2,
            most_s=60.0,
            suite="full",
        ),
        Instance(
            name="versions-3000", make=lambda: version_graph(3000, 12_000, 1.5), gap=5e-2, most_s=60.0, suite="full"
        ),
        Instance(
            name="streams-10000x60", make=lambda: streams_with_limits(10_000), gap=5e-3, most_s=600.0, suite="full"
        ),
    ]
    return found


def _gap_of(name: str) -> float:
    """The gap that the public graphs are solved to: dataset versioning is open, the rest exact."""
    return 1e-2 if "styleguide" in name else 3e-2 if "leetcode" in name else 0.0


def run_one(instance: Instance) -> dict[str, float | str | None]:
    """Everything about one instance, for one row."""
    problem = instance.make()
    started_s = time.perf_counter()
    plan = solve(problem, gap=instance.gap, time_limit_s=instance.most_s)
    wall_s = time.perf_counter() - started_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    plain_s, plain_cost = plain_milp(problem)
    return {
        "commits": len(problem.commits),
        "candidates": len(problem.candidates),
        "demands": len(problem.demands),
        "cost": plan.cost.total,
        "bound": plan.lower_bound,
        "gap": plan.gap,
        "status": str(plan.status),
        "method": plan.method,
        "wall_s": wall_s,
        "peak_mb": peak_mb,
        **best_policy(problem),
        "plain_s": plain_s,
        "plain_cost": plain_cost,
    }


def best_policy(problem: Problem) -> dict[str, float | str | None]:
    """The peer policy that costs least of those that keep every rule."""
    if len(problem.candidates) > MOST_POLICY_CANDIDATES:
        return {"policy": None, "policy_cost": None}
    judged = {name: follow_policy(problem, policy) for name, policy in POLICIES.items()}
    feasible = {name: one.cost.total for name, one in judged.items() if one.is_feasible}
    best = min(feasible, key=lambda name: feasible[name], default=None)
    return {"policy": best, "policy_cost": feasible[best] if best else None}


def plain_milp(problem: Problem) -> tuple[float | None, float | None]:
    """Seconds and cost of HiGHS on the whole strong formulation, without a start; None where it does not fit."""
    if len(problem.candidates) * len(problem.demands) > MOST_PLAIN_PAIRS:
        return None, None
    started_s = time.perf_counter()
    milp = formulate(problem, reduce_cohorts(problem))
    answer = solve_milp(milp, reference_money=float(milp.money.sum()) or 1.0, gap=1e-7, time_limit_s=PLAIN_LIMIT_S)
    cost = None if answer.values is None else float(milp.money @ answer.values)
    return time.perf_counter() - started_s, cost


COLUMNS = (
    "instance",
    "commits",
    "candidates",
    "cost",
    "bound",
    "gap",
    "s",
    "peak MB",
    "best policy",
    "plain HiGHS",
    "how",
)


def show(rows: list[tuple[Instance, dict[str, float | str | None]]]) -> None:
    """The table."""
    table = Table(title="deltaplan solve")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("instance", "best policy", "how") else "right")
    for instance, row in rows:
        if "error" in row:
            table.add_row(instance.name, str(row["error"]))
            continue
        policy = "" if row["policy"] is None else f"{row['policy']} {row['policy_cost'] / row['cost']:.2f}x"  # type: ignore[operator]
        plain = "too large"
        if row["plain_s"] is not None:
            plain = f"{row['plain_s'] / row['wall_s']:.0f}x time"  # type: ignore[operator]
            plain += " (no plan)" if row["plain_cost"] is None else f", {row['plain_cost'] / row['cost']:.4f}x cost"  # type: ignore[operator]
        table.add_row(
            instance.name,
            f"{row['commits']:,}",
            f"{row['candidates']:,}",
            f"{row['cost']:.7g}",
            f"{row['bound']:.7g}",
            f"{row['gap']:.4%}",
            f"{row['wall_s']:.2f}",
            f"{row['peak_mb']:.0f}",
            policy,
            plain,
            f"{row['status']}: {row['method']}",
        )
    Console(width=220).print(table)


def in_process(arguments: list[str]) -> dict[str, float | str | None]:
    """This script in a process of its own; its last line is the answer."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        # Below zero it is a signal's number: 9 is what the kernel sends where memory ran out.
        return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    answer: dict[str, float | str | None] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


GROWTH = {
    "commits": [(size, lambda n=size: one_stream(n, fixed_multiplier=100)) for size in (100, 200, 400, 800)],
    "streams": [(size, lambda n=size: many_streams(n, 60, fixed_multiplier=10)) for size in (10, 40, 160, 640)],
}


def show_growth() -> None:
    """Seconds to a gap of 0.5 % against size, and the exponent of the fitted power law; compiled code is warm."""
    solve(one_stream(150, fixed_multiplier=100), gap=5e-3)
    for what, sizes in GROWTH.items():
        seconds = []
        for size, make in sizes:
            problem = make()
            started_s = time.perf_counter()
            plan = solve(problem, gap=5e-3, time_limit_s=120)
            seconds.append(time.perf_counter() - started_s)
            bar = "#" * int(12 * np.log10(seconds[-1] * 1e3 + 1))  # a log axis
            print(f"{what} {size:6d}: {seconds[-1]:8.3f} s, gap {plan.gap:.3%} {bar}")
        exponent = np.polyfit(np.log([size for size, _ in sizes]), np.log(seconds), 1)[0]
        print(f"time grows as {what}^{exponent:.2f}")


def main() -> None:
    """Print one row per instance, or how time grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=Path, default=DEFAULT_GRAPHS)
    parser.add_argument("--suite", choices=("quick", "full"), default="quick")
    parser.add_argument("--only", default="")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    known = instances(arguments.graphs)
    if arguments.one:
        print(json.dumps(run_one(next(instance for instance in known if instance.name == arguments.one))))
    elif arguments.growth:
        show_growth()
    else:
        solve(one_stream(150, fixed_multiplier=100), gap=5e-3)  # compile once, before anything is timed
        chosen = [one for one in known if arguments.only in one.name and one.suite in ("quick", arguments.suite)]
        rows = []
        for one in chosen:
            rows.append((one, in_process(["--graphs", str(arguments.graphs), "--one", one.name])))
            print(one.name, json.dumps(rows[-1][1]), file=sys.stderr, flush=True)
        show(rows)


if __name__ == "__main__":
    main()
