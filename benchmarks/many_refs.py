"""A night over 1,000 refs of which 5 % were released anew: what planning and bookkeeping take beside the building.

python -m benchmarks.many_refs [--kind store|ostree] [--refs 1000] [--releases 20] [--keep FOLDER]

Three nights over one generated repository: the first makes everything, the second has a new commit on 5 % of the refs,
the third has nothing new. Core-seconds are those of this process and of all that it starts. Building is what makes and
proves deltas, probes included; the rest is planning and bookkeeping: reading the history, the demand, projecting,
planning, publishing. With `--keep` the repository and the work folder after the first night are made once; a folder
belongs to one set of arguments. The goal: planning and bookkeeping take a tenth of the building, and a night with
nothing new ends in seconds.

The first night would build for hours. So its deltas are stood in for by empty ones that weigh what was projected, which
planning and bookkeeping cannot tell from others; what later nights build is real, unless `--stand-in` is given: then
the building is what was projected of it.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ref_repositories import Shape, release, stored_bytes, write_repository
from planner.build.builders import DELTA_FILE
from planner.build.executors import LocalExecutor
from planner.build.jobs import Failed
from planner.delta.paths import SUPERBLOCK
from planner.delta.superblock import NATIVE, Superblock, write_superblock
from planner.history.records import ObjectKind, ObjectName
from planner.night import weighing
from planner.night.making import Maker
from planner.night.night import Night
from planner.night.nightly import run_nightly
from planner.scenario import parse_scenario
from planner.weigh.candidates import Candidate, Weight, WeightStatus

SCENARIO = """
format = "deltaplan-scenario/1"
name = "many-refs"

[repository]
kind = "{kind}"
path = "repository"

[[demand.adoption]]
ref = "*"
clients = {clients}
half_life_releases = 2
max_hops = 3

[weigh]
rules = [{rules}]
codecs = ["{codec}"]
most_candidates = 40_000
probe_core_s = {probe_core_s}

# Storage is kept by the origin and by ten mirrors, for a month.
[prices]
storage_per_gb = 0.23
server_cpu_per_hour = 0.05
egress_per_gb = {egress_per_gb}

[night]
rehearsals = 0  # of deltas that are stood in for

[solve]
gap = 0.005
time_limit_s = 120
"""


STOOD_IN = {"core_s": 0.0}
"""What the deltas would have taken that were stood in for since the last table."""


@dataclass(slots=True)
class Meter:
    """Seconds and core-seconds by step, and what of the core-seconds was building."""

    steps: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    building_core_s: float = 0.0

    def step(self, name: str, action: Callable[[], Any]) -> Any:
        """Do a step and note what it took."""
        started_s, started_core_s, started_building = time.perf_counter(), core_s(), self.building_core_s
        result = action()
        spent = time.perf_counter() - started_s, core_s() - started_core_s
        print(f"{name}: {spent[0]:.1f} s", flush=True)
        self.steps[name] = (*spent, self.building_core_s - started_building)
        return result

    def building(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Count what a function takes as building."""

        def counted(*arguments: Any, **options: Any) -> Any:
            started_core_s = core_s()
            try:
                return make(*arguments, **options)
            finally:
                self.building_core_s += core_s() - started_core_s

        return counted


