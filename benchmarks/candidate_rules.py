"""What the plan loses where only the pairs that candidate rules propose are weighed, on streams of 1,000 commits.

    python -m benchmarks.candidate_rules [--seeds 3] [--limit-s 60] [--rules direct window ...] [--most 20000]

Each instance is solved twice: over all 499,500 pairs, and over those that `propose_pairs` keeps of a history with the
same commits, cohorts and rebuilds. The loss is against the all-pairs plan, and against its proven bound, below which no
plan over any pairs can be: the true loss is between the two.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.instances import one_stream
from planner.demand.cohorts import Cohort
from planner.graphs import solve
from planner.history.records import Commit, History, Tree
from planner.optimize.problem import Candidates, Problem
from planner.weigh.rules import MOST_CANDIDATES, propose_pairs

COMMITS = 1000
RULES = ("direct", "window", "big-demand", "relays", "big-pairs", "rebuilds")
REBUILD_AGES = (7, 40, 150, 400, 700)
FOLDERS, FILES_PER_FOLDER = 40, 25
REBUILT_FOLDERS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One stream: how dear keeping and building are, who is left on old commits, and whether it was rebuilt."""

    seed: int
    fixed_multiplier: float
    most_tail_clients: int
    rebuilds: tuple[int, ...]

    def problem(self) -> Problem:
        """With all pairs of commits."""
        return one_stream(
            COMMITS,
            fixed_multiplier=self.fixed_multiplier,
            rebuilds=self.rebuilds,
            most_tail_clients=self.most_tail_clients,
            seed=self.seed,
        )


def instances(seeds: int) -> Iterator[Instance]:
    """Every seed with the usual tail, the first without one too; each with and without rebuilds at all prices."""
    rebuilds = tuple(COMMITS - 1 - age for age in REBUILD_AGES)
    for seed, tail in [*((seed, 5) for seed in range(seeds)), (0, 0)]:
        for rebuilt in ((), rebuilds):
            for times in (1, 100, 1000):
                yield Instance(seed=seed, fixed_multiplier=times, most_tail_clients=tail, rebuilds=rebuilt)


def checksum_of(*labels: object) -> str:
    """A checksum made from labels."""
    return hashlib.sha256("/".join(map(str, labels)).encode()).hexdigest()


def make_history(rebuilds: Sequence[int]) -> History:
    """A line of commits that each change one file, and most folders where another toolchain built them."""
    files = np.zeros((FOLDERS, FILES_PER_FOLDER), dtype=np.int64)
    commits: dict[str, Commit] = {}
    trees: dict[str, Tree] = {}
    for number in range(COMMITS):
        files[number % FOLDERS, number % FILES_PER_FOLDER] += 1
        if number in rebuilds:
            files[:REBUILT_FOLDERS] += 1
        dirs = {}
        for folder, versions in enumerate(files.tolist()):
            dirs[f"d{folder}"] = checksum_of("tree", folder, versions)
            if dirs[f"d{folder}"] not in trees:
                contents = {f"f{file}": checksum_of(folder, file, version) for file, version in enumerate(versions)}
                trees[dirs[f"d{folder}"]] = Tree(files=contents, dirs={})
        root = checksum_of("root", number)
        trees[root] = Tree(files={}, dirs=dirs)
        commits[checksum_of("commit", number)] = Commit(
            checksum=checksum_of("commit", number),
            parent=checksum_of("commit", number - 1) if number else None,
            committed_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number),
            tree=root,
        )
    return History(commits=commits, trees=trees, refs={"main": checksum_of("commit", COMMITS - 1)})


def keep_proposed(problem: Problem, history: History, rules: Sequence[str], most_candidates: int) -> Problem:
    """The problem with only the candidates that the rules propose to the cohorts that have clients."""
    names = list(history.commits)
    number = {commit: index for index, commit in enumerate(names)}
    rows = zip(problem.demands.base, problem.demands.target, problem.demands.clients, strict=True)
    cohorts = [Cohort(base=names[base], target=names[target], clients=n) for base, target, n in rows if n > 0]
    proposals, _ = propose_pairs(history, cohorts, rules, most_candidates=most_candidates)
    table = problem.candidates
    row_of = np.full((COMMITS, COMMITS), -1, dtype=np.int64)
    row_of[table.base, table.target] = np.arange(len(table))
    kept = np.sort(row_of[[number[one.base] for one in proposals], [number[one.target] for one in proposals]])
    if len(kept) and kept[0] < 0:
        raise AssertionError("a rule proposes a pair that goes back")
    return problem.replace(candidates=Candidates(**{name: getattr(table, name)[kept] for name in Candidates.__slots__}))


COLUMNS = (
    "seed",
    "fixed costs",
    "tail",
    "rebuilds",
    "kept",
    "of pairs",
    "propose s",
    "cost, kept",
    "cost, all",
    "bound, all",
    "loss %",
    "loss to bound %",
)


def measure(instance: Instance, rules: Sequence[str], most_candidates: int, limit_s: float) -> tuple[str, ...]:
    """One row of the table."""
    problem, history = instance.problem(), make_history(instance.rebuilds)
    started_s = time.perf_counter()
    sparse = keep_proposed(problem, history, rules, most_candidates)
    propose_s = time.perf_counter() - started_s
    few = solve(sparse, gap=1e-3, time_limit_s=limit_s / 3)
    every = solve(problem, gap=1e-3, time_limit_s=limit_s)
    return (
        str(instance.seed),
        f"x{instance.fixed_multiplier:g}",
        f"0 to {instance.most_tail_clients}",
        str(len(instance.rebuilds)),
        f"{len(sparse.candidates):,}",
        f"{len(problem.candidates):,}",
        f"{propose_s:.2f}",
        f"{few.cost.total:.4f}",
        f"{every.cost.total:.4f}",
        f"{every.lower_bound:.4f}",
        f"{few.cost.total / every.cost.total - 1:.3%}",
        f"{few.cost.total / every.lower_bound - 1:.3%}",
    )


def main() -> None:
    """Print one row per instance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--most", type=int, default=MOST_CANDIDATES)
    arguments = parser.parse_args()
    table = Table(title=f"candidate rules: {', '.join(arguments.rules)}")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for instance in instances(arguments.seeds):
        row = measure(instance, arguments.rules, arguments.most, arguments.limit_s)
        table.add_row(*row)
        print(*row, flush=True)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
