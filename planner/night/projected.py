"""Projections as weights and as intervals around them, and how far off they turned out to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from planner.optimize.assemble import Assembly
from planner.optimize.projection_errors import Uncertainty
from planner.project.quantities import Projection
from planner.weigh.candidates import Candidate, Weight, WeightStatus

Weights = Mapping[Candidate, Weight]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far projections were off, once their candidates were measured: medians, as fractions of what was measured."""

    candidates: int
    wire_bytes_error: float
    server_cpu_error: float


def weigh_projected(projection: Projection) -> Weight:
    """A projection's middle as a weight; what a client downloads is what the server stores."""
    wire_bytes = round(projection.wire_bytes.middle)
    return Weight(
        wire_bytes=wire_bytes,
        stored_bytes=wire_bytes,
        server_cpu_s=projection.server_cpu_s.middle,
        client_cpu_s=projection.client_cpu_s.middle,
        peak_memory_bytes=round(projection.peak_memory_bytes.middle),
        status=WeightStatus.PROJECTED,
    )


def judge_projections(projected: Weights, measured: Weights) -> Accuracy | None:
    """How far off the projections of what was measured later were; None if there are none."""
    pairs = [(weight, measured[one]) for one, weight in projected.items() if one in measured]
    if not pairs:
        return None
    return Accuracy(
        candidates=len(pairs),
        wire_bytes_error=median(abs(one.wire_bytes / other.wire_bytes - 1) for one, other in pairs),
        server_cpu_error=median(abs(one.server_cpu_s / max(other.server_cpu_s, 1e-6) - 1) for one, other in pairs),
    )


def move_projection(projection: Projection, wire_bytes: float, server_cpu_s: float) -> Projection:
    """A projection around other middles of what decides between plans."""
    return replace(
        projection,
        wire_bytes=projection.wire_bytes.move(wire_bytes),
        server_cpu_s=projection.server_cpu_s.move(server_cpu_s),
    )


def find_uncertainty(assembly: Assembly, projections: Mapping[Candidate, Projection]) -> Uncertainty:
    """The intervals of a problem's candidates; what was measured has none."""
    found = [projections.get(candidate) for candidate in assembly.candidates]
    wire = [(1.0, 1.0) if one is None else one.wire_bytes.factors for one in found]
    cpu = [(1.0, 1.0) if one is None else one.server_cpu_s.factors for one in found]
    return Uncertainty(
        wire_low_factor=np.array([low for low, _ in wire]),
        wire_high_factor=np.array([high for _, high in wire]),
        cpu_low_factor=np.array([low for low, _ in cpu]),
        cpu_high_factor=np.array([high for _, high in cpu]),
        probe_cpu_s=np.array([0.0 if one is None else one.server_cpu_s.middle for one in found]),
    )
