"""A handler that loads only once LIVE_FOLDER/open/load is there; until then LIVE_FOLDER/loading says that it waits."""

from __future__ import annotations

import os
import pathlib
import time
from typing import Any

_FOLDER = pathlib.Path(os.environ["LIVE_FOLDER"])
while not (_FOLDER / "open" / "load").exists():
    (_FOLDER / "loading").touch()
    time.sleep(0.005)


def run(record: Any, context: Any) -> int:
    """The attempt."""
    return context.attempt
