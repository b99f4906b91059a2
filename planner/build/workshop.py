"""What several deltas of an OSTree repository are made of, worked out once and kept for tonight and later.

    <pool>/workshop/differences.sqlite                 differences between contents (`DifferencePool`)
    <pool>/workshop/parts/<target>/<recipe>            a packed part; published deltas link to it
    <pool>/workshop/parts/<target>/<recipe>.json       what is in it, and what it took
    <pool>/workshop/orders/<codec>/<base or 'empty'>-<target>  what a delta is to be put together of

All of it can be made again: files appear under their names only when they are whole, and every delta is proved.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from planner.build.executors import Executor
from planner.build.native_delta import write_beside
from planner.build.pool import MAX_DELTA_BYTES, Pool
from planner.build.processes import TASKS_OF_A_WORKER, DatabaseTask, Refused, Task, cpu_s, peak_memory_bytes, share_out
from planner.build.workshop_notes import Built, Order, PartNote, PieceNote, read_order, read_part_note, write_order
from planner.delta.compose import Hop
from planner.delta.contents import CommitContents, Contents
from planner.delta.difference_pool import DifferencePool
from planner.delta.encode import choose_sources, project_diff_core_s
from planner.delta.make import (
    Layout,
    Settings,
    compose_delta,
    lay_out,
    layout_superblock,
    part_header,
)
from planner.delta.packing import pack_recipe
from planner.delta.pairing import Pairing
from planner.delta.paths import SUPERBLOCK, relative_path
from planner.delta.recipes import Piece, Recipe
from planner.delta.superblock import COMPOSED, NATIVE, PartHeader, read_superblock
from planner.errors import BuildError
from planner.history.files import read_bounded, remove_files, write_atomically
from planner.history.objects import ObjectSets
from planner.history.ostree import OSTreeRepository
from planner.history.records import EMPTY, ObjectKind, ObjectName
from planner.weigh.candidates import Candidate, Need

Report = Callable[[str, int, int, str], None]
"""Where progress goes: the step, how far it has come, of how much, and what was just finished."""

# Projected seconds of a task that makes differences: less, and starting its process takes longer than the work.
_TASK_CORE_S = 1.0
# Differences that are kept: those of some dozens of releases of a large system.
MAX_DIFFERENCES_BYTES = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Workshop:
    """The workshop of a repository's pool."""

    repository: Path
    pool: Pool
    settings: Settings = field(default_factory=Settings)

    @property
    def differences(self) -> Path:
        """The pool of differences."""
        return self.pool.workshop / "differences.sqlite"

    def part(self, target: str, recipe: str) -> Path:
        """The file of a packed part."""
        return self.pool.workshop / "parts" / target / recipe

    def order_folder(self, codec: str, base: str, target: str) -> Path:
        """What is known of a delta that is to be put together."""
        return self.pool.workshop / "orders" / codec / f"{base or 'empty'}-{target}"

    def read_note(self, target: str, recipe: str) -> PartNote:
        """What is known of a packed part.

        Raises:
            BuildError: it is not there or damaged; then it is made again.
        """
        path = self.part(target, recipe).with_suffix(".json")
        return read_part_note(path)

    def put_together(self, base: str, target: str, into: Path) -> Built:
        """Write a delta that was ordered into a folder, its parts as links.

        Raises:
            BuildError: it was not ordered, or a part is gone.
        """
        folder = self.order_folder(NATIVE, base, target)
        order = read_order(folder)
        try:
            shutil.copyfile(folder / SUPERBLOCK, into / SUPERBLOCK)
            for number, recipe in enumerate(order.parts):
                os.link(self.part(target, recipe), into / str(number))
        except FileNotFoundError as error:
            raise BuildError("a part that was packed is gone", path=str(error.filename)) from error
        return Built(needs=order.needs, peak_memory_bytes=order.peak_memory_bytes, spent=folder)

    def compose(self, base: str, target: str, into: Path) -> Built:
        """Write a composed delta that was ordered into a folder.

        Raises:
            BuildError: it was not ordered, or a hop's delta is gone.
            RepositoryError: a hop's delta is damaged.
        """
        folder = self.order_folder(COMPOSED, base, target)
        order = read_order(folder)
        repository = OSTreeRepository(self.repository)
        hops = [self._read_hop(*hop) for hop in order.hops]
        ends = repository.read_commits({base, target} - {EMPTY})
        objects, metadata = ObjectSets(ends), repository.read_commit_metadata(target)
        write_beside(compose_delta(hops, objects, self.settings, commit_metadata=metadata), into / SUPERBLOCK)
        return Built(needs=order.needs, spent=folder)

    def _read_hop(self, base: str, target: str) -> Hop:
        made = self.pool.folder(Candidate(base=base, target=target, codec=NATIVE))
        folder = made if made.exists() else self.repository / relative_path(base, target)
        try:
            superblock = read_superblock(read_bounded(folder / SUPERBLOCK, MAX_DELTA_BYTES))
            numbers = range(len(superblock.parts))
            return Hop(superblock, tuple(read_bounded(folder / str(number), MAX_DELTA_BYTES) for number in numbers))
        except OSError as error:
            raise BuildError("a hop's delta is gone", path=str(folder), cause=str(error)) from error

    def order_composed(self, base: str, target: str, hops: Sequence[tuple[str, str]], needs: Iterable[Need]) -> None:
        """Order a composed delta of hops; `needs` are what the hops need, of which it needs the making only."""
        folder = self.order_folder(COMPOSED, base, target)
        folder.mkdir(parents=True, exist_ok=True)
        making = tuple(need for need in needs if not need.stored_bytes)
        write_order(Order(needs=making, hops=tuple(hops)), folder)

    def prepare(self, pairs: Iterable[tuple[str, str]], *, executor: Executor, report: Report) -> None:
        """Order deltas: lay them out together, target by target, make differences and pack parts on all cores.

        Raises:
            PlannerError: as `Executor.run`.
        """
        by_target: dict[str, list[str]] = {}
        for base, target in pairs:
            by_target.setdefault(target, []).append(base)
        if not by_target:
            return
        bench = _Bench(self, executor, report)
        with DifferencePool(self.differences) as differences:
            for number, (target, bases) in enumerate(by_target.items(), start=1):
                bench.order(bases, target, differences)
                report("lay out", number, len(by_target), f"{len(bases)} deltas to {bench.name(target)}")
            differences.trim(MAX_DIFFERENCES_BYTES)

    def clean(self) -> None:
        """Remove packed parts that no delta links to any more, and what was ordered and never put together."""
        shutil.rmtree(self.pool.workshop / "orders", ignore_errors=True)
        for note in (self.pool.workshop / "parts").glob("*/*.json"):
            part = note.with_suffix("")
            if not part.exists() or part.lstat().st_nlink == 1:
                remove_files([part, note])


