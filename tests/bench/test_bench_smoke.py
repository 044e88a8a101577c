"""Does `python -m tests.bench` still measure? Two rows that need no other service, at their smallest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.procs import ROOT

ROWS = ["upload", "wakeup"]


def test_two_rows_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    argv = [sys.executable, "-m", "tests.bench", "--quick", "--rounds", "1", "--rows", ",".join(ROWS)]
    done = subprocess.run(
        [*argv, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(out.read_text(encoding="utf-8"))
    assert [row["name"] for row in document["rows"]] == ROWS
    for row in document["rows"]:
        assert row["error"] == ""
        assert [row["figures"][goal["figure"]]["n"] for goal in row["goals"]] == [1]
        assert all(goal["value"] > 0 for goal in row["goals"])
    assert document["quick"] is True
    assert "QUICK" in done.stdout
