"""Whole nights on small worlds: on the embedded store, and on a real OSTree repository with stock clients."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.delta.paths import relative_path
from planner.delta.superblock import read_superblock
from planner.errors import BusyError, InfeasibleError, InputError
from planner.history.records import ObjectKind, ObjectName
from planner.night.night import Night
from planner.night.opening import open_night
from planner.optimize.assemble import Assembly
from planner.report.summary import summarize
from planner.weigh.candidates import Candidate
from planner.weigh.stock_client import BuilderName
from tests.night.worlds import DEMAND, write_world

needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")
KINDS = ["store", pytest.param("ostree", marks=needs_ostree)]


def all_files(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a folder: inode, time of change and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run_whole(night: Night) -> None:
    """All verbs in order, up to publishing."""
    night.import_()
    night.weigh()
    night.plan()
    night.build()
    night.publish()


@pytest.fixture(params=KINDS)
def night(request: pytest.FixtureRequest, tmp_path: Path) -> Night:
    """A night over the small world, not begun."""
    return open_night(write_world(tmp_path, request.param), work=tmp_path / "work")


@pytest.fixture(params=["store", pytest.param("ostree", marks=needs_ostree)])
def unshared(request: pytest.FixtureRequest, tmp_path: Path) -> Night:
    """The same with deltas that have nothing in common: bundles, and the stock tool's."""
    codecs = ("ostree",) if request.param == "ostree" else ()
    return open_night(write_world(tmp_path, request.param, codecs=codecs), work=tmp_path / "work")


def test_every_base_reaches_its_target_by_its_planned_route(night: Night) -> None:
    """All cohorts, by as many hops and bytes as planned; the client's end commit was checked object by object."""
    run_whole(night)
    assembly, plan = night.workspace.read_plan()
    done = night.follow()
    assert len(done) == 4
    for index, one in enumerate(done):
        assert one.error is None
        assert one.followed is not None
        assert one.followed.fallback_reason is None
        assert one.followed.target == assembly.cohorts[index].target
        route = plan.routes[index]
        assert one.followed.hops == len(route or ())
        if route is not None:
            assert one.followed.wire_bytes == assembly.problem.candidates.wire_bytes[list(route)].sum()


def test_merged_trees_are_reached_through_the_bare_new_base(unshared: Night) -> None:
    """B1 and B2 share the hop from B3 to S-on-B3; the client that may follow one hop only gets a direct delta."""
    run_whole(unshared)
    assembly, plan = unshared.workspace.read_plan()
    names = [row.route for row in summarize(assembly, plan, unshared.history).routes]
    assert names == [("B3", "S-on-B3"), ("B3", "S-on-B3"), ("S-on-B3",), ("S-on-B3",)]


@needs_ostree
def test_our_own_deltas_share_parts_so_that_nobody_needs_a_second_hop(tmp_path: Path) -> None:
    """Everybody goes straight to the target, for the new product is in one part of all their deltas."""
    nights = {}
    for name, codecs in (("stock", ("ostree",)), ("ours", ())):
        night = open_night(write_world(tmp_path / name, "ostree", codecs=codecs), work=tmp_path / name / "work")
        run_whole(night)
        assembly, plan = night.workspace.read_plan()
        assert all(one.is_verified for one in night.follow())
        nights[name] = (assembly, plan, night.history)
    assembly, plan, _ = nights["ours"]
    assert [len(route or ()) for route in plan.routes] == [1, 1, 1, 1]
    assert plan.evaluation.egress_bytes < nights["stock"][1].evaluation.egress_bytes
    direct = next(row for row in summarize(*nights["stock"]).policies if row.name == "all_to_head")
    assert plan.evaluation.stored_bytes < 0.5 * direct.stored_bytes
    built = set(plan.build)
    shared = [part for part in set(assembly.problem.parts.part.tolist()) if _users(assembly, part, built) > 1]
    assert shared
    links = [path.lstat().st_nlink for path in (night.site.path / "deltas").rglob("*") if path.is_file()]
    # In the pool, in the workshop, and in each of two or more deltas.
    assert max(links) >= 5


