"""Routes of the state before, for clients that read it a moment ago.

A client reads the summary, then its routes. New routes are published before the new summary, so a client that comes
between reads the head before. Its routes stay in the index until the summary is replaced; their deltas stay for the
grace period. A client that finds no route to the head that it read looks for the head once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from planner.errors import InputError
from planner.history.files import read_bounded
from planner.publish.publisher import is_delta
from planner.publish.routes import MAX_INDEX_BYTES, PublishedRoute, index_path, parse_index

Routes = Mapping[str, Sequence[PublishedRoute]]


def find_passing(repository: Path, served_heads: Mapping[str, str], routes: Routes) -> dict[str, list[PublishedRoute]]:
    """For each base, its published routes to heads that are still served and that its new routes do not lead to."""
    found = {base: list(_passing(repository, base, served_heads, of_base)) for base, of_base in routes.items()}
    return {base: some for base, some in found.items() if some}


def _passing(
    repository: Path, base: str, served_heads: Mapping[str, str], routes: Sequence[PublishedRoute]
) -> Iterator[PublishedRoute]:
    wanted = {(route.ref, route.target) for route in routes}
    leaving = {(ref, head) for ref in {route.ref for route in routes if route.ref} if (head := served_heads.get(ref))}
    leaving -= wanted
    if not leaving:
        return
    for route in _published(repository, base):
        is_whole = all(is_delta(repository / hop.path) for hop in route.hops or ())
        if (route.ref, route.target) in leaving and is_whole:
            yield route


def _published(repository: Path, base: str) -> tuple[PublishedRoute, ...]:
    """What a base's index says now; nothing where there is none, or a damaged one."""
    try:
        return parse_index(read_bounded(repository / index_path(base), MAX_INDEX_BYTES).decode(), base)
    except (OSError, UnicodeDecodeError, InputError):
        return ()
