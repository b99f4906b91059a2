"""What candidates share, as the optimizer's parts: paid once, whoever needs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.optimize.problem import FloatArray, Parts
from planner.weigh.candidates import Candidate, Need


@dataclass(frozen=True, slots=True)
class Sharing:
    """`parts`, and what they take off the candidates' own bytes and core-seconds, each of shape (candidates,)."""

    parts: Parts
    stored_bytes: FloatArray
    server_cpu_s: FloatArray


def share_needs(
    candidates: Sequence[Candidate], needs: Mapping[Candidate, Sequence[Need]], built: Collection[Candidate]
) -> Sharing:
    """The parts of candidates, in the order of the first that needs them.

    Needs of exactly the same candidates are one part, and what one candidate alone needs stays its own. A part is built
    where one of its candidates is.
    """
    known: dict[str, Need] = {}
    users: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        for need in needs.get(candidate, ()):
            known.setdefault(need.key, need)
            users.setdefault(need.key, []).append(number)
    groups: dict[tuple[int, ...], list[Need]] = {}
    for key, numbers in users.items():
        if len(numbers) > 1:
            groups.setdefault(tuple(numbers), []).append(known[key])
    stored_bytes, server_cpu_s = np.zeros(len(candidates)), np.zeros(len(candidates))
    for group, shared in groups.items():
        numbers_of = list(group)
        stored_bytes[numbers_of] += sum(need.stored_bytes for need in shared)
        server_cpu_s[numbers_of] += sum(need.server_cpu_s for need in shared)
    pairs = [(number, part) for part, numbers in enumerate(groups) for number in numbers]
    parts = Parts(
        stored_bytes=np.array([sum(need.stored_bytes for need in shared) for shared in groups.values()], np.float64),
        server_cpu_s=np.array([sum(need.server_cpu_s for need in shared) for shared in groups.values()], np.float64),
        built=np.array([any(candidates[number] in built for number in numbers) for numbers in groups], np.bool_),
        candidate=np.array([number for number, _ in pairs], np.int64),
        part=np.array([part for _, part in pairs], np.int64),
    )
    return Sharing(parts, stored_bytes, server_cpu_s)
