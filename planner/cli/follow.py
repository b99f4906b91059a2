"""`deltaplan follow`: clients walk their published routes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night
from planner.errors import InputError
from planner.follow.follower import Abilities, Client, Trust
from planner.follow.follower import follow as follow_route
from planner.follow.ostree_client import OSTreeClient
from planner.follow.remote import Remote, open_remote
from planner.follow.store_client import StoreClient
from planner.history.records import EMPTY
from planner.history.store import Store
from planner.images.client import ImageClient
from planner.night.rehearsal import Rehearsal, raise_unverified
from planner.publish.keys import read_public_keys
from planner.units import format_bytes


def follow(  # noqa: PLR0913, PLR0917 - the verb's options
    scenario: Annotated[
        Path | None, typer.Argument(help="Rehearse every cohort of this scenario.", show_default=False)
    ] = None,
    work: WorkOption = None,
    base: Annotated[str | None, typer.Option("--base", help="Rehearse only the cohorts on this base.")] = None,
    client: Annotated[
        Path | None, typer.Option("--client", help="Update this client repository (store or OSTree) instead.")
    ] = None,
    remote: Annotated[
        str | None, typer.Option("--remote", help="With --client: URL or folder of a store; name of an OSTree remote.")
    ] = None,
    ref: Annotated[str | None, typer.Option("--ref", help="With --client: the ref to update.")] = None,
    max_hops: Annotated[int | None, typer.Option("--max-hops", min=0, help="With --client: longest route.")] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="With --client: it keeps its tree's layers, and may unite new ones.")
    ] = False,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", help="With --client: file of public keys, one of which signed the routes. Repeatable."),
    ] = None,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="With --client: go back where the ref's head is older.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a client on every base reach its target by its published route, or update one real client."""

    def rehearse(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        if scenario is None:
            raise InputError("give a scenario, or --client with --remote and --ref")
        done = open_night(scenario, work, 1, reporter).follow(base)
        raise_unverified(done)
        return [asdict(one) for one in done], rehearsal_view(done)

    def update(_: TerminalReporter) -> tuple[Any, RenderableType]:
        if client is None or remote is None or ref is None:
            raise InputError("--client needs --remote and --ref")
        trust = Trust(keys=read_public_keys(key or ()), allow_downgrade=allow_downgrade)
        done = _update_client(client, remote, ref, Abilities(max_hops=max_hops, layers=layers), trust)
        return done, Text(f"{done['target']} by {done['hops']} hops, {format_bytes(done['wire_bytes'])}")

    run_verb(rehearse if client is None else update, as_json=as_json)


def _update_client(path: Path, remote: str, ref: str, abilities: Abilities, trust: Trust) -> dict[str, Any]:
    """Update a real client; its base is what its own ref says."""
    client, source, base = _open_client(path, remote, ref)
    done = follow_route(client, source, base=base, want=ref, is_ref=True, abilities=abilities, trust=trust)
    return asdict(done)


def _open_client(path: Path, remote: str, ref: str) -> tuple[Client, Remote, str]:
    """The client in a folder, where it updates from, and the commit that it is on."""
    if (path / "refs" / "heads").is_dir():
        ostree = OSTreeClient(path, remote)
        return ostree, open_remote(ostree.remote_url()), ostree.current(ref)
    source = open_remote(remote)
    if (path / "oci-layout").is_file():
        images = ImageClient(path, source)
        return images, source, images.current(ref)
    store = StoreClient(Store.open(path), source)
    return store, source, store.store.read_refs().get(ref, EMPTY)


def rehearsal_view(done: tuple[Rehearsal, ...]) -> RenderableType:
    """The verdict in one line."""
    verified = sum(one.is_verified for one in done)
    hops = max((one.followed.hops for one in done if one.followed), default=0)
    return Group(
        Text(f"every base reached the target: {verified} of {len(done)} verified (longest route: {hops} hops)")
    )
