"""A local S3 server, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.request import urlopen

import pytest

_WAIT_S = 60.0


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with an empty bucket `bucket`, which every S3 client of this process and its children finds."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        _wait_for(url)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
        yield url
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while True:
        with suppress(OSError), urlopen(url, timeout=5):
            return
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
