"""A stock OSTree client in a folder, and the two followers that can update it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

from planner.errors import FollowError
from planner.follow.follower import Abilities, follow
from planner.follow.ostree_client import OSTreeClient
from planner.follow.remote import open_remote
from tests.build.worlds import ostree
from tests.publish.worlds import Server


@dataclass(frozen=True)
class Device:
    """A bare-user repository with the server as its remote `origin`."""

    path: Path

    @classmethod
    def make(cls, path: Path, url: str, server: Server, base: int, ref: str = "main") -> Device:
        """One that holds a release, with the remote's ref at it; 0 is a device that holds nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ostree("init", f"--repo={path}", "--mode=bare-user")
        with (path / "config").open("a") as config:
            config.write(f'fsync=false\n\n[remote "origin"]\nurl={url}\ngpg-verify=false\n')
        if base:
            ostree("pull-local", f"--repo={path}", str(server.path), server.commits[base])
            file = path / "refs/remotes/origin" / ref
            file.parent.mkdir(parents=True)
            file.write_text(f"{server.commits[base]}\n")
        return cls(path)

    def refs(self) -> dict[str, str]:
        """The commit of each ref."""
        names = ostree("refs", f"--repo={self.path}").split()
        return {name: ostree("rev-parse", f"--repo={self.path}", name).strip() for name in names}

    def commits(self) -> set[str]:
        """Every commit that is in the repository, on a ref or not."""
        return {path.parent.name + path.stem for path in (self.path / "objects").glob("*/*.commit")}

    def expect_whole(self, server: Server, release: int, ref: str = "main") -> None:
        """The ref is at the release, which lists as the original does with all checksums, and everything is sound."""
        commit = server.commits[release]
        assert self.refs()[f"origin:{ref}"] == commit
        listings = [ostree("ls", "-R", "-C", f"--repo={path}", commit) for path in (self.path, server.path)]
        assert listings[0] == listings[1] != ""
        ostree("fsck", "--quiet", f"--repo={self.path}")

    def expect_same_tree(self, server: Server, release: int, scratch: Path) -> None:
        """What is checked out of the release is the original, file by file."""
        commit = server.commits[release]
        for name, path in (("got", self.path), ("wanted", server.path)):
            ostree("checkout", "-U", f"--repo={path}", commit, str(scratch / name))
        subprocess.run(["diff", "-r", "--no-dereference", scratch / "got", scratch / "wanted"], check=True)


@dataclass(frozen=True)
class Outcome:
    """How an update ended: the exit status, and what was said."""

    status: int
    text: str

    @property
    def is_fallback(self) -> bool:
        """Whether it pulled in full."""
        return "pulling in full" in self.text


class Updater(Protocol):
    """Updates a device."""

    def __call__(self, device: Device, *, ref: str = "main", base: str = "", max_hops: int | None = None) -> Outcome:
        """Take the device to the ref's head; `base` where its own ref does not say."""


def update_by_python(device: Device, *, ref: str = "main", base: str = "", max_hops: int | None = None) -> Outcome:
    """The reference client."""
    client = OSTreeClient(device.path, "origin")
    remote = open_remote(client.remote_url())
    try:
        base = base or client.current(ref)
        done = follow(client, remote, base=base, want=ref, is_ref=True, abilities=Abilities(max_hops=max_hops))
    except FollowError as error:
        return Outcome(error.exit_status, str(error))
    return Outcome(0, f"pulling in full: {done.fallback_reason}" if done.fallback_reason else done.target)


def update_by_shell(device: Device, *, ref: str = "main", base: str = "", max_hops: int | None = None) -> Outcome:
    """The script, with the strictest shell there is."""
    arguments = [str(device.path), "origin", ref, *([] if max_hops is None else [str(max_hops)])]
    return run_script(*arguments, variables={"DELTAPLAN_BASE": base} if base else {})


def run_script(*arguments: str, variables: Mapping[str, str] | None = None) -> Outcome:
    """`follow.sh`, run by dash."""
    done = subprocess.run(
        ["dash", script(), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(variables or {})},
        timeout=120,
    )
    return Outcome(done.returncode, done.stdout + done.stderr)


def script() -> str:
    """The script's path, as an installed package gives it."""
    with as_file(files("planner.follow") / "follow.sh") as path:
        return str(path)


def endless_index(sent_bytes: list[int]) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Answers every request for a route index with bytes without end, and notes how many went out."""

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        if "deltaplan" not in handler.path:
            return False
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                sent_bytes.append(handler.wfile.write(b"x" * 65536))
        finally:
            handler.close_connection = True

    return answer
