"""A builder of the store that fails for one pair, as machines do: killed, hanging, refusing."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from planner.build.builders import StoreBuilder
from planner.build.workshop_notes import Built
from planner.errors import BuildError


@dataclass(frozen=True, slots=True)
class FaultyBuilder(StoreBuilder):
    """`fault` befalls the delta of `pair`; `notes` is a folder in which each attempt leaves a file."""

    pair: tuple[str, str] = ("", "")
    fault: str = ""
    notes: Path = Path()

    def build(self, base: str, target: str, codec: str, into: Path) -> Built:
        """As the store's builder, or not."""
        if (base, target) == self.pair:
            attempt = len(list(self.notes.iterdir()))
            (self.notes / str(attempt)).touch()
            if self.fault == "killed" or (self.fault == "killed once" and attempt == 0):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "hangs":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(3600)
            if self.fault == "refuses":
                raise BuildError("cannot be built, whoever tries")
            if self.fault == "eats memory":
                hoard = [bytearray(os.urandom(2**20)) * 64 for _ in range(64)]
                time.sleep(3600 + len(hoard))
        return StoreBuilder.build(self, base, target, codec, into)
