"""A folder in which a client lives, and everything around it that must stay as it is."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from planner.errors import FollowError

Entries = dict[str, tuple[int, int, int]]


@dataclass
class Arena:
    """`client` is a copy of `template` below `surroundings`, where there is also somebody else's file."""

    template: Path
    surroundings: Path
    _around: Entries = field(default_factory=dict)
    _inside: Entries = field(default_factory=dict)

    @property
    def client(self) -> Path:
        """The client's folder."""
        return self.surroundings / "client"

    def prepare(self) -> None:
        """Make the surroundings anew."""
        shutil.rmtree(self.surroundings, ignore_errors=True)
        self.surroundings.mkdir(parents=True)
        (self.surroundings / "neighbour").write_text("somebody else's\n")
        shutil.copytree(self.template, self.client, symlinks=True)
        self._inside = list_entries(self.client)
        self._around = self._look_around()

    def is_around_untouched(self) -> bool:
        """Whether all files outside the client are those that were there."""
        return self._look_around() == self._around

    def restore(self) -> None:
        """Make the client as it was, if anything in it changed."""
        if list_entries(self.client) != self._inside or not self.is_around_untouched():
            self.prepare()

    def _look_around(self) -> Entries:
        return list_entries(self.surroundings, without="client")


def list_entries(folder: Path, without: str = "") -> Entries:
    """Inode, size and time of change of every file below a folder; of folders that they are there."""
    found: Entries = {}
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found[entry.path] = (0, 0, 0)
                    waiting += [entry.path] if entry.name != without else []
                else:
                    status = entry.stat(follow_symlinks=False)
                    found[entry.path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


@dataclass(frozen=True)
class Files:
    """A server that sends what a dictionary holds."""

    files: dict[str, bytes]

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """The file, or the error of a remote."""
        data = self.files.get(path)
        if data is None or len(data) > max_bytes:
            raise FollowError("cannot be fetched", path=path)
        return data
