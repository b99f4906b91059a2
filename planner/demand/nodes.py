"""Demand from a Kubernetes cluster: which images its nodes hold, as `kubectl get nodes -o json` tells.

Each node is a client of every ref (an image's repository) of which it holds an image: its base is the newest that it
holds, its target the ref's head. Nodes that hold the head ask for nothing. Only the names of images are read; names of
nodes, addresses and labels are not, and nothing but counts is kept.

Source: Kubernetes API reference, NodeStatus (`images`: a list of the names that one image has on the node).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from planner.demand.cohorts import Cohort, Demand, UnknownBase
from planner.errors import InputError
from planner.history.records import MANIFEST_KEY, History


class _Image(msgspec.Struct, frozen=True):
    names: tuple[str, ...] | None = None


class _Status(msgspec.Struct, frozen=True):
    images: tuple[_Image, ...] | None = None


class _Node(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class _Nodes(msgspec.Struct, frozen=True):
    items: tuple[_Node, ...]


def parse_nodes(data: bytes, history: History, *, name: str = "nodes") -> Demand:
    """The demand of a cluster's nodes, ordered by base and ref; `name` leads the data paths of errors.

    Images of a known ref that the history lacks are `Demand.unknown`; images of other refs are nobody's demand here.

    Raises:
        InputError: it is no list of nodes.
    """
    try:
        nodes = msgspec.json.decode(data, type=_Nodes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            "is no list of nodes as `kubectl get nodes -o json` writes it", path=name, cause=str(error)
        ) from error
    known = _Known(history)
    counts, unknown = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for node in nodes.items:
        names = [tuple(image.names or ()) for image in node.status.images or ()]
        held, lost = known.held_by(names)
        counts.update((base, ref) for ref, base in held.items() if base != history.refs[ref])
        unknown.update((base, ref) for ref, base in lost.items() if ref not in held)
    return Demand(
        cohorts=tuple(
            Cohort(base=base, target=history.refs[ref], clients=float(clients), ref=ref)
            for (base, ref), clients in sorted(counts.items())
        ),
        unknown=tuple(
            UnknownBase(base=base, target=history.refs[ref], clients=float(clients), path=name)
            for (base, ref), clients in sorted(unknown.items())
        ),
    )


class _Known:
    """What names mean in a history: images by version and by manifest, and the ref that each belongs to."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._ref_of: dict[str, str] = {}
        self._by_name: dict[str, str] = {}
        for ref, head in sorted(history.refs.items()):
            for checksum in (head, *history.ancestors(head)):
                self._ref_of.setdefault(checksum, ref)
        for checksum, commit in history.commits.items():
            manifest = commit.metadata.get(MANIFEST_KEY)
            self._by_name |= {one: checksum for one in (commit.version, manifest) if isinstance(one, str)}

    def held_by(self, images: Iterable[tuple[str, ...]]) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Of each ref the newest image that a node holds, and a name of one that the history lacks."""
        held, lost = dict[str, str](), dict[str, str]()
        for names in images:
            found = next((one for one in map(self._find, names) if one is not None), None)
            if found is None:
                lost |= {ref: one for one in names if (ref := repository_of(one)) in self._history.refs}
            elif (of_image := self._ref_of.get(found)) is not None:
                held[of_image] = max(held.get(of_image, found), found, key=self._age)
        return held, lost

    def _find(self, name: str) -> str | None:
        """The image of a name with a tag, or with the digest of its manifest."""
        _, _, digest = name.partition("@sha256:")
        return self._by_name.get(digest or name)

    def _age(self, checksum: str) -> tuple[object, ...]:
        return self._history.commits[checksum].committed_at, checksum


def repository_of(name: str) -> str:
    """An image's name without its tag and digest, as a ref: a registry's port is told by `_`, which refs may have.

    >>> repository_of("registry.example:5000/app/web:1.2@sha256:00"), repository_of("app")
    ('registry.example_5000/app/web', 'app')
    """
    plain = name.partition("@")[0]
    folder, slash, last = plain.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}".replace(":", "_")
