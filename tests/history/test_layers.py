"""The union of layers: one rule for every path, in our store, in OSTree, and in what is checked."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.history.layers import check_fit, check_union
from planner.history.ostree import OSTreeRepository
from planner.history.records import LAYERS_KEY, History
from planner.history.store import Store
from planner.history.trees import unite_trees, write_files
from tests.delta.worlds import run_ostree

NAMES = ("a", "b", "c")

contents = st.dictionaries(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join),
    st.sampled_from([b"1", b"2", b"3"]),
    min_size=1,
    max_size=6,
).filter(lambda files: not any(other.startswith(f"{path}/") for path in files for other in files))


def _is_conflict(layers: list[dict[str, bytes]]) -> bool:
    paths = {path for layer in layers for path in layer}
    return any(other.startswith(f"{path}/") for path in paths for other in paths)


@settings(deadline=None, max_examples=60)
@given(layers=st.lists(contents, min_size=1, max_size=4))
def test_the_last_file_of_each_path_counts(
    layers: list[dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As of dictionaries that update one another; a file against a folder is refused, and nothing else is."""
    store = Store.create(tmp_path_factory.mktemp("store") / "s")
    trees = [write_files(store, layer) for layer in layers]
    if _is_conflict(layers):
        with pytest.raises(InputError, match="a file in one layer and a folder in another"):
            unite_trees(store, trees)
        return
    united: dict[str, bytes] = {}
    for layer in layers:
        united.update(layer)
    assert unite_trees(store, trees) == write_files(store, united)


def _commit(store: Store, files: dict[str, bytes], name: str, layers: tuple[str, ...] = ()) -> str:
    metadata = {"version": name} | ({LAYERS_KEY: " ".join(layers)} if layers else {})
    when = datetime(2024, 1, 1, tzinfo=UTC)
    return store.add_commit(write_files(store, files), committed_at=when, metadata=metadata, ref=name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_a_commit_is_checked_to_be_the_union(store: Store) -> None:
    base = _commit(store, {"etc/a": b"1", "usr/x": b"2"}, "B")
    part = _commit(store, {"etc/a": b"3", "opt/y": b"4"}, "S")
    whole = {"etc/a": b"3", "usr/x": b"2", "opt/y": b"4"}
    good = _commit(store, whole, "good", (base, part))
    wrong = {
        "other order": _commit(store, whole, "other-order", (part, base)),
        "more": _commit(store, {**whole, "usr/z": b"5"}, "more", (base, part)),
        "less": _commit(store, {"etc/a": b"3", "usr/x": b"2"}, "less", (base, part)),
    }
    plain = _commit(store, whole, "plain")
    lost = _commit(store, whole, "lost", (base, "f" * 64))
    history = store.read_history()
    check_union(history, good)
    for name, commit in wrong.items():
        with pytest.raises(InputError, match="is not the union of its layers") as caught:
            check_union(history, commit)
        assert caught.value.path in ("/etc/a", "/usr/z", "/opt"), name
    with pytest.raises(InputError, match="is not composed of layers"):
        check_union(history, plain)
    with pytest.raises(InputError, match="a layer that the repository lacks"):
        check_union(history, lost)


def _trees(rng: random.Random, folder: Path) -> None:
    for name in ("a/x", "a/y", "b/x", "c", "d/e/f"):
        if rng.random() < 0.6:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rng.choice("123"))
            path.chmod(rng.choice([0o644, 0o755]))
    folder.mkdir(exist_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_stock_tool_has_the_same_rule(seed: int, tmp_path: Path) -> None:
    """What `ostree commit --tree=ref=...` makes of two layers passes the check; what it refuses is refused."""
    rng, repo = random.Random(seed), tmp_path / "repo"
    run_ostree("init", f"--repo={repo}", "--mode=archive")
    layers = []
    for name in ("B", "S"):
        _trees(rng, tmp_path / name)
        layers.append(
            run_ostree("commit", f"--repo={repo}", f"--branch={name}", f"--tree=dir={tmp_path / name}").strip()
        )
    run_ostree(
        *("commit", f"--repo={repo}", "--branch=mixed", f"--add-metadata-string={LAYERS_KEY}={' '.join(layers)}"),
        *(f"--tree=ref={layer}" for layer in layers),
    )
    history = OSTreeRepository(repo).read_history()
    check_fit(history, layers)
    check_union(history, history.refs["mixed"])


def test_conflicts_are_named_with_their_path(tmp_path: Path, store: Store) -> None:
    one = _commit(store, {"etc/conf": b"1"}, "one")
    two = _commit(store, {"etc/conf/d": b"1"}, "two")
    history: History = store.read_history()
    with pytest.raises(InputError, match="a file in one layer and a folder in another") as caught:
        check_fit(history, (one, two))
    assert caught.value.path == "/etc/conf"
    with pytest.raises(InputError, match="is a layer that the repository lacks"):
        check_fit(history, (one, "e" * 64))
