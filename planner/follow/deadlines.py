"""How long a route may take. Whoever waits for something asks how much is left, however deep in a client it is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from planner.errors import FollowError

_END_S: ContextVar[float] = ContextVar("end_s", default=math.inf)


@contextmanager
def finished_within(most_s: float) -> Iterator[None]:
    """Inside, `left_s` counts down from `most_s`; an outer bound that ends sooner stays."""
    token = _END_S.set(min(_END_S.get(), time.monotonic() + most_s))
    try:
        yield
    finally:
        _END_S.reset(token)


def left_s() -> float:
    """The seconds that are left; infinite where nothing bounds them.

    Raises:
        FollowError: there are none.
    """
    left = _END_S.get() - time.monotonic()
    if left <= 0:
        raise FollowError("takes too long")
    return left
