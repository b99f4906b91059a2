"""Clients that keep layers apart, or cannot apply every codec, in a problem that knows only commits and candidates.

Such a client reaches its target in one of two ways: by merged commits as everybody, or layer by layer, after which it
unites them. The second is a walk, too: first along deltas of the first layer, then of the second, and so on. What it
holds meanwhile is no commit, so each state of the walk gets a node of its own, and each delta that it may use there a
copy. A delta is built and stored once, however many copies of it a plan uses: what it costs is a part that all need.
A layer may also be pulled in full, which costs the server nothing. No layer goes by merged commits: a way through them
is a merged one.

    S1-on-B1, apart  --B1→B4-->  B4 + [S1]  --S1→S2-->  S2-on-B4, apart

States do not say where a walk goes, only what is done and what is held: walks to all targets share them.

Clients that take the deltas of some codecs only walk on copies, too: of the commits, with copies of those deltas.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.demand.cohorts import Cohort
from planner.demand.layers import Step
from planner.history.records import EMPTY, History
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Parts
from planner.weigh.candidates import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Walks:
    """Nodes beyond the commits, by name; `copies` of candidates (which, from node, to node); each cohort's own ends.

    `pulls` are layers that are pulled in full (base and target, from node, to node).
    """

    names: tuple[str, ...]
    copies: tuple[tuple[int, int, int], ...]
    pulls: tuple[tuple[Step, int, int], ...]
    base_of: Mapping[Cohort, int]
    target_of: Mapping[Cohort, int]


NO_WALKS = Walks(names=(), copies=(), pulls=(), base_of={}, target_of={})
"""Where all clients are alike."""


@dataclass(frozen=True, slots=True)
class _State:
    """A client whose first layers are `done`, the next one is `at` a commit, and those after it are `held`.

    `is_first`: it has not moved yet.
    """

    done: tuple[str, ...]
    at: str
    held: tuple[str, ...]
    is_first: bool


def find_walks(
    history: History,
    cohorts: Sequence[Cohort],
    candidates: Sequence[Candidate],
    names: Mapping[str, str],
    full_pulls: Container[Step],
) -> Walks:
    """The ways of cohorts with layers, and of those that take some codecs only.

    `names` are those of the problem's commits, in the order of its nodes;
    `full_pulls` are the layers that may be pulled in full.
    """
    walking = [cohort for cohort in cohorts if cohort.layers and cohort.base != cohort.target]
    choosy = [cohort for cohort in cohorts if cohort.codecs is not None and not cohort.layers]
    walks = _find_walks(history, walking, candidates, names, full_pulls) if walking else NO_WALKS
    return _add_classes(walks, choosy, candidates, names) if choosy else walks


def _add_classes(
    walks: Walks, cohorts: Sequence[Cohort], candidates: Sequence[Candidate], names: Mapping[str, str]
) -> Walks:
    """Commits once more for each set of codecs that some clients are limited to, and copies of their deltas there."""
    numbers = {commit: number for number, commit in enumerate(names)}
    own_names, copies = list(walks.names), list(walks.copies)
    base_of, target_of = dict(walks.base_of), dict(walks.target_of)
    for codecs in sorted({cohort.codecs for cohort in cohorts if cohort.codecs is not None}):
        first = len(names) + len(own_names)
        own_names += [f"{name or '(empty)'}, by {' or '.join(codecs) or 'nothing'}" for name in names.values()]
        copies += [
            (row, first + numbers[one.base], first + numbers[one.target])
            for row, one in enumerate(candidates)
            if one.codec in codecs
        ]
        for cohort in cohorts:
            if cohort.codecs == codecs:
                base_of[cohort], target_of[cohort] = first + numbers[cohort.base], first + numbers[cohort.target]
    return Walks(names=tuple(own_names), copies=tuple(copies), pulls=walks.pulls, base_of=base_of, target_of=target_of)


def _find_walks(
    history: History,
    walking: Sequence[Cohort],
    candidates: Sequence[Candidate],
    names: Mapping[str, str],
    full_pulls: Container[Step],
) -> Walks:
    walker = _Walker(history, candidates, names, full_pulls, dict.fromkeys(cohort.target for cohort in walking))
    starts = {base: walker.start(base) for base in dict.fromkeys(cohort.base for cohort in walking)}
    return Walks(
        names=tuple(walker.names),
        copies=tuple(walker.copies),
        pulls=tuple(walker.pulls),
        base_of={cohort: starts[cohort.base] for cohort in walking},
        target_of={cohort: walker.ends[cohort.target] for cohort in walking},
    )


def share_copies(parts: Parts, sources: IntArray, own: tuple[FloatArray, FloatArray], built: BoolArray) -> Parts:
    """Parts with one more for each candidate that has copies: what the candidate alone takes.

    `own` are stored bytes and core-seconds of the candidates, (candidates,) each, what they share excluded. Copies are
    numbered on from there, `sources` (copies,) are their originals; they need what these need.
    """
    originals, of_copy = np.unique(sources, return_inverse=True)
    first_part, first_copy = len(parts), len(built)
    order = np.argsort(parts.candidate, kind="stable")
    needing, needed = parts.candidate[order], parts.part[order]
    low, high = (np.searchsorted(needing, sources, side=side) for side in ("left", "right"))
    counts = high - low
    ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers = first_copy + np.arange(len(sources))
    return Parts(
        stored_bytes=np.concatenate([parts.stored_bytes, own[0][originals]]),
        server_cpu_s=np.concatenate([parts.server_cpu_s, own[1][originals]]),
        built=np.concatenate([parts.built, built[originals]]),
        candidate=np.concatenate([parts.candidate, np.repeat(numbers, counts), originals, numbers]),
        part=np.concatenate(
            [
                parts.part,
                needed[np.repeat(low, counts) + ranks],
                first_part + np.arange(len(originals)),
                first_part + of_copy,
            ]
        ),
    )


class _Walker:
    """Nodes and copies as they are found; each state is walked on from once."""

    def __init__(
        self,
        history: History,
        candidates: Sequence[Candidate],
        commits: Mapping[str, str],
        full_pulls: Container[Step],
        targets: Iterable[str],
    ) -> None:
        self._history = history
        self._candidates = candidates
        self._commits = commits
        self._full_pulls = full_pulls
        self._numbers = {commit: number for number, commit in enumerate(commits)}
        self._leaving: dict[str, list[int]] = defaultdict(list)
        self._entering: dict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(candidates):
            self._leaving[one.base].append(number)
            self._entering[one.target].append(number)
        self.names: list[str] = []
        self.copies: list[tuple[int, int, int]] = []
        self.pulls: list[tuple[Step, int, int]] = []
        self.ends: dict[str, int] = {}
        self._mixes: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for target in targets:
            self._end(target)
        self._most_layers = max(map(len, self._mixes), default=0)
        self._ahead = _Ahead(tuple(self._mixes))
        self._merged = self._reach(self.ends, lambda _: True)
        self._nodes: dict[_State, int] = {}
        self._of_layer: dict[tuple[str, ...], set[str]] = {}

    def _end(self, target: str) -> None:
        """A node of its own for a target, so that no way goes on from there; merged deltas lead to it, too."""
        self.ends[target] = self._add(f"{self._name(target)}, apart")
        self._mixes[self._history.commits[target].layers].append(target)
        for number in self._entering[target]:
            self.copies.append((number, self._numbers[self._candidates[number].base], self.ends[target]))

    def start(self, base: str) -> int:
        """A base's own node, from where merged deltas lead to commits, and others into the walk."""
        node = self._add(f"{self._name(base)}, apart")
        for number in self._leaving[base]:
            target = self._candidates[number].target
            if target in self.ends:
                self.copies.append((number, node, self.ends[target]))
            if target in self._merged:
                self.copies.append((number, node, self._numbers[target]))
        held = (self._history.commits[base].layers or (base,)) if base != EMPTY else ()
        held += (EMPTY,) * (self._most_layers - len(held))
        first = _State((), held[0], held[1 : self._most_layers], is_first=True)
        waiting = [state for here in self._arrivals(first) for state in self._leave(here, node)]
        while waiting:
            state = waiting.pop()
            waiting += self._leave(state, self._nodes[state])
        return node

    def _leave(self, state: _State, node: int) -> list[_State]:
        """Copy what leads on from a state; the states that nobody came to before."""
        fresh: list[_State] = []
        reaching = self._layer_reach(state.done)
        for number in self._leaving[state.at]:
            target = self._candidates[number].target
            if target in reaching:
                for place in self._come_to(_State(state.done, target, state.held, is_first=False), fresh):
                    self.copies.append((number, node, place))
        for after in self._ahead.wanted(state.done) if state.is_first else ():
            step = state.at, after
            if state.at != after and step in self._full_pulls:
                for place in self._come_to(_State(state.done, after, state.held, is_first=False), fresh):
                    self.pulls.append((step, node, place))
        return fresh

    def _come_to(self, state: _State, fresh: list[_State]) -> Iterator[int]:
        """The nodes of all that a client may be once it comes to a state; those that are new are added to `fresh`."""
        for one in self._arrivals(state):
            if one not in self._nodes:
                self._nodes[one] = self._add(self._describe(one))
                fresh.append(one)
            yield self._nodes[one]
        for target in self._finished(state):
            yield self.ends[target]

    def _arrivals(self, state: _State) -> Iterator[_State]:
        """The state, and those after it in which its layer, and perhaps the next ones, are taken for done."""
        yield state
        following = self._next(state)
        if following is not None:
            yield from self._arrivals(following)

    def _finished(self, state: _State) -> Iterator[str]:
        """The targets all of whose layers are there."""
        if state.at in self._ahead.wanted(state.done):
            yield from self._mixes.get((*state.done, state.at), ())
        following = self._next(state)
        if following is not None:
            yield from self._finished(following)

    def _next(self, state: _State) -> _State | None:
        """The state with its layer done, if some target has that and more."""
        done = (*state.done, state.at)
        if state.at not in self._ahead.wanted(state.done) or not self._ahead.wanted(done):
            return None
        return _State(done, state.held[0], state.held[1:], is_first=True)

    def _layer_reach(self, done: tuple[str, ...]) -> set[str]:
        """The commits, merged ones excepted, from which deltas lead to what some target has after these layers."""
        found = self._of_layer.get(done)
        if found is None:
            found = self._of_layer[done] = self._reach(
                self._ahead.wanted(done), lambda commit: commit == EMPTY or not self._history.commits[commit].layers
            )
        return found

    def _reach(self, targets: Iterable[str], is_passed: Callable[[str], bool]) -> set[str]:
        """The commits from which candidates lead to one of the targets, themselves included."""
        found = set(targets)
        waiting = list(found)
        while waiting:
            for number in self._entering.get(waiting.pop(), ()):
                base = self._candidates[number].base
                if base not in found and is_passed(base):
                    found.add(base)
                    waiting.append(base)
        return found

    def _add(self, name: str) -> int:
        self.names.append(name)
        return len(self._commits) + len(self.names) - 1

    def _describe(self, state: _State) -> str:
        here = f"[{'' if state.is_first else '→ '}{self._name(state.at)}]"
        return " + ".join([*map(self._name, state.done), here, *map(self._name, state.held)])

    def _name(self, commit: str) -> str:
        return self._commits.get(commit, commit) or "(empty)"


@dataclass(slots=True)
class _Ahead:
    """What comes next in the mixes that walks lead to."""

    mixes: tuple[tuple[str, ...], ...]
    _wanted: dict[tuple[str, ...], frozenset[str]] = field(default_factory=dict)

    def wanted(self, done: tuple[str, ...]) -> frozenset[str]:
        """The next layers of mixes that begin with these."""
        found = self._wanted.get(done)
        if found is None:
            depth = len(done)
            found = frozenset(mix[depth] for mix in self.mixes if len(mix) > depth and mix[:depth] == done)
            self._wanted[done] = found
        return found