@needs_ostree
def test_a_delta_that_somebody_else_published_stays_and_is_planned_with(tmp_path: Path) -> None:
    """An administrator's stock delta: its place is taken, clients find it, and no byte of it changes."""
    night = open_night(write_world(tmp_path, "ostree"), work=tmp_path / "work")
    night.import_()
    base, target = night.history.resolve("B2"), night.history.resolve("device")
    for name in ("--empty", f"--from={base}"):
        command = ["ostree", "static-delta", "generate", f"--repo={night.site.path}", name, f"--to={target}"]
        subprocess.run([*command, "--min-fallback-size=0"], check=True, capture_output=True)
    before = all_files(night.site.path / "deltas")
    weighing = night.weigh()
    foreign = Candidate(base=base, target=target, codec="ostree")
    taken = [one for one in weighing.pruned if (one.base, one.target) == (base, target)]
    assert weighing.weighed[foreign].server_cpu_s == 0.0
    assert {one.codec for one in taken} == {"native", "composed"}
    assert all(one.reason == "another delta of these commits is published: ostree" for one in taken)
    night.plan()
    night.build()
    night.publish()
    assert before.items() <= all_files(night.site.path / "deltas").items()
    assert all(one.is_verified for one in night.follow())


def test_a_plan_of_another_builder_is_not_built(tmp_path: Path) -> None:
    scenario = write_world(tmp_path, "ostree")
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    night.weigh()
    night.plan()
    shutil.rmtree(night.pool.root)
    with pytest.raises(InputError, match="plan is for another builder"):
        open_night(scenario, work=tmp_path / "work", builder=BuilderName.STOCK).build()
    assert night.build().made > 0


def test_only_ostree_has_a_choice_of_builders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choice of builders"):
        open_night(write_world(tmp_path), work=tmp_path / "work", builder=BuilderName.STOCK)


@needs_ostree
def test_routes_are_told_as_recursive_superblocks_where_no_client_looks(tmp_path: Path) -> None:
    """The stock tool shows their hops as parents; the published deltas are only those of the plan."""
    night = open_night(write_world(tmp_path, "ostree", codecs=("ostree",)), work=tmp_path / "work")
    run_whole(night)
    assembly, plan = night.workspace.read_plan()
    cohort, route = next(
        (cohort, route) for cohort, route in zip(assembly.cohorts, plan.routes, strict=True) if len(route or ()) == 2
    )
    recursive = night.site.path / "extensions/deltaplan/recursive"
    superblock = read_superblock((recursive / relative_path(cohort.base, cohort.target) / "superblock").read_bytes())
    hops = [assembly.candidates[hop] for hop in route or ()]
    assert superblock.prerequisites == tuple((hop.base, hop.target) for hop in hops)
    assert len(list(recursive.rglob("superblock"))) == sum(len(one or ()) == 2 for one in plan.routes)
    other = tmp_path / "other"
    subprocess.run(["ostree", "init", f"--repo={other}", "--mode=archive"], check=True)
    shutil.copytree(recursive / "deltas", other / "deltas", dirs_exist_ok=True)
    show = ["ostree", "static-delta", "show", f"--repo={other}", f"{cohort.base}-{cohort.target}"]
    assert "Number of parents: 2" in subprocess.run(show, check=True, capture_output=True, text=True).stdout


def _users(assembly: Assembly, part: int, built: set[int]) -> int:
    parts = assembly.problem.parts
    return len(built & set(parts.candidate[parts.part == part].tolist()))


def test_a_second_night_does_nothing_twice(night: Night, tmp_path: Path) -> None:
    """Nothing is imported, measured, built or published again, and no published byte changes."""
    run_whole(night)
    before = all_files(night.site.path / "deltas")
    again = open_night(tmp_path / "small.toml", work=tmp_path / "work")
    assert again.import_().added == 0
    assert again.weigh().measured == 0
    plan = again.plan()
    assert plan.evaluation.server_cpu_s == 0.0, "what is published is built: its CPU is not charged again"
    assert again.build().made == 0
    published = again.publish()
    assert published.new == ()
    assert (published.routes_written, published.routes_removed) == (0, 0)
    assert all_files(night.site.path / "deltas") == before


