"""From what could be built and who asks, to the optimizer's problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.demand.cohorts import Cohort
from planner.history.records import EMPTY, History
from planner.optimize.layered import Walks, find_walks, share_copies
from planner.optimize.needs import Sharing, share_needs
from planner.optimize.problem import (
    NO_HOP_LIMIT,
    Candidates,
    Demands,
    FloatArray,
    Limits,
    Parts,
    Prices,
    Problem,
)
from planner.weigh.candidates import Candidate, Need, Weight

FULL_PULL = "full-pull"
"""In place of a codec: the objects of a layer, one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A problem with the meaning of its rows: `candidates[i]` is candidate i, `cohorts[k]` demand k.

    Where clients keep layers apart, several rows may be of one candidate, and some stand for a layer that is pulled in
    full (`layered.py`).
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    cohorts: tuple[Cohort, ...]

    def candidates_of(self, rows: Iterable[int]) -> tuple[Candidate, ...]:
        """The candidates of some rows, each once, in the order of the rows; full pulls are none."""
        found = dict.fromkeys(self.candidates[row] for row in rows)
        return tuple(candidate for candidate in found if candidate.codec != FULL_PULL)


def assemble(
    history: History,
    cohorts: Sequence[Cohort],
    weighed: Mapping[Candidate, Weight],
    full_pull_bytes: Mapping[tuple[str, str], int],
    *,
    needs: Mapping[Candidate, Sequence[Need]] | None = None,
    built: Collection[Candidate] = (),
    prices: Prices | None = None,
    limits: Limits | None = None,
) -> Assembly:
    """The problem of one night.

    Commits are those that candidates and cohorts name, in the history's order (oldest first, the empty
    commit before all), under their versions where these are unique. Candidates are sorted by base and
    target in that order, then by codec. A cohort without an entry in `full_pull_bytes` has no full pull. What several
    candidates need (`needs`) is paid once. Clients with layers have further nodes and rows, after all others.
    """
    named = {c.base for c in cohorts} | {c.target for c in cohorts}
    named |= {c.base for c in weighed} | {c.target for c in weighed}
    commits = [commit for commit in (EMPTY, *history.commits) if commit in named]
    number = {commit: index for index, commit in enumerate(commits)}
    order = sorted(weighed, key=lambda c: (number[c.base], number[c.target], c.codec))
    names = dict(zip(commits, _names(history, commits), strict=True))
    walks = find_walks(history, cohorts, order, names, full_pull_bytes)
    sharing = share_needs(order, needs or {}, built)
    candidates = _candidates([(c, weighed[c], c in built) for c in order], number, sharing)
    parts = sharing.parts
    if walks.base_of:
        candidates, parts = _add_walks(candidates, parts, walks, full_pull_bytes)
    problem = Problem(
        commits=(*names.values(), *walks.names),
        candidates=candidates,
        parts=parts,
        demands=_demands(cohorts, full_pull_bytes, number, walks),
        prices=prices or Prices(),
        limits=limits or Limits(),
    )
    copies = (order[source] for source, _, _ in walks.copies)
    pulls = (Candidate(base=step[0], target=step[1], codec=FULL_PULL) for step, _, _ in walks.pulls)
    return Assembly(problem=problem, candidates=(*order, *copies, *pulls), cohorts=tuple(cohorts))


def _add_walks(
    candidates: Candidates, parts: Parts, walks: Walks, full_pull_bytes: Mapping[tuple[str, str], int]
) -> tuple[Candidates, Parts]:
    """Candidates with their copies, and full pulls; what one takes that has copies is a part of theirs."""
    source, base, target = np.array(walks.copies, dtype=np.int64).reshape(-1, 3).T
    pulled_bytes = _floats([full_pull_bytes[step] for step, _, _ in walks.pulls])
    own = candidates.stored_bytes, candidates.server_cpu_s
    is_alone = ~np.isin(np.arange(len(candidates)), source)
    nothing = np.zeros(len(source) + len(pulled_bytes))
    ends = np.array([nodes for _, *nodes in walks.pulls], dtype=np.int64).reshape(-1, 2).T
    return (
        Candidates(
            base=np.concatenate([candidates.base, base, ends[0]]),
            target=np.concatenate([candidates.target, target, ends[1]]),
            wire_bytes=np.concatenate([candidates.wire_bytes, candidates.wire_bytes[source], pulled_bytes]),
            stored_bytes=np.concatenate([candidates.stored_bytes * is_alone, nothing]),
            server_cpu_s=np.concatenate([candidates.server_cpu_s * is_alone, nothing]),
            client_cpu_s=np.concatenate(
                [candidates.client_cpu_s, candidates.client_cpu_s[source], np.zeros(len(pulled_bytes))]
            ),
            built=np.concatenate([candidates.built, candidates.built[source], np.ones(len(pulled_bytes), dtype=bool)]),
        ),
        share_copies(parts, source, own, candidates.built),
    )


def _names(history: History, commits: Sequence[str]) -> tuple[str, ...]:
    """What the graph calls each commit: its version where no other commit has it, else its checksum."""
    versions = [history.commits[commit].version if commit != EMPTY else EMPTY for commit in commits]
    counts = Counter(versions)
    return tuple(
        commit if version is None or counts[version] > 1 else version
        for commit, version in zip(commits, versions, strict=True)
    )


def _candidates(
    rows: Sequence[tuple[Candidate, Weight, bool]], number: Mapping[str, int], sharing: Sharing
) -> Candidates:
    stored_bytes = _floats([weight.stored_bytes for _, weight, _ in rows])
    server_cpu_s = _floats([weight.server_cpu_s for _, weight, _ in rows])
    return Candidates(
        base=np.array([number[c.base] for c, _, _ in rows], dtype=np.int64),
        target=np.array([number[c.target] for c, _, _ in rows], dtype=np.int64),
        wire_bytes=_floats([weight.wire_bytes for _, weight, _ in rows]),
        # A measured part may have become cheaper since a candidate with it was weighed.
        stored_bytes=np.maximum(stored_bytes - sharing.stored_bytes, 0.0),
        server_cpu_s=np.maximum(server_cpu_s - sharing.server_cpu_s, 0.0),
        client_cpu_s=_floats([weight.client_cpu_s for _, weight, _ in rows]),
        built=np.array([is_built for _, _, is_built in rows], dtype=bool),
    )


def _demands(
    cohorts: Sequence[Cohort],
    full_pull_bytes: Mapping[tuple[str, str], int],
    number: Mapping[str, int],
    walks: Walks,
) -> Demands:
    return Demands(
        base=np.array([walks.base_of.get(c, number[c.base]) for c in cohorts], dtype=np.int64),
        target=np.array([walks.target_of.get(c, number[c.target]) for c in cohorts], dtype=np.int64),
        clients=_floats([c.clients for c in cohorts]),
        full_pull_bytes=_floats([full_pull_bytes.get((c.base, c.target), inf) for c in cohorts]),
        max_hops=np.array([NO_HOP_LIMIT if c.max_hops is None else c.max_hops for c in cohorts], dtype=np.int64),
        max_wire_bytes=_floats([inf if c.max_wire_bytes is None else c.max_wire_bytes for c in cohorts]),
    )


def _floats(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
