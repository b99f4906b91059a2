"""Whether anything is new since the last night that did all there was to do: if not, its plan is tonight's."""

from __future__ import annotations

import hashlib

import msgspec

from planner.night.ground import Ground
from planner.night.session import Session
from planner.night.weighing import UNWEIGHED, Weighing
from planner.optimize.plan import Plan

_FILE = "unchanged.txt"
"""In the work folder: the fingerprint of what the plan there was made of, while it has nothing left to do."""


def is_unchanged(ground: Ground, session: Session) -> bool:
    """Whether the work folder's plan is of exactly what there is now, and nothing waits for another attempt."""
    path = ground.workspace.folder / _FILE
    if not path.is_file() or session.journal.has_failed() or not ground.workspace.has("plan.json"):
        return False
    return path.read_bytes() == fingerprint(ground, session).encode()


def forget_unchanged(ground: Ground) -> None:
    """From here on the plan is another, or none."""
    (ground.workspace.folder / _FILE).unlink(missing_ok=True)


def note_unchanged(ground: Ground, session: Session, weighing: Weighing, plan: Plan) -> None:
    """Remember what the plan was made of, if the night left nothing to do for the next: no weight, no better plan."""
    is_weighed = not any(pruned.reason == UNWEIGHED for pruned in weighing.pruned)
    if is_weighed and plan.gap <= max(ground.scenario.solve.gap, _ENOUGH) and not session.journal.has_failed():
        ground.workspace.write_text(_FILE, fingerprint(ground, session))


_ENOUGH = 1e-6


def fingerprint(ground: Ground, session: Session) -> str:
    """A digest of all that a plan depends on: scenario, commits, heads, demand, weights, and what is on its way out."""
    digest = hashlib.sha256()
    for part in (
        msgspec.json.encode(ground.scenario),
        "\n".join(ground.history.commits).encode(),
        repr(sorted(ground.history.refs.items())).encode(),
        repr(ground.demand.cohorts).encode(),
        repr(session.catalogue.state()).encode(),
        repr(sorted(session.journal.retired())).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
