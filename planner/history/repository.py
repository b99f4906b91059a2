"""What the rest of the program asks of a place that holds a history."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from planner.history.records import History, ObjectName


class Repository(Protocol):
    """A place that holds a history. Reading never writes."""

    @property
    def path(self) -> Path:
        """The repository's folder."""

    def read_history(self) -> History:
        """Every commit that a ref reaches, with its trees.

        Raises:
            RepositoryError: an object is missing or corrupt; the error names it and who needs it.
        """

    def read_object(self, name: ObjectName) -> bytes:
        """The object's bytes, checked against its checksum.

        Raises:
            RepositoryError: it is missing or corrupt.
        """

    def loose_bytes(self, name: ObjectName) -> int:
        """What a client downloads to get this one object without a delta.

        Raises:
            RepositoryError: it is missing.
        """
