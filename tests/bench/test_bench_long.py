"""Can every row be measured, peers and all? Small sizes, one round; the figures are not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import ROWS
from tests.bench.procs import ROOT

SECONDS = 230


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 5)
def test_every_row_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    argv = [sys.executable, "-m", "tests.bench", "--quick", "--rounds", "1", "--json", str(out)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    print(done.stdout)
    document = json.loads(out.read_text(encoding="utf-8"))
    assert [row["name"] for row in document["rows"]] == list(ROWS)
    assert {row["name"]: row["error"] for row in document["rows"] if row["error"]} == {}
    assert all(row["goals"] and row["settings"] and row["figures"] for row in document["rows"])
    assert done.returncode == 0
