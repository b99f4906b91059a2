"""Known mixes become commits: each the union of the layers that the scenario names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from planner.errors import InputError
from planner.history.layers import check_fit
from planner.history.records import EMPTY, Commit, History
from planner.night.sources import Committer, Mix
from planner.scenario_sections import MixSection


def choose_mixes(sections: Sequence[MixSection], history: History, only: Sequence[str] = ()) -> list[Mix]:
    """The mixes that the repository lacks, in the scenario's order; `only` those of these names, if any are given.

    Raises:
        InputError: a name is no mix's, a layer is not there, layers conflict, or another commit has the name.
    """
    mixes = [_resolve(section, history, f"mixes[{number}]") for number, section in enumerate(sections)]
    unknown = [name for name in only if name not in {mix.name for mix in mixes}]
    if unknown:
        raise InputError("is no mix of the scenario", got=unknown[0], known=[mix.name for mix in mixes])
    wanted = [mix for mix in mixes if not only or mix.name in only]
    return [mix for mix in wanted if not _is_there(mix, history)]


def compose_mixes(
    mixes: Sequence[Mix], history: History, committer: Committer, say: Callable[[str], None]
) -> dict[str, str]:
    """Make the merged commits; their checksums by name.

    Raises:
        ToolError: a program is missing or failed.
    """
    heads, made = dict(history.refs), {}
    for mix in mixes:
        say(f"compose {mix.name}")
        follows = replace(mix, parent=heads.get(mix.ref))
        trees = tuple(history.commits[layer].tree for layer in mix.layers)
        heads[mix.ref] = made[mix.name] = committer.unite(follows, trees)
    return made


def _resolve(section: MixSection, history: History, path: str) -> Mix:
    layers = tuple(_find_layer(name, history, f"{path}.layers[{n}]") for n, name in enumerate(section.layers))
    try:
        check_fit(history, layers)
    except InputError as error:
        raise InputError("layers cannot be united", path=path, reason=str(error)) from error
    head = history.refs.get(section.ref)
    dates = [history.commits[one].committed_at for one in (*layers, *([head] if head else []))]
    return Mix(
        name=section.name or "-on-".join(history.name_of(layer) for layer in reversed(layers)),
        ref=section.ref,
        layers=layers,
        released_at=section.released_at or max(dates),
        parent=head,
    )


def _find_layer(name: str, history: History, path: str) -> str:
    try:
        layer = history.resolve(name)
    except InputError as error:
        raise InputError("is a layer that the repository lacks", path=path, got=name) from error
    if layer == EMPTY:
        raise InputError("names no commit", path=path)
    return layer


def _is_there(mix: Mix, history: History) -> bool:
    def is_same(commit: Commit) -> bool:
        return commit.layers == mix.layers

    head = history.refs.get(mix.ref)
    if head is not None and is_same(history.commits[head]):
        return True
    named = [commit for commit in history.commits.values() if commit.version == mix.name]
    if named and not any(map(is_same, named)):
        raise InputError("is a commit of other layers already: name the new mix", got=mix.name)
    return bool(named)
