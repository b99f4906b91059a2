"""The tables of a scenario's file, one record each; `docs/scenario.md` shows every key."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from planner.build.processes import Guards
from planner.demand.policy import Policy
from planner.errors import InputError
from planner.history.records import EMPTY, History
from planner.units import parse_duration
from planner.weigh.rules import MOST_CANDIDATES

Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e18)]  # finite: no price and no limit is that large
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; every key is known by name."""


class RepositorySection(Section, frozen=True):
    """Where the history lives; the path is relative to the work folder.

    `store` is the embedded store, `ostree` an OSTree repository, `oci` an image layout.
    """

    kind: Literal["store", "ostree", "oci"] = "store"
    path: str = "repository"
    gpg_sign: tuple[str, ...] = ()
    gpg_homedir: str | None = None

    def signing(self, home: Path) -> tuple[str, ...]:
        """What `ostree` and `flatpak build-update-repo` are told about keys."""
        keys = tuple(f"--gpg-sign={key}" for key in self.gpg_sign)
        return keys if self.gpg_homedir is None else (*keys, f"--gpg-homedir={home / self.gpg_homedir}")


class CommitSection(Section, frozen=True):
    """One release to import: a tree of unpacked packages, merged over the trees of its layers."""

    name: Name
    ref: str
    released_at: Annotated[datetime, msgspec.Meta(tz=True)]
    layers: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class MixSection(Section, frozen=True):
    """A merged commit that `compose` makes of others: a ref's layer is the ref's newest commit.

    Without a name it is called after its layers, `S1-on-B4` where these are B4 and S1; without a date it is as old as
    the newest of them.
    """

    ref: str
    layers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]
    name: Name | None = None
    released_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class SourceSection(Section, frozen=True):
    """What `import` reads: pinned packages, a folder of trees, or the seeded generator, of one line or of a grid.

    A grid has `bases` lines of base systems and `parts` of specialised parts, all with `releases`; see `grid.py`.
    Without a source the repository's own history is used as it is.
    """

    kind: Literal["packages", "trees", "generator", "grid"]
    commits: tuple[CommitSection, ...] = ()
    path: str = ""
    ref: str = "main"
    seed: int = 0
    releases: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    files: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 200
    bases: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    parts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3


class CohortSection(Section, frozen=True):
    """One row of demand, as in the CSV."""

    base: str
    target: str
    clients: Amount
    max_hops: Count | None = None
    max_wire_bytes: Count | None = None
    layers: bool = False
    client_version: str | None = None


class AdoptionSection(Section, frozen=True):
    """The fallback where nobody counted: clients of a ref, spread over its releases by half-life.

    The ref may have wildcards; then these are the clients of each.
    """

    ref: str
    clients: Amount
    half_life_releases: Annotated[float, msgspec.Meta(gt=0)]
    max_hops: Count | None = None
    layers: bool = False
    client_version: str | None = None


class FactorySection(Section, frozen=True):
    """Devices as they left the factory: on a release of one of `bases`, wanting one of `refs`; both may have wildcards.

    `clients` are those of each of the refs.
    """

    refs: tuple[str, ...]
    bases: tuple[str, ...]
    clients: Amount
    half_life_releases: Annotated[float, msgspec.Meta(gt=0)]
    max_hops: Count | None = None
    layers: bool = False
    client_version: str | None = None


class DemandSection(Section, frozen=True):
    """Who asks: a CSV file or a cluster's nodes (relative to the scenario), rows, or models; they add up."""

    csv: str | None = None
    nodes: str | None = None
    cohorts: tuple[CohortSection, ...] = ()
    adoption: tuple[AdoptionSection, ...] = ()
    factory: tuple[FactorySection, ...] = ()