def test_what_the_plan_says_it_stores_is_on_the_disk(night: Night) -> None:
    """Stored bytes are those of the published files, shared ones once; the pool keeps no delta's file beside them."""
    run_whole(night)
    _, plan = night.workspace.read_plan()
    published = {inode: content for inode, _, content in all_files(night.site.path / "deltas").values()}
    assert sum(map(len, published.values())) == plan.evaluation.stored_bytes
    notes = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".json")
    in_pool = {path: inode for path, (inode, _, _) in all_files(night.pool.root).items() if not path.endswith(notes)}
    assert set(in_pool.values()) == published.keys()


def test_clients_on_unknown_bases_are_reported(tmp_path: Path) -> None:
    """They exist and will download; they are neither dropped nor planned for."""
    night = open_night(write_world(tmp_path, demand=DEMAND + "B77,device,13,\n"), work=tmp_path / "work")
    run_whole(night)
    assert [(row.base, row.clients) for row in night.demand.unknown] == [("B77", 13.0)]
    assert len(night.workspace.read_plan()[0].cohorts) == 4


def test_two_runs_exclude_each_other(night: Night) -> None:
    """The second one is told so at once; a lock whose holder is gone is no lock."""
    with night.workspace.locked(), pytest.raises(BusyError, match="another run"):
        night.import_()
    assert night.import_().commits == 5


def test_steps_out_of_order_say_what_to_run_first(tmp_path: Path) -> None:
    """A plan without weights, a build without a plan."""
    night = open_night(write_world(tmp_path), work=tmp_path / "work")
    night.import_()
    with pytest.raises(InputError, match="run `deltaplan weigh` first"):
        night.plan()
    with pytest.raises(InputError, match="run `deltaplan plan` first"):
        night.build()


def test_limits_are_kept_or_named(tmp_path: Path) -> None:
    """Half the storage gives another plan within it; where full pulls are the way out nothing is infeasible."""
    scenario = write_world(tmp_path)
    night = open_night(scenario, work=tmp_path / "work")
    run_whole(night)
    stored_bytes = night.workspace.read_plan()[1].evaluation.stored_bytes
    text = scenario.read_text()
    scenario.write_text(f"{text}\n[limits]\nstored_bytes = {int(stored_bytes / 2)}\n")
    plan = open_night(scenario, work=tmp_path / "work").plan()
    assert 0 < plan.evaluation.stored_bytes <= stored_bytes / 2
    assert plan.shadow_prices["stored_bytes"] > 0


def test_a_killed_night_leaves_nothing_half_published(tmp_path: Path) -> None:
    """SIGKILL to the whole process group at different moments; then a rerun completes and every route works."""
    scenario = write_world(tmp_path)
    work = tmp_path / "work"
    command = [sys.executable, "-m", "planner.cli", "nightly", str(scenario), "--work", str(work)]
    for lines in (3, 8, 14):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        assert process.stderr is not None
        for _ in range(lines):
            process.stderr.readline()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    night = open_night(scenario, work=work)
    deadline = time.monotonic() + 60
    while True:  # orphaned workers of the killed run may need a moment to notice
        try:
            run_whole(night)
            break
        except BusyError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert all(one.followed and not one.followed.fallback_reason for one in night.follow())
    assert not list((night.pool.root / "tmp").glob("*"))


