"""One tree of errors; each class has an exit status of its own.

An error is one sentence, then facts as keywords, with the data path in front where there is one:
`cohorts[3].target: commit id is not 64 lowercase hex digits: got='abc'`.
"""

from __future__ import annotations

from collections.abc import Iterable


class PlannerError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: one sentence, without the facts.
        path: where in the data, e.g. `demands.clients[3]`, or a file's path.
        facts: values that the reader needs, shown as `name=value`.

    >>> str(InputError("is negative", path="candidates.wire_bytes[3]", got=-1))
    'candidates.wire_bytes[3]: is negative: got=-1'
    """

    exit_status = 1

    def __init__(self, message: str, *, path: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.facts = facts

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return ": ".join(piece for piece in (self.path, self.message, facts) if piece)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; the default would lose the keywords.
        return _rebuild, (type(self), self.message, self.path, self.facts)


def _rebuild(kind: type[PlannerError], message: str, path: str, facts: dict[str, object]) -> PlannerError:
    return kind(message, path=path, **facts)


class InputError(PlannerError):
    """What a person wrote (graph, scenario, CSV, argument) cannot be used."""

    exit_status = 3


class RepositoryError(PlannerError):
    """A repository lacks an object, or one is corrupt."""

    exit_status = 4


class InfeasibleError(PlannerError):
    """No plan can meet the demands within the limits."""

    exit_status = 5


class BuildError(PlannerError):
    """A delta could not be built, or did not reproduce its target."""

    exit_status = 6


class PublishError(PlannerError):
    """Artifacts could not be handed over; what was published before still serves."""

    exit_status = 7


class FollowError(PlannerError):
    """A client could not reach its target."""

    exit_status = 8


class ToolError(PlannerError):
    """A system program is missing or failed; its last words are in the facts."""

    exit_status = 9


class BusyError(PlannerError):
    """Another run holds the lock of this work folder."""

    exit_status = 10


class SpaceError(PlannerError):
    """The disk is full; nothing half-written was left."""

    exit_status = 11


def raise_collected(errors: Iterable[InputError]) -> None:
    """Raise the input errors found so far as one, so that a person can mend them together.

    >>> raise_collected([])
    >>> raise_collected([InputError("is negative", path="a[0]"), InputError("is NaN", path="a[1]")])
    Traceback (most recent call last):
    planner.errors.InputError: a[0]: is negative; a[1]: is NaN
    """
    found = list(errors)
    if not found:
        return
    if len(found) == 1:
        raise found[0]
    shown, more = found[:10], len(found) - 10
    text = "; ".join(map(str, shown)) + (f"; and {more} more" if more > 0 else "")
    raise InputError(text)
