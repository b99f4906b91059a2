"""Generated histories: the same everywhere, and shaped like real ones."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys

import bsdiff4
import pytest
import zstandard

from planner.errors import InputError
from planner.history.generator import VERSION_FILE, generate_releases

SMALL = {"seed": 7, "releases": 4, "files": 40, "median_bytes": 2000, "rebuild_every": 3}
GOLDEN = "a5fbdb0588ab24d082ae458166d7b913f71bd3eca0c5434f5ace313243d8b38f"


def _digest(**settings: float) -> str:
    sums = [
        {path: hashlib.sha256(content).hexdigest() for path, content in release.items()}
        for release in generate_releases(**settings)
    ]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def test_the_bytes_are_the_golden_ones() -> None:
    """A change here changes every figure that was measured on generated histories."""
    assert _digest(**SMALL) == GOLDEN


def test_another_process_with_other_hash_seeds_makes_the_same_bytes() -> None:
    """No set or dict order, and no global state, gets into the bytes."""
    code = (
        "import hashlib\nfrom planner.history.generator import generate_releases\n"
        f"made = list(generate_releases(**{SMALL!r}))\n"
        "print(hashlib.sha256(repr([list(release.items()) for release in made]).encode()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_is_another_history_and_more_releases_are_the_same_history() -> None:
    """A prefix of a longer history is the shorter one, so an experiment can be prolonged."""
    assert _digest(**SMALL | {"seed": 8}) != _digest(**SMALL)
    longer = list(generate_releases(**SMALL | {"releases": 6}))
    assert longer[:4] == list(generate_releases(**SMALL))


def test_a_yielded_release_is_the_callers_own() -> None:
    """Changing one does not reach the next."""
    kept = list(generate_releases(**SMALL))
    for release, expected in zip(generate_releases(**SMALL), kept, strict=True):
        assert release == expected
        release.clear()


def test_releases_edit_add_remove_and_rename() -> None:
    """Over a longer history each kind of change comes up, and most files stay."""
    releases = list(generate_releases(seed=1, releases=12, files=100, median_bytes=1000, rebuild_every=0))
    edits = additions = removals = renames = 0
    for old, new in itertools.pairwise(releases):
        edits += sum(old[path] != new[path] for path in old.keys() & new.keys())
        contents = set(old.values())
        renamed = {path for path in new.keys() - old.keys() if new[path] in contents}
        renames += len(renamed)
        additions += len(new.keys() - old.keys() - renamed)
        removals += len(old.keys() - new.keys()) - len(renamed)
        assert old[VERSION_FILE] != new[VERSION_FILE]
        assert list(new) == sorted(new)
    assert min(edits, additions, removals, renames) > 0
    assert edits > 3 * (additions + removals + renames)
    assert len(releases[0]) == 100


def test_files_compress_and_edits_are_small_deltas() -> None:
    """What delta tools live on: an edited file's bsdiff is a small part of the compressed file."""
    old, new = generate_releases(seed=3, releases=2, files=60, change_fraction=0.5, median_bytes=8000)
    edited = [path for path in old.keys() & new.keys() - {VERSION_FILE} if old[path] != new[path]]
    for ending in (".py", ".so"):
        chosen = [path for path in edited if path.endswith(ending)]
        whole_bytes = sum(len(zstandard.compress(new[path])) for path in chosen)
        delta_bytes = sum(len(bsdiff4.diff(old[path], new[path])) for path in chosen)
        assert whole_bytes < 0.7 * sum(len(new[path]) for path in chosen)
        assert delta_bytes < 0.3 * whole_bytes


def test_a_toolchain_rebuild_changes_most_binaries_and_nothing_else() -> None:
    """With no other changes, only binaries differ; the drift is cheap for bsdiff."""
    settings = {"seed": 5, "releases": 2, "files": 80, "change_fraction": 0.0, "rebuild_every": 2}
    old, new = generate_releases(**settings, median_bytes=4000)
    binaries = [path for path in old if path.endswith(".so")]
    changed = {path for path in old if old[path] != new[path]} - {VERSION_FILE}
    assert old.keys() == new.keys()
    assert changed <= set(binaries)
    assert len(changed) > 0.7 * len(binaries)
    assert sum(len(bsdiff4.diff(old[p], new[p])) for p in changed) < 0.6 * sum(
        len(zstandard.compress(new[p])) for p in changed
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_all_text_and_all_binary_can_be_asked_for(fraction: float) -> None:
    """The fraction's ends are exact."""
    (release,) = generate_releases(seed=1, releases=1, files=20, binary_fraction=fraction)
    endings = {path[-3:] for path in release if path != VERSION_FILE}
    assert endings == ({".so"} if fraction else {".py"})


def test_a_history_survives_when_everything_changes_every_time() -> None:
    """Names stay short enough for a file system, and few files are no special case."""
    for files in (1, 2, 5):
        for release in generate_releases(seed=2, releases=60, files=files, change_fraction=1.0, median_bytes=100):
            assert all(len(name) < 100 for path in release for name in path.split("/"))


@pytest.mark.parametrize(
    "wrong", [{"files": 0}, {"releases": -1}, {"median_bytes": 0}, {"change_fraction": 1.1}, {"binary_fraction": -0.1}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """At the call, not at the first release."""
    with pytest.raises(InputError) as caught:
        generate_releases(**SMALL | wrong)
    assert caught.value.path == next(iter(wrong))
