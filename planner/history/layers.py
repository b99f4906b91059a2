"""Merged trees: the union of layers, in order.

One rule for every path: of two files the later layer's counts; two folders become one, with the later one's attributes;
a file in one layer and a folder in another are a conflict. That is what `ostree commit --tree=ref=B --tree=ref=S` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from planner.errors import InputError
from planner.history.records import History, Tree


def check_fit(history: History, layers: Sequence[str]) -> None:
    """Check that layers can be united.

    Raises:
        InputError: one is not in the history, or a path is a file in one and a folder in another.
    """
    for layer in layers:
        if layer not in history.commits:
            raise InputError("is a layer that the repository lacks", got=layer)

    def check(checksums: Sequence[str], path: str) -> None:
        if len(set(checksums)) > 1:
            for name, of_name in unite_names([history.trees[one] for one in checksums], path)[1].items():
                check(of_name, f"{path}/{name}")

    check([history.commits[layer].tree for layer in layers], "")


def check_union(history: History, commit: str) -> None:
    """Check that a commit's files are exactly those of its layers.

    Raises:
        InputError: it names no layers, one is not in the history, layers conflict, or another file is in the union.
    """
    name, layers = history.name_of(commit), history.commits[commit].layers
    if not layers:
        raise InputError("is not composed of layers", got=name)
    check_fit(history, layers)
    trees = [history.commits[layer].tree for layer in layers]
    for path in _differences(history.trees.__getitem__, history.commits[commit].tree, trees, ""):
        raise InputError("is not the union of its layers", got=name, path=path)


def _differences(read: Callable[[str], Tree], merged: str, checksums: Sequence[str], path: str) -> Iterator[str]:
    """Paths at which a tree is not the union of others."""
    if set(checksums) == {merged}:
        return
    files, dirs = unite_names([read(one) for one in checksums], path)
    found = read(merged)
    for name in sorted({*files, *dirs, *found.files, *found.dirs}):
        if found.files.get(name) != files.get(name) or (name in found.dirs) != (name in dirs):
            yield f"{path}/{name}"
        elif name in dirs:
            yield from _differences(read, found.dirs[name], dirs[name], f"{path}/{name}")


def unite_names(trees: Iterable[Tree], path: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The files of one folder of the union, and its folders with what each layer has of them, in order.

    Raises:
        InputError: a name is a file in one tree and a folder in another.
    """
    files: dict[str, str] = {}
    dirs: dict[str, list[str]] = {}
    for tree in trees:
        files.update(tree.files)
        for name, checksum in tree.dirs.items():
            dirs.setdefault(name, []).append(checksum)
    for name in sorted(files.keys() & dirs.keys()):
        raise InputError("is a file in one layer and a folder in another", path=f"{path}/{name}")
    return files, dirs
