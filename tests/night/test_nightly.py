"""Whole nights that meet with something: what is wrong is named, the rest is done, nothing unproven is published."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.build.executors import LocalExecutor
from planner.build.pool import measure_files
from planner.history.encoding import relative_path
from planner.history.records import ObjectKind, ObjectName
from planner.night import anytime
from planner.night.anytime import AnytimeBuild
from planner.night.clock import Clock, Moment
from planner.night.dry_run import dry_run
from planner.night.handing import HandedOver
from planner.night.joblog import JobLog
from planner.night.night import Night
from planner.night.nightly import NightlyDone, run_nightly
from planner.night.opening import open_night
from planner.night.repositories import StoreSite
from planner.night.session import Session
from planner.publish.publisher import is_published
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Catalogue
from tests.night.faulty import FaultyBuilder
from tests.night.test_night import all_files
from tests.night.worlds import write_world


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return write_world(tmp_path)


@pytest.fixture
def night(scenario: Path, tmp_path: Path) -> Night:
    return open_night(scenario, work=tmp_path / "work")


def add_to(scenario: Path, text: str) -> None:
    scenario.write_text(scenario.read_text() + text)


def expect_all_followed(done: NightlyDone, cohorts: int = 4) -> None:
    assert len(done.rehearsals) == cohorts
    assert all(one.followed and one.followed.fallback_reason is None for one in done.rehearsals)


def expect_published_is_proven(night: Night) -> None:
    """Each published delta's files are those that were recorded when it was proven."""
    with Catalogue(night.workspace.catalogue_path) as catalogue:
        known = catalogue.artifacts()
    deltas = [path.parent for path in (night.site.path / "deltas").rglob("delta")]
    proven = {(artifact.digest, artifact.wire_bytes) for artifact in known.values()}
    assert deltas
    assert {measure_files(folder) for folder in deltas} <= proven


# -- the ordinary night ---------------------------------------------------------------------------------------------


