"""Nights killed at every entry of their journal, before it and after it, and at random instants.

    python -m benchmarks.kills --runs 200
    python -m benchmarks.kills --kind ostree --runs 60

After each kill all clients of the state before update by their routes; then one rerun, after which what clients read
must be what an undisturbed night leaves, byte for byte. Ends with a status of 1 if any run is otherwise.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.night.kills import World, after, at_entry, expect_clients_served, state_of

_NIGHT_S = 3.0
"""Random instants are drawn up to here: longer than a night of this world takes on an idle machine."""


def main() -> int:
    """Print a table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["store", "ostree"], default="store")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        world = World.make(Path(folder) / given.kind, given.kind)
        world.second_night(world.copy("undisturbed"))
        for where, kill in _kills(random.Random(given.seed)):
            if counts["runs"] >= given.runs:
                break
            _one(world, where, kill, counts)
    print(f"{given.kind}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return int(counts["clients served"] != 3 * counts["runs"] or counts["as undisturbed"] != counts["runs"])


def _kills(drawn: random.Random) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every entry before and after, then instants without end; an entry that does not come is the last."""
    for is_before in (True, False):
        for number in range(1, _MOST_ENTRIES):
            yield f"entry {number}", at_entry(number, is_before=is_before)
    while True:
        instant_s = drawn.uniform(0.0, _NIGHT_S)
        yield f"{instant_s:.2f} s", after(instant_s)


_MOST_ENTRIES = 60


def _one(world: World, where: str, kill: Callable[[], None], counts: Counter[str]) -> None:
    work = world.copy("work")
    was_killed = world.run_killed(work, kill)
    if not was_killed and where.startswith("entry"):
        return
    counts["runs"] += 1
    counts["killed"] += was_killed
    served = expect_clients_served(world, work)
    world.second_night(work)
    is_same = state_of(work) == state_of(world.home / "undisturbed")
    counts["clients served"] += served
    counts["as undisturbed"] += is_same
    if served != 3 or not is_same:
        print(f"killed at {where}: {served} of 3 clients served, as undisturbed: {is_same}")


if __name__ == "__main__":
    sys.exit(main())