def open_differences(repository: Path, settings: Settings) -> DifferencePool:
    """The repository's pool of differences where a night made one, and these settings make the same; else a new one.

    A repository in which no night works, or this user may not write, is left as it is.
    """
    path = Workshop(repository, Pool.of_repository(repository)).differences
    is_same = settings.max_suffix_bytes == Settings().max_suffix_bytes
    return DifferencePool(path if is_same and os.access(path, os.R_OK | os.W_OK) else None)


@dataclass
class _Bench:
    """One run of preparing."""

    workshop: Workshop
    executor: Executor
    report: Report
    peak_memory_bytes: int = 0
    """Of the processes that made differences into the target at hand."""

    @cached_property
    def contents(self) -> CommitContents:
        """The repository's contents."""
        repository = OSTreeRepository(self.workshop.repository)
        return CommitContents(repository, ObjectSets(repository.read_history()))

    def name(self, commit: str) -> str:
        """A commit as a person names it."""
        return self.contents.objects.history.name_of(commit)

    def order(self, bases: Sequence[str], target: str, differences: DifferencePool) -> None:
        """Lay out the deltas into one target, pack their parts, and write their orders."""
        ready = list(self._ready_recipes(target))

        def warm(pairings: Sequence[Pairing]) -> None:
            self._warm(target, [one for one in pairings if _is_new(one, differences)])

        layouts = lay_out(self.contents, bases, target, self.workshop.settings, differences, warm, ready)
        names = self._pack(target, dict.fromkeys(recipe for layout in layouts for recipe in layout.recipes))
        for layout in layouts:
            self._write_order(layout, [names[recipe] for recipe in layout.recipes])
        self.peak_memory_bytes = 0

    def _ready_recipes(self, target: str) -> Iterator[Recipe]:
        """What is packed already for a target."""
        for path in sorted((self.workshop.pool.workshop / "parts" / target).glob("*.json")):
            if not path.with_suffix("").exists():
                continue
            try:
                note = self.workshop.read_note(target, path.stem)
            except BuildError:
                continue
            yield Recipe(
                tuple(
                    Piece(
                        ObjectName(ObjectKind(piece.kind), piece.checksum),
                        piece.source,
                        (),
                        payload_bytes=piece.payload_bytes,
                        estimated_bytes=0,
                    )
                    for piece in note.pieces
                )
            )

    def _warm(self, target: str, pairings: Sequence[Pairing]) -> None:
        """Make the differences that pairings may need, in tasks of about the same length."""
        tasks = [DifferTask(self.workshop, tuple(some)) for some in _share_out(pairings, self.executor.workers)]
        peaks_bytes = self._run("differences", target, tasks)
        self.peak_memory_bytes = max(self.peak_memory_bytes, *peaks_bytes, 0)

    def _pack(self, target: str, recipes: Iterable[Recipe]) -> dict[Recipe, str]:
        names = {recipe: recipe.digest(self.workshop.settings.effort) for recipe in recipes}
        missing = [recipe for recipe, name in names.items() if not self.workshop.part(target, name).exists()]
        # The longest first: the last task to end decides when all have ended.
        missing.sort(key=lambda recipe: -recipe.payload_bytes)
        self._run("pack", target, [PackTask(self.workshop, target, names[recipe], recipe) for recipe in missing])
        return names

    def _run(self, step: str, target: str, tasks: Sequence[Task[int]]) -> list[int]:
        """The peak memory of each task's process, in bytes."""
        peaks_bytes = []
        with closing(self.executor.run(tasks, self.workshop.pool, preload="planner.delta.loaded")) as outcomes:
            for done, (_, outcome) in enumerate(outcomes, start=1):
                if isinstance(outcome, Refused):
                    raise BuildError("what deltas are made of cannot be made", step=step, reason=outcome.reason)
                peaks_bytes.append(outcome)
                self.report(step, done, len(tasks), f"for {self.name(target)}")
        return peaks_bytes

    def _write_order(self, layout: Layout, names: Sequence[str]) -> None:
        notes = [self.workshop.read_note(layout.target, name) for name in names]
        headers = [
            PartHeader(
                checksum=note.checksum,
                file_bytes=note.file_bytes,
                object_bytes=note.object_bytes,
                objects=tuple(piece.name for piece in recipe.pieces),
            )
            for note, recipe in zip(notes, layout.recipes, strict=True)
        ]
        needs = [
            need
            for note in notes
            for need in (
                Need(key=f"file:{note.checksum}", stored_bytes=note.file_bytes, server_cpu_s=0.0),
                Need(key=f"making:{note.checksum}", stored_bytes=0, server_cpu_s=note.core_s),
            )
        ]
        folder = self.workshop.order_folder(NATIVE, layout.base, layout.target)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / SUPERBLOCK, layout_superblock(layout, headers, self.contents))
        peak_memory_bytes = max((self.peak_memory_bytes, *(note.peak_memory_bytes for note in notes)))
        order = Order(needs=tuple(needs), parts=tuple(names), peak_memory_bytes=peak_memory_bytes)
        write_order(order, folder)