def test_a_night_is_on_record_and_a_second_one_has_nothing_to_do(night: Night) -> None:
    done = run_nightly(night)
    expect_all_followed(done)
    record = done.record
    assert (record.exit_status, record.is_complete, record.faults) == (0, True, ())
    assert [step.name for step in record.steps] == [
        "tidy", "import", "compose", "compare", "weigh", "plan", "build", "publish", "retire", "rehearse",
    ]  # fmt: skip
    assert {job.outcome for job in record.jobs} == {"made"}
    built = [delta for delta in record.deltas if delta.change == "build"]
    assert len(built) == len(done.handed.published.new) > 0  # type: ignore[union-attr]
    assert all("clients" in delta.reason for delta in built)
    assert record.plan is not None
    assert record.plan.after_bytes_per_client < record.plan.before_bytes_per_client
    written = json.loads((night.workspace.folder / "report.json").read_text())
    assert written["run"] == record.run
    lines = (night.workspace.folder / "jobs.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [job.name for job in record.jobs]
    before = all_files(night.site.path)
    again = run_nightly(night)
    assert again.record.jobs == ()
    assert "weigh" not in [step.name for step in again.record.steps]
    assert {delta.change for delta in again.record.deltas} == {"keep"}
    assert again.record.plan is not None
    assert again.record.plan.before_bytes_per_client == record.plan.after_bytes_per_client
    expect_all_followed(again)
    del before["summary"], before["extensions/deltaplan/lock"]
    after = all_files(night.site.path)
    assert {name: after[name] for name in before} == before


def test_a_step_that_fails_does_not_keep_the_others_from_their_work(night: Night, tmp_path: Path) -> None:
    """The source is gone on the second night: what was there before is planned, built and served."""
    first = run_nightly(night)
    assert first.record.exit_status == 0
    (tmp_path / "trees").rename(tmp_path / "elsewhere")
    scenario = tmp_path / "small.toml"
    scenario.write_text(
        scenario.read_text().replace(
            'layers = ["B3"] },',
            'layers = ["B3"] },\n{ name = "B4", ref = "base", released_at = 2024-04-01T00:00:00Z },',
        )
    )
    done = run_nightly(open_night(scenario, work=tmp_path / "work"))
    assert [step.name for step in done.record.faults] == ["import"]
    assert done.record.exit_status != 0
    assert done.record.is_complete
    expect_all_followed(done)


@pytest.mark.parametrize("change", ["demand", "prices", "weight", "failure"])
def test_a_night_plans_again_where_anything_is_new(night: Night, tmp_path: Path, change: str) -> None:
    """Another client, another price, a weight or a failure that another verb recorded."""
    run_nightly(night)
    scenario = tmp_path / "small.toml"
    if change == "demand":
        (tmp_path / "demand.csv").write_text((tmp_path / "demand.csv").read_text() + "B2,device,1,\n")
    if change == "prices":
        scenario.write_text(scenario.read_text().replace("egress_per_gb = 1.0", "egress_per_gb = 1.1"))
    with Catalogue(night.workspace.catalogue_path) as catalogue:
        one, weight = next(iter(catalogue.weights().items()))
        if change == "weight":
            catalogue.record_weight(one, weight)
        if change == "failure":
            catalogue.record_failure(one, "somebody said so")
    done = run_nightly(open_night(scenario, work=tmp_path / "work"))
    assert "weigh" in [step.name for step in done.record.steps]
    assert done.record.exit_status == 0


# -- builders that fail ---------------------------------------------------------------------------------------------


def with_fault(
    night: Night, monkeypatch: pytest.MonkeyPatch, fault: str, tmp_path: Path, ends: tuple[str, str] = ("B3", "S-on-B3")
) -> Path:
    """From now on the delta between two commits meets with a fault; the folder of its attempts."""
    night.import_()
    pair = night.history.resolve(ends[0]), night.history.resolve(ends[1])
    notes = tmp_path / "notes"
    notes.mkdir()

    def builder(site: StoreSite) -> FaultyBuilder:
        return FaultyBuilder(site.path, pair=pair, fault=fault, notes=notes)

    monkeypatch.setattr(StoreSite, "builder", property(builder))
    return notes


@pytest.mark.parametrize(("fault", "reason"), [("killed", "signal 9"), ("refuses", "cannot be built")])
def test_a_delta_that_cannot_be_made_is_done_without(
    night: Night, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str, reason: str
) -> None:
    """It is tried as often as the scenario says where that might help, named, and not tried again the night after."""
    notes = with_fault(night, monkeypatch, fault, tmp_path)
    done = run_nightly(night)
    expect_all_followed(done)
    expect_published_is_proven(night)
    failed = [job for job in done.record.jobs if job.outcome == "failed"]
    assert {job.name for job in failed} == {"B3 -> S-on-B3 (hdiffpatch)"}
    assert all(reason in job.reason for job in failed)
    tried = 2 if fault == "killed" else 1
    assert [job.attempt for job in failed] == list(range(1, tried + 1))
    assert len(list(notes.iterdir())) == tried
    again = run_nightly(night)
    assert again.record.jobs == ()
    assert len(list(notes.iterdir())) == tried
    later = run_nightly(night)
    assert len(list(notes.iterdir())) == (2 * tried if fault == "killed" else tried)
    expect_all_followed(later)


@pytest.mark.parametrize(
    ("fault", "guard", "reason"),
    [("hangs", 'job_time = "2s"', "ran longer"), ("eats memory", "job_memory_bytes = 1000000000", "memory")],
)
def test_a_job_that_takes_too_much_is_ended(
    scenario: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str, guard: str, reason: str
) -> None:
    """One that hangs and does not listen, and one that fills the memory: named, and the others are made."""
    add_to(scenario, f"\n[night]\nattempts = 1\n{guard}\n")
    night = open_night(scenario, work=tmp_path / "work")
    with_fault(night, monkeypatch, fault, tmp_path)
    done = run_nightly(night)
    (failed,) = [job for job in done.record.jobs if job.outcome == "failed"]
    assert failed.name == "B3 -> S-on-B3 (hdiffpatch)"
    assert reason in failed.reason
    expect_all_followed(done)
    expect_published_is_proven(night)


def test_a_delta_that_fails_once_is_made_at_the_second_attempt(
    night: Night, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_fault(night, monkeypatch, "killed once", tmp_path)
    done = run_nightly(night)
    of_it = [(job.outcome, job.attempt) for job in done.record.jobs if job.name == "B3 -> S-on-B3 (hdiffpatch)"]
    assert of_it == [("failed", 1), ("made", 2)]
    assert done.record.exit_status == 0


def test_a_damaged_delta_in_the_pool_is_made_again(night: Night) -> None:
    """The same size, another byte: publishing finds out, and the night makes it once more."""
    night.import_()
    night.weigh()
    night.plan()
    assembly, plan = night.workspace.read_plan()
    chosen = assembly.candidates_of(plan.build)
    path = night.pool.folder(chosen[0]) / "delta"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run_nightly(night)
    assert any("was made again" in note for note in done.record.notes)
    assert done.record.is_complete
    assert done.record.exit_status == 0
    assert [job.name for job in done.record.jobs] == [night.name_pair(chosen[0])]
    expect_all_followed(done)
    expect_published_is_proven(night)


def test_a_damaged_object_of_the_repository_is_named(night: Night) -> None:
    """No delta from or to a tree that cannot be read; what is served stays."""
    assert run_nightly(night).record.exit_status == 0
    before = all_files(night.site.path / "deltas")
    head = ObjectName(ObjectKind.COMMIT, night.history.refs["device"])
    (night.site.path / relative_path(head)).write_bytes(b"damaged")
    done = run_nightly(open_night(night.workspace.folder.parent / "small.toml", work=night.workspace.folder))
    assert done.record.exit_status == 4
    assert head.checksum[2:] in done.record.faults[0].fault
    assert all_files(night.site.path / "deltas") == before


# -- the window -------------------------------------------------------------------------------------------------------


class Hands:
    """A clock that tests set; `boot_s` and `wall_s` go with it unless they are set apart."""

    def __init__(self) -> None:
        self.monotonic_s = 1000.0
        self.wall_shift_s = 1.7e9

    def clock(self) -> Clock:
        """What a night is given."""
        return Clock(lambda: self.monotonic_s, self._now)

    def _now(self) -> Moment:
        return Moment(wall_s=self.monotonic_s + self.wall_shift_s, boot_s=self.monotonic_s, boot_id="one")


@pytest.fixture
def hands(night: Night) -> Hands:
    hands = Hands()
    night.clock = hands.clock()
    return hands


def each_job_takes(hands: Hands, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The clock moves as jobs end, and they are expected to take that long."""
    made = JobLog.made

    def counted(log: JobLog, *arguments: object) -> None:
        hands.monotonic_s += seconds
        made(log, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(JobLog, "made", counted)


def prepare_unbuilt(night: Night) -> list[Candidate]:
    """All is weighed and planned, and nothing is made: the chosen deltas."""
    night.import_()
    night.weigh()
    night.plan()
    night.pool.empty()
    assembly, plan = night.workspace.read_plan()
    return list(assembly.candidates_of(plan.build))


def build_with(night: Night, session: Session, publish: Callable[[], HandedOver] | None = None) -> list[HandedOver]:
    """The build of what `plan` left; what was handed over on the way and at the end."""
    assembly, plan = night.workspace.read_plan()
    hand_over = night.hand_over(session, assembly, plan)
    states: list[HandedOver] = []
    AnytimeBuild(
        session=session,
        maker=night.maker(session),
        assembly=assembly,
        plan=plan,
        chains_of=lambda some: night.chains_of(session, some),
        publish=lambda: states.append(hand_over.run()),
    ).run()
    return [*states, hand_over.run()]


def test_nothing_is_started_that_will_not_end_in_the_window(
    night: Night, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deltas of 10 s fit into 25 s: the most valuable, which clients then use; the next night makes the rest."""
    chosen = prepare_unbuilt(night)
    assert len(chosen) == 4
    night._executor = LocalExecutor(1)
    each_job_takes(hands, monkeypatch, 10.0)
    with night.session("nightly", window_s=25.0) as session:
        for one in chosen:
            session.log.expected[one] = dataclasses.replace(session.log.expected[one], server_cpu_s=10.0)
        states = build_with(night, session)
        outcomes = [(job.outcome, job.reason) for job in session.log.records]
    assert [outcome for outcome, _ in outcomes].count("made") == 2
    assert [outcome for outcome, _ in outcomes].count("left") == 2
    assert all("of the window are left" in reason for outcome, reason in outcomes if outcome == "left")
    assert not states[-1].is_complete
    assert sum(is_published(night.site, one) for one in chosen) == 2
    assert sum(one.followed.hops for one in night.follow() if one.followed and one.followed.fallback_reason is None) > 0
    expect_published_is_proven(night)
    monkeypatch.undo()
    done = run_nightly(night)
    assert done.record.is_complete
    assert {job.outcome for job in done.record.jobs} == {"made"}
    assert len(done.record.jobs) == 2


def test_what_is_proven_is_published_on_the_way(night: Night, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch; each state serves every cohort, and none is dearer for clients than the one before."""
    chosen = prepare_unbuilt(night)
    night._executor = LocalExecutor(1)
    each_job_takes(hands, monkeypatch, 100.0)
    with night.session("nightly") as session:
        for one in chosen:
            session.log.expected[one] = dataclasses.replace(session.log.expected[one], server_cpu_s=anytime._BATCH_S)
        states = build_with(night, session)
    assert len(states) == 3
    published = [len(state.published.new) for state in states]
    assert sum(published) == len(chosen)
    assert all(published)
    assert [state.is_complete for state in states] == [False, False, True]


def test_a_night_without_time_serves_what_is_there(night: Night) -> None:
    """A window that has ended before anything could be weighed: full pulls, no delta, and no fault."""
    done = run_nightly(night, window_s=0.0)
    assert done.record.exit_status == 0
    assert done.record.jobs == ()
    assert done.weighing is not None
    assert {pruned.reason for pruned in done.weighing.pruned if pruned.codec} == {"not weighed yet"}
    assert all(one.followed and one.followed.hops == 0 for one in done.rehearsals)
    assert run_nightly(night).record.is_complete


# -- clocks and disks -----------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_forward_ends_no_grace(night: Night, hands: Hands, tmp_path: Path) -> None:
    """A year within one boot: it is noted, and what was retired stays, for the time that really passed."""
    assert run_nightly(night).record.exit_status == 0
    published = set(all_files(night.site.path / "deltas"))
    (tmp_path / "demand.csv").write_text("base,target,clients\nB3,device,900\n")
    later = open_night(tmp_path / "small.toml", work=tmp_path / "work")
    later.clock = hands.clock()
    retired = run_nightly(later)
    assert {delta.change for delta in retired.record.deltas} >= {"retire"}
    hands.wall_shift_s += 365 * 86_400.0
    done = run_nightly(later)
    assert any("clock was moved forward" in note for note in done.record.notes)
    assert set(all_files(night.site.path / "deltas")) == published
    hands.monotonic_s += 4 * 86_400.0
    assert {delta.change for delta in run_nightly(later).record.deltas} >= {"unlink"}
    hands.monotonic_s += 7200.0
    assert {delta.change for delta in run_nightly(later).record.deltas} >= {"remove"}
    left = set(all_files(night.site.path / "deltas"))
    assert left < published
    expect_all_followed(run_nightly(later), cohorts=1)


def test_a_disk_below_its_mark_is_noted_and_nothing_is_built(scenario: Path, tmp_path: Path) -> None:
    add_to(scenario, "\n[night]\nfree_bytes = 1000000000000000\n")
    done = run_nightly(open_night(scenario, work=tmp_path / "work"))
    assert any("below its mark" in note for note in done.record.notes)
    assert {job.outcome for job in done.record.jobs} == {"left"}
    assert not (tmp_path / "work/repository/deltas").exists()


# -- the dry run ------------------------------------------------------------------------------------------------------


def test_a_dry_run_touches_nothing_and_says_what_the_night_does(night: Night, tmp_path: Path) -> None:
    """Before there is anything; after weighing, when all would be built; and after the night, when all is kept."""
    scenario, work = tmp_path / "small.toml", tmp_path / "work"
    first = dry_run(open_night(scenario, work=work))
    assert first.pending == ("B1", "B2", "S-on-B1", "B3", "S-on-B3")
    assert not work.exists()
    night.import_()
    before = all_files(work)
    unweighed = dry_run(open_night(scenario, work=work))
    assert all_files(work) == before
    assert unweighed.unweighed > 0
    assert unweighed.deltas == ()
    night.weigh()
    before = all_files(work)
    planned = dry_run(open_night(scenario, work=work))
    assert all_files(work) == before
    assert {delta.change for delta in planned.deltas} == {"build"}
    done = run_nightly(night)
    assert [delta for delta in done.record.deltas if delta.change == "build"] == list(planned.deltas)
    (tmp_path / "demand.csv").write_text("base,target,clients\nB3,device,900\n")
    before = all_files(work)
    smaller = dry_run(open_night(scenario, work=work))
    assert all_files(work) == before
    gone = [delta for delta in smaller.deltas if delta.change == "retire"]
    assert gone
    assert all(delta.reason for delta in gone)
