"""Projected weights against built ones, for all pairs of releases: by quantity, with intervals, and what it costs.

python -m benchmarks.projections [--history NAME ...] [--reuse] [--json] [--cache FOLDER]

Every pair of an older and a newer release is built by the native builder (differences made once and kept, parts packed
for each pair alone); then again as a night does it, in processes of its own, applied by a stock client: that gives the
client's core-seconds and the largest process's memory. Two projections of the same pairs, neither of which saw what it
is scored on:

- cold: nothing of this history is known, and the factors that are believed first are fitted on the other histories;
- learnt: every release's delta from the one before it was built, and the other pairs are scored.

Only candidates of 5 kB and more are scored. `rho` is Spearman's, `held` how often the 90 % interval holds. Costs are
the core-seconds of projecting all pairs (contents read from an archive repository included), over those of building.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls
from scipy.stats import spearmanr

import planner.delta.loaded  # noqa: F401 - compiled loops are loaded, which is not timed
from benchmarks.release_histories import ReleaseHistory, commit_history, one_package
from planner.build.builders import OSTreeBuilder
from planner.build.executors import LocalExecutor
from planner.build.jobs import Failed, run_jobs
from planner.build.pool import Pool
from planner.build.processes import cpu_s
from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.make import Settings, lay_out, write_delta
from planner.delta.packing import pack_recipe
from planner.delta.superblock import NATIVE
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.optimize.problem import BoolArray, FloatArray
from planner.project.belief import Belief
from planner.project.projector import Projector
from planner.project.quantities import DEVIATIONS, NATIVE_BELIEFS, Quantity, Terms
from planner.project.signature import compare, sign
from planner.weigh.candidates import Candidate, Weight

HISTORIES = {
    history.name: history
    for history in (
        one_package("sqlalchemy", "", "sqlalchemy", " ".join(f"2.0.{number}" for number in range(22, 36))),
        one_package("aiohttp", "", "aiohttp", "3.9.0 3.9.1 3.9.2 3.9.3 3.9.4 3.9.5 3.10.0 3.10.1 3.10.3 3.10.5"),
        one_package("django", "", "django", "4.2.1 4.2.4 4.2.7 4.2.8 4.2.10 5.0 5.0.2 5.0.4 5.0.6 5.0.8"),
        one_package("lxml", "", "lxml", "4.9.2 4.9.3 4.9.4 5.0.0 5.1.0 5.2.1 5.2.2"),
        one_package("numpy", "", "numpy", "1.25.2 1.26.0 1.26.1 1.26.2 1.26.3 1.26.4"),
        one_package("pillow", "", "pillow", "9.5.0 10.0.0 10.0.1 10.1.0 10.2.0 10.3.0"),
        one_package("cryptography", "", "cryptography", "41.0.5 41.0.7 42.0.0 42.0.2 42.0.5 42.0.7 42.0.8"),
        one_package("ruff", "", "ruff", "0.4.1 0.4.2 0.4.3 0.4.4 0.4.5"),
    )
}
LEAST_SCORED_BYTES = 5000
RESULTS_FILE = "projections.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A history's pairs (older, newer) with what they weigh, by quantity, and the terms of their projections.

    `doubts` are the relative errors of cold and of learnt bytes.
    """

    pairs: list[tuple[int, int]]
    true: dict[str, list[float]]
    cold: dict[str, list[list[float]]]
    learnt: dict[str, list[list[float]]]
    doubts: list[list[float]]
    building_core_s: float
    projecting_core_s: float

    def weights(self, quantity: Quantity) -> FloatArray:
        """What the pairs weigh (m,)."""
        return np.array(self.true[quantity])

    def terms(self, *, is_learnt: bool) -> Terms:
        """What the pairs' projections are sums of."""
        of = self.learnt if is_learnt else self.cold
        return Terms(of={one: np.array(of[one]) for one in Quantity}, doubts=np.array(self.doubts[is_learnt]))


