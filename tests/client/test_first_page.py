"""The example of README.md that leaves files runs as it stands, against the real server."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
from PIL import Image

from tests.support.server import SECONDS, process

ROOT = pathlib.Path(__file__).parents[2]
BLOCKS = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.xdist_group("readme")
def test_thumbnails_of_real_images(tmp_path: pathlib.Path) -> None:
    [block] = [block for block in BLOCKS if "--handler thumbnail" in block]
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    with process(tmp_path) as server:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env={**os.environ, "BATCHYARD_TARGET": server.target},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    count = len((tmp_path / "images.jsonl").read_text().splitlines())
    assert count > 0
    made = [tmp_path / line for line in done.stdout.splitlines() if line.startswith("thumbnails/")]
    assert len(made) == count
    for path in made:
        with Image.open(path) as image:
            assert max(image.size) <= 64
