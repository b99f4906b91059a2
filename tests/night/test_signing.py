"""What is published is signed with the keys that a scenario names: GPG for stock clients, ed25519 for routes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.night.opening import open_night
from planner.night.repositories import OSTreeSite
from planner.publish.keys import make_keys, read_public_keys
from planner.publish.signatures import PublicKey, verify
from planner.scenario_sections import RepositorySection
from tests.delta.worlds import make_world, run_ostree
from tests.follow.fakes import serve_folder
from tests.gpg import make_key
from tests.night.test_layers import write_mixes
from tests.night.test_night import run_whole
from tests.night.worlds import DEMAND, write_world


def test_a_stock_client_trusts_the_summary_by_its_key(tmp_path: Path) -> None:
    world = make_world(tmp_path, "archive")
    section = RepositorySection(kind="ostree", gpg_sign=(make_key(tmp_path / "a"),), gpg_homedir="a")
    make_key(tmp_path / "b")
    OSTreeSite(world.path, tmp_path / "proofs", section.signing(tmp_path)).write_summary()

    def list_refs(name: str, url: str) -> str:
        repo = f"--repo={tmp_path / f'client-{name}'}"
        run_ostree("init", repo, "--mode=bare-user")
        run_ostree(
            "remote", "add", repo, "--set=gpg-verify-summary=true", f"--gpg-import={tmp_path / name}.key", "o", url
        )
        return run_ostree("remote", "refs", repo, "o")

    with serve_folder(world.path) as served:
        assert "o:" in list_refs("a", served.url)
        with pytest.raises(subprocess.CalledProcessError):
            list_refs("b", served.url)


KINDS = ["store", pytest.param("ostree", marks=pytest.mark.skipif(shutil.which("ostree") is None, reason="no ostree"))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_scenarios_key_signs_what_a_night_publishes(kind: str, tmp_path: Path) -> None:
    """Its path is relative to the scenario; another run writes nothing."""
    key = _name_key(write_world(tmp_path, kind))
    night = open_night(tmp_path / "small.toml", work=tmp_path / "work")
    run_whole(night)
    files = list((night.site.path / "extensions/deltaplan/routes").iterdir())
    assert files
    for path in [*files, *([night.site.path / "summary"] if kind == "store" else [])]:
        verify(path.read_bytes(), [key])
    assert night.publish().routes_written == 0
    assert all(one.followed and one.followed.fallback_reason is None for one in night.follow())


def test_a_rehearsal_does_not_believe_what_is_not_signed(tmp_path: Path) -> None:
    """Routes that were published before the scenario had its key."""
    scenario = write_world(tmp_path)
    run_whole(open_night(scenario, work=tmp_path / "work"))
    _name_key(scenario)
    night = open_night(scenario, work=tmp_path / "work")
    assert all("cannot be believed" in (one.error or "") for one in night.follow())
    night.publish()
    assert all(one.followed and one.followed.fallback_reason is None for one in night.follow())


def test_a_cohort_that_wants_an_older_release_is_rehearsed(tmp_path: Path) -> None:
    """Whoever plans it means it: the newest base is older than what is composed of it."""
    night = open_night(write_world(tmp_path, demand=f"{DEMAND}S-on-B3,base,10,\n"), work=tmp_path / "work")
    run_whole(night)
    done = {one.cohort.ref: one for one in night.follow()}
    assert done["base"].followed, done["base"].error
    assert done["base"].followed.fallback_reason is None
    commits = night.history.commits
    assert commits[done["base"].cohort.target].committed_at < commits[done["base"].cohort.base].committed_at


def test_a_key_that_cannot_be_read_stops_a_night_before_it_builds(tmp_path: Path) -> None:
    """Hours of work would end at it."""
    _name_key(write_world(tmp_path))
    (tmp_path / "key").chmod(0o644)
    night = open_night(tmp_path / "small.toml", work=tmp_path / "work")
    night.import_()
    night.weigh()
    night.plan()
    for verb in (night.build, night.publish):
        with pytest.raises(InputError, match="by others"):
            verb()


def _name_key(scenario: Path) -> PublicKey:
    """Have a scenario name a new key beside it; its public one."""
    made = make_keys(scenario.with_name("key"))
    scenario.write_text(f'{scenario.read_text()}\n[publish]\nsigning_key = "key"\n')
    return read_public_keys([Path(made.public)])[0]


def test_composed_commits_are_signed(tmp_path: Path) -> None:
    """As those of its layers are, which were imported."""
    scenario = write_mixes(tmp_path, "ostree")
    key = make_key(tmp_path / "b")
    signing = f'kind = "ostree"\ngpg_sign = ["{key}"]\ngpg_homedir = "b"'
    scenario.write_text(scenario.read_text().replace('kind = "ostree"', signing))
    night = open_night(scenario, work=tmp_path / "work")
    night.import_()
    made = [*night.history.commits, *night.compose().values()]
    assert len(made) == 4 + 2
    for commit in made:
        assert "Found 1 signature" in run_ostree("show", f"--repo={night.site.path}", commit)