def main() -> None:
    """Build, project, and print how far apart they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", action="append", choices=HISTORIES, help="which (default: all)")
    parser.add_argument("--reuse", action="store_true", help="look up histories that were scored before")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    arguments = parser.parse_args()
    kept_path = arguments.cache / RESULTS_FILE
    kept = json.loads(kept_path.read_text()) if arguments.reuse and kept_path.exists() else {}
    for name in arguments.history or HISTORIES:
        if name not in kept:
            kept[name] = asdict(score(HISTORIES[name], arguments.cache))
            kept_path.write_text(json.dumps(kept))
    scored = {name: Scored(**kept[name]) for name in arguments.history or HISTORIES}
    rows = [row for quantity in Quantity for row in tabulate(scored, quantity)]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for quantity in Quantity:
        show([row for row in rows if row["of"] == quantity], f"relative errors of projected {quantity}, %")


def show(rows: Sequence[Mapping[str, str | float]], title: str) -> None:
    """Print a table: errors and shares in %."""
    names = [name for name in rows[0] if name != "of"]
    table = Table(*(name.replace(" ", "\n") for name in names), title=title, box=SIMPLE, pad_edge=False)
    for row in rows:
        cells = [str(row["history"]), str(row["pairs"])]
        cells += [f"{row[name]:.3f}" if "rho" in name else f"{100 * float(row[name]):.1f}" for name in names[2:]]
        table.add_row(*cells)
    Console(width=100).print(table)


# -- building and projecting -----------------------------------------------------------------------------------------


def score(history: ReleaseHistory, cache: Path) -> Scored:
    """Build and project all pairs of a history."""
    numbers = list(combinations(range(len(history.releases)), 2))
    with tempfile.TemporaryDirectory() as scratch:
        path, commits = commit_history(history, cache, Path(scratch))
        names = [commits[release.name] for release in history.releases]
        pairs = [(names[older], names[newer]) for older, newer in numbers]
        contents = open_contents(path)
        pool_path = Path(scratch) / "differences.sqlite"
        needed: list[set[tuple[str, str]]] = []
        weights = []
        started_s = cpu_s()
        with DifferencePool(pool_path) as pool:
            for pair in pairs:
                weight, differences = build(contents, pair, pool)
                weights.append(weight)
                needed.append(differences)
        built_s = cpu_s()
        warm_up()
        warmed_s = cpu_s()
        with DifferencePool() as empty:
            cold = Projector(open_contents(path), empty).terms(pairs)
        projected_s = cpu_s()
        known = {
            one for made, (older, newer) in zip(needed, numbers, strict=True) if newer - older == 1 for one in made
        }
        with DifferencePool() as some:
            copy_differences(pool_path, some, known)
            learnt = Projector(open_contents(path), some).terms(pairs)
        nightly = [weigh_by_night(path, pair, Path(scratch) / "proofs") for pair in pairs]
    print(f"{history.name}: {len(pairs)} pairs", flush=True)
    return Scored(
        pairs=numbers,
        true={
            Quantity.WIRE_BYTES: [weight[0] for weight in weights],
            Quantity.SERVER_CPU_S: [weight[1] for weight in weights],
            Quantity.CLIENT_CPU_S: [weight.client_cpu_s for weight in nightly],
            Quantity.PEAK_MEMORY_BYTES: [float(weight.peak_memory_bytes) for weight in nightly],
        },
        cold={one: cold.of[one].tolist() for one in Quantity},
        learnt={one: learnt.of[one].tolist() for one in Quantity},
        doubts=[cold.doubts.tolist(), learnt.doubts.tolist()],
        building_core_s=built_s - started_s,
        projecting_core_s=projected_s - warmed_s,
    )


def open_contents(repository: Path) -> CommitContents:
    """A repository's contents, nothing of them read."""
    opened = OSTreeRepository(repository)
    return CommitContents(opened, ObjectSets(opened.read_history()))


def warm_up() -> None:
    """Load the compiled loops of signatures."""
    for content in (b"text " * 10_000, bytes(range(256)) * 1000):
        compare(sign(content), sign(content))


def build(
    contents: CommitContents, pair: tuple[str, str], pool: DifferencePool
) -> tuple[tuple[float, float], set[tuple[str, str]]]:
    """A pair's bytes and core-seconds (its differences', whenever they were made, and its packing's); differences."""
    settings = Settings()
    layout = lay_out(contents, [pair[0]], pair[1], settings, pool)[0]
    started_s = cpu_s()
    parts = {recipe: pack_recipe(recipe, contents, pool, settings.effort) for recipe in layout.recipes}
    delta = write_delta(layout, parts, contents)
    core_s = cpu_s() - started_s + sum(recipe.core_s for recipe in layout.recipes)
    made = {(piece.source, piece.name.checksum) for recipe in layout.recipes for piece in recipe.pieces if piece.source}
    return (float(len(delta.superblock) + sum(map(len, delta.parts))), core_s), made


