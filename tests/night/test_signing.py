"""A summary is signed with the keys that a scenario names, and a stock client checks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from planner.night.opening import open_night
from planner.night.repositories import OSTreeSite
from planner.scenario import RepositorySection
from tests.delta.worlds import make_world, run_ostree
from tests.follow.fakes import serve_folder
from tests.gpg import make_key
from tests.night.test_layers import write_mixes


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
