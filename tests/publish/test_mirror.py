"""A mirror: the same files, in an order in which clients never find what leads nowhere, whenever a run is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError, PublishError
from planner.history.ostree import OSTreeRepository
from planner.history.store import Store
from planner.night.repositories import OSTreeSite
from planner.publish import mirror as mirroring
from planner.publish.mirror import Mirrored, mirror
from planner.publish.mirror_order import Stage, find_stage
from planner.publish.publisher import is_delta
from tests.build.s3_server import s3_server
from tests.build.worlds import ostree
from tests.publish.nights import expect_served, publish_second
from tests.publish.worlds import Server

fsspec = pytest.importorskip("fsspec")


def run(server: Server, url: str, ledger: Path) -> Mirrored:
    return mirror(server.path, url, ledger, lambda *_: None)


def for_clients(folder: Path) -> dict[str, bytes]:
    """What clients may ask for, by path."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if find_stage(name) is not None}


def mirrored(url: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    found = files.find(root)
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in found}


only_ostree = pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            "ostree", marks=pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")
        )
    ],
    indirect=True,
)


@pytest.fixture
def server(yesterday: Server, tmp_path: Path) -> Server:
    return yesterday.copy(tmp_path / "repository")


# -- what is there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_mirror_has_what_clients_need_and_nothing_else(server: Server, tmp_path: Path, kind: str) -> None:
    """The pool stays at home; a second run finds nothing to do, and another night only what differs."""
    url = f"{kind}://{tmp_path}/mirror"
    first = run(server, url, tmp_path / "ledger")
    assert mirrored(url) == for_clients(server.path)
    assert first.uploaded == len(mirrored(url))
    assert first.uploaded_bytes == sum(map(len, mirrored(url).values()))
    assert run(server, url, tmp_path / "ledger") == Mirrored(uploaded=0, uploaded_bytes=0, removed=0)
    before = mirrored(url)
    publish_second(server)
    second = run(server, url, tmp_path / "ledger")
    after = mirrored(url)
    assert after == for_clients(server.path)
    assert second.uploaded == sum(before.get(name) != data for name, data in after.items())
    assert second.removed == len(before.keys() - after.keys())
    assert not [name for name in after if "/pool/" in name]


