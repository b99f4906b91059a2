"""A scenario: one TOML file that says what was released, who asks, what may be built, and at which prices.

Reading is strict: unknown keys, wrong types and numbers that make no sense are refused with their path.
`docs/scenario.md` shows every key.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from planner.build.codecs import CODECS
from planner.delta.superblock import COMPOSED, NATIVE
from planner.errors import InputError, raise_collected
from planner.history.encoding import is_ref_name
from planner.history.files import read_bounded
from planner.images.publishing import IMAGE_CODEC
from planner.optimize.problem import Limits, Prices
from planner.weigh.rules import MOST_CANDIDATES, RULES
from planner.weigh.stock_client import CODECS_OF, OSTREE_CODECS, BuilderName

FORMAT = "deltaplan-scenario/1"
_MAX_SCENARIO_BYTES = 10_000_000

Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e18)]  # finite: no price and no limit is that large
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; every key is known by name."""


class RepositorySection(_Section, frozen=True):
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


class CommitSection(_Section, frozen=True):
    """One release to import: a tree of unpacked packages, merged over the trees of its layers."""

    name: Name
    ref: str
    released_at: Annotated[datetime, msgspec.Meta(tz=True)]
    layers: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class MixSection(_Section, frozen=True):
    """A merged commit that `compose` makes of others: a ref's layer is the ref's newest commit.

    Without a name it is called after its layers, `S1-on-B4` where these are B4 and S1; without a date it is as old as
    the newest of them.
    """

    ref: str
    layers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]
    name: Name | None = None
    released_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class SourceSection(_Section, frozen=True):
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


class CohortSection(_Section, frozen=True):
    """One row of demand, as in the CSV."""

    base: str
    target: str
    clients: Amount
    max_hops: Count | None = None
    max_wire_bytes: Count | None = None
    layers: bool = False


class AdoptionSection(_Section, frozen=True):
    """The fallback where nobody counted: clients of a ref, spread over its releases by half-life.

    The ref may have wildcards; then these are the clients of each.
    """

    ref: str
    clients: Amount
    half_life_releases: Annotated[float, msgspec.Meta(gt=0)]
    max_hops: Count | None = None
    layers: bool = False


class FactorySection(_Section, frozen=True):
    """Devices as they left the factory: on a release of one of `bases`, wanting one of `refs`; both may have wildcards.

    `clients` are those of each of the refs.
    """

    refs: tuple[str, ...]
    bases: tuple[str, ...]
    clients: Amount
    half_life_releases: Annotated[float, msgspec.Meta(gt=0)]
    max_hops: Count | None = None
    layers: bool = False


class DemandSection(_Section, frozen=True):
    """Who asks: a CSV file or a cluster's nodes (relative to the scenario), rows, or models; they add up."""

    csv: str | None = None
    nodes: str | None = None
    cohorts: tuple[CohortSection, ...] = ()
    adoption: tuple[AdoptionSection, ...] = ()
    factory: tuple[FactorySection, ...] = ()


class WeighSection(_Section, frozen=True):
    """Which candidates are looked at, and by which codecs they are built."""

    rules: tuple[str, ...] = ("direct", "parent", "bare-base")
    codecs: tuple[str, ...] = ()
    probe_core_s: Amount | None = None
    most_candidates: Annotated[int, msgspec.Meta(ge=1)] = MOST_CANDIDATES


class SolveSection(_Section, frozen=True):
    """When the optimizer may stop."""

    gap: Amount = 0.0
    time_limit_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    seed: Count = 0


class PricesSection(_Section, frozen=True):
    """Money; see `deltaplan-graph/1`."""

    storage_per_gb: Amount = 0.0
    server_cpu_per_hour: Amount = 0.0
    egress_per_gb: Amount = 0.0
    client_cpu_per_hour: Amount = 0.0
    per_hop: Amount = 0.0


class LimitsSection(_Section, frozen=True):
    """Hard limits of one night; see `deltaplan-graph/1`."""

    stored_bytes: Amount | None = None
    server_cpu_s: Amount | None = None