def weigh_by_night(repository: Path, pair: tuple[str, str], proofs: Path) -> Weight:
    """A pair's weight as a night measures it: in processes of its own, applied by a stock client."""
    builder, pool = OSTreeBuilder(repository, proofs), Pool.of_repository(repository)
    candidate = Candidate(base=pair[0], target=pair[1], codec=NATIVE)
    builder.prepare([candidate], executor=LocalExecutor(1), report=lambda *_: None)
    (outcome,) = run_jobs(builder, pool, [candidate], executor=LocalExecutor(1))
    if isinstance(outcome, Failed):
        raise SystemExit(outcome.reason)
    return outcome.weight


def copy_differences(path: Path, pool: DifferencePool, wanted: set[tuple[str, str]]) -> None:
    """Let a pool know of some of the differences of another one, but not their streams."""
    with DifferencePool(path) as full:
        for new in sorted({new for _, new in wanted}):
            for old, difference in full.differences_into(new).items():
                if (old, new) in wanted:
                    pool.keep(old, new, None, difference)


# -- scoring ---------------------------------------------------------------------------------------------------------


def tabulate(scored: Mapping[str, Scored], quantity: Quantity) -> list[dict[str, str | float]]:
    """Errors of one quantity for each history, and of all their pairs together."""
    rows, gathered = [], []
    for name, one in scored.items():
        values, cold, learnt = one.weights(quantity), one.terms(is_learnt=False), one.terms(is_learnt=True)
        is_next = np.array([newer - older == 1 for older, newer in one.pairs])
        is_large = one.weights(Quantity.WIRE_BYTES) >= LEAST_SCORED_BYTES
        first = fit_prior([other for key, other in scored.items() if key != name], quantity)
        at_first = judge(first.project(cold.of[quantity], cold.doubts_of(quantity)), values, is_large)
        terms, doubts = learnt.of[quantity], learnt.doubts_of(quantity)
        taught = first.learn(terms[is_next], values[is_next], doubts[is_next])
        at_last = judge(taught.project(terms, doubts), values, is_large & ~is_next)
        gathered.append((at_first, at_last))
        rows.append(describe(name, quantity, at_first, at_last, one.projecting_core_s / one.building_core_s))
    whole = [np.concatenate([one[k] for one in gathered], axis=1) for k in (0, 1)]
    projecting_s, building_s = (
        sum(getattr(one, field) for one in scored.values()) for field in ("projecting_core_s", "building_core_s")
    )
    return [*rows, describe("all pairs", quantity, whole[0], whole[1], projecting_s / building_s)]


def fit_prior(others: Sequence[Scored], quantity: Quantity) -> Belief:
    """The factors that fit other histories best, each of which counts as much, near those the project has."""
    prior = NATIVE_BELIEFS[quantity]
    spreads = np.sqrt(np.diag(prior.covariance)) / prior.factors
    rows, values = [np.diag(0.3 / prior.factors)], [np.full(len(prior.factors), 0.3)]
    for one in others:
        weights = one.weights(quantity)
        rows.append(np.array(one.cold[quantity]) / weights[:, None] / np.sqrt(len(weights)))
        values.append(np.full(len(weights), 1 / np.sqrt(len(weights))))
    matrix, right = np.concatenate(rows), np.concatenate(values)
    if quantity is Quantity.WIRE_BYTES:  # what a superblock takes is known
        factors = np.concatenate(([1.0], nnls(matrix[:, 1:], right - matrix[:, 0])[0]))
    else:
        factors = nnls(matrix, right)[0]
    factors = np.maximum(factors, prior.factors / 20)
    return Belief.prior(factors.tolist(), spreads.tolist(), prior.noise)


def judge(projection: tuple[FloatArray, FloatArray], values: FloatArray, is_scored: BoolArray) -> FloatArray:
    """Rows (projected, true, whether the interval holds) of the pairs that are scored."""
    projected, errors = projection
    holds = np.abs(np.log(projected / values)) <= DEVIATIONS * errors
    return np.stack((projected, values, holds))[:, is_scored]


def describe(
    name: str, quantity: Quantity, cold: FloatArray, learnt: FloatArray, cost: float
) -> dict[str, str | float]:
    """A table's row."""
    row: dict[str, str | float] = {"history": name, "of": quantity.value, "pairs": learnt.shape[1]}
    for label, judged in (("cold", cold), ("learnt", learnt)):
        errors = np.abs(judged[0] / judged[1] - 1)
        row |= {
            f"{label} median": float(np.median(errors)),
            f"{label} p90": float(np.quantile(errors, 0.9)),
            f"{label} rho": float(spearmanr(judged[0], judged[1])[0]),
            f"{label} held": float(judged[2].mean()),
        }
    return row | {"cost": cost}


if __name__ == "__main__":
    main()
