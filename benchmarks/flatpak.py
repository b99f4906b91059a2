"""A Flatpak repository under one budget: our plan against what `flatpak build-update-repo` would build.

python -m benchmarks.flatpak

The repository is that of `tests/flatpak`: a runtime, and four releases of an app and of its translations, exported by
the stock tools. Clients follow one hop, as Flatpak's do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner.night.opening import open_night
from planner.report.summary import summarize
from planner.units import format_bytes
from tests.flatpak.worlds import write_repository, write_scenario

SHOWN = ("this plan", "flatpak", "flat_manager", "all_to_head")


def main() -> None:
    """Plan, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        night = open_night(write_scenario(folder, write_repository(folder)), work=folder / "work")
        night.import_()
        night.weigh()
        plan = night.plan()
        summary = summarize(night.workspace.read_plan()[0], plan, night.history, every_policy=True)
    table = Table("policy", "deltas", "stored", "core-s", "sent", "money")
    for row in summary.policies:
        if row.name in SHOWN:
            sizes = format_bytes(row.stored_bytes), f"{row.server_cpu_s:.2f}", format_bytes(row.egress_bytes)
            table.add_row(row.name, str(row.deltas), *sizes, f"{row.money:.6f}")
    Console().print(table)


if __name__ == "__main__":
    main()
