"""A real Flatpak repository under one budget; the stock client takes our deltas; what its own tool does to them."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

import pytest

from planner.delta.paths import SUPERBLOCK, relative_path
from planner.delta.superblock import NATIVE, read_superblock
from planner.history.records import EMPTY
from planner.night.night import Night
from planner.night.opening import open_night
from planner.night.repositories import is_flatpak
from tests.delta.worlds import make_world, run_ostree
from tests.flatpak.worlds import (
    APP,
    LOCALE,
    RELEASES,
    RUNTIME,
    Device,
    commits_of,
    delta_paths,
    run_flatpak,
    write_repository,
    write_scenario,
)
from tests.follow.fakes import serve_folder
from tests.gpg import make_key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository, in which a night has worked; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("flatpak")
    run(folder, write_repository(folder))
    return folder


@pytest.fixture
def repo(made: Path, tmp_path: Path) -> Path:
    """A copy of the repository that the night has published to."""
    return Path(shutil.copytree(made / "repo", tmp_path / "repo", symlinks=True))


def run(folder: Path, repo: Path) -> Night:
    night = open_night(write_scenario(folder, repo), work=folder / "work")
    night.import_()
    night.weigh()
    night.plan()
    night.build()
    night.publish()
    return night


def summary_of(repo: Path) -> str:
    return run_ostree("summary", "--view", f"--repo={repo}")


def deltas_of(repo: Path) -> set[tuple[str, str]]:
    """Base and target of every published delta."""
    found = set()
    for path in repo.glob(f"deltas/*/*/{SUPERBLOCK}"):
        superblock = read_superblock(path.read_bytes())
        found.add((superblock.base, superblock.target))
    return found


def codec_of(repo: Path, base: str, target: str) -> str:
    return read_superblock((repo / relative_path(base, target) / SUPERBLOCK).read_bytes()).codec


def test_whose_repository_it_is(made: Path, tmp_path: Path) -> None:
    night = open_night(made / "flatpak.toml", work=made / "work")
    assert is_flatpak(night.site.repository)  # type: ignore[arg-type]
    assert not is_flatpak(make_world(tmp_path, "archive").repository)


def test_streams_share_one_budget(made: Path) -> None:
    """Every ref that a client asks for is planned, but for translations, which take no deltas; no limit is broken."""
    night = open_night(made / "flatpak.toml", work=made / "work")
    assembly, plan = night.workspace.read_plan()
    asked = {cohort.ref: cohort.max_hops for cohort in assembly.cohorts}
    assert asked == {APP: 1, LOCALE: 0}  # the runtime has one release only
    assert len(commits_of(made / "repo", RUNTIME)) == 1
    app = set(commits_of(made / "repo", APP))
    assert {one.target for one in assembly.candidates} <= app
    assert assembly.candidates_of(plan.build)
    assert plan.evaluation.is_feasible
    assert all(plan.routes[k] is None for k, cohort in enumerate(assembly.cohorts) if cohort.ref == LOCALE)


def test_clients_reach_their_targets(made: Path) -> None:
    night = open_night(made / "flatpak.toml", work=made / "work")
    done = night.follow()
    assert len(done) == 2 * (RELEASES - 1)
    assert all(one.followed and one.followed.fallback_reason is None for one in done)


def test_publishing_keeps_what_flatpak_put_into_the_summary(repo: Path) -> None:
    """Apps' metadata and sizes, the index of summaries, and in it the night's own commits."""
    summary = summary_of(repo)
    assert "xa.cache" in summary
    assert "ostree.summary.indexed-deltas: true" in summary
    assert APP in summary
    (listed,) = (repo / "summaries").glob("*.gz")
    assert APP.removeprefix("app/").encode() in gzip.decompress(listed.read_bytes())


@pytest.mark.parametrize("release", [1, RELEASES - 1])
def test_a_stock_client_updates_by_our_delta(repo: Path, tmp_path: Path, release: int) -> None:
    """In one hop, by the delta from what it has, and the app is the newest, file by file.

    libostree 2022.2 to 2023.6 may ask for loose files beside a delta (its issue 2053), so these are not counted.
    """
    commits = commits_of(repo, APP)
    with serve_folder(repo) as served:
        device = Device.make(tmp_path / "home", served.url, commits[release - 1])
        fresh = Device.make(tmp_path / "fresh", served.url, commits[-1])
        before = len(served.paths)
        device.update()
        asked = served.paths[before:]
    assert device.commit() == commits[-1]
    assert device.files() == fresh.files() != {}
    (path,) = delta_paths(asked)
    assert path == relative_path(commits[release - 1], commits[-1])
    superblock = read_superblock((repo / path / SUPERBLOCK).read_bytes())
    assert superblock.codec == NATIVE
    assert {f"/{path}/{name}" for name in (SUPERBLOCK, *range(len(superblock.parts)))} <= set(asked)


# -- beside `flatpak build-update-repo` --------------------------------------------------------------------------


def test_updating_the_repository_keeps_our_deltas(repo: Path) -> None:
    before = deltas_of(repo)
    assert before
    run_flatpak("build-update-repo", repo)
    assert deltas_of(repo) == before
    run_flatpak("build-update-repo", "--prune", repo)
    assert deltas_of(repo) == before


def test_generating_static_deltas_keeps_those_from_parents_only(repo: Path) -> None:
    """It deletes every other delta, ours too, and makes those from nothing; ignored refs lose all of theirs."""
    *_, parent, head = commits_of(repo, APP)
    before = deltas_of(repo)
    assert any(base not in (parent, EMPTY) for base, target in before if target == head)
    codecs = {pair: codec_of(repo, *pair) for pair in before}
    said = run_flatpak("build-update-repo", "--generate-static-deltas", repo)
    assert len(re.findall("Deleting unwanted delta", said)) == len([one for one in before if one != (parent, head)])
    assert {one for one in deltas_of(repo) if one[1] == head} == {(parent, head), (EMPTY, head)}
    assert codec_of(repo, parent, head) == codecs.get((parent, head), "")


def test_ignoring_a_ref_does_not_spare_its_deltas(repo: Path) -> None:
    app = set(commits_of(repo, APP))
    ignore = "--static-delta-ignore-ref=org.example.App"
    run_flatpak("build-update-repo", "--generate-static-deltas", ignore, repo)
    assert not [one for one in deltas_of(repo) if one[1] in app]


def test_a_night_after_it_brings_ours_back(made: Path, tmp_path: Path) -> None:
    """Planned again with what is there: those from nothing stay, what was deleted is published again."""
    folder = Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))
    repo = folder / "repo"
    before = deltas_of(repo)
    run_flatpak("build-update-repo", "--generate-static-deltas", repo)
    shutil.rmtree(folder / "work")
    night = run(folder, repo)
    assert deltas_of(repo) >= before
    assert "xa.cache" in summary_of(repo)
    assert all(one.followed for one in night.follow())


# -- signed ------------------------------------------------------------------------------------------------------


def test_a_night_signs_the_summary_with_the_owners_key(made: Path, tmp_path: Path) -> None:
    """A client that knows the key lists the apps; one that knows another key refuses the repository."""
    folder = Path(shutil.copytree(made, tmp_path / "copy", symlinks=True))
    key, _ = make_key(tmp_path / "a"), make_key(tmp_path / "b")
    scenario = write_scenario(folder, folder / "repo")
    signing = f'kind = "ostree"\ngpg_sign = ["{key}"]\ngpg_homedir = "../a"'
    scenario.write_text(scenario.read_text().replace('kind = "ostree"', signing))
    open_night(scenario, work=folder / "work").publish()

    def list_apps(name: str, url: str) -> str:
        home = tmp_path / f"home-{name}"
        home.mkdir()
        run_flatpak("--user", "remote-add", f"--gpg-import={tmp_path / name}.key", "example", url, home=home)
        return run_flatpak("--user", "remote-ls", "example", home=home)

    with serve_folder(folder / "repo") as served:
        assert "org.example.App" in list_apps("a", served.url)
        with pytest.raises(AssertionError, match="public key not found"):
            list_apps("b", served.url)
