"""Copies: whatever the covers, the steps make the new file, by our reading and by the operations' meaning."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from planner.delta.apply import apply_part
from planner.delta.bsdiff import find_covers
from planner.delta.copies import Copies, copy_operations, find_copies, read_copies, write_copies
from planner.delta.operations import Close, Open, write_operations
from planner.delta.parts import Part
from planner.errors import RepositoryError
from planner.history.ostree_objects import FileHeader, file_checksum
from planner.history.records import ObjectKind, ObjectName
from tests.delta.contents import adversarial_pairs, draw_pair

PAIRS = [(old, new) for _, old, new in adversarial_pairs()] + [draw_pair(random.Random(k), 3000) for k in range(80)]


def run_copies(copies: Copies, old: bytes) -> bytes:
    """What the steps make."""
    made, at = b"", 0
    for new_bytes, start, copy_bytes in copies.steps:
        made += copies.literals[at : at + new_bytes] + old[start : start + copy_bytes]
        at += new_bytes
    assert at == len(copies.literals)
    return made


def copies_of(old: bytes, new: bytes, least_bytes: int) -> Copies:
    arrays = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    return find_copies(*arrays, find_covers(old, new), least_bytes)


@pytest.mark.parametrize("least_bytes", [1, 8, 24, 10_000])
def test_the_steps_make_the_new_file(least_bytes: int) -> None:
    for old, new in PAIRS:
        copies = copies_of(old, new, least_bytes)
        assert run_copies(copies, old) == new
        assert read_copies(write_copies(copies)) == copies
        assert all(step[2] >= least_bytes for step in copies.steps[:-1])


def test_a_client_makes_the_same_of_the_operations() -> None:
    header = FileHeader(uid=0, gid=0, mode=0o100644)
    for old, new in PAIRS:
        if not new:
            continue
        copies = copies_of(old, new, 8)
        source = hashlib.sha256(old).digest()
        operations = [Open(0, 0, len(new)), *copy_operations(copies, 0, len(source)), Close()]
        part = Part(
            modes=((0, 0, 0o100644),),
            xattrs=((),),
            payload=source + copies.literals,
            operations=write_operations(operations),
        )
        name = ObjectName(ObjectKind.FILE, file_checksum(header, new))
        made = list(apply_part(part, [name], {source.hex(): old}.__getitem__))
        assert [one.content for one in made] == [new]


def test_what_is_cut_off_is_an_error() -> None:
    data = write_copies(Copies(((5, 0, 300), (0, 400, 70)), b"fives"))
    for end in range(8):
        with pytest.raises(RepositoryError, match="ends within a number"):
            read_copies(data[:end])
