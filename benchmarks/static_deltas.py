"""Our static deltas against `ostree static-delta generate` on histories of packages, every older commit to the newest.

python benchmarks/static_deltas.py [--history NAME ...] [--quick] [--reuse] [--json] [--cache FOLDER]

Bytes are superblocks and parts; every delta of ours is applied, which is not timed. Stock: one `generate
--min-fallback-size=0` for each pair. Core-seconds are user and system: of the stock tool's process; of our builder for
all bases of a target in one process, without its imports and its loading of compiled loops. Peak memory is that of
whole processes, ours with one delta in each, so that both are asked for the same. Whole-tree HDiffPatch is what a
format could reach that need not name objects (`delta_bytes.whole_tree_bytes`); no stock client reads it.

Stock and HDiffPatch results are kept in a file of the cache and looked up there only with `--reuse`: seconds of another
day are no comparison, but they do for trying a change.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import planner.delta.loaded  # noqa: F401 - compiled loops are loaded, which is not timed
from benchmarks.child_usage import Usage, run_measured
from benchmarks.delta_bytes import WHOLE_TREE, DeltaBytes, check, count_bytes, stored_bytes, whole_tree_bytes
from benchmarks.native_deltas import DeltaFiles, run_composed, run_native
from benchmarks.release_histories import (
    HISTORIES,
    USUAL_HISTORIES,
    ReleaseHistory,
    Target,
    commit_history,
    find_targets,
)
from planner.delta.contents import CommitContents
from planner.delta.paths import SUPERBLOCK
from planner.history.files import write_atomically
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository

RESULTS_FILE = "static-deltas.json"
QUICK_BASES = 2
MOST_HOPS = 4
"""Of the composed delta that is measured."""
_MB = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A delta's bytes, and what making it alone took."""

    total_bytes: int
    core_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One delta: by the stock tool, by ours alone, and where our bytes go as it was made together with others."""

    base: str
    target: str
    stock: Measured
    native: Measured
    native_bytes: DeltaBytes
    whole_tree_bytes: int

    @property
    def total_bytes(self) -> int:
        """Of our delta as it was made together with others."""
        return sum(getattr(self.native_bytes, field.name) for field in fields(DeltaBytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A history's deltas; `core_s` and `peak_bytes` of our builder with all bases of a target at once."""

    history: str
    about: str
    pairs: tuple[Pair, ...]
    core_s: float
    peak_bytes: int
    stored_bytes: int
    unshared_bytes: int
    again: OneMore
    composed: Composed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneMore:
    """One base more, once the others' deltas are made: with what they left, and with its own differences known."""

    base: str
    stock_core_s: float
    new_core_s: float
    warm_core_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """The last hops of a history in one delta, against a direct one with nothing made before."""

    hops: int
    total_bytes: int
    core_s: float
    direct_bytes: int
    direct_core_s: float


