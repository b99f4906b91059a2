"""A stock OSTree client: every hop is one `ostree pull` of a bare commit, and the ref moves last.

A bare commit is pulled by a delta from any commit that the client holds whole, on a ref or not; without a ref it stays
until it is pruned. Of several usable deltas the tool takes the one whose base is newest by timestamp, which is the
planned one unless an older commit of the client's is dated later than the hop before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from planner.build.tools import run_tool
from planner.errors import FollowError, PlannerError, ToolError
from planner.follow.deadlines import left_s
from planner.follow.follower import LAYER_REF
from planner.follow.heads import expect_not_older
from planner.history.encoding import relative_path
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY, ObjectKind, ObjectName, is_checksum
from planner.publish.routes import Hop
from planner.publish.signatures import PublicKey

_REF_IN_SUMMARY = re.compile(r"^\* (.+)\n +Latest Commit .*\n +([0-9a-f]{64})$", re.MULTILINE)

# The end of a check that found nothing, where an earlier one marked commits as damaged: the one that the client was on.
_OTHERS_ARE_PARTIAL = "partial commits from fsck-detected corruption"

PULL_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class OSTreeClient:
    """A client's repository and the name of the remote in it that it updates from.

    Bytes on the wire are those of the published files: the tool does not report what it downloaded, and
    versions from 2022.2 to 2023.6 download loose objects beside every delta (libostree issue 2053).
    """

    path: Path
    remote_name: str

    def head(self, ref: str, keys: Sequence[PublicKey] = ()) -> str:  # noqa: ARG002 - the remote's own, by GPG
        """The commit that the remote's summary gives for a ref."""
        # `remote refs --revision` would say it in one line, but 2022.7 does not know it.
        listed = _REF_IN_SUMMARY.findall(self._ostree("remote", "summary", self.remote_name))
        for name, commit in listed:
            if name == ref or name.endswith(f", {ref})"):  # the latter in a repository with a collection
                return str(commit)
        raise FollowError("the remote has no such ref", remote=self.remote_name, ref=ref)

    def expect_newer(self, target: str, base: str) -> None:
        """Compare the dates in two commits; the target's is fetched on its own, and dropped again if it is older.

        The tool's `--timestamp-check` comes too late here, when the ref moves and all is downloaded; it compares
        with what has the ref's name instead of with the base; and it aborts the tool for a bare commit.
        Source: libostree 2022.7, `ostree-repo-pull.c` (scan_commit_object).
        """
        place = self.path / relative_path(ObjectName(ObjectKind.COMMIT, target))
        is_new = not place.exists()
        if is_new:
            self._ostree("pull", "--disable-static-deltas", "--commit-metadata-only", self.remote_name, target)
        repository = OSTreeRepository(self.path)
        try:
            expect_not_older(*(repository.read_commit(one).committed_at for one in (target, base)))
        except PlannerError as error:
            if is_new:
                # Not by `prune --delete-commit`, which leaves a tombstone and has the repository leave more.
                for path in (place, place.with_suffix(".commitmeta"), self._partial_mark(target)):
                    path.unlink(missing_ok=True)
            raise (
                error
                if isinstance(error, FollowError)
                else FollowError("a commit's date cannot be known", reason=str(error))
            ) from error

    def take(self, hop: Hop, base: str) -> None:  # noqa: ARG002 - the tool finds the base itself
        """Pull the hop's commit by its delta; a pull that would not use one fails."""
        self._ostree("pull", "--require-static-deltas", self.remote_name, hop.commit)

    def holds(self, commit: str) -> bool:
        """Whether the commit is there and whole."""
        if not is_checksum(commit):
            return commit == EMPTY
        place = relative_path(ObjectName(ObjectKind.COMMIT, commit))
        return (self.path / place).exists() and not self._is_partial(commit)

    def layers(self, commit: str) -> tuple[str, ...]:
        """What the commit's metadata names, where it is all here."""
        layers = OSTreeRepository(self.path).read_commit(commit).layers
        return layers if all(map(self.holds, layers)) else ()

    def unite(self, layers: Sequence[str], target: str) -> None:
        """Commit the layers' union, and fetch the target's commit, which is of the same trees."""
        made = self._ostree("commit", "--orphan", *(f"--tree=ref={layer}" for layer in layers)).strip()
        self._ostree("pull", "--disable-static-deltas", "--commit-metadata-only", self.remote_name, target)
        repository = OSTreeRepository(self.path)
        try:
            mine, theirs = (repository.read_commit(one) for one in (made, target))
        except PlannerError as error:
            raise FollowError("the layers' union cannot be compared", reason=str(error)) from error
        if (mine.tree, mine.tree_meta) != (theirs.tree, theirs.tree_meta):
            raise FollowError("the layers' union is another tree than the target", target=target)
        # All objects are there: this finds that out, and marks the commit as whole.
        self._ostree("pull", "--disable-static-deltas", self.remote_name, target)

    def pull_in_full(self, target: str) -> int:
        """Pull the target without deltas; the bytes are not known."""
        with suppress(FollowError):
            # A pull passes over what is there, even where it is damaged; this drops it. It fails where it did.
            self._ostree("fsck", "--quiet", "--delete")
        self._ostree("pull", "--disable-static-deltas", self.remote_name, target)
        return 0

    def check(self, target: str) -> None:
        """Check the whole repository, and that the target is complete in it."""
        try:
            self._ostree("fsck", "--quiet")
        except FollowError as error:
            if _OTHERS_ARE_PARTIAL not in str(error):
                raise
        if self._is_partial(target):
            raise FollowError("the commit is not whole", commit=target)
        self._ostree("show", target)

    def finish(self, target: str, ref: str | None, layers: Sequence[str] = ()) -> None:
        """Point the remote ref (`pinned`, where none was asked for) to the target, and drop intermediate commits.

        Layers that the next update begins from are held by refs `deltaplan/layer/NUMBER`.
        """
        self._ostree("refs", "--delete", LAYER_REF)
        for number, layer in enumerate(layers, start=1):
            self._ostree("refs", f"--create={LAYER_REF}/{number}", "--force", layer)
        if ref is None:
            self._ostree("refs", "--create=pinned", "--force", target)
        else:
            # Nothing is left to download; the tool checks that the commit may be on this ref.
            self._ostree("pull", "--disable-static-deltas", self.remote_name, f"{ref}@{target}")
        self._ostree("prune", "--refs-only", "--depth=0")

    def _is_partial(self, commit: str) -> bool:
        return self._partial_mark(commit).exists()

    def _partial_mark(self, commit: str) -> Path:
        return self.path / "state" / f"{commit}.commitpartial"

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
            timeout_s = min(PULL_TIMEOUT_S, left_s())
            return run_tool(["ostree", verb, *arguments, f"--repo={self.path}"], timeout_s=timeout_s)
        except ToolError as error:
            raise FollowError(f"ostree {verb} failed", reason=str(error)) from error
