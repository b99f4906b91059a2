"""A scenario: one TOML file that says what was released, who asks, what may be built, and at which prices.

Reading is strict: unknown keys, wrong types and numbers that make no sense are refused with their path.
`docs/scenario.md` shows every key.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from planner.build.codecs import CODECS
from planner.delta.superblock import COMPOSED, NATIVE
from planner.errors import InputError, raise_collected
from planner.history.encoding import is_ref_name
from planner.history.files import read_bounded
from planner.images.publishing import IMAGE_CODEC
from planner.optimize.problem import Limits, Prices
from planner.scenario_sections import (
    CommitSection,
    DemandSection,
    ExecutorSection,
    HorizonSection,
    LimitsSection,
    MixSection,
    Name,
    NightSection,
    PricesSection,
    PublishSection,
    RepositorySection,
    RoutesSection,
    Section,
    SolveSection,
    SourceSection,
    WeighSection,
)
from planner.units import parse_duration
from planner.weigh.rules import RULES
from planner.weigh.stock_client import CODECS_OF, OSTREE_CODECS, BuilderName

FORMAT = "deltaplan-scenario/1"
_MAX_SCENARIO_BYTES = 10_000_000


class Scenario(Section, frozen=True):
    """A scenario as its file gives it."""

    format: Literal["deltaplan-scenario/1"]
    name: Name
    description: str = ""
    repository: RepositorySection = RepositorySection()
    source: SourceSection | None = None
    mixes: tuple[MixSection, ...] = ()
    demand: DemandSection = DemandSection()
    routes: RoutesSection = RoutesSection()
    weigh: WeighSection = WeighSection()
    prices: PricesSection = PricesSection()
    limits: LimitsSection = LimitsSection()
    solve: SolveSection = SolveSection()
    horizon: HorizonSection = HorizonSection()
    night: NightSection = NightSection()
    executor: ExecutorSection = ExecutorSection()
    publish: PublishSection = PublishSection()

    @property
    def has_policy(self) -> bool:
        """Whether routes have rules."""
        return self.routes != RoutesSection()

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
    found += _time_faults(scenario.night, name)
    found += [
        InputError(
            "is no codec of this repository", path=f"{name}: routes.minimum_version.{codec}", known=sorted(codecs)
        )
        for codec in scenario.routes.minimum_version
        if codec not in codecs
    ]
    return found + _commit_faults(scenario.source.commits if scenario.source else (), name)


def _time_faults(night: NightSection, name: str) -> list[InputError]:
    """Times that cannot be read."""
    found = []
    for key in ("window", "job_time", "grace", "drain"):
        try:
            if (text := getattr(night, key)) is not None:
                parse_duration(text, path=f"{name}: night.{key}")
        except InputError as error:
            found.append(error)
    return found


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
