"""A night's repository at a URL: its objects, for workers elsewhere, and all of it, for clients."""

from __future__ import annotations

import hashlib
from pathlib import Path

from planner.night.making import Reporter
from planner.publish.mirror import Mirrored, mirror
from planner.publish.mirror_order import Stage
from planner.units import format_bytes


def bring_objects(repository: Path, url: str, work: Path, reporter: Reporter | None) -> Mirrored:
    """Bring what commits are made of to the URL, and the commits; nobody is told of them. Raises as `mirror`."""

    def report(step: str, done: int, total: int, note: str) -> None:  # noqa: ARG001 - a step of its own
        if reporter is not None:
            reporter.advance("bring", done, total, note)

    return mirror(repository, url, _ledger(work, url), report, last=Stage.COMMIT)


def mirror_published(repository: Path, url: str, work: Path, reporter: Reporter) -> Mirrored:
    """Bring the published repository to the URL. Raises as `mirror`."""
    done = mirror(repository, url, _ledger(work, url), reporter.advance)
    uploads = f"{done.uploaded} files ({format_bytes(done.uploaded_bytes)}) uploaded, {done.removed} removed"
    reporter.say(f"mirror {url}: {uploads}")
    return done


def _ledger(work: Path, url: str) -> Path:
    """What is known of the mirror at the URL; another URL is another mirror."""
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()
    return work / "mirrors" / f"{digest[:16]}.sqlite"
