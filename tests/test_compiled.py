"""Kernels at two speeds, and tasks side by side."""

from __future__ import annotations

import threading

import pytest

from planner.compiled import at_once


def test_tasks_run_side_by_side_and_answer_in_order() -> None:
    """Each task waits for the other: one after the other they would never end."""
    meeting = threading.Barrier(2, timeout=60)

    def first() -> str:
        meeting.wait()
        return "first"

    def second() -> str:
        meeting.wait()
        return "second"

    assert at_once([first, second]) == ["first", "second"]


def test_what_a_task_raises_comes_out_after_all_have_ended() -> None:
    ended = []

    def fail() -> None:
        raise ValueError("in a thread")

    def end() -> None:
        ended.append("other")

    with pytest.raises(ValueError, match="in a thread"):
        at_once([end, fail])
    with pytest.raises(ValueError, match="in a thread"):
        at_once([fail, end])
    assert ended == ["other", "other"]
