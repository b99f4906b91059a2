"""What the workshop writes down: of a packed part, of a delta that is to be put together, and of one that was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from planner.errors import BuildError, InputError
from planner.history.files import read_bounded, write_atomically
from planner.weigh.candidates import Need

_MAX_NOTE_BYTES = 2**28
_ORDER = "order.json"


class PieceNote(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a part that is packed."""

    kind: str
    checksum: str
    source: str | None
    payload_bytes: int


class PartNote(msgspec.Struct, frozen=True):
    """A part that is packed: its header's facts, the core-seconds of its differences and of packing, its pieces.

    `peak_memory_bytes` is of the process that packed it.
    """

    checksum: str
    file_bytes: int
    object_bytes: int
    core_s: float
    pieces: tuple[PieceNote, ...]
    peak_memory_bytes: int = 0


class Order(msgspec.Struct, frozen=True):
    """What a delta is to be put together of: recipes' names in the order of its parts, or hops; and what that costs."""

    needs: tuple[Need, ...]
    parts: tuple[str, ...] = ()
    hops: tuple[tuple[str, str], ...] = ()
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a delta that was built is made of that others may share, and the most memory a process took for it before.

    The process that puts it together is not counted. `spent` is a folder that nobody needs once the delta is in the
    pool; until then another try may.
    """

    needs: tuple[Need, ...] = ()
    peak_memory_bytes: int = 0
    spent: Path | None = None


_Note = TypeVar("_Note", PartNote, Order)


def read_part_note(path: Path) -> PartNote:
    """What is known of a packed part.

    Raises:
        BuildError: it is not there or damaged.
    """
    return _read(path, PartNote, path, "is no part of the workshop")


def read_order(folder: Path) -> Order:
    """What is to be put together in a folder.

    Raises:
        BuildError: nothing was ordered there.
    """
    return _read(folder / _ORDER, Order, folder, "was not ordered in the workshop")


def write_order(order: Order, folder: Path) -> None:
    """Keep an order in a folder."""
    write_atomically(folder / _ORDER, msgspec.json.encode(order))


def _read(path: Path, kind: type[_Note], named: Path, fault: str) -> _Note:
    try:
        return msgspec.json.decode(read_bounded(path, _MAX_NOTE_BYTES), type=kind)
    except (OSError, InputError, msgspec.DecodeError) as error:
        raise BuildError(fault, path=str(named), reason=str(error)) from error
