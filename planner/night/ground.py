"""What a night works on: the repository, its history, who asks, and the rules; read once, and again after a change."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

from planner.build.pool import Pool
from planner.demand.cohorts import Demand
from planner.demand.layers import with_layers
from planner.demand.policy import Policy, apply_policy
from planner.history.objects import ObjectSets, full_pull_bytes
from planner.history.pull_sizes import recall_pull_bytes
from planner.history.records import EMPTY, History
from planner.night.asking import read_demand
from planner.night.images import ImageSite
from planner.night.repositories import OSTreeSite, Site, StoreSite
from planner.night.workspace import Workspace
from planner.publish.keys import read_signing_key
from planner.publish.signatures import SigningKey
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate


class Ground:
    """A scenario over a work folder.

    Args:
        scenario: what it says.
        work: the work folder.
        home: the folder that the scenario's relative paths are relative to.
    """

    def __init__(self, scenario: Scenario, work: Path, home: Path) -> None:
        self.scenario = scenario
        self.workspace = Workspace(work)
        self.home = home
        self.proofs = work / "proofs"
        self.may_write = True

    @property
    def has_repository(self) -> bool:
        """Whether there is one already; asking for the site makes one."""
        return (self.workspace.folder / self.scenario.repository.path).exists()

    @cached_property
    def site(self) -> Site:
        """The repository."""
        section = self.scenario.repository
        path = self.workspace.folder / section.path
        if section.kind == "store":
            return StoreSite.open(path)
        if section.kind == "oci":
            return ImageSite.open(path)
        return OSTreeSite.open(path, self.proofs, section.signing(self.home))

    @cached_property
    def pool(self) -> Pool:
        """The repository's pool of proven deltas."""
        return Pool.of_repository(self.site.path)

    @cached_property
    def history(self) -> History:
        """What was released."""
        return self.site.repository.read_history()

    @cached_property
    def objects(self) -> ObjectSets:
        """Object questions about the history."""
        return ObjectSets(self.history)

    @cached_property
    def policy(self) -> Policy:
        """What routes may and may not do."""
        return self.scenario.routes.policy(self.history)

    @cached_property
    def demand(self) -> Demand:
        """Who asks for what."""
        asked = read_demand(self.scenario.demand, self.history, self.home)
        return apply_policy(asked, self.policy, self.scenario.codecs()) if self.scenario.has_policy else asked

    @cached_property
    def signing_key(self) -> SigningKey | None:
        """The key that route indexes are signed with, if the scenario names one.

        Raises:
            InputError: the file holds no such key, or others may read it.
        """
        name = self.scenario.publish.signing_key
        return None if name is None else read_signing_key(self.home / name)

    @cached_property
    def full_pulls(self) -> dict[tuple[str, str], int]:
        """What each cohort downloads without any delta."""
        pairs = {(cohort.base, cohort.target) for cohort in with_layers(self.history, self.demand.cohorts)}
        return self.full_pulls_of(pairs)

    def full_pulls_of(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """What a client downloads without any delta, for each base and target."""
        measure = partial(full_pull_bytes, self.site.repository, self.objects)
        # An image of one id may be packed anew, and a dry run leaves no memory.
        if self.scenario.repository.kind == "oci" or not self.may_write:
            return {pair: measure(*pair) for pair in sorted(pairs)}
        return recall_pull_bytes(self.workspace.pulls_path, self.site.path / "objects", sorted(pairs), measure)

    def forget(self) -> None:
        """Read the repository again: it has changed."""
        for name in ("history", "objects", "policy", "demand", "full_pulls"):
            self.__dict__.pop(name, None)

    def name_pair(self, candidate: Candidate) -> str:
        """A candidate as a person names it."""
        names = self.history.name_of(candidate.base), self.history.name_of(candidate.target)
        return f"{names[0]} -> {names[1]} ({candidate.codec})"

    def is_here(self, candidate: Candidate) -> bool:
        """Whether the history still has both ends: an owner may have pruned them since."""
        return all(one == EMPTY or one in self.history.commits for one in (candidate.base, candidate.target))