@dataclass(frozen=True, slots=True)
class DifferTask(DatabaseTask):
    """Make the differences that some pairings need."""

    workshop: Workshop
    pairings: tuple[Pairing, ...]

    def run(self, folder: Path) -> int:  # noqa: ARG002 - results are in the pool of differences
        """Do it; this process's peak memory in bytes."""
        contents, settings = Contents(OSTreeRepository(self.workshop.repository)), self.workshop.settings
        with DifferencePool(self.workshop.differences) as pool:
            choose_sources(self.pairings, contents.read, pool, max_suffix_bytes=settings.max_suffix_bytes)
        return peak_memory_bytes()


@dataclass(frozen=True, slots=True)
class PackTask(DatabaseTask):
    """Pack a part."""

    workshop: Workshop
    target: str
    name: str
    recipe: Recipe

    def run(self, folder: Path) -> int:  # noqa: ARG002 - the part gets its name when it is whole
        """Do it; the part and its note are in the workshop. This process's peak memory in bytes."""
        started_s = cpu_s()
        contents = Contents(OSTreeRepository(self.workshop.repository))
        with DifferencePool(self.workshop.differences) as pool:
            data = pack_recipe(self.recipe, contents, pool, self.workshop.settings.effort)
        header = part_header(self.recipe, data, contents)
        peak_bytes = peak_memory_bytes()
        note = PartNote(
            checksum=header.checksum,
            file_bytes=header.file_bytes,
            object_bytes=header.object_bytes,
            core_s=self.recipe.core_s + cpu_s() - started_s,
            pieces=tuple(
                PieceNote(piece.name.kind, piece.name.checksum, piece.source, piece.payload_bytes)
                for piece in self.recipe.pieces
            ),
            peak_memory_bytes=peak_bytes,
        )
        path = self.workshop.part(self.target, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.with_suffix(".json"), msgspec.json.encode(note))
        write_atomically(path, data)
        return peak_bytes


def _is_new(pairing: Pairing, differences: DifferencePool) -> bool:
    """Whether the likeliest difference of a pairing was never made."""
    return any(differences.find(source.checksum, pairing.checksum) is None for source in pairing.sources[:1])


def _share_out(pairings: Sequence[Pairing], workers: int) -> Iterator[list[Pairing]]:
    """Pairings in lots of about the same projected seconds, the largest first, some for each worker."""

    def project_core_s(pairing: Pairing) -> float:
        return sum(project_diff_core_s(source.size_bytes, pairing.size_bytes) for source in pairing.sources[:1])

    enough_core_s = max(_TASK_CORE_S, sum(map(project_core_s, pairings)) / (TASKS_OF_A_WORKER * workers))
    ordered = sorted(pairings, key=lambda one: (-project_core_s(one), one.checksum))
    return share_out(ordered, project_core_s, enough_core_s)
