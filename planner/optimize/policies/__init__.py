"""What peers do, by name, as plans of the same type on the same graph.

Each policy chooses candidates by its own rule and keeps them all, used or not; clients then take their
cheapest route over them. Commits are numbered oldest first, so 'newer' is a higher index. What each rule is and what
it ignores: `docs/policies.md`.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.optimize.policies.choice import Choice, Policy, follow_policy
from planner.optimize.policies.fleet import all_to_head, fleet_distinct, top_k
from planner.optimize.policies.recency import (
    consecutive,
    first_plus_last_n,
    flat_manager,
    flatpak,
    last_n,
    nix2005,
    paired_star,
    skip_list,
)
from planner.optimize.policies.versioning import lmg, lmg_all

POLICIES: Mapping[str, Policy] = {
    "all_to_head": all_to_head,
    "last_n": last_n,
    "consecutive": consecutive,
    "first_plus_last_n": first_plus_last_n,
    "skip_list": skip_list,
    "paired_star": paired_star,
    "top_k": top_k,
    "fleet_distinct": fleet_distinct,
    "nix2005": nix2005,
    "flatpak": flatpak,
    "flat_manager": flat_manager,
    "lmg": lmg,
    "lmg_all": lmg_all,
}

__all__ = [
    "POLICIES",
    "Choice",
    "Policy",
    "all_to_head",
    "consecutive",
    "first_plus_last_n",
    "flat_manager",
    "flatpak",
    "fleet_distinct",
    "follow_policy",
    "last_n",
    "lmg",
    "lmg_all",
    "nix2005",
    "paired_star",
    "skip_list",
    "top_k",
]
