"""Running system programs: what a failure tells."""

from __future__ import annotations

import os
import pickle

import pytest

from planner.build.tools import is_missing, run_tool
from planner.errors import ToolError


def _fail(*arguments: str, timeout_s: float = 60.0) -> ToolError:
    with pytest.raises(ToolError) as caught:
        run_tool(arguments, timeout_s=timeout_s)
    return caught.value


def test_output_is_returned_in_english_without_input() -> None:
    assert run_tool(["sh", "-c", 'cat; echo "$LC_ALL"'], timeout_s=60.0) == "C.UTF-8\n"


def test_arguments_are_not_seen_by_a_shell() -> None:
    assert run_tool(["echo", "$(id); *"], timeout_s=60.0) == "$(id); *\n"


def test_a_failure_tells_the_status_and_the_last_words() -> None:
    error = _fail("sh", "-c", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3")
    assert error.facts == {"status": 3, "stderr": "line 3\nline 4\nline 5\nline 6\nline 7"}
    assert not is_missing(error)


def test_a_signal_is_named() -> None:
    assert _fail("sh", "-c", "kill -ABRT $$").facts["signal"] == "SIGABRT"


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    error = _fail("cp")
    assert is_missing(error)
    assert str(error) == "cp: is not installed: debian_package='coreutils'"


def test_a_program_that_hangs_is_ended() -> None:
    assert _fail("sleep", "60", timeout_s=0.1).facts["timeout_s"] == 0.1


def test_an_error_can_cross_processes() -> None:
    error = _fail("false")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_callers_environment_is_left_alone() -> None:
    before = dict(os.environ)
    run_tool(["true"], timeout_s=60.0)
    assert dict(os.environ) == before
