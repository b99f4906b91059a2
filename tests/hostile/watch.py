"""Feeding inputs to code in a child process that may crash, hang or ask for too much memory, and counting what it did.

Each input is drawn from its own seed, so that one can be repeated alone. The child notes each verdict in memory that it
shares with its parent; when it dies, the input without a verdict was the cause, and another child goes on behind it.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from planner.errors import PlannerError

TIMEOUT_S = 20.0
"""An input that takes longer hangs: a thousand times what the slowest takes alone on a machine."""

MEMORY_BYTES = 3 * 2**30
"""Address space beyond what the process had: a block of a delta is at most 1 GiB, and held twice."""


class Verdict(IntEnum):
    """What an input led to. Only the first two are as they should be."""

    REFUSED = 1
    ACCEPTED = 2
    CRASHED = 3
    HUNG = 4
    OUTSIDE = 5
    WRONG = 6


class Target(Protocol):
    """Some code, the files that it works on, and how to judge what it left."""

    def feed(self, rng: random.Random) -> Verdict:
        """Draw an input and feed it.

        Raises:
            PlannerError: it was refused.
            Exception: anything else is a crash.
        """


def run(name: str, start: Callable[[], Target], *, seed: int, inputs: int, crashes: Path) -> Counter[Verdict]:
    """The verdicts over so many inputs; `start` is called in each child, and what crashed is told in `crashes`."""
    with mmap.mmap(-1, max(inputs, 1)) as noted:
        at = 0
        while at < inputs:
            child = os.fork()
            if child == 0:
                _feed_all(name, start, seed, at, inputs, noted, crashes)
            _, status = os.waitpid(child, 0)
            at = next((number for number in range(at, inputs) if not noted[number]), inputs)
            if at < inputs:
                is_hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
                noted[at] = Verdict.HUNG if is_hung else Verdict.CRASHED
                _tell(crashes, f"{name} {seed} {at}: status {status}")
                at += 1
        return Counter(Verdict(one) for one in noted[:inputs])


def draw(name: str, seed: int, number: int) -> random.Random:
    """The source of one input."""
    return random.Random(f"{name} {seed} {number}")


def _feed_all(
    name: str, start: Callable[[], Target], seed: int, at: int, inputs: int, noted: mmap.mmap, crashes: Path
) -> None:
    """Feed the inputs from one on, and leave the process."""
    status = 1
    try:
        # A power failure is not among the inputs, and thousands of clients would wait for the disk.
        os.fsync = lambda fd: None
        target = start()
        _bound_memory()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends loops in C code, too
        for number in range(at, inputs):
            signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S)
            noted[number] = _feed(target, draw(name, seed, number), f"{name} {seed} {number}", crashes)
        status = 0
    finally:
        os._exit(status)


def _feed(target: Target, rng: random.Random, title: str, crashes: Path) -> Verdict:
    try:
        verdict = target.feed(rng)
    except PlannerError:
        return Verdict.REFUSED
    except BaseException:
        _tell(crashes, f"{title}\n{traceback.format_exc()}")
        return Verdict.CRASHED
    if verdict > Verdict.ACCEPTED:
        _tell(crashes, f"{title}: {verdict.name}")
    return verdict


def _bound_memory() -> None:
    now_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + MEMORY_BYTES, hard))


def _tell(crashes: Path, text: str) -> None:
    with crashes.open("a") as file:
        file.write(f"{text}\n")
