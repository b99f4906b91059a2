"""A newer client pulls our deltas over HTTP: it fetches the delta and nothing else, and has the whole commit."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

import pytest

from planner.build.native_delta import write_into
from planner.delta.compose import Hop
from planner.delta.contents import CommitContents
from planner.delta.difference_pool import DifferencePool
from planner.delta.encode import Effort
from planner.delta.make import Delta, Settings, compose_delta, lay_out, make_delta, write_delta
from planner.delta.packing import pack_recipe
from planner.delta.paths import relative_path
from planner.delta.superblock import read_superblock
from planner.errors import ToolError
from planner.history.objects import ObjectSets
from planner.history.records import EMPTY
from planner.units import MB
from tests.delta.newer_client import RELEASE, NewerOSTree, newer_ostree
from tests.delta.worlds import World, copy_with, make_world, run_ostree
from tests.follow.fakes import serve

BRANCH = "main"
"""Commits name the branch that they were made on, and clients refuse them under another."""

Maker = Callable[[Path], World]
"""Makes a world in a folder."""

Worlds = Callable[[Maker], World]
"""The world that a maker makes, made once."""


@pytest.fixture(scope="module")
def newer() -> NewerOSTree:
    """The newer client; a machine that cannot have it fails, for what these tests prove is proven nowhere else."""
    try:
        return newer_ostree()
    except ToolError as error:
        cause = str(error)
    pytest.fail(f"needs ostree of Debian {RELEASE}, from the mirror that apt is set up with: {cause}", pytrace=False)


# -- worlds ----------------------------------------------------------------------------------------------------------


def _commit(repo: Path, tree: Path, *options: str) -> str:
    return run_ostree("commit", f"--repo={repo}", f"--branch={BRANCH}", *options, f"--tree=dir={tree}").strip()


def _make_archive(folder: Path) -> tuple[Path, Path]:
    """An empty repository as servers have it, and an empty tree."""
    repo, tree = folder / "repo", folder / "tree"
    run_ostree("init", f"--repo={repo}", "--mode=archive")
    tree.mkdir()
    return repo, tree


def make_small_world(folder: Path) -> World:
    """Every kind of change to a file's content."""
    return make_world(folder, "archive")


def make_attribute_world(folder: Path) -> World:
    """Three commits: links, empty files and attributes; other links and attributes; all the same, of another owner."""
    repo, tree = _make_archive(folder)
    (tree / "links").mkdir()
    links = {"near": "../modes", "absolute": "/usr/bin/env", "dangling": "no such file", "name-ä": "ziel-ö"}
    for name, target in {**links, "long": "/".join(["folder"] * 500), "changes": "one"}.items():
        (tree / "links" / name).symlink_to(target)
    (tree / "modes").mkdir()
    for mode in (0o400, 0o600, 0o644, 0o755, 0o2755, 0o4755, 0o6711):
        _write(tree / f"modes/{mode:o}", f"content of {mode:o}\n".encode() * 50, mode)
        _write(tree / f"modes/empty-{mode:o}", b"", mode)
    _write(tree / "fills", b"")
    _write(tree / "empties", b"something\n" * 100)
    _write(tree / "becomes-a-link", b"one")
    for name, value in {"user.none": b"", "user.bytes": bytes(range(256)), "user.long": b"x" * 2000}.items():
        os.setxattr(tree / "fills", name, value)
        os.setxattr(tree / "modes", name, value)
    commits = [_commit(repo, tree)]

    (tree / "links/changes").unlink()
    (tree / "links/changes").symlink_to("two")
    (tree / "becomes-a-link").unlink()
    (tree / "becomes-a-link").symlink_to("one")
    _write(tree / "fills", b"something\n" * 99)
    _write(tree / "empties", b"")
    for path in sorted((tree / "modes").iterdir()):
        path.chmod(path.stat().st_mode ^ 0o111)
    (tree / "modes").chmod(0o1777)
    os.setxattr(tree / "modes/644", "user.none", b"")
    os.removexattr(tree / "fills", "user.long")
    commits.append(_commit(repo, tree))
    commits.append(_commit(repo, tree, "--owner-uid=1234", "--owner-gid=70000"))
    return World(path=repo, commits=tuple(commits))


