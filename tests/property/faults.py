"""Did the server meet something that it calls an error? Its log, instead of where that goes otherwise."""

from __future__ import annotations

import logging

_LOG = logging.getLogger("batchyard_server")


class Faults(logging.Handler):
    """Keeps the errors that are not the world's fault, from now on until `stop`; drops all else."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        _LOG.addHandler(self)
        _LOG.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if record.levelno >= logging.ERROR and not record.name.startswith("batchyard_server.execution."):
            self.found.append(self.format(record))

    def stop(self) -> None:
        """The log goes where it went before."""
        _LOG.removeHandler(self)
        _LOG.propagate = True
