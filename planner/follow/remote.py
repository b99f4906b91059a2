"""Where a client downloads from: a folder, or a web server. Both are hostile until checked."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.errors import FollowError, InputError
from planner.history.files import read_bounded

TIMEOUT_S = 60.0
"""A server that sends nothing for this long is given up."""


class Remote(Protocol):
    """A source of files by path relative to a repository."""

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """One file's bytes.

        Raises:
            FollowError: it is missing, larger than allowed, or cannot be read.
        """


@dataclass(frozen=True, slots=True)
class FolderRemote:
    """A repository's folder on this machine."""

    root: Path

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """One file's bytes; see `Remote.fetch`."""
        try:
            return read_bounded(self.root / path, max_bytes)
        except (OSError, InputError) as error:
            raise FollowError("cannot be fetched", path=path, reason=str(error)) from error


@dataclass(frozen=True, slots=True)
class HttpRemote:
    """A repository served over HTTP or HTTPS."""

    url: str

    def fetch(self, path: str, *, max_bytes: int) -> bytes:
        """One file's bytes; see `Remote.fetch`."""
        url = f"{self.url.rstrip('/')}/{urllib.parse.quote(path)}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - open_remote checked the scheme
                data: bytes = answer.read(max_bytes + 1)
        except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
            raise FollowError("cannot be fetched", path=path, reason=str(error)) from error
        if len(data) > max_bytes:
            raise FollowError("is larger than announced", path=path, max_bytes=max_bytes)
        return data


def open_remote(location: str) -> Remote:
    """The remote at a URL (http, https) or in a folder.

    Raises:
        InputError: the location is neither.
    """
    scheme = urllib.parse.urlsplit(location).scheme
    if scheme in ("http", "https"):
        return HttpRemote(location)
    if scheme in ("", "file") and Path(urllib.parse.urlsplit(location).path).is_dir():
        return FolderRemote(Path(urllib.parse.urlsplit(location).path))
    raise InputError("is no http(s) URL and no folder", path="remote", got=location)