def test_damaged_repository_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    """A corrupt object and a missing one stop the night before it touches what serves."""
    night = open_night(write_world(tmp_path), work=tmp_path / "work")
    run_whole(night)
    history = night.history
    tree = history.trees[history.commits[history.resolve("B2")].tree]
    victim = ObjectName(ObjectKind.TREE, tree.dirs["base"])
    path = night.site.path / "objects" / victim.checksum[:2] / f"{victim.checksum[2:]}.dirtree"
    content = path.read_bytes()
    before = all_files(night.site.path / "deltas")
    for damage in (content[:-1], None):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        again = subprocess.run(
            [
                sys.executable,
                "-m",
                "planner.cli",
                "nightly",
                str(tmp_path / "small.toml"),
                "--work",
                str(tmp_path / "work"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == 4
        assert victim.checksum[2:] in again.stderr.splitlines()[-1]
        if damage is None:
            path.write_bytes(content)
        else:
            path.write_bytes(damage)
    assert all_files(night.site.path / "deltas") == before
    assert all(one.followed for one in open_night(tmp_path / "small.toml", work=tmp_path / "work").follow())


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root and the program mount")
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """On a small file system of its own: it is named, with its own status, and a rerun with room completes."""
    scenario = write_world(tmp_path)
    work = tmp_path / "small-disk"
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", work], check=True)
    try:
        command = [sys.executable, "-m", "planner.cli", "nightly", str(scenario), "--work", str(work)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 11, done.stderr
        assert "ended early" in done.stderr
        assert "disk is full" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", work], check=True)
        again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
        assert all(one["followed"] for one in json.loads(again.stdout)["rehearsals"])
    finally:
        subprocess.run(["umount", work], check=True)


def test_demand_that_nothing_serves_is_named(tmp_path: Path) -> None:
    """A byte limit that neither a route nor a full pull keeps."""
    demand = "base,target,clients,max_wire_bytes\nB1,device,5,10\n"
    night = open_night(write_world(tmp_path, demand=demand), work=tmp_path / "work")
    night.import_()
    night.weigh()
    with pytest.raises(InfeasibleError, match=r"demands\[0\]: .*base='B1', target='S-on-B3'"):
        night.plan()


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_has_nothing_yet_gets_a_delta_from_nothing(kind: str, tmp_path: Path) -> None:
    """An empty base in the demand: a from-empty delta is weighed, published and followed like any other."""
    scenario = write_world(tmp_path, kind, demand="base,target,clients\n,device,100000\n")
    night = open_night(scenario, work=tmp_path / "work")
    run_whole(night)
    (one,) = night.follow()
    assert one.followed is not None, one.error
    assert (one.followed.hops, one.followed.fallback_reason) == (1, None)


def test_every_codec_competes_and_the_dominated_ones_are_named(tmp_path: Path) -> None:
    """Parallel candidates per pair; what is kept was measured, what is not has a reason, and the routes work."""
    codecs = ("bsdiff4", "zstd-patch-from", "hdiffpatch", "zstd")
    night = open_night(write_world(tmp_path, codecs=codecs), work=tmp_path / "work")
    night.import_()
    weighing = night.weigh()
    assert weighing.measured == 28
    seen = {candidate.codec for candidate in weighing.weighed} | {one.codec for one in weighing.pruned}
    assert seen >= set(codecs)
    night.plan()
    night.build()
    night.publish()
    assert all(one.followed and not one.followed.fallback_reason for one in night.follow())


def test_without_a_network_a_generator_stands_in_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that cannot be fetched: the same commits, layers and refs from seeded trees."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    scenario = Path(__file__).resolve().parents[2] / "scenarios" / "factory-bases.toml"
    news: list[str] = []

    class Listener:
        def say(self, text: str) -> None:
            news.append(text)

        def advance(self, step: str, done: int, total: int, note: str) -> None:
            news.append(note)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    night = open_night(scenario, work=tmp_path / "work", reporter=Listener())
    assert night.import_().commits == 9
    assert any("a seeded generator stands in" in line for line in news)
    history = night.history
    assert history.commits[history.resolve("S1-on-B4")].layers == (history.resolve("B4"),)
    first = history.refs
    again = open_night(scenario, work=tmp_path / "again")
    again.import_()
    assert again.history.refs == first
