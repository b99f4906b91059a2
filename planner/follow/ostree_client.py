"""A stock OSTree client: every hop is one `ostree pull` of an explicit commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.build.tools import run_tool
from planner.errors import FollowError, ToolError
from planner.history.records import EMPTY, is_checksum
from planner.publish.routes import Hop

PULL_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class OSTreeClient:
    """A client's repository and the name of the remote in it that it updates from.

    Bytes on the wire are those of the published files: the tool does not report what it downloaded, and
    versions from 2022.2 to 2023.6 download loose objects beside every delta (libostree issue 2053).
    """

    path: Path
    remote_name: str

    def head(self, ref: str) -> str:
        """The commit that the remote's summary gives for a ref."""
        for line in self._ostree("remote", "refs", self.remote_name, "--revision").splitlines():
            name, _, commit = line.replace("\t", " ").partition(" ")
            if name == f"{self.remote_name}:{ref}" and is_checksum(commit.strip()):
                return commit.strip()
        raise FollowError("the remote has no such ref", remote=self.remote_name, ref=ref)

    def take(self, hop: Hop, base: str, *, ref: str | None) -> None:  # noqa: ARG002 - the tool finds the base itself
        """Pull the hop's commit by its delta; a pull that would not use one fails."""
        self._ostree("pull", "--require-static-deltas", self.remote_name, f"{ref}@{hop.commit}" if ref else hop.commit)

    def pull_in_full(self, target: str, ref: str | None) -> int:
        """Pull the target without deltas; the bytes are not known."""
        wanted = f"{ref}@{target}" if ref else target
        self._ostree("pull", "--disable-static-deltas", self.remote_name, wanted)
        return 0

    def check(self, target: str) -> None:
        """Check the whole repository, and that the target is complete in it."""
        self._ostree("fsck", "--quiet")
        if (self.path / "state" / f"{target}.commitpartial").exists():
            raise FollowError("the commit is not whole", commit=target)
        self._ostree("show", target)

    def finish(self, target: str, ref: str | None) -> None:
        """Make sure that the ref (where one was asked for) is at the target, and drop intermediate commits."""
        if ref is None:
            self._ostree("refs", "--create=pinned", "--force", target)
        elif self._ostree("rev-parse", f"{self.remote_name}:{ref}").strip() != target:
            raise FollowError("the ref is not at the target", ref=ref, target=target)
        self._ostree("prune", "--refs-only", "--depth=0")

    def current(self, ref: str) -> str:
        """The commit that the client is on: its remote ref, else its local one, else the empty commit."""
        for name in (f"{self.remote_name}:{ref}", ref):
            try:
                return self._ostree("rev-parse", name).strip()
            except FollowError:
                continue
        return EMPTY

    def remote_url(self) -> str:
        """Where the remote is."""
        return self._ostree("remote", "show-url", self.remote_name).strip()

    def _ostree(self, verb: str, *arguments: str) -> str:
        try:
            return run_tool(["ostree", verb, *arguments, f"--repo={self.path}"], timeout_s=PULL_TIMEOUT_S)
        except ToolError as error:
            raise FollowError(f"ostree {verb} failed", reason=str(error)) from error
