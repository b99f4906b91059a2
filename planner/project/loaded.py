"""As `planner.delta.loaded`, and with it the loops of signatures."""

from __future__ import annotations

import planner.delta.loaded  # noqa: F401 - on import
from planner.compiled import WORTH_COMPILING
from planner.project.signature import compare, sign

# A text and a binary: on a new machine this compiles both.
for _content in (b"text " * WORTH_COMPILING, bytes(range(256)) * (WORTH_COMPILING // 100)):
    compare(sign(_content), sign(_content))
