"""Instances of any size for benchmarks, by seed: one stream, many streams, shared parts, version graphs.

Sizes follow what measured repositories show: a delta grows with what changed between its ends, saturates below the
full pull, and varies by tens of per cent; building it takes core-seconds per byte read. Clients crowd on the newest
commits and on a few long-term ones, with a tail of nearly none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.optimize.problem import (
    NO_HOP_LIMIT,
    Candidates,
    Demands,
    FloatArray,
    IntArray,
    Limits,
    Parts,
    Prices,
    Problem,
    no_parts,
)

FULL_BYTES = 40e6
REBUILD_CHURN = 1.5  # times the full pull; by the saturation below a delta over one rebuild has 78 % of it
CLOUD_PRICES = {"storage_per_gb": 0.023, "server_cpu_per_hour": 0.04, "egress_per_gb": 0.05}


def cloud_prices(fixed_multiplier: float = 1.0) -> Prices:
    """Prices of a public cloud; what the server keeps and builds costs `fixed_multiplier` times as much."""
    return Prices(
        storage_per_gb=CLOUD_PRICES["storage_per_gb"] * fixed_multiplier,
        server_cpu_per_hour=CLOUD_PRICES["server_cpu_per_hour"] * fixed_multiplier,
        egress_per_gb=CLOUD_PRICES["egress_per_gb"],
        client_cpu_per_hour=0.0,
        per_hop=1e-6,
    )


def one_stream(
    commits: int,
    *,
    fixed_multiplier: float = 1.0,
    window: int | None = None,
    max_hops: int | None = None,
    limits: Limits | None = None,
    rebuilds: Sequence[int] = (),
    most_tail_clients: int = 5,
    seed: int = 0,
) -> Problem:
    """A linear history whose clients all want the newest commit.

    Args:
        commits: how many.
        fixed_multiplier: times cloud prices for storage and server CPU.
        window: candidates reach back so many commits; None: all pairs.
        max_hops: of every client; None: any number.
        limits: of the whole plan.
        rebuilds: commits that another toolchain built: deltas over one are nearly as large as a full pull.
        most_tail_clients: clients on bases that hardly anybody is on: 0 to so many.
        seed: of sizes and clients.
    """
    rng = np.random.default_rng(seed)
    base, target = pairs(commits, window)
    return Problem(
        commits=tuple(f"c{index}" for index in range(commits)),
        candidates=stream_candidates(rng, commits, base, target, rebuilds=rebuilds),
        demands=head_demands(rng, commits, max_hops, most_tail_clients),
        prices=cloud_prices(fixed_multiplier),
        limits=limits or Limits(),
    )


def pairs(commits: int, window: int | None = None) -> tuple[IntArray, IntArray]:
    """All pairs of an older and a newer commit at most `window` apart, by base."""
    reach = min(window or commits, commits - 1)
    base = np.repeat(np.arange(commits), np.minimum(reach, commits - 1 - np.arange(commits)))
    first = np.searchsorted(base, base)
    return base, base + 1 + np.arange(len(base)) - first


def stream_candidates(
    rng: np.random.Generator,
    commits: int,
    base: IntArray,
    target: IntArray,
    full_bytes: float = FULL_BYTES,
    *,
    rebuilds: Sequence[int] = (),
) -> Candidates:
    """Weighed candidates of a linear history; a rebuild changes as much as some two hundred commits."""
    churn = rng.lognormal(0.0, 1.0, commits) * full_bytes / 150
    churn[list(rebuilds)] += REBUILD_CHURN * full_bytes
    changed = np.cumsum(churn)
    apart = changed[target] - changed[base]
    wire = full_bytes * (1 - np.exp(-apart / full_bytes)) * rng.uniform(0.75, 1.25, len(base)) + 3000
    wire = np.minimum(np.round(wire), full_bytes)
    cpu = np.round(4.0 + wire / 1e6 * 1.5 * rng.uniform(0.8, 1.2, len(base)), 3)
    return Candidates(
        base=base,
        target=target,
        wire_bytes=wire,
        stored_bytes=wire + 2048,
        server_cpu_s=cpu,
        client_cpu_s=np.round(wire / 50e6, 3),
        built=np.zeros(len(base), dtype=bool),
    )


def stream_clients(rng: np.random.Generator, commits: int, most_tail_clients: int = 5) -> FloatArray:
    """Clients per commit, oldest first: a decaying crowd, a few long-term bases, and a tail of nearly none."""
    age = np.arange(commits)[::-1]
    crowd = 3000 * np.exp(-age / 8.0) * rng.uniform(0.5, 1.5, commits)
    tail = rng.integers(0, most_tail_clients + 1, commits)
    long_term = np.where(rng.random(commits) < 0.05, rng.integers(50, 500, commits), 0)
    return np.floor(crowd) + tail + long_term


def head_demands(rng: np.random.Generator, commits: int, max_hops: int | None, most_tail_clients: int = 5) -> Demands:
    """Everybody wants the newest commit."""
    rows = commits - 1
    return Demands(
        base=np.arange(rows),
        target=np.full(rows, commits - 1),
        clients=stream_clients(rng, commits, most_tail_clients)[:rows],
        full_pull_bytes=np.full(rows, FULL_BYTES),
        max_hops=np.full(rows, NO_HOP_LIMIT if max_hops is None else max_hops),
        max_wire_bytes=np.full(rows, np.inf),
    )


def many_streams(streams: int, commits: int, *, fixed_multiplier: float = 1.0, seed: int = 0) -> Problem:
    """Streams side by side that share nothing but limits (set them with `replace`)."""
    rng = np.random.default_rng(seed)
    base, target = pairs(commits)
    offsets = np.arange(streams) * commits
    sizes = rng.lognormal(0.0, 1.0, streams)
    rows = [stream_candidates(rng, commits, base, target, FULL_BYTES * size) for size in sizes.tolist()]
    asked = [head_demands(rng, commits, None) for _ in range(streams)]
    names = ("wire_bytes", "stored_bytes", "server_cpu_s", "client_cpu_s", "built")
    return Problem(
        commits=tuple(f"s{stream}c{commit}" for stream in range(streams) for commit in range(commits)),
        candidates=Candidates(
            base=(base + offsets[:, None]).ravel(),
            target=(target + offsets[:, None]).ravel(),
            **{name: np.concatenate([getattr(row, name) for row in rows]) for name in names},
        ),
        demands=Demands(
            base=np.concatenate([one.base + offset for one, offset in zip(asked, offsets, strict=True)]),
            target=np.concatenate([one.target + offset for one, offset in zip(asked, offsets, strict=True)]),
            clients=np.concatenate([one.clients for one in asked]),
            full_pull_bytes=np.repeat(FULL_BYTES * sizes, commits - 1),
            max_hops=np.concatenate([one.max_hops for one in asked]),
            max_wire_bytes=np.concatenate([one.max_wire_bytes for one in asked]),
        ),
        prices=cloud_prices(fixed_multiplier),
    )


def shared_parts(commits: int, files: int, *, fixed_multiplier: float = 100.0, seed: int = 0) -> Problem:
    """A stream whose deltas are made of pieces: one serves every delta over the same change of its file."""
    rng = np.random.default_rng(seed)
    base, target = pairs(commits)
    size = rng.lognormal(10.5, 1.5, files)
    releases = np.cumsum(rng.random((commits, files)) < rng.beta(0.5, 8.0, files), axis=0)
    differs = releases[base] != releases[target]
    candidate, file = np.nonzero(differs)
    key = np.stack([file, releases[base[candidate], file], releases[target[candidate], file]])
    changes, part = np.unique(key, axis=1, return_inverse=True)
    steps = changes[2] - changes[1]
    bytes_ = np.round(size[changes[0]] * (1 - 0.8**steps) * rng.uniform(0.75, 1.25, len(steps))) + 50
    part = part.ravel()
    wire = np.bincount(candidate, weights=bytes_[part], minlength=len(base)) + 3000
    demands = head_demands(rng, commits, None)
    return Problem(
        commits=tuple(f"c{index}" for index in range(commits)),
        candidates=Candidates(
            base=base,
            target=target,
            wire_bytes=wire,
            stored_bytes=np.full(len(base), 3000.0),
            server_cpu_s=np.full(len(base), 0.5),
            client_cpu_s=np.round(wire / 50e6, 3),
            built=np.zeros(len(base), dtype=bool),
        ),
        parts=Parts(
            stored_bytes=bytes_,
            server_cpu_s=np.round(bytes_ / 2e5, 4),
            built=np.zeros(len(bytes_), dtype=bool),
            candidate=candidate,
            part=part,
        ),
        demands=Demands(
            base=demands.base,
            target=demands.target,
            clients=demands.clients,
            full_pull_bytes=np.full(len(demands), round(float(size.sum()))),
            max_hops=demands.max_hops,
            max_wire_bytes=demands.max_wire_bytes,
        ),
        prices=cloud_prices(fixed_multiplier),
    )


def version_graph(versions: int, edges: int, storage_factor: float, *, seed: int = 0) -> Problem:
    """A dataset-versioning graph: every version stored whole or as a delta from a neighbour in a branching history.

    The storage limit is `storage_factor` times the least storage; what is minimised is everybody's retrieval.
    """
    from planner.optimize.arborescence import minimum_arborescence  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    size = rng.lognormal(12.0, 0.4, versions)
    child = np.arange(1, versions)
    parent = child - np.minimum(rng.geometric(0.3, versions - 1), child)
    extra = max(edges - versions - 2 * (versions - 1), 0) // 2
    near = rng.integers(0, versions - 1, extra)
    far = np.minimum(near + 1 + rng.geometric(0.1, extra), versions - 1)
    older, newer = np.concatenate([parent, near]), np.concatenate([child, far])
    hops = np.abs(newer - older)
    weight = lambda: np.round(rng.lognormal(8.0, 1.0, len(older)) * hops**0.7) + 20  # noqa: E731
    base = np.concatenate([np.zeros(versions, dtype=np.int64), older + 1, newer + 1])
    target = np.concatenate([np.arange(versions) + 1, newer + 1, older + 1])
    wire = np.concatenate([np.round(size), weight(), weight()])
    zeros = np.zeros(len(base))
    problem = Problem(
        commits=("", *(f"v{index}" for index in range(versions))),
        candidates=Candidates(
            base=base,
            target=target,
            wire_bytes=wire,
            stored_bytes=wire,
            server_cpu_s=zeros,
            client_cpu_s=zeros,
            built=np.zeros(len(base), dtype=bool),
        ),
        parts=no_parts(),
        demands=Demands(
            base=np.zeros(versions, dtype=np.int64),
            target=np.arange(versions) + 1,
            clients=np.ones(versions),
            full_pull_bytes=np.full(versions, np.inf),
            max_hops=np.full(versions, NO_HOP_LIMIT),
            max_wire_bytes=np.full(versions, np.inf),
        ),
        prices=Prices(egress_per_gb=1e9),
    )
    least = minimum_arborescence(versions + 1, 0, base, target, wire)
    return problem.replace(limits=Limits(stored_bytes=float(np.round(wire[least[least >= 0]].sum() * storage_factor))))
