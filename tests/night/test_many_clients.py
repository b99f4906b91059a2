"""Five hundred clients that update over HTTP while nights publish and retire."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from planner.follow.follower import Followed, follow
from planner.follow.remote import HttpRemote
from planner.night.nightly import NightlyDone, run_nightly
from planner.night.opening import open_night
from planner.night.repositories import _QuietHandler
from tests.night.kills import World

CLIENTS = 500
AT_A_TIME = 12


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three releases published. Two more nights follow: a fourth release, and one that has nothing new."""
    return World.make(tmp_path / "world", "store", grace="1h")


def test_all_clients_reach_the_head_by_routes_while_nights_publish(world: World, tmp_path: Path) -> None:
    """Each ends on the head that was served when it asked, or on the one published meanwhile, and none in full.

    Their instants are drawn by a seed and lie over the whole of both nights; the server answers slowly, so that a
    route takes long against a night's publishing.
    """
    work = world.copy("work")
    first = open_night(world.home / "3.toml", work=work)
    old_head, objects = first.history.refs["main"], first.objects
    bases = [commit for commit in first.history.commits if commit != old_head]
    nights: list[NightlyDone] = []

    def publish() -> None:
        nights.extend(run_nightly(open_night(world.home / "4.toml", work=work)) for _ in range(2))

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_SlowHandler, directory=str(work / "repository")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remote = HttpRemote(f"http://127.0.0.1:{server.server_address[1]}")
    publishing = threading.Thread(target=publish)
    drawn = random.Random(11)

    def update(number: int) -> Followed:
        base = bases[number % len(bases)]
        client = first.site.make_client(remote, tmp_path / f"client-{number}", [base], objects)
        if number == CLIENTS // 10:
            publishing.start()
        time.sleep(drawn.uniform(0, 0.05))
        return follow(client, remote, base=base, want="main", is_ref=True)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        done = list(pool.map(update, range(CLIENTS)))
    publishing.join()
    new_head = open_night(world.home / "4.toml", work=work).history.refs["main"]
    last = [update(number) for number in range(CLIENTS, CLIENTS + len(bases))]
    server.shutdown()
    assert [night.record.exit_status for night in nights] == [0, 0]
    assert [one.target for one in done if one.target not in (old_head, new_head)] == []
    assert [one.fallback_reason for one in done if one.fallback_reason] == []
    assert {one.target for one in done} == {old_head, new_head}
    assert {one.target for one in last} == {new_head}
    assert any(delta.change == "retire" for delta in nights[0].record.deltas)


class _SlowHandler(_QuietHandler):
    """Waits a little before each answer."""

    def do_GET(self) -> None:  # noqa: N802 - the base class's name
        """As the base class."""
        time.sleep(0.01)
        super().do_GET()