class RoutesSection(Section, frozen=True):
    """What routes may and may not do; commits are named by version, ref or checksum. See `planner.demand.policy`."""

    barriers: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    oldest: str | None = None
    max_age_days: Amount | None = None
    minimum_version: dict[str, str] = {}

    def policy(self, history: History) -> Policy:
        """The same over a history.

        Raises:
            InputError: a name is no commit's.
        """
        return Policy(
            history=history,
            barriers=tuple(_resolve(history, name, f"routes.barriers[{i}]") for i, name in enumerate(self.barriers)),
            forbidden=frozenset(
                _resolve(history, name, f"routes.forbidden[{i}]") for i, name in enumerate(self.forbidden)
            ),
            oldest=None if self.oldest is None else _resolve(history, self.oldest, "routes.oldest"),
            max_age_days=self.max_age_days,
            minimum_version=self.minimum_version,
        )


def _resolve(history: History, name: str, path: str) -> str:
    try:
        found = history.resolve(name)
    except InputError as error:
        raise InputError(error.message, path=path, **error.facts) from error
    if found == EMPTY:
        raise InputError("is the empty commit", path=path)
    return found


class WeighSection(Section, frozen=True):
    """Which candidates are looked at, and by which codecs they are built."""

    rules: tuple[str, ...] = ("direct", "parent", "bare-base")
    codecs: tuple[str, ...] = ()
    probe_core_s: Amount | None = None
    most_candidates: Annotated[int, msgspec.Meta(ge=1)] = MOST_CANDIDATES


class SolveSection(Section, frozen=True):
    """When the optimizer may stop."""

    gap: Amount = 0.0
    time_limit_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    seed: Count = 0


class PricesSection(Section, frozen=True):
    """Money; see `deltaplan-graph/1`."""

    storage_per_gb: Amount = 0.0
    server_cpu_per_hour: Amount = 0.0
    egress_per_gb: Amount = 0.0
    client_cpu_per_hour: Amount = 0.0
    per_hop: Amount = 0.0


class LimitsSection(Section, frozen=True):
    """Hard limits of one night; see `deltaplan-graph/1`."""

    stored_bytes: Amount | None = None
    server_cpu_s: Amount | None = None


class HorizonSection(Section, frozen=True):
    """How far a night looks ahead: `releases` to come of each ref that is asked for.

    `updating_share` of the clients that are behind update before the next release.
    """

    releases: Annotated[int, msgspec.Meta(ge=0, le=12)] = 0
    updating_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7


class NightSection(Section, frozen=True):
    """How a night goes about its work. Times are written as 4h, 90m or 3d.

    `window` is what a night may take in all; `attempts` how often a delta is tried in one; `rehearsals` how many
    cohorts' updates are carried out at its end. A delta that no route names any more stays for `grace`, and after its
    first file is gone the others for `drain`. `free_bytes` is the disk's low-water mark.
    """

    window: str | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 2
    job_time: str | None = None
    job_memory_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    grace: str = "3d"
    drain: str = "1h"
    free_bytes: Count = 0
    rehearsals: Count = 50

    @property
    def window_s(self) -> float | None:
        """Seconds of a night; None where it may take as long as it takes."""
        return None if self.window is None else parse_duration(self.window, path="night.window")

    @property
    def job_time_s(self) -> float | None:
        """Seconds after which a job is ended; None where it is left alone."""
        return None if self.job_time is None else parse_duration(self.job_time, path="night.job_time")

    @property
    def grace_s(self) -> float:
        """Seconds that a retired delta stays whole at least."""
        return parse_duration(self.grace, path="night.grace")

    @property
    def drain_s(self) -> float:
        """Seconds that the rest of an unlinked delta stays at least."""
        return parse_duration(self.drain, path="night.drain")

    def guards(self) -> Guards:
        """What one job may take, as executors take it."""
        return Guards(most_memory_bytes=self.job_memory_bytes, most_wall_s=self.job_time_s)


class ExecutorSection(Section, frozen=True):
    """Where workers that do not share this machine's disk find the repository: a URL of any kind that fsspec knows.

    The objects of its commits are brought there before jobs need them.
    """

    repository_url: str | None = None


class PublishSection(Section, frozen=True):
    """Where a published repository is brought to, a URL of any kind that fsspec knows, and what signs it.

    `signing_key` is the private key, relative to the scenario, that route indexes are signed with.
    """

    signing_key: str | None = None
    mirror_url: str | None = None
