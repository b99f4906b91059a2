"""Binary differences, the loops: plain Python over arrays, compiled where content is large (`compiled.py`).

`old` and `new` are bytes (uint8). An alignment is a *shift*: position in old minus position in new. A cover is a run
of new that is told as a difference from old under one shift. Costs are whole numbers of 1/1024 bit, so that the plain
and the compiled twin, and any two machines, choose alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

NOWHERE = -(1 << 62)
"""The shift of bytes that no old byte stands for."""

DEAD = 1 << 60
"""The cost of what cannot be."""

LEAVING = 8 << 10
"""The cost of going on without a cover after choices were settled."""

# A longer look back commits later and chooses a little better; 2^18 rows of back pointers are 9 MB.
WINDOW_BYTES = 1 << 18
WINDOW_ROWS = 4096
# Inside a run that the best alignment matches exactly, no other can overtake it by more than one switch.
SURE_RUN_BYTES = 48
# A longer exact match is not a better witness, and comparing it to its end for every candidate would be quadratic.
MATCH_CAP_BYTES = 512


def hash_eight(content: Array, at: int, bits: int) -> Any:
    """A hash of the eight bytes from `at` on, below 2^bits; no step leaves 63 bits."""
    low = np.int64(0)
    high = np.int64(0)
    for i in range(4):
        low = (low << 8) | np.int64(content[at + i])
        high = (high << 8) | np.int64(content[at + 4 + i])
    mixed = low * 506952113 + high * 403043957
    mixed = (mixed & 0xFFFFFFFFFF) ^ (mixed >> 23)
    return ((mixed & 0xFFFFFFFF) * 506952113 >> 29) & ((1 << bits) - 1)


def index_content(old: Array, bits: int, stride: int) -> tuple[Array, Array]:
    """The last place of each hash, and for each `stride`-th place the one before it with the same hash."""
    head = np.full(1 << bits, -1, np.int64)
    before = np.full(len(old) // stride + 1, -1, np.int32)
    for k in range((len(old) - 8) // stride + 1):
        at = k * stride
        if at > 0 and is_uniform(old, at - 1):
            continue  # inside a run of one byte every place hashes alike: one is enough
        slot = hash_eight(old, at, bits)
        before[k] = head[slot]
        head[slot] = k
    return head, before


def is_uniform(content: Array, at: int) -> bool:
    """Whether the nine bytes from `at` on are the same; `at` is at most the ninth byte from the end."""
    for i in range(at + 1, at + 9):
        if content[i] != content[at]:
            return False
    return True


def find_longest(old: Array, new: Array, at: int, found: tuple[Array, Array], stride: int, tries: int) -> Array:
    """(length, place in old) of the longest match of new from `at` on among the last `tries` of its hash."""
    head, before = found
    longest, place = 0, -1
    k = head[hash_eight(new, at, int(np.log2(len(head)) + 0.5))]
    for _ in range(tries):
        if k < 0:
            break
        old_at = k * stride
        limit = min(len(old) - old_at, len(new) - at, MATCH_CAP_BYTES)
        length = 0
        while length < limit and old[old_at + length] == new[at + length]:
            length += 1
        if length > longest:
            longest, place = length, old_at
        k = before[k]
    return np.array([longest, place])


def count_matches(old: Array, new: Array, shift: int, first: int, last: int) -> int:
    """How many bytes of new from `first` to before `last` equal those of old under a shift."""
    count = 0
    for at in range(max(first, -shift), min(last, len(old) - shift)):
        if old[at + shift] == new[at]:
            count += 1
    return count


def find_anchors(old: Array, new: Array, bits: int, stride: int, tries: int, least: int, ahead: int) -> Array:
    """Rows (new start, shift) by hashes of eight bytes: from each start on, that shift is worth trying.

    A match must beat what the current shift matches over the same bytes by `least`. A shift that matches seven
    eighths of the `ahead` bytes to come is kept without a search: single changed bytes are differences, not moves.
    """
    found = index_content(old, bits, stride)
    rows = np.zeros((64, 2), np.int64)
    count, shift, at = 1, 0, 0
    while at + 8 <= len(new):
        if 0 <= at + shift < len(old) and old[at + shift] == new[at]:
            at += 1
            continue
        end = min(len(new), at + ahead)
        longest = place = 0
        if count_matches(old, new, shift, at, end) * 8 < (end - at) * 7:
            longest, place = find_longest(old, new, at, found, stride, tries)
        if longest < count_matches(old, new, shift, at, at + longest) + least:
            at += 1
            continue
        back = 0
        while at - back > rows[count - 1, 0] + 1 and place > back and old[place - back - 1] == new[at - back - 1]:
            back += 1
        if count == len(rows):
            rows = np.concatenate((rows, np.zeros_like(rows)))
        shift = place - at
        rows[count, 0], rows[count, 1] = at - back, shift
        count += 1
        at += longest
    return rows[:count]


def choose_covers(old: Array, new: Array, anchors: Array, costs: Array, prices: Array, reach: int) -> Array:
    """Rows (old start, new start, length) of the covers that cost least in all, found among the anchors' shifts.

    A shortest path over the bytes of new: at each byte the state is one of the shifts of the `reach` anchors on
    either side, or none. `costs[was_changed, difference]` prices a byte of a cover, `prices` are those of a byte
    outside covers, of leaving covers, and of starting one. Choices are settled every `WINDOW_BYTES`.
    """
    width = 2 * reach + 2
    window = max(1, min(WINDOW_BYTES, len(new)))
    back = np.empty((window, width), np.uint8)
    row_at = np.empty(window, np.int32)
    shift_of = np.full((WINDOW_ROWS, width), NOWHERE, np.int64)
    shifts = np.full(width, NOWHERE, np.int64)
    changed = np.zeros(width, np.int64)
    cost = np.full(width, DEAD, np.int64)
    cost[width - 1] = 0
    covers = np.empty((64, 3), np.int64)
    count, first, row = 0, 0, -1
    for k in range(len(anchors)):
        at = anchors[k, 0] if k > 0 else 0
        end = anchors[k + 1, 0] if k + 1 < len(anchors) else len(new)
        admit_shifts(anchors[max(0, k - reach) : k + reach + 1, 1], shifts, cost, changed)
        row += 1
        if row == WINDOW_ROWS:
            covers, count = settle(cost, back[: at - first], row_at, shift_of, covers, count, first)
            first, row = at, 0
        shift_of[row] = shifts
        while at < end:
            if at - first == window:
                covers, count = settle(cost, back, row_at, shift_of, covers, count, first)
                shift_of[0] = shifts
                first, row = at, 0
            best = find_least(cost)
            if best < width - 1 and changed[best] == 0:
                limit = min(end, first + window, len(old) - shifts[best])
                sure = at
                while sure < limit and old[sure + shifts[best]] == new[sure]:
                    sure += 1
                if sure - at > SURE_RUN_BYTES:
                    back[at - first : sure - 1 - first, best] = best
                    row_at[at - first : sure - 1 - first] = row
                    kept = cost[best] + costs[0, 0] * (sure - 1 - at)
                    cost[:] = DEAD
                    cost[best] = kept
                    at = sure - 1
            row_at[at - first] = row
            step(old, new, at, shifts, cost, changed, back, at - first, costs, prices, best)
            at += 1
    covers, count = settle(cost, back[: len(new) - first], row_at, shift_of, covers, count, first)
    return covers[:count]


def find_least(cost: Array) -> int:
    """The place of the least cost, the first of equals."""
    best = 0
    for state in range(1, len(cost)):
        if cost[state] < cost[best]:
            best = state
    return best


def step(
    old: Array,
    new: Array,
    at: int,
    shifts: Array,
    cost: Array,
    changed: Array,
    back: Array,
    row: int,
    costs: Array,
    prices: Array,
    best: int,
) -> None:
    """One byte further in every state: stay, or come from the best state at the price of a switch."""
    least = cost[best]
    entering = least + prices[2]
    none = len(cost) - 1
    byte = np.int64(new[at])
    for state in range(none):
        shift = shifts[state]
        if shift == NOWHERE:
            continue
        place = at + shift
        if place < 0 or place >= len(old):
            cost[state] = DEAD
            back[row, state] = state
            continue
        reached = cost[state]
        back[row, state] = state
        if entering < reached:
            reached = entering
            back[row, state] = best
            changed[state] = 0
        difference = (byte - np.int64(old[place])) & 255
        cost[state] = reached + costs[changed[state], difference]
        changed[state] = 1 if difference != 0 else 0
    back[row, none] = none
    if least + prices[1] < cost[none]:
        cost[none] = least + prices[1]
        back[row, none] = best
    cost[none] += prices[0]


def admit_shifts(wanted: Array, shifts: Array, cost: Array, changed: Array) -> None:
    """Give each wanted shift a state, keeping the states of those that have one."""
    for state in range(len(shifts) - 1):
        if shifts[state] != NOWHERE and not is_among(shifts[state], wanted):
            shifts[state] = NOWHERE
            cost[state] = DEAD
    free = 0
    for i in range(len(wanted)):
        if is_among(wanted[i], shifts):
            continue
        while shifts[free] != NOWHERE:
            free += 1
        shifts[free] = wanted[i]
        cost[free] = DEAD
        changed[free] = 0


def is_among(shift: int, shifts: Array) -> bool:
    """Whether a shift is one of `shifts`."""
    for i in range(len(shifts)):
        if shifts[i] == shift:
            return True
    return False


def settle(
    cost: Array, back: Array, row_at: Array, shift_of: Array, covers: Array, count: int, first: int
) -> tuple[Array, int]:
    """Walk back from the best state, add the covers met to `covers`, and let only that state live on."""
    best = find_least(cost)
    state = best
    runs = np.empty((64, 3), np.int64)
    met = 0
    last_shift = NOWHERE
    for i in range(len(back) - 1, -1, -1):
        shift = shift_of[row_at[i], state] if state < len(cost) - 1 else NOWHERE
        if shift != NOWHERE and shift == last_shift:
            runs[met - 1, 1] = first + i
            runs[met - 1, 2] += 1
        elif shift != NOWHERE:
            if met == len(runs):
                runs = np.concatenate((runs, np.empty_like(runs)))
            runs[met, 0], runs[met, 1], runs[met, 2] = shift, first + i, 1
            met += 1
        last_shift = shift
        state = back[i, state]
    for i in range(met - 1, -1, -1):
        shift, start, length = runs[i]
        if count > 0 and covers[count - 1, 1] + covers[count - 1, 2] == start and is_next(covers[count - 1], shift):
            covers[count - 1, 2] += length
            continue
        if count == len(covers):
            covers = np.concatenate((covers, np.empty_like(covers)))
        covers[count, 0], covers[count, 1], covers[count, 2] = start + shift, start, length
        count += 1
    kept = cost[best]
    cost[:] = DEAD
    cost[best] = kept
    if best < len(cost) - 1:
        cost[-1] = kept + LEAVING  # the shift may go out of reach before another state has come from it
    return covers, count


def is_next(cover: Array, shift: int) -> bool:
    """Whether a cover has this shift."""
    return bool(cover[0] - cover[1] == shift)


def write_stream(old: Array, new: Array, covers: Array, stream: Array) -> int:
    """Fill `stream` with control triples, differences and extra bytes by turns; the bytes used.

    The first triple has no differences unless the first cover is at the start of both.
    """
    old_at = new_at = used = 0
    k = 0
    while True:
        length = 0
        if k < len(covers) and covers[k, 0] == old_at and covers[k, 1] == new_at:
            length = covers[k, 2]
            k += 1
        extra_at = new_at + length
        next_at = covers[k, 1] if k < len(covers) else len(new)
        seek = covers[k, 0] - (old_at + length) if k < len(covers) else 0
        used = write_number(stream, used, length)
        used = write_number(stream, used, next_at - extra_at)
        used = write_number(stream, used, seek)
        for i in range(length):
            stream[used + i] = (np.int64(new[new_at + i]) - np.int64(old[old_at + i])) & 255
        used += length
        stream[used : used + next_at - extra_at] = new[extra_at:next_at]
        used += next_at - extra_at
        old_at += length + seek
        new_at = next_at
        if k == len(covers) and new_at == len(new):
            return used


def write_number(stream: Array, used: int, number: int) -> int:
    """Append a number as eight bytes, little endian, the top bit of the last one its sign; the bytes used then."""
    rest = abs(number)
    for i in range(8):
        stream[used + i] = rest & 255
        rest >>= 8
    if number < 0:
        stream[used + 7] |= 128
    return used + 8
