"""LEB128 numbers: seven bits a byte, the least first, the eighth bit says that more follow.

Source: libostree, `ostree-varint.c`; The .xz File Format 1.2.1, section 1.2.
"""

from __future__ import annotations

from planner.errors import RepositoryError

MOST_NUMBER_BYTES = 10
"""Of the largest 64-bit number."""


def write_number(number: int) -> bytes:
    """The bytes of a number that is not negative.

    >>> write_number(300).hex(" ")
    'ac 02'
    """
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def read_number(data: bytes, at: int, where: str) -> tuple[int, int]:
    """The number at a place of `data`, and the place behind it.

    Raises:
        RepositoryError: it is cut off or has more than 64 bits.
    """
    number = 0
    for place in range(MOST_NUMBER_BYTES):
        if at >= len(data):
            raise RepositoryError("ends within a number", path=where)
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if number >= 2**64:
                break
            return number, at
    raise RepositoryError("has a number of more than 64 bits", path=where)