def make_large_world(folder: Path) -> World:
    """Two commits of several megabytes: patched, moved, new, text and noise."""
    rng = random.Random(11)
    repo, tree = _make_archive(folder)
    noise = rng.randbytes(4 * MB)
    text = "".join(f"line {n} {rng.random()}\n" for n in range(80_000)).encode()
    _write(tree / "lib/patched", noise)
    _write(tree / "share/text", text)
    commits = [_commit(repo, tree)]

    changed = bytearray(noise)
    for at in range(5000, len(changed), 99_991):
        changed[at : at + 16] = rng.randbytes(16)
    (tree / "lib/patched").unlink()
    _write(tree / "lib/moved/patched", bytes(changed[:MB] + rng.randbytes(12_345) + changed[MB:]))
    _write(tree / "share/text", text.replace(b"line 77", b"LINE 77") + b"the end\n")
    _write(tree / "new/text", text[::-1])
    _write(tree / "new/noise", rng.randbytes(3 * MB))
    commits.append(_commit(repo, tree))
    return World(path=repo, commits=tuple(commits))


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


# -- a server and a client -------------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """What a web server was asked for: files with the bytes of each that it sent, and paths that are no files."""

    url: str = ""
    sent: list[tuple[str, int]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def below(self, folder: str) -> dict[str, int]:
        """Paths below a folder of the repository, without it, and the bytes sent; each was asked for once."""
        found = [(path.removeprefix(f"/{folder}/"), size) for path, size in self.sent if path.startswith(f"/{folder}/")]
        assert len(found) == len(dict(found)), "a file was fetched twice"
        return dict(found)


@contextmanager
def serve_repository(folder: Path) -> Iterator[Traffic]:
    """Serve a repository on loopback."""
    traffic = Traffic()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        path = folder / handler.path.lstrip("/")
        if not path.is_file():
            traffic.missing.append(handler.path)
            handler.send_error(HTTPStatus.NOT_FOUND)
            return
        data = path.read_bytes()
        # Noted before the last byte goes out: the client may be done before the server is.
        traffic.sent.append((handler.path, len(data)))
        handler.send_response(HTTPStatus.OK)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    with serve(answer) as url:
        traffic.url = url
        yield traffic


def publish_only(delta: Delta, world: World, base: str, target: str, folder: Path) -> Path:
    """A server's repository of the same commits, with the branch at `target` and no delta but this."""
    server = folder / "server"
    # Objects are never changed in place, and what is written anew gets a file of its own.
    shutil.copytree(world.path, server, symlinks=True, copy_function=os.link)
    write_into(delta, server, base, target)
    run_ostree("refs", f"--repo={server}", "--force", f"--create={BRANCH}", target)
    run_ostree("static-delta", "reindex", f"--repo={server}")
    run_ostree("summary", f"--repo={server}", "--update")
    return server


def add_remote(client: Path, url: str) -> None:
    run_ostree("remote", "add", f"--repo={client}", "--no-gpg-verify", "origin", url)


# -- the tests -------------------------------------------------------------------------------------------------------


_BALANCED = Settings()
_QUICK = Settings(effort=Effort.QUICK)


@dataclass(frozen=True)
class Case:
    """A delta between two commits of a world, by their number (None: from nothing), and what the delta must have."""

    make: Maker
    ends: tuple[int | None, int]
    settings: Settings = _BALANCED
    least_parts: int = 1
    fallbacks: int = 0


CASES = {
    "one part": Case(make_small_world, (0, 1)),
    "several parts": Case(make_small_world, (0, 1), Settings(max_part_bytes=1_000), least_parts=3),
    "a part for each object": Case(make_small_world, (0, 1), Settings(max_part_bytes=1), least_parts=15),
    "parts in the superblock": Case(make_small_world, (0, 1), Settings(is_inline=True), least_parts=0),
    "back": Case(make_small_world, (2, 0)),
    "packed quickly": Case(make_small_world, (0, 2), _QUICK),
    "packed small": Case(make_small_world, (0, 2), Settings(effort=Effort.SMALLEST)),
    "without patches": Case(make_small_world, (0, 1), Settings(budget_core_s=0.0)),
    "from nothing": Case(make_small_world, (None, 0)),
    "from nothing, several parts": Case(make_small_world, (None, 0), Settings(max_part_bytes=20_000), least_parts=3),
    "from nothing, fallback": Case(make_small_world, (None, 0), Settings(fallback_bytes=100_000), fallbacks=1),
    "attributes": Case(make_attribute_world, (0, 1)),
    "attributes, a part for each object": Case(make_attribute_world, (0, 1), Settings(max_part_bytes=1), least_parts=9),
    "attributes, from nothing": Case(make_attribute_world, (None, 0)),
    "another owner": Case(make_attribute_world, (1, 2)),
    "large": Case(make_large_world, (0, 1), _QUICK),
    "large, several parts": Case(make_large_world, (0, 1), replace(_QUICK, max_part_bytes=MB), least_parts=4),
    "large, fallback": Case(make_large_world, (0, 1), replace(_QUICK, fallback_bytes=2 * MB), fallbacks=2),
    "large, from nothing": Case(make_large_world, (None, 1), replace(_QUICK, max_part_bytes=4 * MB), least_parts=3),
    "large, all fallback": Case(make_large_world, (None, 1), replace(_QUICK, fallback_bytes=1), fallbacks=4),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Worlds, made when they are first needed."""
    return cache(lambda make: make(tmp_path_factory.mktemp("world")))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_newer_client_fetches_exactly_the_delta(
    newer: NewerOSTree, worlds: Worlds, tmp_path: Path, case: Case
) -> None:
    pull_and_check(newer, worlds(case.make), case, BRANCH, tmp_path)


@pytest.mark.parametrize("name", ["several parts", "parts in the superblock", "from nothing, fallback"])
def test_a_newer_client_fetches_exactly_the_delta_to_a_commit(
    newer: NewerOSTree, worlds: Worlds, tmp_path: Path, name: str
) -> None:
    """By the commit's checksum, for which it reads the delta index without the summary."""
    world = worlds(CASES[name].make)
    traffic = pull_and_check(newer, world, CASES[name], world.commits[CASES[name].ends[1]], tmp_path)
    assert "/summary" not in dict(traffic.sent)


@pytest.mark.parametrize("make", [make_small_world, make_attribute_world])
def test_a_newer_client_applies_all_hops_of_a_composed_delta_in_one_pull(
    newer: NewerOSTree, worlds: Worlds, tmp_path: Path, make: Maker
) -> None:
    world = worlds(make)
    objects = ObjectSets(world.repository.read_history())
    hops = [make_delta(world.repository, objects, *ends) for ends in pairwise(world.commits)]
    composed = compose_delta([Hop(read_superblock(hop.superblock), hop.parts) for hop in hops], objects, Settings())
    pull_delta(newer, world, composed, BRANCH, tmp_path)


def test_newer_clients_on_several_bases_fetch_the_part_that_they_share(
    newer: NewerOSTree, worlds: Worlds, tmp_path: Path
) -> None:
    world = worlds(make_small_world)
    contents = CommitContents(world.repository, ObjectSets(world.repository.read_history()))
    settings, bases = Settings(least_shared_bytes=1), [EMPTY, *world.commits[:2]]
    with DifferencePool() as pool:
        layouts = lay_out(contents, bases, world.commits[2], settings, pool)
        recipes = {recipe for layout in layouts for recipe in layout.recipes}
        parts = {recipe: pack_recipe(recipe, contents, pool, settings.effort) for recipe in recipes}
    assert len(parts) < sum(len(layout.recipes) for layout in layouts)
    for number, layout in enumerate(layouts):
        (tmp_path / str(number)).mkdir()
        pull_delta(newer, world, write_delta(layout, parts, contents), BRANCH, tmp_path / str(number))


def pull_and_check(newer: NewerOSTree, world: World, case: Case, wanted: str, folder: Path) -> Traffic:
    """Make the case's delta and pull it."""
    base, target = EMPTY if case.ends[0] is None else world.commits[case.ends[0]], world.commits[case.ends[1]]
    delta = make_delta(world.repository, ObjectSets(world.repository.read_history()), base, target, case.settings)
    assert len(delta.parts) >= case.least_parts
    assert len(read_superblock(delta.superblock).fallbacks) == case.fallbacks
    return pull_delta(newer, world, delta, wanted, folder)


def pull_delta(newer: NewerOSTree, world: World, delta: Delta, wanted: str, folder: Path) -> Traffic:
    """Pull: each file of the delta comes once and in full, and so do the fallback objects, but no other object."""
    superblock = read_superblock(delta.superblock)
    base, target, fallbacks = superblock.base, superblock.target, superblock.fallbacks
    server = publish_only(delta, world, base, target, folder)
    client = copy_with(world, () if base == EMPTY else (base,), folder)

    with serve_repository(server) as traffic:
        add_remote(client, traffic.url)
        newer.run("pull", f"--repo={client}", "--require-static-deltas", "origin", wanted)

    sizes = {"superblock": len(delta.superblock), **{str(n): len(part) for n, part in enumerate(delta.parts)}}
    assert traffic.below(relative_path(base, target)) == sizes
    assert sum(traffic.below("deltas").values()) == sum(sizes.values())
    # The commit comes in the superblock. Its detached metadata (signatures) is asked for every time; it has none.
    assert traffic.below("objects") == {
        f"{one.name.checksum[:2]}/{one.name.checksum[2:]}.filez": one.loose_bytes for one in fallbacks
    }
    assert [path for path in traffic.missing if path.startswith("/objects/")] == [
        f"/objects/{target[:2]}/{target[2:]}.commitmeta"
    ]
    expect_whole(newer, client, server, target)
    if wanted == BRANCH:
        assert newer.run("rev-parse", f"--repo={client}", f"origin:{BRANCH}").strip() == target
    return traffic


def expect_whole(newer: NewerOSTree, client: Path, server: Path, target: str) -> None:
    """The client has the commit to the last object and attribute, as either program sees it."""
    for run in (newer.run, run_ostree):
        run("fsck", "--quiet", f"--repo={client}")
        listings = [run("ls", "-RCX", f"--repo={repo}", target) for repo in (client, server)]
        assert listings[0] == listings[1] != ""


def test_the_client_is_of_an_age_that_fetches_no_loose_objects_beside_a_delta(newer: NewerOSTree) -> None:
    assert newer.version() >= (2025, 2)


def test_a_client_that_lacks_the_base_is_refused(newer: NewerOSTree, worlds: Worlds, tmp_path: Path) -> None:
    """So a pull that went well has used the delta."""
    world = worlds(make_small_world)
    base, target = world.commits[:2]
    delta = make_delta(world.repository, ObjectSets(world.repository.read_history()), base, target)
    server = publish_only(delta, world, base, target, tmp_path)
    client = copy_with(world, (), tmp_path)
    with serve_repository(server) as traffic:
        add_remote(client, traffic.url)
        with pytest.raises(ToolError, match="Static deltas required, but none found"):
            newer.run("pull", f"--repo={client}", "--require-static-deltas", "origin", BRANCH)
    assert (traffic.below("deltas"), traffic.below("objects")) == ({}, {})
