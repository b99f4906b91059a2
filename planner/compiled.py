"""One source, two speeds: kernels run as plain Python on small problems and compiled on large ones.

Compiling takes seconds once per machine and loading the compiled code a few tenths per process: small problems never
pay either. numba is imported only here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from threading import Thread
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, TypeVar

Result = TypeVar("Result")

_ROOT = __name__.partition(".")[0] + "."

WORTH_COMPILING = 10_000
"""Inner steps below which plain Python is faster than loading compiled code."""


def kernels(module: ModuleType, steps: int) -> Any:
    """The module itself where about `steps` inner steps are to be done that compiling is not worth, else its twin."""
    is_loaded = compiled.cache_info().currsize > 0
    return compiled(module) if steps >= WORTH_COMPILING or is_loaded else module


@cache
def compiled(module: ModuleType) -> Any:
    """The module's functions, compiled and calling each other compiled; kept on disk beside it where possible."""
    import numba  # noqa: PLC0415 - takes 0.4 s, which small problems need not pay

    namespace: dict[str, Any] = dict(vars(module))
    options: Any = getattr(module, "COMPILE_OPTIONS", {})  # what a module knows of its loops
    for name, value in vars(module).items():
        if not isinstance(value, FunctionType) or not value.__module__.startswith(_ROOT):
            continue
        if value.__module__ != module.__name__:
            namespace[name] = getattr(compiled(import_module(value.__module__)), name)
            continue
        twin = FunctionType(value.__code__, namespace, name, value.__defaults__)
        twin.__module__, twin.__qualname__ = module.__name__, value.__qualname__
        try:
            namespace[name] = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(twin)
        except RuntimeError:  # nowhere to keep compiled code: compile in every process
            namespace[name] = numba.njit(nogil=True, error_model="numpy", **options)(twin)
    return SimpleNamespace(**namespace)


def at_once(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of tasks that share nothing, in order; all but the first run in threads of their own.

    Compiled code lets go of the interpreter, so that tasks run side by side. Whatever they raise is raised here once
    all have ended, the first task's first.
    """
    done: dict[int, Result] = {}
    raised: dict[int, BaseException] = {}

    def run(number: int) -> None:
        try:
            done[number] = tasks[number]()
        except BaseException as error:
            raised[number] = error

    helpers = [Thread(target=run, args=(number,)) for number in range(1, len(tasks))]
    for helper in helpers:
        helper.start()
    run(0)
    for helper in helpers:
        helper.join()
    for number in sorted(raised):
        raise raised[number]
    return [done[number] for number in range(len(tasks))]
