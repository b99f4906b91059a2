"""What only the shell script has to answer for: its form, its arguments, and the programs it finds."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from pathlib import Path

import pytest

from planner.publish.publisher import publish
from planner.publish.routes import index_path
from planner.publish.signatures import SigningKey, sign
from tests.build.worlds import ostree
from tests.follow.devices import Device, endless_index, run_script, script, update_by_python, update_by_shell
from tests.follow.fakes import serve_folder
from tests.publish.worlds import CHAIN, Server, make_ostree_server

needs_tools = pytest.mark.skipif(
    shutil.which("ostree") is None or shutil.which("dash") is None, reason="needs the programs ostree and dash"
)

TOOLS = ("ostree", "awk", "head", "timeout", "cat")
"""What the script runs besides a downloader; nothing else may be needed on a device."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Release 4 is the head of `main`; a device on 2 has two hops to it."""
    made = make_ostree_server(tmp_path_factory.mktemp("server"), CHAIN)
    publish(made.site, made.pool, made.of(CHAIN), {made.commits[2]: [made.route(2, 3, 4, ref="main")]})
    return made


def test_the_script_is_part_of_the_package() -> None:
    """It is found as package data, whole and ready for `sh`."""
    text = (files("planner.follow") / "follow.sh").read_text()
    assert text.startswith("#!/bin/sh\n")
    assert text.endswith('echo "$target"\n')


def test_the_script_is_small_and_posix() -> None:
    """At most 60 lines that people can read before they trust it, and no word of bash."""
    text = Path(script()).read_text()
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 120
    for shell in filter(shutil.which, ("dash", "sh")):
        subprocess.run([shell, "-n", script()], check=True)
    assert not re.search(r"\[\[|\blocal\b|\bfunction\b|<<<|<\(|\$'|\bdeclare\b|\becho -[en]\b|==\s*\]", text)


@needs_tools
@pytest.mark.parametrize(
    "arguments",
    [(), ("repo",), ("repo", "origin"), ("r", "o", "main", "x"), ("r", "o", "main", "-1"), ("r", "o", "m", "1", "2")],
)
def test_wrong_use_has_a_status_of_its_own(arguments: tuple[str, ...]) -> None:
    """Status 2 and the usage, before anything is run."""
    done = run_script(*arguments)
    assert done.status == 2
    assert "usage" in done.text


@needs_tools
def test_a_base_that_is_no_commit_is_wrong_use(server: Server, tmp_path: Path) -> None:
    """It would become a part of a URL."""
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        for base in ("../../config", "main", server.commits[2][:-1], server.commits[2] + "\n"):
            assert update_by_shell(device, base=base).status == 2
    assert device.refs() == {"origin:main": server.commits[2]}


@needs_tools
def test_a_repository_or_remote_that_is_not_there_is_a_failure(server: Server, tmp_path: Path) -> None:
    """Status 1, and nothing is made."""
    device = Device.make(tmp_path / "device", server.path.as_uri(), server, 2)
    assert run_script(str(tmp_path / "nowhere"), "origin", "main").status == 1
    assert run_script(str(device.path), "elsewhere", "main").status == 1
    assert not (tmp_path / "nowhere").exists()


@needs_tools
def test_paths_may_hold_spaces_and_stars(server: Server, tmp_path: Path) -> None:
    """Every word is quoted."""
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "a device * $HOME", served.url, server, 2)
        done = update_by_shell(device)
    assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == [hop.path for hop in server.route(2, 3, 4).hops or ()]
    device.expect_whole(server, 4)


@needs_tools
def test_the_commit_is_printed_and_nothing_else(server: Server, tmp_path: Path) -> None:
    """Another script can read where the device is; the second run says the same."""
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        for _ in range(2):
            done = subprocess.run(
                ["dash", script(), device.path, "origin", "main"], capture_output=True, text=True, check=True
            )
            assert done.stdout == f"{server.commits[4]}\n"


@needs_tools
@pytest.mark.parametrize(("downloader", "is_fallback"), [("curl", False), ("wget", False), (None, True)])
def test_either_downloader_will_do(server: Server, tmp_path: Path, downloader: str | None, is_fallback: bool) -> None:
    """With neither there is no route, and the device is updated all the same; no other program is needed."""
    if downloader and not shutil.which(downloader):
        pytest.skip(f"needs the program {downloader}")
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        done = run_script(
            str(device.path), "origin", "main", variables={"PATH": _programs(tmp_path, *TOOLS, downloader)}
        )
    assert (done.status, done.is_fallback) == (0, is_fallback), done.text
    device.expect_whole(server, 4)


