"""One record per attempt at a delta: in the journal before it starts, in a line of JSON when it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from planner.build.jobs import Failed, Made
from planner.history.files import full_disk_as_error
from planner.night.clock import Clock
from planner.night.gate import Gate
from planner.night.journal import Journal
from planner.report.job_lines import job_line
from planner.report.night_record import JobOutcome, JobRecord
from planner.weigh.candidates import Candidate, Weight


@dataclass(slots=True, kw_only=True)
class JobLog:
    """The attempts of one run.

    Args:
        journal: where an attempt is announced.
        run: the run's number.
        clock: for when, and how long.
        gate: it is asked before each job, and learns how long each took.
        expected: what candidates were projected or measured to weigh before; weighing adds to it.
        name: a candidate as a person names it.
        lines: the file of JSON lines, or None.
    """

    journal: Journal
    run: int
    clock: Clock
    gate: Gate
    expected: dict[Candidate, Weight]
    name: Callable[[Candidate], str]
    lines: Path | None = None
    records: list[JobRecord] = field(default_factory=list)
    _begun_s: dict[Candidate, float] = field(default_factory=dict)
    _attempts: dict[Candidate, int] = field(default_factory=dict)

    def begin(self, step: str, candidate: Candidate) -> bool:
        """Announce an attempt, or record why it may not be made now."""
        weight = self.expected.get(candidate)
        reason = self.gate.refuse(*((weight.server_cpu_s, weight.stored_bytes) if weight else (0.0, 0.0)))
        if reason:
            self.left(step, candidate, reason)
            return False
        self.journal.begin_attempt(candidate, self.run)
        self._attempts[candidate] = self._attempts.get(candidate, 0) + 1
        self._begun_s[candidate] = self.clock.monotonic_s()
        return True

    def made(self, step: str, outcome: Made) -> None:
        """An attempt that ended well."""
        candidate, weight = outcome.artifact.candidate, outcome.weight
        wall_s = self._wall_s(candidate)
        expected = self.expected.get(candidate)
        if expected is not None:
            self.gate.learn(expected.server_cpu_s, wall_s)
        self.journal.end_attempt(candidate)
        self._record(step, candidate, "made", wall_s=wall_s, made=weight)

    def failed(self, step: str, outcome: Failed) -> None:
        """An attempt that did not."""
        is_first = self._attempts.get(outcome.candidate, 0) <= 1
        self.journal.end_attempt(outcome.candidate, outcome.reason, counts=is_first)
        self._record(step, outcome.candidate, "failed", reason=outcome.reason, wall_s=self._wall_s(outcome.candidate))

    def left(self, step: str, candidate: Candidate, reason: str) -> None:
        """A delta that is not started tonight."""
        self._record(step, candidate, "left", reason=reason)

    def _wall_s(self, candidate: Candidate) -> float:
        now_s = self.clock.monotonic_s()
        return now_s - self._begun_s.get(candidate, now_s)

    def _record(
        self,
        step: str,
        candidate: Candidate,
        outcome: JobOutcome,
        *,
        reason: str = "",
        wall_s: float | None = None,
        made: Weight | None = None,
    ) -> None:
        expected = self.expected.get(candidate)
        record = JobRecord(
            at=self.clock.now().iso,
            run=self.run,
            step=step,
            base=candidate.base,
            target=candidate.target,
            codec=candidate.codec,
            name=self.name(candidate),
            outcome=outcome,
            attempt=self._attempts.get(candidate, 0),
            reason=reason,
            wall_s=wall_s,
            wire_bytes=made.wire_bytes if made else None,
            core_s=made.server_cpu_s if made else None,
            peak_memory_bytes=made.peak_memory_bytes if made else None,
            projected_wire_bytes=expected.wire_bytes if expected else None,
            projected_core_s=expected.server_cpu_s if expected else None,
        )
        self.records.append(record)
        if self.lines is not None:
            with full_disk_as_error(self.lines), self.lines.open("a") as file:
                file.write(job_line(record) + "\n")