def core_s() -> float:
    """Core-seconds of this process and of all that it started, those of the fork server's children too."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # noqa: SLF001
    if server is None:
        return own
    words = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    return own + sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def run_first(night: Night, meter: Meter) -> None:
    """The first night, verb by verb."""
    meter.step("import", night.import_)
    meter.step("demand", lambda: night.demand)
    meter.step("weigh", night.weigh)
    plan = meter.step("plan", night.plan)
    built = meter.step("build", night.build)
    published = meter.step("publish", night.publish)
    hops = [0 if route is None else len(route) for route in plan.routes]
    counts = {count: hops.count(count) for count in sorted(set(hops))}
    print(f"plan: {len(built.ready)} deltas, cohorts by hops {counts}; gap {plan.gap:.4f}")
    print(f"built {built.made}; published {len(published.new)} new, {published.routes_written} route files")


def run_later(night: Night, meter: Meter) -> None:
    """A night as the command runs it; building is what its jobs took."""
    record = run_nightly(night).record
    assert not record.faults, record.faults
    for step in record.steps:
        building = sum(job.core_s or 0.0 for job in record.jobs if job.step == step.name)
        meter.steps[step.name] = step.wall_s, step.core_s, building
    changes = Counter(delta.change for delta in record.deltas)
    print(f"{len(record.jobs)} jobs; deltas: {dict(changes)}; gap {record.plan.gap if record.plan else 1:.4f}")


@contextmanager
def standing_in(rounds: int, draws: int) -> Iterator[None]:
    """Inside, nothing is built: what would be gets an empty delta, and the weight that was projected.

    Probes are chosen in so many rounds, each by so many draws.
    """
    run, effort = Maker._run, weighing.Effort  # noqa: SLF001
    Maker._run = _stand_in  # type: ignore[method-assign]  # noqa: SLF001
    weighing.Effort = partial(effort, rounds=rounds, draws=draws)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        weighing.Effort = effort  # type: ignore[misc]
        Maker._run = run  # type: ignore[method-assign]  # noqa: SLF001


def _stand_in(maker: Maker, step: str, candidates: Sequence[Candidate]) -> list[Failed]:  # noqa: ARG001
    projected = maker.catalogue.weights(WeightStatus.PROJECTED)
    for candidate in candidates:
        with maker.pool.making() as folder:
            name, data = _empty_delta(maker, candidate)
            (folder / name).write_bytes(data)
            artifact = maker.pool.admit(candidate, folder)
        weight = projected.get(candidate) or _guess(candidate)
        STOOD_IN["core_s"] += weight.server_cpu_s
        maker.catalogue.record_artifact(artifact)
        maker.catalogue.record_weight(candidate, replace(weight, status=WeightStatus.MEASURED))
    return []


def _empty_delta(maker: Maker, candidate: Candidate) -> tuple[str, bytes]:
    """The one file of an empty delta, and its name."""
    if candidate.codec != NATIVE:
        return DELTA_FILE, str(candidate).encode()
    commit = maker.site.repository.read_object(ObjectName(ObjectKind.COMMIT, candidate.target))
    empty = Superblock(base=candidate.base, target=candidate.target, timestamp=0, commit=commit, parts=(), codec=NATIVE)
    return SUPERBLOCK, write_superblock(empty)


def _guess(candidate: Candidate) -> Weight:
    """A store's candidates are not projected: some weight that the same candidate always has."""
    lot = int(candidate.base[:6] or "0", 16) ^ int(candidate.target[:6], 16)
    return Weight(
        wire_bytes=2_000 + lot % 60_000,
        stored_bytes=2_000 + lot % 60_000,
        server_cpu_s=0.05 + (lot % 100) / 200,
        client_cpu_s=0.01,
        peak_memory_bytes=10**8,
        status=WeightStatus.PROJECTED,
    )


def show(title: str, meter: Meter) -> None:
    """Print one night's table."""
    table = Table("step", "wall s", "core-s", "of it building", "planning and bookkeeping", title=title)
    for name, (wall_s, spent_core_s, building) in meter.steps.items():
        cells = (wall_s, spent_core_s, building, spent_core_s - building)
        table.add_row(name, *(f"{cell:.2f}" for cell in cells))
    rows = list(meter.steps.values())
    wall_s, spent, building = (sum(column) for column in zip(*rows, strict=True))
    total = (wall_s, spent, building, spent - building)
    table.add_row("sum", *(f"{cell:.2f}" for cell in total))
    Console(width=110).print(table)
    planning = spent - building
    building += STOOD_IN["core_s"]
    if STOOD_IN["core_s"]:
        print(f"stood in for, so projected: building of {STOOD_IN['core_s']:.1f} core-s")
    if building:
        print(f"planning and bookkeeping: {planning / building:.1%} of the building")


