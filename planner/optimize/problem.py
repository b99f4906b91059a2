"""The problem: commits, candidates, parts, demands, prices and limits, as parallel arrays.

Row = one candidate, part or demand, as in the interchange format `deltaplan-graph/1`. Everything is
read-only after construction; `Problem.replace` makes the variants that what-if questions ask for.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from planner.optimize.digest import digest_problem
from planner.units import GB, S_PER_HOUR

if TYPE_CHECKING:
    import networkx as nx

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NO_HOP_LIMIT = int(np.iinfo(np.int64).max)
"""`Demands.max_hops` of clients that follow a route of any length."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Deltas that could be built; all arrays have shape (candidates,)."""

    base: IntArray
    target: IntArray
    wire_bytes: FloatArray
    stored_bytes: FloatArray
    server_cpu_s: FloatArray
    client_cpu_s: FloatArray
    built: BoolArray

    def __len__(self) -> int:
        return len(self.base)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """Pieces that candidates share: three arrays of shape (parts,), and index pairs of shape (pairs,)."""

    stored_bytes: FloatArray
    server_cpu_s: FloatArray
    built: BoolArray
    candidate: IntArray
    part: IntArray

    def __len__(self) -> int:
        return len(self.stored_bytes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demands:
    """Cohorts; all arrays have shape (demands,).

    `full_pull_bytes` is infinite where no full pull is allowed, `max_wire_bytes` where there is no such
    limit, and `max_hops` is `NO_HOP_LIMIT` where there is none.
    """

    base: IntArray
    target: IntArray
    clients: FloatArray
    full_pull_bytes: FloatArray
    max_hops: IntArray
    max_wire_bytes: FloatArray

    def __len__(self) -> int:
        return len(self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Money per unit; 1 GB is 10^9 bytes, CPU is hours of one core."""

    storage_per_gb: float = 0.0
    server_cpu_per_hour: float = 0.0
    egress_per_gb: float = 0.0
    client_cpu_per_hour: float = 0.0
    per_hop: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Hard limits of the planning period; None where there is none."""

    stored_bytes: float | None = None
    server_cpu_s: float | None = None


def no_parts() -> Parts:
    """A problem's parts when its candidates share nothing."""
    floats, ints = np.zeros(0), np.zeros(0, dtype=np.int64)
    return Parts(stored_bytes=floats, server_cpu_s=floats, built=np.zeros(0, dtype=bool), candidate=ints, part=ints)


def _use(table: Candidates | Parts, rows: IntArray | list[int]) -> FloatArray:
    """Bytes stored and core-seconds of some rows; what is built costs no core-seconds."""
    return np.stack([table.stored_bytes[rows], np.where(table.built[rows], 0.0, table.server_cpu_s[rows])])


class PartsOf(dict[int, tuple[int, ...]]):
    """For each candidate, the parts it needs, ascending and without repeats; only those that need any take space."""

    def __missing__(self, candidate: int) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What there is to decide. Build one with `planner.read_graph`, `parse_graph` or `assemble`."""

    commits: tuple[str, ...]
    candidates: Candidates
    demands: Demands
    parts: Parts = field(default_factory=no_parts)
    prices: Prices = field(default_factory=Prices)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Lock the arrays: what is derived from them is computed once."""
        for table in (self.candidates, self.parts, self.demands):
            for name in table.__slots__:
                getattr(table, name).setflags(write=False)

    def replace(self, **changes: Any) -> Problem:
        """The same problem with some fields changed, for what-if questions."""
        return dataclasses.replace(self, **changes)

    def candidate_use(self, candidates: IntArray) -> FloatArray:
        """What some candidates take of the limits: bytes stored, core-seconds to build; shape (2, some)."""
        return _use(self.candidates, candidates)

    def part_use(self, parts: IntArray | list[int]) -> FloatArray:
        """What some parts take of the limits: bytes stored, core-seconds to build; shape (2, some)."""
        return _use(self.parts, parts)

    @cached_property
    def by_base(self) -> IntArray:
        """Candidate indexes in the order of their bases, ascending within one; shape (candidates,)."""
        return np.argsort(self.candidates.base, kind="stable")

    @cached_property
    def candidate_money(self) -> FloatArray:
        """Price of keeping and building each candidate, shared parts excluded; shape (candidates,)."""
        rows = self.candidates
        return self._fixed_money(rows.stored_bytes, rows.server_cpu_s, rows.built)

    @cached_property
    def part_money(self) -> FloatArray:
        """Price of keeping and building each part; shape (parts,)."""
        return self._fixed_money(self.parts.stored_bytes, self.parts.server_cpu_s, self.parts.built)

    @cached_property
    def money_with_parts(self) -> FloatArray:
        """Fixed money of each candidate with an even share of that of its parts; shape (candidates,)."""
        candidate, part = self.needs
        needed_by = np.bincount(part, minlength=len(self.parts))
        shares = self.part_money[part] / needed_by[part]
        return self.candidate_money + np.bincount(candidate, weights=shares, minlength=len(self.candidates))

    def _fixed_money(self, stored_bytes: FloatArray, server_cpu_s: FloatArray, built: BoolArray) -> FloatArray:
        storage = stored_bytes * (self.prices.storage_per_gb / GB)
        return storage + np.where(built, 0.0, server_cpu_s * (self.prices.server_cpu_per_hour / S_PER_HOUR))

    @cached_property
    def hop_money(self) -> FloatArray:
        """What one client's use of each candidate costs; shape (candidates,)."""
        egress = self.candidates.wire_bytes * (self.prices.egress_per_gb / GB)
        client_cpu = self.candidates.client_cpu_s * (self.prices.client_cpu_per_hour / S_PER_HOUR)
        return egress + client_cpu + self.prices.per_hop

    @cached_property
    def full_pull_money(self) -> FloatArray:
        """What one client's full pull costs, infinite where it is not allowed; shape (demands,)."""
        bytes_ = self.demands.full_pull_bytes
        allowed = np.isfinite(bytes_) & (bytes_ <= self.demands.max_wire_bytes)
        return np.where(allowed, np.where(allowed, bytes_, 0.0) * (self.prices.egress_per_gb / GB), np.inf)

    @cached_property
    def needs(self) -> tuple[IntArray, IntArray]:
        """Which candidate needs which part, by candidate, then part, each pair once; two arrays of shape (pairs,)."""
        parts = max(len(self.parts), 1)
        pairs = np.unique(self.parts.candidate.astype(np.int64) * parts + self.parts.part)
        return pairs // parts, pairs % parts

    def parts_needed_by(self, candidates: IntArray) -> IntArray:
        """The parts that some of the candidates need, ascending and without repeats."""
        candidate, part = self.needs
        if not len(candidate):
            return part
        first = np.searchsorted(candidate, candidates)
        counts = np.searchsorted(candidate, candidates, side="right") - first
        # Pair rows of one candidate lie side by side: each row is its candidate's first plus its rank there.
        ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.unique(part[np.repeat(first, counts) + ranks])

    @cached_property
    def parts_of(self) -> PartsOf:
        """For each candidate, the parts it needs, ascending and without repeats."""
        candidate, part = self.needs
        candidates, starts = np.unique(candidate, return_index=True)
        parts, ends = part.tolist(), np.append(starts, len(part))[1:]
        rows = zip(candidates.tolist(), starts.tolist(), ends.tolist(), strict=True)
        return PartsOf({needing: tuple(parts[start:end]) for needing, start, end in rows})

    @cached_property
    def digest(self) -> str:
        """`graph_digest` of the problem."""
        return digest_problem(self)

    def to_networkx(self) -> nx.MultiDiGraph:
        """The graph for drawing and study: nodes are commit indexes, edge keys are candidate indexes."""
        import networkx as nx  # noqa: PLC0415 - a tenth of a second at the start of every run, for those who draw

        graph = nx.MultiDiGraph()
        for index, name in enumerate(self.commits):
            graph.add_node(index, name=name)
        rows = self.candidates
        for index in range(len(rows)):
            graph.add_edge(
                int(rows.base[index]),
                int(rows.target[index]),
                key=index,
                wire_bytes=float(rows.wire_bytes[index]),
                stored_bytes=float(rows.stored_bytes[index]),
                server_cpu_s=float(rows.server_cpu_s[index]),
                client_cpu_s=float(rows.client_cpu_s[index]),
                built=bool(rows.built[index]),
            )
        return graph