class KeptResults:
    """Results by what they depend on, in one JSON file; looked up only where `is_reused`."""

    def __init__(self, path: Path, *, is_reused: bool) -> None:
        self._path, self._is_reused = path, is_reused
        self._results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def obtain(self, key: Sequence[str], measure: Callable[[], Any]) -> Any:
        """The result under a key, or what `measure` makes: of numbers and texts, and kept."""
        name = " | ".join(key)
        if not self._is_reused or name not in self._results:
            self._results[name] = measure()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(self._results, indent=1, sort_keys=True).encode())
        return self._results[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One history's repository, and a folder for its deltas."""

    repository: Path
    commits: Mapping[str, str]
    contents: CommitContents
    kept: KeptResults
    scratch: Path


def main() -> None:
    """Measure the histories asked for, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ", ".join(USUAL_HISTORIES)
    parser.add_argument("--history", action="append", choices=HISTORIES, help=f"may be repeated; default: {usual}")
    parser.add_argument("--quick", action="store_true", help=f"only the newest {QUICK_BASES} bases of each target")
    parser.add_argument("--reuse", action="store_true", help="look up results of the stock tool and of HDiffPatch")
    parser.add_argument("--json", action="store_true", help="print every figure; tables go to standard error")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/deltaplan/packages").expanduser())
    arguments = parser.parse_args()
    kept = KeptResults(arguments.cache / RESULTS_FILE, is_reused=arguments.reuse)
    progress = Console(stderr=True)
    results = []
    for name in arguments.history or USUAL_HISTORIES:
        with tempfile.TemporaryDirectory() as folder:
            bench = prepare(HISTORIES[name], arguments.cache, kept, Path(folder))
            targets = find_targets(HISTORIES[name], most_bases=QUICK_BASES if arguments.quick else None)
            results.append(measure_history(HISTORIES[name], targets, bench, progress.print))
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    console = Console(width=170, stderr=arguments.json)
    for table in (tabulate_totals(results), tabulate_bytes(results), tabulate_reuse(results)):
        console.print(table)


def prepare(history: ReleaseHistory, cache: Path, kept: KeptResults, scratch: Path) -> Bench:
    """The history's repository, ready to be measured."""
    repository, commits = commit_history(history, cache, scratch)
    opened = OSTreeRepository(repository)
    contents = CommitContents(opened, ObjectSets(opened.read_history()))
    return Bench(repository=repository, commits=commits, contents=contents, kept=kept, scratch=scratch)


def measure_history(
    history: ReleaseHistory, targets: Sequence[Target], bench: Bench, say: Callable[[str], None]
) -> Result:
    """All deltas of a history, each checked."""
    pairs: list[Pair] = []
    deltas: list[DeltaFiles] = []
    usages: list[Usage] = []
    for target in targets:
        say(f"{history.name}: {len(target.bases)} bases -> {target.name}")
        bases = [bench.commits[base] for base in target.bases]
        together, usage = run_native(
            bench.repository, bases, bench.commits[target.name], bench.scratch / "together" / target.name
        )
        pairs += [
            measure_pair(base, target.name, delta, bench) for base, delta in zip(target.bases, together, strict=True)
        ]
        deltas += together
        usages.append(usage)
    stored, unshared = stored_bytes(deltas)
    return Result(
        history=history.name,
        about=history.about,
        pairs=tuple(pairs),
        core_s=sum(usage.core_s for usage in usages),
        peak_bytes=max(usage.peak_bytes for usage in usages),
        stored_bytes=stored,
        unshared_bytes=unshared,
        again=measure_one_more(targets[0], pairs, bench),
        composed=measure_composed(targets[0], bench),
    )


def measure_one_more(target: Target, pairs: Sequence[Pair], bench: Bench) -> OneMore:
    """The middle base of a target after all others."""
    one = target.bases[len(target.bases) // 2]
    others = [bench.commits[base] for base in target.bases if base != one]
    pool, end = bench.scratch / "one-more.sqlite", bench.commits[target.name]
    core_s = [
        run_native(bench.repository, bases, end, bench.scratch / f"one-more-{number}", pool)[1].core_s
        for number, bases in enumerate((others, [bench.commits[one]], [bench.commits[one]]))
    ]
    stock = next(pair.stock for pair in pairs if (pair.base, pair.target) == (one, target.name))
    return OneMore(base=one, stock_core_s=stock.core_s, new_core_s=core_s[1], warm_core_s=core_s[2])


def measure_composed(target: Target, bench: Bench) -> Composed | None:
    """The last hops to a target, as many as there are up to four; none where its bases are no line."""
    history = bench.contents.objects.history
    line = [bench.commits[target.name], *history.ancestors(bench.commits[target.name])][: MOST_HOPS + 1][::-1]
    if len(line) < 3:
        return None
    hops = [
        run_native(bench.repository, [base], end, bench.scratch / "hops" / str(number))[0][0]
        for number, (base, end) in enumerate(pairwise(line))
    ]
    composed, usage = run_composed(bench.repository, hops, bench.scratch / "composed")
    check(composed, bench.contents, line[-1])
    direct, direct_usage = run_native(bench.repository, [line[0]], line[-1], bench.scratch / "direct")
    return Composed(
        hops=len(hops),
        total_bytes=composed.total_bytes,
        core_s=usage.core_s,
        direct_bytes=direct[0].total_bytes,
        direct_core_s=direct_usage.core_s,
    )


def measure_pair(base: str, target: str, delta: DeltaFiles, bench: Bench) -> Pair:
    """One pair, of which our delta was made together with others."""
    ends = (bench.commits[base], bench.commits[target])
    check(delta, bench.contents, ends[1])
    stock = bench.kept.obtain(
        ("ostree", ostree_version(), *ends),
        lambda: asdict(measure_stock(bench.repository, *ends, bench.scratch / "stock" / f"{base}-{target}")),
    )
    whole_tree = bench.kept.obtain(
        (WHOLE_TREE, version("hdiffpatch"), *ends), lambda: whole_tree_bytes(bench.contents, *ends)
    )
    return Pair(
        base=base,
        target=target,
        stock=Measured(**stock),
        native=measure_alone(bench.repository, *ends, bench.scratch / "alone" / f"{base}-{target}"),
        native_bytes=count_bytes(delta),
        whole_tree_bytes=whole_tree,
    )


def measure_stock(repository: Path, base: str, target: str, into: Path) -> Measured:
    """The stock tool's delta with all content in it."""
    into.mkdir(parents=True)
    _, usage = run_measured(
        [
            *("ostree", "static-delta", "generate", f"--repo={repository}", f"--from={base}", f"--to={target}"),
            *("--min-fallback-size=0", f"--filename={into / SUPERBLOCK}"),
        ]
    )
    return _measured(DeltaFiles(base=base, folder=into), usage)


def measure_alone(repository: Path, base: str, target: str, into: Path) -> Measured:
    """Our delta from one base in a process of its own."""
    deltas, usage = run_native(repository, [base], target, into)
    return _measured(deltas[0], usage)


def _measured(delta: DeltaFiles, usage: Usage) -> Measured:
    return Measured(total_bytes=delta.total_bytes, core_s=usage.core_s, peak_bytes=usage.peak_bytes)


def ostree_version() -> str:
    """The stock tool's version, as it tells it."""
    told = subprocess.run(["ostree", "--version"], check=True, capture_output=True, text=True).stdout
    return next(line.split()[-1].strip("'") for line in told.splitlines() if "Version" in line)


def tabulate_totals(results: Sequence[Result]) -> Table:
    """Bytes, core-seconds, memory and storage against the stock tool."""
    table = _table(
        "Every older commit to the newest: ours against the stock generator",
        *("deltas", "stock MB", "MB", "x", "worst pair x"),
        *("stock core s", "core s", "x", "alone x", "stock peak MB", "peak MB", "x", "together MB"),
        *("stored MB", "x unshared"),
    )
    for result in results:
        pairs = result.pairs
        stock_total = sum(pair.stock.total_bytes for pair in pairs)
        total = sum(pair.total_bytes for pair in pairs)
        stock_core_s = sum(pair.stock.core_s for pair in pairs)
        stock_peak = max(pair.stock.peak_bytes for pair in pairs)
        peak = max(pair.native.peak_bytes for pair in pairs)
        table.add_row(
            *(result.history, str(len(pairs)), _mb(stock_total), _mb(total), _ratio(total, stock_total)),
            _ratio(
                *max(((pair.total_bytes, pair.stock.total_bytes) for pair in pairs), key=lambda two: two[0] / two[1])
            ),
            *(f"{stock_core_s:.1f}", f"{result.core_s:.1f}", _ratio(result.core_s, stock_core_s)),
            _ratio(sum(pair.native.core_s for pair in pairs), stock_core_s),
            *(_mb(stock_peak, 0), _mb(peak, 0), _ratio(peak, stock_peak), _mb(result.peak_bytes, 0)),
            *(_mb(result.stored_bytes), _ratio(result.stored_bytes, result.unshared_bytes)),
        )
    return table


def tabulate_bytes(results: Sequence[Result]) -> Table:
    """Our bytes as multiples of a whole-tree HDiffPatch, by what they are for."""
    names = [field.name for field in fields(DeltaBytes)]
    table = _table("Bytes, times those of a whole-tree HDiffPatch", "HDiffPatch MB", "MB", "x", "worst pair x", *names)
    for result in results:
        pairs = result.pairs
        least = sum(pair.whole_tree_bytes for pair in pairs)
        total = sum(pair.total_bytes for pair in pairs)
        worst = max(pairs, key=lambda pair: pair.total_bytes / pair.whole_tree_bytes)
        table.add_row(
            *(result.history, _mb(least), _mb(total), _ratio(total, least)),
            _ratio(worst.total_bytes, worst.whole_tree_bytes),
            *(_ratio(sum(getattr(pair.native_bytes, name) for pair in pairs), least) for name in names),
        )
    return table


def tabulate_reuse(results: Sequence[Result]) -> Table:
    """What deltas cost that are made of what there is already."""
    table = _table(
        "Made of what there is already",
        *("one more base", "stock core s", "core s", "x", "differences known", "x"),
        *("composed hops", "MB", "x direct", "core s", "x direct"),
    )
    for result in results:
        again, made = result.again, result.composed
        composed = (
            [
                *(str(made.hops), _mb(made.total_bytes), _ratio(made.total_bytes, made.direct_bytes)),
                *(f"{made.core_s:.2f}", _ratio(made.core_s, made.direct_core_s)),
            ]
            if made
            else []
        )
        table.add_row(
            *(result.history, again.base, f"{again.stock_core_s:.2f}"),
            *(f"{again.new_core_s:.2f}", _ratio(again.new_core_s, again.stock_core_s)),
            *(f"{again.warm_core_s:.2f}", _ratio(again.warm_core_s, again.stock_core_s)),
            *composed,
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    table.add_column("history")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _mb(count_bytes: int, places: int = 2) -> str:
    return f"{count_bytes / _MB:.{places}f}"


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.3f}"


if __name__ == "__main__":
    main()
