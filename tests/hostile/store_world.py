"""The server that a client of the store is attacked from, as it was before anybody changed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from planner.build.bundle import encode_bundle
from planner.history.encoding import FileObject, encode_file, encode_tree, relative_path
from planner.history.objects import ObjectSets
from planner.history.records import ObjectKind, Tree
from planner.history.store import Store
from planner.publish.heads import format_heads
from planner.publish.routes import Hop, PublishedRoute

CODECS = ("hdiffpatch", "bsdiff4", "zstd-patch-from", "zstd")
_HOPS = ((0, 1), (1, 2), (0, 2))
Stop = tuple[int, int, str]
"""A delta: base and target by number, and its codec."""


@dataclass(frozen=True)
class StoreWorld:
    """A server of three small releases, the files that it serves, and a client's folder on the first."""

    commits: tuple[str, ...]
    files: Mapping[str, bytes]
    deltas: Mapping[Stop, bytes]
    template: Path

    def route(self, *stops: Stop, lengths: Mapping[Stop, int] | None = None) -> PublishedRoute:
        """The route over some deltas; `lengths` of those that were changed."""
        hops = tuple(
            Hop(
                commit=self.commits[stop[1]],
                codec=stop[2],
                wire_bytes=(lengths or {}).get(stop, len(self.deltas[stop])),
                path=delta_path(stop),
            )
            for stop in stops
        )
        total_bytes = sum(hop.wire_bytes for hop in hops)
        return PublishedRoute(ref="main", target=hops[-1].commit, wire_bytes=total_bytes, hops=hops)


def make_store_world(folder: Path) -> StoreWorld:
    """The same world each time, but for the folder."""
    server, template = Store.create(folder / "server"), Store.create(folder / "template")
    commits: list[str] = []
    for number in range(3):
        text = "".join(f"line {line} of {number if line % 7 == 0 else 0}\n" for line in range(150))
        files = {"a": text.encode(), f"only-{number}": bytes([number]) * 50, "kept": b"as it was\n"}
        names = {
            name: server.write_object(ObjectKind.FILE, encode_file(FileObject(content=data)))
            for name, data in files.items()
        }
        inner = server.write_object(ObjectKind.TREE, encode_tree(Tree(files={"a": names["a"].checksum}, dirs={})))
        body = Tree(files={name: one.checksum for name, one in names.items()}, dirs={"dir": inner.checksum})
        tree = server.write_object(ObjectKind.TREE, encode_tree(body))
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)
        commits.append(
            server.add_commit(tree.checksum, committed_at=at, parent=commits[-1] if commits else None, ref="main")
        )
    sets = ObjectSets(server.read_history())
    for name in sets.of_commit(commits[0]):
        template.write_object(name.kind, server.read_object(name))
    template.write_ref("main", commits[0])
    files = {
        relative_path(name): (server.path / relative_path(name)).read_bytes()
        for c in commits
        for name in sets.of_commit(c)
    }
    deltas = {
        (base, target, codec): encode_bundle(server, sets, commits[base], commits[target], codec)
        for base, target in _HOPS
        for codec in CODECS
    }
    files |= {f"{delta_path(stop)}/delta": data for stop, data in deltas.items()}
    files["summary"] = format_heads({"main": commits[2]})
    return StoreWorld(tuple(commits), files, deltas, template.path)


def delta_path(stop: Stop) -> str:
    return f"deltas/{stop[0]}/{stop[1]}.{stop[2]}"
