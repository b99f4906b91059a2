"""Remotes: what comes is bounded in bytes and time, and stays where the URL says."""

from __future__ import annotations

import os
import tracemalloc
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from planner.errors import FollowError, InputError
from planner.follow import remote as remote_module
from planner.follow.deadlines import finished_within
from planner.follow.remote import FolderRemote, HttpRemote, Remote, open_remote
from tests.follow.fakes import serve, serve_folder


def _send(handler: BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def _fetch(url: str, max_bytes: int = 1000, path: str = "x") -> bytes:
    return HttpRemote(url).fetch(path, max_bytes=max_bytes)


@pytest.mark.parametrize("path", ["summary", "deltas/ab/c+d_e=f-g/superblock"])
def test_a_file_is_fetched_as_it_is(tmp_path: Path, path: str) -> None:
    """From a folder, a web server and a file URL, with all characters that OSTree puts in a delta's name."""
    folder = tmp_path / "a folder#with?odd%20name"
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_bytes(b"content")
    assert open_remote(str(folder)).fetch(path, max_bytes=7) == b"content"
    with serve_folder(folder) as served:
        assert open_remote(served.url + "/").fetch(path, max_bytes=7) == b"content"
    assert open_remote(folder.as_uri()).fetch(path, max_bytes=7) == b"content"


@pytest.mark.parametrize("kind", ["folder", "web"])
def test_what_is_missing_or_too_large_is_refused(tmp_path: Path, kind: str) -> None:
    """One byte above the bound is too much; a folder is no file."""
    (tmp_path / "large").write_bytes(b"12345678")
    (tmp_path / "sub").mkdir()
    with serve_folder(tmp_path) as served:
        remote: Remote = FolderRemote(tmp_path) if kind == "folder" else HttpRemote(served.url)
        assert remote.fetch("large", max_bytes=8) == b"12345678"
        with pytest.raises(FollowError, match="larger"):
            remote.fetch("large", max_bytes=7)
        with pytest.raises(FollowError, match="cannot be fetched"):
            remote.fetch("missing", max_bytes=7)
    with pytest.raises(FollowError):
        FolderRemote(tmp_path).fetch("sub", max_bytes=7)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    """A folder on a foreign disk may hold anything."""
    os.mkfifo(tmp_path / "summary")
    with pytest.raises(FollowError, match="regular file"):
        FolderRemote(tmp_path).fetch("summary", max_bytes=7)


@pytest.mark.parametrize("scheme", ["file://", "ftp://127.0.0.1:1", "data:,", "gopher://127.0.0.1:1"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_to_no_other_scheme(tmp_path: Path, scheme: str, status: int) -> None:
    """A server cannot make the client read its own files, or speak other protocols."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"{scheme}{secret}")
        handler.end_headers()

    with serve(redirect) as url, pytest.raises(FollowError, match="edirect"):
        _fetch(url)


def test_a_redirect_on_the_web_is_followed(tmp_path: Path) -> None:
    """Mirrors redirect; one that never ends is given up."""
    (tmp_path / "x").write_bytes(b"content")
    with serve_folder(tmp_path) as served:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", served.url + handler.path if handler.path == "/x" else handler.path)
            handler.end_headers()

        with serve(redirect) as url:
            assert _fetch(url) == b"content"
            with pytest.raises(FollowError):
                _fetch(url, path="loop")


def test_https_is_never_left_for_http() -> None:
    """The head that a client believes comes from the server that it asked."""
    handler = remote_module._WebOnly()
    request = remote_module.urllib.request.Request("https://a.invalid/x")
    with pytest.raises(OSError, match="redirected"):
        handler.redirect_request(request, None, 302, "", None, "http://a.invalid/x")  # type: ignore[arg-type]
    assert handler.redirect_request(request, None, 302, "", None, "https://b.invalid/x")  # type: ignore[arg-type]


def test_an_endless_answer_is_left_at_the_bound() -> None:
    """Without a length, with chunks, or with a length that is a lie, no more than the bound is read."""
    most_bytes = 3_000_000

    def answer(handler: BaseHTTPRequestHandler) -> None:
        piece = b"x" * 65536
        if handler.path == "/chunks":
            handler.protocol_version = "HTTP/1.1"
            _send(handler, b"", Transfer_Encoding="chunked")
            piece = b"10000\r\n" + piece + b"\r\n"
        elif handler.path == "/length":
            _send(handler, b"", Content_Length=str(10**17))
        else:
            _send(handler, b"")
        while True:
            handler.wfile.write(piece)

    with serve(answer) as url:
        for path in ("chunks", "length", "plain"):
            with pytest.raises(FollowError, match="larger than announced"):
                _fetch(url, most_bytes, path)


def test_memory_is_asked_for_by_what_comes() -> None:
    """A hostile index may announce a delta of 10^17 bytes, and the server claim that it is coming."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _send(handler, b"short", Content_Length=str(10**17))

    tracemalloc.start()
    try:
        with serve(answer) as url, pytest.raises(FollowError, match="cut off"):
            _fetch(url, 10**17)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("is_chunked", [True, False])
def test_an_answer_that_is_cut_off_is_refused(is_chunked: bool) -> None:
    """A connection that ends early is not the end of the file."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = True
        if is_chunked:
            _send(handler, b"a\r\nshort", Transfer_Encoding="chunked")
        else:
            _send(handler, b"short", Content_Length="10")

    with serve(answer) as url, pytest.raises(FollowError):
        _fetch(url)


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps a connection open for ever, but not this client."""
    monkeypatch.setattr(remote_module, "TIMEOUT_S", 0.0)
    monkeypatch.setattr(remote_module, "_OPENER", _Opener())
    with pytest.raises(FollowError, match="too slowly"):
        _fetch("http://127.0.0.1:1", 10**9)


def test_a_download_is_left_when_the_routes_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it begins, and while it goes on, however fast the server is."""
    monkeypatch.setattr(remote_module, "_OPENER", _Opener())
    for most_s in (0, 0.02):
        with finished_within(most_s), pytest.raises(FollowError, match="too long"):
            _fetch("http://127.0.0.1:1", 10**9)


class _Opener:
    """A server whose every byte takes a second of the client's clock."""

    length = None

    def open(self, url: str, timeout: float) -> _Opener:
        """The answer."""
        return self

    def __enter__(self) -> _Opener:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read1(self, most_bytes: int) -> bytes:
        """One byte, later."""
        now_s = remote_module.time.monotonic()
        while remote_module.time.monotonic() < now_s + 0.005:
            pass
        return b"x"


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for without an end."""
    monkeypatch.setattr(remote_module, "TIMEOUT_S", 0.05)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(1)

    with serve(answer) as url, pytest.raises(FollowError, match="timed out"):
        _fetch(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://a..b", "http://[", "http://127.0.0.1:port", "http://", "http://\u00e9" * 2]
)
def test_a_url_that_leads_nowhere_is_a_follow_error(url: str) -> None:
    """Also where it is malformed: a client then pulls in full or says so, with no trace."""
    with pytest.raises(FollowError):
        _fetch(url)


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "garbage", ""])
def test_an_answer_that_is_none_is_a_follow_error(status: str) -> None:
    """Whatever the status line says."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(f"HTTP/1.0 {status}\r\n\r\nbody".encode() if status else b"")

    with serve(answer) as url, pytest.raises(FollowError):
        _fetch(url)


@pytest.mark.parametrize("location", ["ftp://x/y", "mirrorlist=http://x", "no/such/folder", "file:///no/such"])
def test_what_is_no_remote_is_an_input_error(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is pulled."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        open_remote(location)
