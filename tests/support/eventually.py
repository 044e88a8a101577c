"""Waiting for what will be so: look again every few milliseconds, until a deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_SECONDS = 0.01


def eventually(check: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
    """Wait until `check` returns something true, and return that.

    An AssertionError out of `check` means "not yet"; at the deadline the last one is raised, or one with `what`.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        found = _once(check, time.monotonic() > end, seconds, what)
        if found:
            return found
        pause.wait(PAUSE_SECONDS)


async def eventually_in_loop(check: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
    """The same, while the event loop goes on."""
    end = time.monotonic() + seconds
    while True:
        found = _once(check, time.monotonic() > end, seconds, what)
        if found:
            return found
        await asyncio.sleep(PAUSE_SECONDS)


def _once(check: Callable[[], T], last: bool, seconds: float, what: str) -> T | None:
    try:
        found = check()
    except AssertionError:
        if last:
            raise
        return None
    if last and not found:
        raise AssertionError(f"not within {seconds:g} s: {what or check}")
    return found
