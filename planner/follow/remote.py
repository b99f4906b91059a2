"""Where a client downloads from: a folder, or a web server. Both are hostile until checked."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Protocol

from planner.errors import FollowError, InputError
from planner.follow.deadlines import left_s
from planner.history.files import read_bounded

TIMEOUT_S = 60.0
"""A server that sends nothing for this long is given up."""
MIN_BYTES_PER_S = 1000
"""A server that is slower than this after `TIMEOUT_S` is given up, too; libostree's own limit."""

_PIECE_BYTES = 2**20


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
            with _OPENER.open(url, timeout=min(TIMEOUT_S, left_s())) as answer:
                return _read_answer(answer, max_bytes)
        except FollowError as error:
            raise FollowError(error.message, path=path, **error.facts) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FollowError("cannot be fetched", path=path, reason=str(error)) from error


def _read_answer(answer: http.client.HTTPResponse, max_bytes: int) -> bytes:
    # In pieces: memory is asked for by what comes, not by what a hostile index announces.
    data, started_s = bytearray(), time.monotonic()
    while piece := answer.read1(_PIECE_BYTES):
        data += piece
        if len(data) > max_bytes:
            raise FollowError("is larger than announced", max_bytes=max_bytes)
        left_s()
        if time.monotonic() - started_s > TIMEOUT_S + len(data) / MIN_BYTES_PER_S:
            raise FollowError("comes too slowly", got_bytes=len(data))
    if answer.length:
        raise FollowError("is cut off", missing_bytes=answer.length)
    return bytes(data)


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers only, and never from HTTPS to HTTP; the default would go on to FTP."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The request that a redirect asks for."""
        if urllib.parse.urlsplit(newurl).scheme not in ("https", req.type):
            raise urllib.error.URLError(f"is redirected to {newurl[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


_OPENER = urllib.request.build_opener(_WebOnly)


def open_remote(location: str) -> Remote:
    """The remote at a URL (http, https, file) or in a folder.

    Raises:
        InputError: the location is neither.
    """
    scheme, separator, rest = location.partition("://")
    if separator and scheme in ("http", "https"):
        return HttpRemote(location)
    folder = Path(urllib.parse.unquote(rest) if separator and scheme == "file" else location)
    if folder.is_dir():
        return FolderRemote(folder)
    raise InputError("is no http(s) URL and no folder", path="remote", got=location)