class Scenario(_Section, frozen=True):
    """A scenario as its file gives it."""

    format: Literal["deltaplan-scenario/1"]
    name: Name
    description: str = ""
    repository: RepositorySection = RepositorySection()
    source: SourceSection | None = None
    mixes: tuple[MixSection, ...] = ()
    demand: DemandSection = DemandSection()
    weigh: WeighSection = WeighSection()
    prices: PricesSection = PricesSection()
    limits: LimitsSection = LimitsSection()
    solve: SolveSection = SolveSection()

    def optimizer_prices(self) -> Prices:
        """The prices as the optimizer takes them."""
        return Prices(**msgspec.structs.asdict(self.prices))

    def optimizer_limits(self) -> Limits:
        """The limits as the optimizer takes them."""
        return Limits(**msgspec.structs.asdict(self.limits))

    def codecs(self) -> tuple[str, ...]:
        """The codecs to try: those named, or the repository kind's default."""
        defaults = {"store": ("hdiffpatch",), "ostree": CODECS_OF[BuilderName.NATIVE], "oci": (IMAGE_CODEC,)}
        return self.weigh.codecs or defaults[self.repository.kind]

    def built_by(self, builder: BuilderName) -> Scenario:
        """The same with the codecs of one builder.

        Raises:
            InputError: the repository is no OSTree repository.
        """
        if self.repository.kind != "ostree":
            raise InputError("only OSTree repositories have a choice of builders", path="--builder", got=str(builder))
        weigh = msgspec.structs.replace(self.weigh, codecs=CODECS_OF[builder])
        return msgspec.structs.replace(self, weigh=weigh)


def read_scenario(path: Path) -> Scenario:
    """The scenario in a file.

    Raises:
        InputError: the file cannot be read, or breaks the format; the error gives the key's path.
    """
    try:
        data = read_bounded(path, _MAX_SCENARIO_BYTES)
    except OSError as error:
        raise InputError("cannot be read", path=str(path), reason=error.strerror) from error
    return parse_scenario(data, name=str(path))


def parse_scenario(data: bytes, *, name: str = "scenario") -> Scenario:
    """The scenario in a TOML text; see `read_scenario`."""
    try:
        scenario = msgspec.toml.decode(data, type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message, _, where = str(error).partition(" - at `$")
        where = where.rstrip("`").lstrip(".")
        raise InputError(message, path=f"{name}: {where}" if where else name) from error
    raise_collected(_faults(scenario, name))
    return scenario


def _faults(scenario: Scenario, name: str) -> list[InputError]:
    """What the types alone do not catch."""
    codecs = {"store": set(CODECS), "ostree": set(OSTREE_CODECS), "oci": {IMAGE_CODEC}}[scenario.repository.kind]
    found = [
        InputError("is no codec of this repository", path=f"{name}: weigh.codecs[{i}]", got=codec, known=sorted(codecs))
        for i, codec in enumerate(scenario.codecs())
        if codec not in codecs
    ]
    if scenario.repository.kind == "oci" and scenario.source is not None:
        found.append(InputError("images are built by other programs: leave it out", path=f"{name}: source"))
    if COMPOSED in scenario.codecs() and NATIVE not in scenario.codecs():
        found.append(InputError("composed deltas are made of native ones: name both", path=f"{name}: weigh.codecs"))
    found += [
        InputError("is no candidate rule", path=f"{name}: weigh.rules[{i}]", got=rule, known=sorted(RULES))
        for i, rule in enumerate(scenario.weigh.rules)
        if rule not in RULES
    ]
    found += [
        InputError("is not a ref's name", path=f"{name}: mixes[{i}].ref", got=mix.ref)
        for i, mix in enumerate(scenario.mixes)
        if not is_ref_name(mix.ref)
    ]
    return found + _commit_faults(scenario.source.commits if scenario.source else (), name)


def _commit_faults(commits: tuple[CommitSection, ...], name: str) -> list[InputError]:
    """Names twice, layers that are not above, refs that cannot be, dates that go back."""
    found: list[InputError] = []
    seen: set[str] = set()
    newest: dict[str, datetime] = {}
    for index, commit in enumerate(commits):
        where = f"{name}: source.commits[{index}]"
        if commit.name in seen:
            found.append(InputError("repeats a name", path=f"{where}.name", got=commit.name))
        if not is_ref_name(commit.ref):
            found.append(InputError("is not a ref's name", path=f"{where}.ref", got=commit.ref))
        missing = [layer for layer in commit.layers if layer not in seen]
        found += [InputError("is no commit above this one", path=f"{where}.layers", got=layer) for layer in missing]
        if commit.released_at < newest.get(commit.ref, commit.released_at):
            found.append(InputError("is before the release above it in the same ref", path=f"{where}.released_at"))
        seen.add(commit.name)
        newest[commit.ref] = commit.released_at
    return found
