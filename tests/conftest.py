"""Options of the test run."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A busy machine is no fault: nothing here may fail by the clock.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--no-skips`: a machine that is meant to have everything fails where a test was skipped."""
    parser.addoption("--no-skips", action="store_true", help="fail if any test is skipped")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a green run with skipped tests into a failed one, where that was asked for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    # Benchmark data that may not be copied into the project is no part of any machine: those skips are only shown.
    unexpected = [report for report in skipped if "beside the checkout" not in str(report.longrepr)]
    if session.config.getoption("--no-skips") and unexpected and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"--no-skips: {len(unexpected)} tests were skipped", red=True)