def test_an_s3_server_gets_the_same(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the network, where uploads are whole or absent."""
    with s3_server(monkeypatch):
        url = "s3://bucket/for/devices"
        run(server, url, tmp_path / "ledger")
        assert mirrored(url) == for_clients(server.path)
        publish_second(server)
        done = run(server, url, tmp_path / "ledger")
        assert 0 < done.uploaded < len(for_clients(server.path))
        assert mirrored(url) == for_clients(server.path)
        assert run(server, url, tmp_path / "ledger").uploaded == 0


def test_what_others_put_there_stays(server: Server, tmp_path: Path) -> None:
    """Only what was uploaded from here is ever removed, even where a repository's files would be."""
    theirs = [tmp_path / "mirror" / name for name in ("index.html", f"objects/aa/{'b' * 62}.filez", "refs/theirs")]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    run(server, f"file://{tmp_path}/mirror", tmp_path / "ledger")
    assert [path.read_text() for path in theirs] == ["theirs"] * 3


def test_damage_that_shows_in_a_listing_is_mended(server: Server, tmp_path: Path) -> None:
    """A file that is gone or has another size is uploaded again; a lost ledger costs one whole upload."""
    url = f"file://{tmp_path}/mirror"
    total = run(server, url, tmp_path / "ledger").uploaded
    summary, other = tmp_path / "mirror" / "summary", next((tmp_path / "mirror" / "objects").rglob("*.file*"))
    summary.unlink()
    other.write_bytes(other.read_bytes()[:-1])
    assert run(server, url, tmp_path / "ledger").uploaded == 2
    assert mirrored(url) == for_clients(server.path)
    assert run(server, url, tmp_path / "another ledger").uploaded == total


@only_ostree
def test_history_that_was_pruned_goes_too(server: Server, tmp_path: Path) -> None:
    """Commits before their trees, trees before contents, once no ref leads there."""
    url = f"file://{tmp_path}/mirror"
    run(server, url, tmp_path / "ledger")
    removed: list[str] = []
    ostree("reset", f"--repo={server.path}", "main", server.commits[1])
    ostree("prune", f"--repo={server.path}", "--refs-only")
    server.site.write_summary()
    with pytest.MonkeyPatch.context() as patch:
        _watch(patch, lambda verb, path: removed.append(path) if verb == "remove" else None)
        run(server, url, tmp_path / "ledger")
    assert mirrored(url) == for_clients(server.path)
    stages = [stage for stage in map(find_stage, removed) if stage is not None]
    assert {Stage.COMMIT, Stage.TREE, Stage.CONTENT, Stage.SUPERBLOCK} <= set(stages)
    # Each batch is of one stage, and its removals run side by side.
    assert [*dict.fromkeys(stages)] == sorted(set(stages), reverse=True)


@only_ostree
def test_stock_clients_pull_from_the_mirror(server: Server, tmp_path: Path) -> None:
    """A folder that was mirrored to, served over HTTP: in full, and by the deltas alone."""
    assert isinstance(server.site, OSTreeSite)
    run(server, f"file://{tmp_path}/mirror", tmp_path / "ledger")
    client = tmp_path / "client"
    ostree("init", f"--repo={client}", "--mode=bare-user")
    with replace(server.site, path=tmp_path / "mirror").serve() as remote:
        ostree("remote", "add", f"--repo={client}", "--no-gpg-verify", "origin", remote.url)  # type: ignore[attr-defined]
        ostree("pull", f"--repo={client}", "origin", f"main@{server.commits[1]}")
        ostree("pull", f"--repo={client}", "--require-static-deltas", "origin", f"main@{server.commits[2]}")
        ostree("pull", f"--repo={client}", "origin", "main")
    assert ostree("rev-parse", f"--repo={client}", "origin:main").strip() == server.commits[4]
    ostree("fsck", f"--repo={client}")


# -- killed anywhere -----------------------------------------------------------------------------------------------


def _watch(patch: pytest.MonkeyPatch, before: Callable[[str, str], None]) -> None:
    """Call `before` with what is about to happen at the mirror."""
    kind: Any = mirroring._Place
    for verb in ("put_file", "put_bytes", "remove"):
        real = getattr(kind, verb)

        def watched(self: Any, *arguments: Any, verb: str = verb, real: Any = real) -> None:
            before(verb, str(arguments[-1]))
            real(self, *arguments)

        patch.setattr(kind, verb, watched)


class _Killed(BaseException):
    """Not an error: nothing may be tidied up by catching it."""


def _kill_at(patch: pytest.MonkeyPatch, step: int) -> list[str]:
    """From that step on nothing happens at the mirror any more; the steps that did."""
    steps: list[str] = []

    def count(verb: str, path: str) -> None:
        if len(steps) >= step:
            raise _Killed
        steps.append(f"{verb} {path}")

    _watch(patch, count)
    return steps


def test_a_killed_run_leaves_nothing_that_leads_nowhere(server: Server, tmp_path: Path) -> None:
    """Of the first upload and of the next night's changes: at every step refs, routes and deltas are whole."""
    folder, ledger = tmp_path / "mirror", tmp_path / "ledger"
    total = _kill_everywhere(server, folder, ledger, tmp_path, every=3)
    assert total >= len(for_clients(server.path))
    publish_second(server)
    assert _kill_everywhere(server, folder, ledger, tmp_path, every=1) > 5
    assert mirrored(f"file://{folder}") == for_clients(server.path)


def _kill_everywhere(server: Server, folder: Path, ledger: Path, tmp_path: Path, *, every: int) -> int:
    """Kill a run at each step, each time from where it started; then let one end, the steps of which are counted."""
    step = 0
    while True:
        copy, copied_ledger = tmp_path / "copy", tmp_path / "copied ledger"
        for source, place in ((folder, copy), (ledger, copied_ledger)):
            shutil.rmtree(place, ignore_errors=True)
            place.unlink(missing_ok=True)
            if source.is_dir():
                shutil.copytree(source, place)
            elif source.exists():
                shutil.copyfile(source, place)
        with pytest.MonkeyPatch.context() as patch:
            steps = _kill_at(patch, step)
            try:
                run(server, f"file://{copy}", copied_ledger)
            except _Killed:
                pass
            else:
                break
        _expect_whole(server, copy, tmp_path / "scratch")
        run(server, f"file://{copy}", copied_ledger)
        assert mirrored(f"file://{copy}") == for_clients(server.path)
        step += every
    shutil.rmtree(folder, ignore_errors=True)
    copy.rename(folder)
    shutil.copyfile(copied_ledger, ledger)
    return len(steps)


def _expect_whole(server: Server, mirrored_to: Path, scratch: Path) -> None:
    if not mirrored_to.exists():
        return
    folder = Path(shutil.copytree(mirrored_to, scratch / "mirror", copy_function=os.link))
    there = replace(server, site=replace(server.site, path=folder))
    for artifact in server.artifacts.values():
        one = artifact.candidate
        delta = folder / server.site.published_path(one.base, one.target, one.codec)
        if not is_delta(delta):
            # Nobody finds parts without their superblock.
            shutil.rmtree(delta, ignore_errors=True)
    if (folder / "config").exists():
        for name in ("refs/heads", "objects", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        repository = Store.open(folder) if isinstance(server.site.repository, Store) else OSTreeRepository(folder)
        history = repository.read_history()
        summary = (folder / "summary").read_bytes() if (folder / "summary").exists() else b""
        for commit in filter(None, server.commits):
            assert commit in history.commits or not (bytes.fromhex(commit) in summary or commit.encode() in summary)
        if isinstance(repository, OSTreeRepository):
            # Those that no ref reaches, too.
            commits = [path.parent.name + path.stem for path in folder.glob("objects/*/*.commit")]
            assert repository.read_commits(commits).commits.keys() == set(commits)
        expect_served(there, scratch / "walked")
    shutil.rmtree(scratch)


# -- what cannot be ------------------------------------------------------------------------------------------------


def test_a_repository_that_changes_meanwhile_is_noticed(server: Server, tmp_path: Path) -> None:
    """A summary that was rewritten after it was listed may lead to what the mirror has not."""

    def rewrite(verb: str, path: str) -> None:
        if verb == "put_file":
            (server.path / "summary").write_bytes(b"later")

    with pytest.MonkeyPatch.context() as patch:
        _watch(patch, rewrite)
        with pytest.raises(PublishError, match="run it again"):
            run(server, f"file://{tmp_path}/mirror", tmp_path / "ledger")
    assert not (tmp_path / "mirror" / "summary").exists()


def test_a_place_that_refuses_is_a_clear_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mirror").write_text("a file is in the way")
    with pytest.raises(PublishError, match="cannot be brought up to date"):
        run(server, f"file://{tmp_path}/mirror", tmp_path / "ledger")


@pytest.mark.parametrize("url", ["nothing://somewhere", "gopher9://x/y"])
def test_unknown_kinds_of_urls_are_refused(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="of no known kind"):
        run(server, url, tmp_path / "ledger")
