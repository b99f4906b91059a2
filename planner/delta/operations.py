"""The operations of a part: a byte string of one-letter codes with LEB128 numbers behind them.

Objects are made in the order of the part's list: each `Splice`, and each `Open` up to its `Close`, makes the next one.

Source: libostree, `ostree-repo-static-delta-private.h` (codes), `ostree-repo-static-delta-processing.c` (meaning),
`ostree-varint.c` (numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from planner.delta.numbers import read_number, write_number
from planner.errors import RepositoryError


@dataclass(frozen=True, slots=True)
class SpliceMeta:
    """A commit, folder or folder's attributes whole, from the payload; the read source is dropped, as by `Close`."""

    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class SpliceFile:
    """A file or link whole, from the payload (a link: its target); mode and attributes by their place in the part."""

    mode: int
    xattrs: int
    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a regular file of so many bytes, made of writes and patches."""

    mode: int
    xattrs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Write:
    """Append bytes of the read source where there is one, of the payload otherwise."""

    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """The file whose checksum's 32 bytes are at an offset of the payload becomes the read source."""

    offset: int


@dataclass(frozen=True, slots=True)
class ReadNothing:
    """There is no read source any more."""


@dataclass(frozen=True, slots=True)
class Patch:
    """The whole file from the read source by a bsdiff stream in the payload."""

    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Close:
    """The file under construction is complete; the read source is dropped."""


Operation = SpliceMeta | SpliceFile | Open | Write | ReadFrom | ReadNothing | Patch | Close

_SPLICE = ord("S")
_CODES: dict[int, tuple[type[Operation], int]] = {
    ord("o"): (Open, 3),
    ord("w"): (Write, 2),
    ord("r"): (ReadFrom, 1),
    ord("R"): (ReadNothing, 0),
    ord("B"): (Patch, 2),
    ord("c"): (Close, 0),
}
_CODE_OF: dict[type[Operation], int] = {
    SpliceMeta: _SPLICE,
    SpliceFile: _SPLICE,
    **{kind: code for code, (kind, _) in _CODES.items()},
}


def write_operations(operations: Iterable[Operation]) -> bytes:
    """The byte string of operations.

    >>> write_operations([Open(0, 1, 300), Close()]).hex(" ")
    '6f 00 01 ac 02 63'
    """
    written = bytearray()
    for operation in operations:
        kind = type(operation)
        written.append(_CODE_OF[kind])
        for name in kind.__slots__:
            number = getattr(operation, name)
            if number < 0x80:
                written.append(number)
            else:
                written += write_number(number)
    return bytes(written)


def read_operations(data: bytes, is_meta: Sequence[bool], *, where: str = "") -> Iterator[Operation]:
    """The operations of a byte string, one by one; `is_meta` says of each object made whether it is no file.

    Raises:
        RepositoryError: a code is unknown, a number is cut off or too large, or there are more objects than announced.
    """
    at, made = 0, 0
    while at < len(data):
        code, at = data[at], at + 1
        if code in (_SPLICE, ord("o")) and made >= len(is_meta):
            _refuse("makes more objects than its header lists", where)
        kind: type[Operation]
        if code == _SPLICE:
            kind, count = (SpliceMeta, 2) if is_meta[made] else (SpliceFile, 4)
        elif code in _CODES:
            kind, count = _CODES[code]
        else:
            raise RepositoryError("has an unknown operation", path=where, got=code)
        numbers = []
        for _ in range(count):
            number, at = read_number(data, at, where)
            numbers.append(number)
        made += code in (_SPLICE, ord("c"))
        yield kind(*numbers)


def _refuse(reason: str, where: str) -> NoReturn:
    raise RepositoryError(reason, path=where)
