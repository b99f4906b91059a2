"""The clocks of a night, and how long ago something was although somebody set the clock meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

NOTICEABLE_S = 120.0
"""A clock that was moved by less is not worth a person's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instant by both clocks: `wall_s` since 1970, which can be set; `boot_s` since the machine started."""

    wall_s: float
    boot_s: float
    boot_id: str

    @property
    def iso(self) -> str:
        """The time of day, UTC."""
        return datetime.fromtimestamp(self.wall_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Clock:
    """What tells the time; tests put in their own.

    `monotonic_s` has any origin, and is what waiting and windows are measured by.
    """

    monotonic_s: Callable[[], float]
    now: Callable[[], Moment]

    @classmethod
    def of_system(cls) -> Clock:
        """The machine's clocks."""
        return cls(time.monotonic, _now)


def elapsed_s(since: Moment, now: Moment) -> float:
    """Seconds between two moments, never negative.

    Within one boot they are those that passed, whatever was done to the time of day. Between boots only the time of day
    tells; a machine has passed at least the time since it started.
    """
    if since.boot_id == now.boot_id:
        return max(now.boot_s - since.boot_s, 0.0)
    return max(now.wall_s - since.wall_s, now.boot_s, 0.0)


def clock_shift_s(since: Moment, now: Moment) -> float:
    """By how much the time of day was moved between two moments; 0 where that is too little to tell or to mind."""
    shift_s = (now.wall_s - since.wall_s) - elapsed_s(since, now)
    return shift_s if abs(shift_s) >= NOTICEABLE_S else 0.0


def _now() -> Moment:
    try:
        boot_id = _BOOT_ID.read_text().strip()
    except OSError:
        boot_id = ""
    return Moment(wall_s=time.time(), boot_s=time.clock_gettime(time.CLOCK_BOOTTIME), boot_id=boot_id)
