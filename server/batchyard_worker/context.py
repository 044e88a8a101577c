"""What a handler sees of the worker: the context of a record and the error that it may raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from batchyard_worker.stage import Stage

CANONICAL_CODES = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
"""The codes of google.rpc.Code by name, without OK."""


class RecordError(Exception):
    """Raised by a handler to fail its record with a code and a message of its own.

    Args:
        code: A canonical code of google.rpc.Code, by name (``"NOT_FOUND"``) or number (1 to 16).
        message: What went wrong, for the caller. Cut where the error would pass 16 KiB.
        retryable: Whether another attempt may succeed; None leaves it to the code.

    Raises:
        ValueError: ``code`` is OK or not a canonical code.
    """

    def __init__(self, code: str | int, message: str = "", retryable: bool | None = None) -> None:
        number = CANONICAL_CODES.get(code) if isinstance(code, str) else code
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 16:
            raise ValueError(f"not a canonical error code: {code!r}")
        super().__init__(code, message, retryable)
        self.code: int = int(number)
        self.message: str = str(message)
        self.retryable: bool | None = retryable

    def __str__(self) -> str:
        return self.message


class Common:
    """What the records of one subtask have in common.

    Args:
        parameters: Makes the batch task's parameters as a Python object; None if it has none.
        stage: Where the records leave files; None if they cannot.
    """

    __slots__ = ("parameters", "stage")

    def __init__(self, parameters: Callable[[], Any] | None = None, stage: Stage | None = None) -> None:
        self.parameters = parameters
        self.stage = stage


_NOTHING = Common()


class Context:
    """What a handler is told about the record it runs; a new one for each record.

    Attributes:
        index: Position of the record in its batch task, 0-based.
        record_id: The caller's own id of the record; empty if it gave none.
        attempt: 1-based number of this execution within the generation.
        generation: Generation of the batch task, from 1.
        common: For the worker itself.
    """

    __slots__ = ("attempt", "common", "generation", "index", "record_id")

    def __init__(self, index: int, record_id: str, attempt: int, generation: int, common: Common = _NOTHING) -> None:
        self.index = index
        self.record_id = record_id
        self.attempt = attempt
        self.generation = generation
        self.common = common

    @property
    def parameters(self) -> Any:
        """The batch task's parameters as a Python object, None if it has none.

        Decoded anew at each access, so that no record sees what the handler did to the object for another one.
        """
        make = self.common.parameters
        return None if make is None else make()

    @property
    def artifacts_dir(self) -> Path:
        """Folder for files that are to be kept with the record's outcome: they become its artifacts.

        It is made when it is first asked for, in the process that was given this context, before the record ends. Each
        execution of a record has a folder of its own.

        Raises:
            OSError: It cannot be made.
            RuntimeError: No worker made this context.
        """
        stage = self.common.stage
        if stage is None:
            raise RuntimeError("artifacts can be left only by a record that a worker runs")
        return stage.directory(self.index)

    @property
    def log(self) -> logging.Logger:
        """Writes lines ``LEVEL message`` into the record's log, beside what goes to the standard streams.

        One logger for all records of a worker; it takes every level unless the handler sets another one.
        """
        from batchyard_worker import record_log  # logging is loaded by whoever uses it: it is large

        return record_log.logger()

    def __repr__(self) -> str:
        return (
            f"Context(index={self.index}, record_id={self.record_id!r}, attempt={self.attempt}, "
            f"generation={self.generation})"
        )
