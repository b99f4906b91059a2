"""The shortest path over covers: against an oracle that knows every path, and with windows too small for comfort."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.delta import bsdiff_kernels
from planner.delta.bsdiff import prior_costs
from tests.delta.contents import draw_pair
from tests.delta.test_bsdiff import patch

Rows = NDArray[np.int64]
BYTE, LEAVE, SWITCH = 2304, 8192, 61440
PRICES = np.array([BYTE, LEAVE, SWITCH])


def flat_costs() -> Rows:
    """Costs that do not depend on the byte before: then the path has one state per shift, and is exact."""
    costs = prior_costs()
    costs[1] = costs[0]
    return costs


def price(old: bytes, new: bytes, covers: Rows, costs: Rows) -> int:
    """What covers cost in all, by the definition."""
    total, at, shift = 0, 0, None
    for old_start, start, length in covers.tolist():
        if start > at:
            total += (start - at) * BYTE + (LEAVE if shift is not None else 0)
        total += SWITCH
        total += sum(int(costs[0, (new[start + i] - old[old_start + i]) & 255]) for i in range(length))
        at, shift = start + length, old_start - start
    return total + ((len(new) - at) * BYTE + (LEAVE if shift is not None else 0) if at < len(new) else 0)


def least_price(old: bytes, new: bytes, shifts: list[int], costs: Rows) -> int:
    """The least cost of all paths through these shifts and none, byte by byte."""
    reached: dict[int | None, int] = {None: 0}
    for at, byte in enumerate(new):
        least = min(reached.values())
        onward: dict[int | None, int] = {None: min(reached.get(None, 1 << 60), least + LEAVE) + BYTE}
        for shift in shifts:
            if 0 <= at + shift < len(old):
                stay = min(reached.get(shift, 1 << 60), least + SWITCH)
                onward[shift] = stay + int(costs[0, (byte - old[at + shift]) & 255])
        reached = onward
    return min(reached.values())


def draw_anchors(rng: random.Random, old: bytes, new: bytes, count: int) -> Rows:
    starts = sorted(rng.randrange(len(new)) for _ in range(count))
    shifts = [rng.randrange(len(old)) - start for start in starts]
    return np.array(list(zip(starts, shifts, strict=True)), np.int64)


def choose(old: bytes, new: bytes, anchors: Rows, costs: Rows, reach: int) -> Rows:
    arrays = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    covers: Rows = bsdiff_kernels.choose_covers(*arrays, anchors, costs, PRICES, reach)
    return covers


def write(old: bytes, new: bytes, covers: Rows) -> bytes:
    stream = np.zeros(len(new) + 24 * (len(covers) + 2), np.uint8)
    used = bsdiff_kernels.write_stream(np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8), covers, stream)
    return stream[:used].tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_no_path_costs_less_than_the_chosen_one(seed: int) -> None:
    rng = random.Random(seed)
    costs = flat_costs()
    for _ in range(30):
        old, new = draw_pair(rng, 120)
        if not old or not new:
            continue
        anchors = draw_anchors(rng, old, new, 5)
        covers = choose(old, new, anchors, costs, reach=5)
        assert price(old, new, covers, costs) == least_price(old, new, anchors[:, 1].tolist(), costs)


def test_covers_never_cost_more_than_none_at_all() -> None:
    rng = random.Random(6)
    for _ in range(100):
        old, new = draw_pair(rng, 150)
        if not old or not new:
            continue
        covers = choose(old, new, draw_anchors(rng, old, new, 8), flat_costs(), reach=2)
        assert price(old, new, covers, flat_costs()) <= len(new) * BYTE


@pytest.mark.parametrize(("window_bytes", "window_rows"), [(1, 4096), (7, 3), (64, 2), (1 << 18, 2), (13, 1)])
def test_small_windows_make_the_same_content(
    window_bytes: int, window_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bsdiff_kernels, "WINDOW_BYTES", window_bytes)
    monkeypatch.setattr(bsdiff_kernels, "WINDOW_ROWS", window_rows)
    monkeypatch.setattr(bsdiff_kernels, "SURE_RUN_BYTES", 3)
    rng = random.Random(window_bytes)
    for _ in range(80):
        old, new = draw_pair(rng, 200)
        if not old or not new:
            continue
        anchors = draw_anchors(rng, old, new, rng.randrange(1, 12))
        covers = choose(old, new, anchors, prior_costs(), reach=rng.randrange(1, 4))
        assert (covers[:, 0] >= 0).all()
        assert (covers[:, 0] + covers[:, 2] <= len(old)).all()
        assert patch(old, write(old, new, covers)) == new
