"""The logger behind `Context.log`."""

from __future__ import annotations

import logging
import sys

_NAME = "batchyard.record"


def logger() -> logging.Logger:
    """The logger, made at the first call.

    It writes to the standard error that the process was given, whatever a handler makes of `sys.stderr`, a line at
    once, and passes nothing on to the loggers above it: what a handler's own logging does stays as it is.
    """
    found = logging.getLogger(_NAME)
    if not found.handlers:
        lines = logging.StreamHandler(sys.__stderr__)
        lines.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        found.addHandler(lines)
        found.propagate = False
        found.setLevel(logging.DEBUG)
    return found
