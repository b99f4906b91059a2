"""Differences between contents, projected: each once, whichever candidates need it.

Bytes are what was seen (`looks.py`) times a factor. Factors are known where the builder made a difference of the same
new content, or where one was sampled; between these they are interpolated, over what is lacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from planner.delta.contents import Contents
from planner.delta.difference_pool import Difference, DifferencePool, Look
from planner.delta.encode import SOURCE_BYTES, measure_whole
from planner.project.looks import by_target

# Core-seconds of the builder's differences on the machine that the priors are from: for each byte of new, for each
# byte of the difference, and for each difference.
_TEXT_CORE_S = (38e-9, 850e-9, 2e-4)
_BINARY_CORE_S = (110e-9, 800e-9, 5e-4)

LookAt = Callable[[Iterable[tuple[str, str]]], None]
"""Puts what can be seen of differences (old, new) into the pool, perhaps on many cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """A difference, or a whole object: bytes as the builder estimates them, its core-seconds, the content's bytes.

    `is_known`: the bytes are the builder's own estimate.
    """

    estimated_bytes: float
    content_bytes: int
    core_s: float
    is_text: bool
    is_known: bool


def project_wholes(checksums: Iterable[str], contents: Contents, pool: DifferencePool) -> dict[str, Projected]:
    """Objects that nothing of the base makes smaller.

    Raises:
        RepositoryError: an object is missing or corrupt.
    """
    found = {}
    for checksum in checksums:
        whole = measure_whole(checksum, contents.read, pool)
        found[checksum] = Projected(
            estimated_bytes=whole.packed_bytes,
            content_bytes=contents.size_bytes(checksum),
            core_s=0.0,
            is_text=whole.is_text,
            is_known=True,
        )
    return found


def project_changes(
    pairs: Iterable[tuple[str, str]], pool: DifferencePool, look_at: LookAt
) -> dict[tuple[str, str], Projected]:
    """Differences (old, new); what the pool has no look at yet is looked at first."""
    targets = by_target(pairs)
    look_at([(old, new) for new, olds in targets.items() for old in olds])
    found = {}
    for new, olds in targets.items():
        looks, known = pool.looks(new), pool.differences_into(new)
        factors = _factors(looks, known)
        for old in olds:
            found[old, new] = _project(looks[old], known.get(old), factors)
    return found


def _factors(looks: Mapping[str, Look], known: Mapping[str, Difference]) -> dict[float, float]:
    """By what a look saw, the factor to the difference's bytes: as measured, else as sampled."""
    factors = {look.raw: look.density for look in looks.values() if look.density is not None and look.raw > 0}
    for old, difference in known.items():
        if old in looks and looks[old].raw > 0 and difference.estimated_bytes is not None:
            factors[looks[old].raw] = max(difference.estimated_bytes - SOURCE_BYTES, 1) / looks[old].raw
    return factors


def _project(look: Look, known: Difference | None, factors: Mapping[float, float]) -> Projected:
    if known is not None and known.estimated_bytes is not None:
        estimated_bytes = float(known.estimated_bytes)
    else:
        estimated_bytes = min(look.raw * _interpolate(factors, look.raw), look.new_bytes) + SOURCE_BYTES
    per_byte, per_packed_byte, each = _TEXT_CORE_S if look.is_text else _BINARY_CORE_S
    core_s = per_byte * look.new_bytes + per_packed_byte * estimated_bytes + each
    return Projected(
        estimated_bytes=estimated_bytes,
        content_bytes=look.new_bytes,
        core_s=core_s if known is None else known.core_s,
        is_text=look.is_text,
        is_known=known is not None,
    )


def _interpolate(factors: Mapping[float, float], raw: float) -> float:
    """The factor at `raw`, geometric between those that are known; 1 where none is."""
    if not factors or raw <= 0:
        return 1.0
    at = sorted(factors)
    return float(np.exp(np.interp(np.log(raw), np.log(at), np.log([max(factors[one], 1e-9) for one in at]))))
