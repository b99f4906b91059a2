"""Release histories made from a seed, for tests and for places where no real packages can be fetched.

The same arguments give the same bytes on every machine and with every version of Python and NumPy: all randomness
is SHAKE-256 of the seed and a label, and all arithmetic is on integers (the logarithms and exponentials of a C
library differ in the last digit, and NumPy promises no stable stream for its distributions).

The files imitate what decides the size of a delta. Text changes by spans of lines. A binary is a row of 32-bit
words, instructions and addresses; code inserted in one place moves every address that points behind it, and a
rebuild by another toolchain moves all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.errors import InputError

VERSION_FILE = "VERSION"
"""Each release holds this file with its number, so no two releases are equal."""

_Words = NDArray[np.uint32]
_Item = TypeVar("_Item")

# A word with this top byte is an address; the lower 24 bits are the offset that it points to.
_ADDRESS_TOP = np.uint32(0x08 << 24)
_OFFSET_MASK = np.uint32(0x00FF_FFFF)

# Of a hundred changed files. Packages of the Python index were looked at for the order of magnitude, no more.
_ADDED, _REMOVED, _RENAMED = 8, 6, 6

_REBUILT_FRACTION = 0.9
_MOST_EDITS = 3

_SYLLABLES = (
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "je",
    "ki",
    "lo",
    "mu",
    "na",
    "pe",
    "ri",
    "so",
    "tu",
    "va",
    "we",
    "xi",
)
_PUNCTUATION = ("(", ")", "=", ":", ",", ".", "self.", "return", "if", "def", "for", "import", "None", "#", "==", "+")


class _Dice:
    """Choices that follow from a seed and labels only."""

    def __init__(self, *labels: object) -> None:
        self._prefix = "/".join(map(str, labels)).encode()
        self._count = 0

    def draw_bytes(self, count: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(b"%b#%d" % (self._prefix, self._count)).digest(count)

    def draw_below(self, limit: int) -> int:
        return int.from_bytes(self.draw_bytes(8)) % limit

    def draw_words(self, count: int) -> _Words:
        return np.frombuffer(self.draw_bytes(4 * count), dtype="<u4").astype(np.uint32)

    def happens(self, fraction: float) -> bool:
        return self.draw_below(2**32) < int(fraction * 2**32)

    def pick(self, items: Sequence[_Item]) -> _Item:
        return items[self.draw_below(len(items))]

    def pick_some(self, items: Sequence[_Item], count: int) -> list[_Item]:
        """`count` of the items, each at most once: the start of a Fisher-Yates shuffle."""
        left = list(items)
        for place in range(min(count, len(left))):
            other = place + self.draw_below(len(left) - place)
            left[place], left[other] = left[other], left[place]
        return left[:count]

    def draw_size(self, median_bytes: int) -> int:
        """About log-normal: a product of 24 coin flips. One standard deviation is a factor of 4.1."""
        size = median_bytes
        for is_heads in (bit == "1" for bit in f"{self.draw_below(2**24):024b}"):
            size = size * 4 // 3 if is_heads else size * 3 // 4
        return max(size, 16)


def generate_releases(
    *,
    seed: int,
    releases: int,
    files: int = 100,
    change_fraction: float = 0.1,
    median_bytes: int = 6_000,
    binary_fraction: float = 0.3,
    rebuild_every: int = 8,
) -> Iterator[Mapping[str, bytes]]:
    """Each release in turn as path -> content, in path order; names in paths are separated by '/'.

    Args:
        seed: any integer; another seed gives another history.
        releases: how many to yield.
        files: how many the first one has; later ones have a few more.
        change_fraction: how many of a release's files are edited, added, removed or renamed in the next.
        median_bytes: of file sizes, which are about log-normal: the mean is some 2.7 times as much.
        binary_fraction: how many of the files are binaries.
        rebuild_every: each so many releases a new toolchain changes most binaries; 0 for never.

    Raises:
        InputError: a number is out of its range.
    """
    for name, value in (("releases", releases), ("files", files), ("median_bytes", median_bytes)):
        if value < 1:
            raise InputError("is not positive", path=name, got=value)
    for name, fraction in (("change_fraction", change_fraction), ("binary_fraction", binary_fraction)):
        if not 0 <= fraction <= 1:
            raise InputError("is not between 0 and 1", path=name, got=fraction)
    world = _World(seed, median_bytes=median_bytes, binary_fraction=binary_fraction)
    return _evolve(world, releases, files, change_fraction, rebuild_every)


def _evolve(
    world: _World, releases: int, files: int, change_fraction: float, rebuild_every: int
) -> Iterator[Mapping[str, bytes]]:
    for _ in range(files - 1):
        world.add_file()
    for number in range(1, releases + 1):
        if number > 1:
            world.change_files(_Dice(world.seed, "release", number), change_fraction)
            if rebuild_every and number % rebuild_every == 0:
                world.rebuild_binaries(_Dice(world.seed, "rebuild", number))
        world.files[VERSION_FILE] = b"release %d\n" % number
        yield dict(sorted(world.files.items()))


class _World:
    """The files of the release in the making."""

    def __init__(self, seed: int, *, median_bytes: int, binary_fraction: float) -> None:
        self.seed = seed
        self.files: dict[str, bytes] = {}
        self._median_bytes = median_bytes
        self._binary_fraction = binary_fraction
        self._serial = 0

    def add_file(self) -> None:
        self._serial += 1
        dice = _Dice(self.seed, "file", self._serial)
        size_bytes = dice.draw_size(self._median_bytes)
        if dice.happens(self._binary_fraction):
            content, ending = _code(dice, -(-size_bytes // 4)).tobytes(), "so"
        else:
            content, ending = b"".join(_lines(dice, size_bytes)), "py"
        # The serial number keeps paths apart for good, even when a removed name could come back.
        self.files[f"{_folder(dice)}/{_word(dice)}_{self._serial}.{ending}"] = content

    def change_files(self, dice: _Dice, fraction: float) -> None:
        paths = sorted(self.files.keys() - {VERSION_FILE})
        for path in dice.pick_some(paths, max(1, int(len(paths) * fraction)) if fraction else 0):
            self._change_file(dice, path)

    def _change_file(self, dice: _Dice, path: str) -> None:
        lot = dice.draw_below(100)
        if lot < _ADDED:
            self.add_file()
        elif lot < _ADDED + _REMOVED:
            del self.files[path]
        elif lot < _ADDED + _REMOVED + _RENAMED:
            self.files[f"{_folder(dice)}/{_other_name(path)}"] = self.files.pop(path)
        else:
            edit = _edit_code if path.endswith(".so") else _edit_text
            self.files[path] = edit(dice, self.files[path])

    def rebuild_binaries(self, dice: _Dice) -> None:
        for path in sorted(self.files):
            if path.endswith(".so") and dice.happens(_REBUILT_FRACTION):
                self.files[path] = _rebuild_code(dice, self.files[path])


def _word(dice: _Dice) -> str:
    return "".join(dice.pick(_SYLLABLES) for _ in range(2 + dice.draw_below(3)))


def _other_name(path: str) -> str:
    # A second rename gives the first name back, so that no name grows without end.
    name = path.rpartition("/")[2]
    return name.removeprefix("moved_") if name.startswith("moved_") else f"moved_{name}"


def _folder(dice: _Dice) -> str:
    # A few folders hold most files, as in real packages: the second number is drawn below the first.
    return f"lib/part_{dice.draw_below(1 + dice.draw_below(12))}" + ("/more" if dice.happens(0.2) else "")


_VOCABULARY = _PUNCTUATION * 4 + tuple(_word(_Dice("vocabulary", number)) for number in range(192))


def _lines(dice: _Dice, size_bytes: int) -> list[bytes]:
    """Lines of source-like text, `size_bytes` or a little more together; some lines come twice, as real ones do."""
    made: list[bytes] = []
    made_bytes = 0
    while made_bytes < size_bytes:
        if len(made) > 20 and dice.happens(0.3):
            line = dice.pick(made)
        else:
            first, second, indent, *picks = dice.draw_bytes(3 + 2 + 8)
            words = [_VOCABULARY[pick * (first | second) >> 8] for pick in picks]
            line = ("    " * (indent & 3) + " ".join(words) + "\n").encode()
        made.append(line)
        made_bytes += len(line)
    return made


def _edit_text(dice: _Dice, content: bytes) -> bytes:
    """The text after one to three edits, each replacing up to 8 lines (perhaps none) by up to 8 others."""
    lines = content.splitlines(keepends=True)
    for _ in range(1 + dice.draw_below(_MOST_EDITS)):
        start, count = dice.draw_below(len(lines) + 1), dice.draw_below(8)
        lines[start : start + count] = _lines(dice, 1 + dice.draw_below(400))
    return b"".join(lines)


def _code(dice: _Dice, count: int) -> _Words:
    """Words of machine code: one in eight is an address, the others have one of 32 operations and two registers."""
    raw = dice.draw_words(count)
    operations = (raw & np.uint32(31)) * (raw >> np.uint32(24) & np.uint32(31)) >> np.uint32(5)  # low ones are common
    instructions = operations * np.uint32(0x0305_0700) | raw >> np.uint32(8) & raw >> np.uint32(14) & np.uint32(0x3F)
    instructions |= np.uint32(0x80 << 24)
    addresses = _ADDRESS_TOP | ((raw >> np.uint32(8) & np.uint32(0xFFF)) << np.uint32(4))
    return np.where(raw >> np.uint32(29) == 0, addresses, instructions)


def _move_addresses(words: _Words, *, behind: int, by: int) -> _Words:
    """The words with every address of `behind` or more moved; offsets wrap at 24 bits."""
    offsets = words & _OFFSET_MASK
    is_moved = (words & ~_OFFSET_MASK == _ADDRESS_TOP) & (offsets >= np.uint32(behind))
    return np.where(is_moved, _ADDRESS_TOP | (offsets + np.uint32(by) & _OFFSET_MASK), words)


def _edit_code(dice: _Dice, content: bytes) -> bytes:
    """The binary after one to three edits: a function grows in place, and what points behind it moves."""
    words = np.frombuffer(content, dtype="<u4").astype(np.uint32)
    for _ in range(1 + dice.draw_below(_MOST_EDITS)):
        start, replaced = dice.draw_below(len(words) + 1), dice.draw_below(24)
        grown = _code(dice, replaced + 4 * dice.draw_below(8) + 1)
        tail = words[start + replaced :]
        moved_by = 4 * (len(grown) - replaced)
        words = _move_addresses(np.concatenate([words[:start], grown, tail]), behind=4 * start, by=moved_by)
    return words.astype("<u4").tobytes()


def _rebuild_code(dice: _Dice, content: bytes) -> bytes:
    """The binary by another toolchain: every address moved by the same, one instruction in 16 with other registers."""
    words = np.frombuffer(content, dtype="<u4").astype(np.uint32)
    raw = dice.draw_words(len(words))
    is_address = words & ~_OFFSET_MASK == _ADDRESS_TOP
    is_changed = (raw & np.uint32(15) == 0) & ~is_address
    words = np.where(is_changed, words ^ (raw >> np.uint32(8) & np.uint32(0x3F)), words)
    return _move_addresses(words, behind=0, by=16 * (1 + dice.draw_below(64))).astype("<u4").tobytes()
