"""What holds for every test: a skip is counted, says why, and is a failure in CI.

Warnings are errors and asyncio needs no marks: pyproject.toml.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest


def _skips(config: pytest.Config) -> Counter[str]:
    """Reasons of the skips of this run, counted. With xdist only the controlling process has them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports: list[pytest.TestReport] = reporter.stats.get("skipped", []) if reporter is not None else []
    return Counter(report.longrepr[2] if isinstance(report.longrepr, tuple) else "?" for report in reports)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a group of tests on one process: pytest 9.2 reads the id of a test elsewhere than xdist 3.8 writes it.

    Without this, `xdist_group` does nothing. It does nothing itself where the two agree.
    """
    for item in items:
        grouped = vars(item).get("_nodeid", "")
        if "@" in grouped and item.nodeid != grouped:
            item._id = type(item._id).parse(grouped)  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many tests were skipped, and why."""
    skips = _skips(config)
    terminalreporter.write_line(f"skips: {skips.total()}")
    for reason, count in skips.most_common():
        terminalreporter.write_line(f"  {count} × {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing may be missing: a skipped test fails the run."""
    if os.environ.get("CI") and _skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