def _programs(tmp_path: Path, *names: str | None) -> str:
    """A folder with only these programs, as a PATH; dash itself is started from it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in (*names, "dash"):
        if name:
            (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


@needs_tools
@pytest.mark.skipif(shutil.which("wget") is None, reason="needs the program wget")
def test_an_endless_index_is_left_at_its_bound_by_wget_too(server: Server, tmp_path: Path) -> None:
    """The bound is the script's, not the downloader's."""
    sent_bytes: list[int] = []
    with serve_folder(server.path, endless_index(sent_bytes)) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        variables = {"PATH": _programs(tmp_path, *TOOLS, "wget")}
        done = run_script(str(device.path), "origin", "main", variables=variables)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert sum(sent_bytes) < 100_000_000


@pytest.mark.parametrize(
    "change",
    [
        lambda text, commits: "",
        lambda text, commits: text[:-5],
        lambda text, commits: text.replace("deltaplan-routes/1", "deltaplan-routes/2"),
        lambda text, commits: text.replace(f"base {commits[2]}", f"base {commits[1]}"),
        lambda text, commits: text.replace(" 2 ", " 3 ", 1),
        lambda text, commits: text.replace(" 2 ", " -2 ", 1),
        lambda text, commits: text.replace(commits[3], "--help"),
        lambda text, commits: text.replace(commits[3], "$(touch${IFS}pwned)"),
        lambda text, commits: text.replace(commits[3], "*"),
        lambda text, commits: text.replace(f"hop 2 {commits[4]}", f"hop 2 {commits[1]}"),
        lambda text, commits: text.replace(f"main {commits[4]}", f"main {commits[3]}"),
        lambda text, commits: text.replace("route main", "route other"),
        lambda text, commits: text.replace("\n", "\r\n"),
        lambda text, commits: text.replace("\n", "\0\n"),
        lambda text, commits: text + "x" * 2_000_000,
    ],
)
@needs_tools
def test_an_index_that_cannot_be_trusted_means_a_full_pull(
    server: Server, tmp_path: Path, change: Callable[[str, tuple[str, ...]], str]
) -> None:
    """Not one hop of it is pulled, and nothing of it is run."""
    good = (server.path / index_path(server.commits[2])).read_text()

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.endswith(index_path(server.commits[2])):
            return False
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(change(good, server.commits).encode())
        return True

    with serve_folder(server.path, answer) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        done = update_by_shell(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert served.superblocks() == []
    assert device.refs() == {"origin:main": server.commits[4]}
    assert not list(Path.cwd().glob("pwned"))


KEY = SigningKey.from_private_bytes(bytes(32))


@pytest.mark.parametrize(
    ("behind", "is_fallback"),
    [
        (lambda text: sign(text, KEY), False),
        (lambda text: sign(text, KEY)[:-10] + b"\n", True),
        (lambda text: sign(sign(text, KEY), KEY), True),
        (lambda text: sign(text, KEY) + b"more\n", True),
        (lambda text: text + b"signature\n", True),
        (lambda text: sign(text.removesuffix(b"end\n"), KEY), True),
    ],
    ids=["signed", "cut off", "twice", "more behind", "no signature", "no end"],
)
@needs_tools
def test_a_signature_behind_the_end_is_passed_over(
    server: Server, tmp_path: Path, behind: Callable[[bytes], bytes], is_fallback: bool
) -> None:
    """The script has no keys: what it pulls are commits, which the stock tool checks. Nothing else may follow."""
    text = (server.path / index_path(server.commits[2])).read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if "deltaplan" not in handler.path:
            return False
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(behind(text))
        return True

    with serve_folder(server.path, answer) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        done = update_by_shell(device)
    assert (done.status, done.is_fallback) == (0, is_fallback), done.text
    device.expect_whole(server, 4)


@needs_tools
def test_a_hop_that_is_no_commit_is_not_pulled(server: Server, tmp_path: Path) -> None:
    """A ref's name in its place would move that ref before anything was checked."""
    hop = "hop {} {} ostree 1 deltas/x"
    lines = ["deltaplan-routes/1", f"base {server.commits[3]}", f"route main {server.commits[4]} 2 2"]
    index = "\n".join([*lines, hop.format(1, "main"), hop.format(2, server.commits[4]), "end\n"])

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if "deltaplan" not in handler.path:
            return False
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(index.encode())
        return True

    with serve_folder(server.path, answer) as served:
        device = Device.make(tmp_path / "device", served.url, server, 3)
        done = update_by_shell(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert served.superblocks() == []


@needs_tools
def test_a_redirect_does_not_lead_into_the_device(server: Server, tmp_path: Path) -> None:
    """An index that the server points to on the device's own disk is not read."""
    routes = server.path / "extensions/deltaplan/routes"

    def redirect(handler: BaseHTTPRequestHandler) -> bool:
        if "deltaplan" not in handler.path:
            return False
        handler.send_response(302)
        handler.send_header("Location", (routes / server.commits[2]).as_uri())
        handler.end_headers()
        return True

    with serve_folder(server.path, redirect) as served:
        device = Device.make(tmp_path / "device", served.url, server, 2)
        done = update_by_shell(device)
    assert (done.status, done.is_fallback) == (0, True), done.text
    assert served.superblocks() == []


@needs_tools
def test_a_collection_names_its_refs_in_its_own_way(tmp_path: Path) -> None:
    """A server with a collection lists `(COLLECTION, REF)`; the route is found all the same."""
    server = make_ostree_server(tmp_path, ((3, 4),))
    publish(server.site, server.pool, server.of(((3, 4),)), {server.commits[3]: [server.route(3, 4, ref="main")]})
    with serve_folder(server.path) as served:
        device = Device.make(tmp_path / "device", served.url, server, 3)
        ostree("config", "set", f"--repo={server.path}", "core.collection-id", "org.example.Device")
        server.site.write_summary()
        assert "(org.example.Device, main)" in ostree("remote", "summary", f"--repo={device.path}", "origin")
        for update in (update_by_shell, update_by_python):
            done = update(device)
            assert (done.status, done.is_fallback) == (0, False), done.text
    assert served.superblocks() == [hop.path for hop in server.route(3, 4).hops or ()]
