"""Handlers of kind `command`: a program, started once per record."""

from __future__ import annotations

from batchyard_worker.v1 import worker_pb2


class CommandHandler:
    """A program and its argument templates."""

    @classmethod
    def load(cls, load: worker_pb2.Load) -> CommandHandler:
        """Checks the templates and the program."""
        raise NotImplementedError("kind command")
