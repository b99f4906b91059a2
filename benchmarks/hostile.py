"""Mutated and random files of every kind, fed to the code that clients run: what is refused, and what goes wrong.

python -m benchmarks.hostile [--inputs 100000] [--seed 0] [--kind NAME]

A client of the store (or of images) follows a server one of whose files is changed; superblocks and parts are read and
applied in the process. Crashes: anything but a planned error came out, the process died, or it asked for more than
3 GiB. Hangs: more than 20 s. Outside: a file outside the client's folder was made or changed. Wrong: the client's ref
is neither the commit that it was nor the one that the server's head says, or an object behind it is not sound. The last
four counts have to be 0; then the exit status is 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.hostile.kinds import make_kinds
from tests.hostile.watch import Verdict, run

_COLUMNS = (Verdict.REFUSED, Verdict.ACCEPTED, Verdict.CRASHED, Verdict.HUNG, Verdict.OUTSIDE, Verdict.WRONG)


def main() -> int:
    """Feed, and print; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description="Feed hostile inputs to the code that clients run.")
    parser.add_argument("--inputs", type=int, default=100_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only this one")
    arguments = parser.parse_args()
    table = Table("kind", "inputs", "refused", "accepted", "crashes", "hangs", "outside", "wrong", "s")
    totals = [0] * len(_COLUMNS)
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        crashes = Path(name) / "crashes"
        for kind in make_kinds(Path(name)):
            if arguments.kind in (None, kind.name):
                inputs, started_s = max(round(kind.share * arguments.inputs), 1), time.monotonic()
                counted = run(kind.name, kind.start, seed=arguments.seed, inputs=inputs, crashes=crashes)
                counts = [counted[verdict] for verdict in _COLUMNS]
                totals = [total + count for total, count in zip(totals, counts, strict=True)]
                table.add_row(kind.name, str(inputs), *map(str, counts), f"{time.monotonic() - started_s:.0f}")
        table.add_row("all", str(sum(totals)), *map(str, totals))
        Console(width=100).print(table)
        if crashes.exists():
            sys.stderr.write(crashes.read_text()[-20_000:])
    return int(any(totals[2:]))


if __name__ == "__main__":
    sys.exit(main())
