"""A small world for whole nights: two bases, one product on each, and who runs what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from planner.history.generator import generate_releases

SCENARIO = """
format = "deltaplan-scenario/1"
name = "small"

[repository]
kind = "{kind}"

[source]
kind = "trees"
path = "trees"
commits = [
    {{ name = "B1", ref = "base", released_at = 2024-01-01T00:00:00Z }},
    {{ name = "B2", ref = "base", released_at = 2024-02-01T00:00:00Z }},
    {{ name = "S-on-B1", ref = "device", released_at = 2024-01-10T00:00:00Z, layers = ["B1"] }},
    {{ name = "B3", ref = "base", released_at = 2024-03-01T00:00:00Z }},
    {{ name = "S-on-B3", ref = "device", released_at = 2024-03-10T00:00:00Z, layers = ["B3"] }},
]

[demand]
csv = "demand.csv"

[weigh]
rules = ["direct", "parent", "bare-base"]
codecs = {codecs}

[prices]
storage_per_gb = 200.0
server_cpu_per_hour = 0.001
egress_per_gb = 1.0
"""

DEMAND = """base,target,clients,max_hops
B1,device,500,
B2,device,700,
B3,device,900,
S-on-B1,device,1100,1
"""


def write_world(folder: Path, kind: str = "store", demand: str = DEMAND, codecs: tuple[str, ...] = ()) -> Path:
    """The scenario's file, its demand and its trees; 30 files a base, so that a delta takes milliseconds."""
    folder.mkdir(parents=True, exist_ok=True)
    bases = list(generate_releases(seed=1, releases=3, files=30))
    products = list(generate_releases(seed=2, releases=2, files=20))
    trees = folder / "trees"
    for name, files in (("B1", bases[0]), ("B2", bases[1]), ("B3", bases[2])):
        _write(trees / name / "base", files)
    for name, files in (("S-on-B1", products[0]), ("S-on-B3", products[1])):
        _write(trees / name / "product", files)
    (folder / "demand.csv").write_text(demand)
    scenario = folder / "small.toml"
    scenario.write_text(SCENARIO.format(kind=kind, codecs=list(codecs)))
    return scenario


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
