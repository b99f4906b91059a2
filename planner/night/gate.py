"""What may still be started tonight: nothing that is not expected to end in the window or to fit on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from planner.units import format_bytes, format_duration

_LEAST_PACE = 0.2
_FIRST_JOBS = 3
"""Jobs after which their pace is believed."""


@dataclass(slots=True, kw_only=True)
class Gate:
    """The window and the disk.

    Args:
        monotonic_s: the clock.
        ends_s: when the window ends, by that clock; infinite where there is none.
        folder: where deltas are made.
        free_bytes: the disk's low-water mark, which no job may bring it below.
    """

    monotonic_s: Callable[[], float]
    ends_s: float = inf
    folder: Path
    free_bytes: int = 0
    reserve_s: float = 0.0
    """Kept for publishing what is made."""
    _expected_s: list[float] = field(default_factory=list)
    _taken_s: list[float] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        """Seconds of the window."""
        return max(self.ends_s - self.monotonic_s(), 0.0)

    @property
    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.folder).free

    @property
    def pace(self) -> float:
        """Seconds that a job takes per core-second that it was expected to: other work may be on the machine."""
        if len(self._taken_s) < _FIRST_JOBS or not sum(self._expected_s):
            return 1.0
        return max(sum(self._taken_s) / sum(self._expected_s), _LEAST_PACE)

    def learn(self, expected_s: float, taken_s: float) -> None:
        """A job of so many expected core-seconds took so long."""
        self._expected_s.append(expected_s)
        self._taken_s.append(taken_s)

    def refuse(self, core_s: float, stored_bytes: float) -> str:
        """Why a job of so many core-seconds, one after the other, may not start; empty where it may."""
        left_s, needs_s = self.left_s, core_s * self.pace + self.reserve_s
        if left_s <= 0:
            return "the window has ended"
        if needs_s > left_s:
            return f"would take about {format_duration(needs_s)}, {format_duration(left_s)} of the window are left"
        if self.free_bytes and self.free - stored_bytes < self.free_bytes:
            return f"would leave less than {format_bytes(self.free_bytes)} free on the disk"
        return ""
