"""Clients that keep layers apart, in a problem that knows only commits and candidates.

Such a client reaches its target in one of two ways: by merged commits as everybody, or layer by layer, after which it
unites them. The second is a walk, too: first along deltas of the first layer, then of the second, and so on. What it
holds meanwhile is no commit, so each state of the walk gets a node of its own, and each delta that it may use there a
copy. A delta is built and stored once, however many copies of it a plan uses: what it costs is a part that all need.
A layer may also be pulled in full, which costs the server nothing.

    B1, S1 --B1→B4--> B4, S1 --S1→S2--> S2-on-B4
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from planner.demand.cohorts import Cohort
from planner.demand.layers import Step, layer_steps
from planner.history.records import EMPTY, History
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Parts
from planner.weigh.candidates import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Walks:
    """Nodes beyond the commits, by name; `copies` of candidates (which, from node, to node); each cohort's own node.

    `pulls` are layers that are pulled in full (base and target, from node, to node).
    """

    names: tuple[str, ...]
    copies: tuple[tuple[int, int, int], ...]
    pulls: tuple[tuple[Step, int, int], ...]
    base_of: Mapping[Cohort, int]


@dataclass(frozen=True, slots=True)
class _State:
    """A client that has come to `at` on its way to `to`, with `rest` still to be walked, for the merged `target`.

    `is_first`: nothing of this layer was walked yet.
    """

    at: str
    to: str
    rest: tuple[Step, ...]
    target: str
    is_first: bool


def find_walks(
    history: History,
    cohorts: Sequence[Cohort],
    candidates: Sequence[Candidate],
    names: Mapping[str, str],
    full_pulls: Container[Step],
) -> Walks:
    """The ways of all cohorts with layers; `names` are those of the problem's commits, in the order of its nodes.

    `full_pulls` are the layers that may be pulled in full.
    """
    walker = _Walker(candidates, names, full_pulls)
    base_of = {}
    for cohort in cohorts:
        if cohort.layers and cohort.base != cohort.target:
            steps = tuple(step for step in layer_steps(history, cohort.base, cohort.target) if step[0] != step[1])
            if steps:
                base_of[cohort] = walker.start(cohort, steps)
    return Walks(names=tuple(walker.names), copies=tuple(walker.copies), pulls=tuple(walker.pulls), base_of=base_of)


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


@dataclass(slots=True)
class _Walker:
    """Nodes and copies as they are found; states that several cohorts come to are walked on from once."""

    candidates: Sequence[Candidate]
    commits: Mapping[str, str]
    full_pulls: Container[Step]
    names: list[str] = field(default_factory=list)
    copies: list[tuple[int, int, int]] = field(default_factory=list)
    pulls: list[tuple[Step, int, int]] = field(default_factory=list)
    _numbers: dict[str, int] = field(init=False)
    _leaving: dict[str, list[int]] = field(init=False)
    _entering: dict[str, list[str]] = field(init=False)
    _nodes: dict[_State, int] = field(default_factory=dict)
    _starts: dict[tuple[str, str], int] = field(default_factory=dict)
    _reaching: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the candidates by their ends."""
        self._numbers = {commit: number for number, commit in enumerate(self.commits)}
        self._leaving, self._entering = defaultdict(list), defaultdict(list)
        for number, one in enumerate(self.candidates):
            self._leaving[one.base].append(number)
            self._entering[one.target].append(one.base)

    def start(self, cohort: Cohort, steps: tuple[Step, ...]) -> int:
        """The cohort's own node, from where merged deltas lead to commits, and others into the walk."""
        ends = cohort.base, cohort.target
        if ends in self._starts:
            return self._starts[ends]
        first = _State(*steps[0], steps[1:], cohort.target, is_first=True)
        node = self._starts[ends] = self._add(f"{self._name(cohort.base)}, apart: {self._describe(first)}")
        merged = self._reach(cohort.target)
        for number in self._leaving[cohort.base]:
            target = self.candidates[number].target
            if target in merged:
                self.copies.append((number, node, self._numbers[target]))
        waiting = list(self._leave(first, node))
        while waiting:
            state = waiting.pop()
            waiting += self._leave(state, self._node(state))
        return node

    def _leave(self, state: _State, node: int) -> Iterator[_State]:
        """Copy what leads on from a state; the states that nobody came to before."""
        reaching = self._reach(state.to)
        for number in self._leaving[state.at]:
            target = self.candidates[number].target
            if target in reaching:
                following = _go(state, target)
                if self._is_new(following):
                    yield following
                self.copies.append((number, node, self._node(following)))
        step = state.at, state.to
        if state.is_first and step in self.full_pulls:
            following = _go(state, state.to)
            if self._is_new(following):
                yield following
            self.pulls.append((step, node, self._node(following)))

    def _is_new(self, state: _State) -> bool:
        """Whether nobody came to a state before; a commit is none."""
        return bool(state.to) and state not in self._nodes

    def _node(self, state: _State) -> int:
        """The node of a state, or of the merged commit that all layers were walked for."""
        if not state.to:
            return self._numbers[state.target]
        if state not in self._nodes:
            self._nodes[state] = self._add(self._describe(state))
        return self._nodes[state]

    def _reach(self, target: str) -> set[str]:
        """The commits from which candidates lead to a target, itself included."""
        found = self._reaching.get(target)
        if found is None:
            found, waiting = {target}, [target]
            while waiting:
                for base in self._entering.get(waiting.pop(), ()):
                    if base not in found:
                        found.add(base)
                        waiting.append(base)
            self._reaching[target] = found
        return found

    def _add(self, name: str) -> int:
        self.names.append(name)
        return len(self.commits) + len(self.names) - 1

    def _describe(self, state: _State) -> str:
        steps = ((state.at, state.to), *state.rest)
        told = " + ".join(f"{self._name(before)} → {self._name(after)}" for before, after in steps)
        return f"{told} = {self._name(state.target)}"

    def _name(self, commit: str) -> str:
        return self.commits.get(commit, commit) or "(empty)"


def _go(state: _State, at: str) -> _State:
    """The state after a step to `at`: where the layer is there, before the next one; `to` is empty after the last."""
    if at != state.to:
        return replace(state, at=at, is_first=False)
    before, after = state.rest[0] if state.rest else (EMPTY, EMPTY)
    return _State(before, after, state.rest[1:], state.target, is_first=True)