def _copy_work(source: Path, into: Path) -> None:
    """A copy by links, which nobody writes into, but for databases."""
    subprocess.run(["cp", "-al", "--", str(source), str(into)], check=True)
    (into / "lock").unlink(missing_ok=True)
    for path in into.rglob("*.sqlite*"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)


def _open(given: argparse.Namespace, work: Path) -> Night:
    rules = '"direct", "parent"' if given.kind == "ostree" else '"direct"'
    probe = given.probe_core_s
    prices = {"egress_per_gb": given.egress_per_gb, "clients": given.clients}
    codec = NATIVE if given.kind == "ostree" else "hdiffpatch"
    text = SCENARIO.format(kind=given.kind, rules=rules, codec=codec, probe_core_s=probe, **prices)
    scenario = parse_scenario(text.encode())
    return Night(scenario, work, home=work, executor=LocalExecutor(given.workers))


def _run(given: argparse.Namespace, folder: Path, nights: list[int]) -> None:
    shape = Shape(refs=given.refs, releases=given.releases, changed_fraction=0.05, seed=given.seed)
    made, first, work = folder / "made" / "repository", folder / "first", folder / "work"
    if not made.exists():
        started_s = time.perf_counter()
        made.parent.mkdir(parents=True)
        write_repository(made, given.kind, shape)
        print(f"made in {time.perf_counter() - started_s:.0f} s: {stored_bytes(made)} objects and bytes")
    meter = Meter()
    Maker.make = meter.building(Maker.make)  # type: ignore[method-assign]
    if not (folder / "first.done").exists():
        shutil.rmtree(first, ignore_errors=True)
        first.mkdir()
        _copy_work(made, first / "repository")
        with standing_in(rounds=1, draws=1):
            run_first(_open(given, first), meter)
        show(f"first night, {given.kind}", meter)
        (folder / "first.done").touch()
        meter.building_core_s = 0.0
    shutil.rmtree(work, ignore_errors=True)
    _copy_work(first, work)
    for number in nights:
        meter.steps.clear()
        STOOD_IN["core_s"] = 0.0
        if number == 2:
            print(f"{release(work / 'repository', given.kind, made.parent)} refs have a new commit")
        profile = cProfile.Profile(time.process_time) if given.profile else None
        if profile:
            profile.enable()
        with standing_in(rounds=4, draws=12) if given.stand_in else nullcontext():
            run_later(_open(given, work), meter)
        if profile:
            profile.disable()
            profile.dump_stats(f"{given.profile}.{number}")
        show(f"night {number}, {given.kind}: {'5 % of the refs changed' if number == 2 else 'nothing new'}", meter)


def main() -> None:
    """Three nights and their tables."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--kind", choices=("store", "ostree"), default="ostree")
    arguments.add_argument("--refs", type=int, default=1000)
    arguments.add_argument("--releases", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--probe-core-s", type=float, default=60.0)
    arguments.add_argument("--egress-per-gb", type=float, default=0.01)
    arguments.add_argument("--clients", type=float, default=300.0)
    arguments.add_argument("--stand-in", action="store_true", help="build nothing in later nights either")
    arguments.add_argument("--nights", default="2,3", help="what follows the first night, in order")
    arguments.add_argument("--profile", help="where profiles of the nights are put")
    arguments.add_argument("--keep", type=Path, help="a folder for what takes long to make")
    given = arguments.parse_args()
    nights = [int(one) for one in given.nights.split(",")]
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        _run(given, given.keep, nights)
    else:
        with tempfile.TemporaryDirectory() as name:
            _run(given, Path(name), nights)


if __name__ == "__main__":
    main()
