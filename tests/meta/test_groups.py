"""Do tests that share something expensive share a process?"""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", [1, 2])
def test_a_group_is_kept_together(request: pytest.FixtureRequest, number: int) -> None:
    if getattr(request.config.option, "loadgroup", False):  # else there is one process, or whole files are given out
        assert request.node.nodeid.endswith(f"[{number}]@together")
