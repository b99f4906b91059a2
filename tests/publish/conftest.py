"""The servers that the tests of publishing share."""

from __future__ import annotations

import shutil

import pytest

from tests.publish.nights import (
    PAIRS,
    publish_first,
)
from tests.publish.worlds import Server, make_ostree_server, make_store_server

_KINDS = [
    "store",
    pytest.param("ostree", marks=pytest.mark.skipif(shutil.which("ostree") is None, reason="needs the program ostree")),
]


@pytest.fixture(scope="package", params=_KINDS)
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server on which the first night's plan is built and nothing is published."""
    make = make_store_server if request.param == "store" else make_ostree_server
    return make(tmp_path_factory.mktemp("server"), PAIRS)


@pytest.fixture(scope="package")
def yesterday(template: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The same after the first night was published."""
    server = template.copy(tmp_path_factory.mktemp("yesterday") / "repository")
    publish_first(server)
    return server
