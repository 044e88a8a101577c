"""Handlers of kind `command`: a program, started once per record, never through a shell.

What the program leaves behind in its own session is killed when its record ends. A process that made a session of
its own lives on until the worker ends: the supervisor kills those.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Callable, Generator
from typing import Any

from batchyard_worker import errors, payload
from batchyard_worker.context import Context
from batchyard_worker.errors import Failure
from batchyard_worker.process import Process
from batchyard_worker.templates import Template
from batchyard_worker.v1 import worker_pb2
from batchyard_worker.wire import Ended, delimited, text_payload

DEFAULT_OUTPUT_TYPE = "text/plain"
ARTIFACTS_VARIABLE = "BATCHYARD_ARTIFACTS_DIR"
"""Of the environment of a command: the folder whose files become artifacts of the record."""
ARTIFACTS_NAME = "artifacts_dir"
"""The placeholder for the same; a member of that name in a record is not seen."""


class CommandHandler:
    """A program and the templates of its arguments.

    Args:
        load: Load of kind `command`.

    Raises:
        ValueError: A template that cannot be parsed; no program; a placeholder in the program's name, which would let
            a record choose what is run.
        FileNotFoundError: No such program on this worker's PATH, or it is not executable.
    """

    def __init__(self, load: worker_pb2.Load) -> None:
        if not load.argv:
            raise ValueError("argv is empty")
        self._templates = [Template(argument) for argument in load.argv]
        if self._templates[0].names:
            raise ValueError("argv[0] names the program and cannot have placeholders")
        program = self._templates[0].fill({}, False)
        if shutil.which(os.fsdecode(program)) is None:
            raise FileNotFoundError(f"{os.fsdecode(program)}: no such program, or it is not executable")
        self._has_placeholders = any(set(template.names) - {ARTIFACTS_NAME} for template in self._templates)
        self._dash_values = load.dash_values
        self._output_type = load.output_type or DEFAULT_OUTPUT_TYPE
        self._max_output = load.max_output_bytes or payload.DEFAULT_MAX_OUTPUT_BYTES
        self._max_error = load.max_error_bytes or errors.DEFAULT_MAX_ERROR_BYTES

    def prepare(
        self, inputs: bytes, parameters: bytes
    ) -> tuple[Callable[[worker_pb2.Payload, Context], Ended], Callable[[], Any] | None]:
        """Readies one subtask: see `loop.Kind`. A command does not see the task's parameters."""
        return self._execute, None

    def _execute(self, record: worker_pb2.Payload, context: Context) -> Ended:
        exit_code: int | None = None
        try:
            with _folder(context) as folder:
                argv, stdin = self._arguments(record, folder)
                process = self._start(argv, stdin, folder)
                exit_code = process.run()
            return Ended(output=self._output(process), exit_code=exit_code)
        except Exception as error:  # noqa: BLE001 - a fault here ends the record, not the worker
            return Ended(error=errors.status_of(error, self._max_error), exit_code=exit_code)

    def _arguments(self, record: worker_pb2.Payload, folder: str) -> tuple[list[bytes], bytes]:
        """The argument vector and what the program reads.

        Raises:
            Failure: INPUT_NOT_JSON, INVALID_PLACEHOLDER.
        """
        value = payload.to_python(record)
        members: dict[str, Any] = {}
        if self._has_placeholders:
            kind = record.WhichOneof("kind")
            if not isinstance(value, dict) or kind not in ("text", "json"):
                raise Failure(
                    "INVALID_ARGUMENT",
                    "INVALID_PLACEHOLDER",
                    "the record is not a JSON object, which placeholders need",
                )
            members = value
        if folder:
            members = {**members, ARTIFACTS_NAME: folder}
        return [template.fill(members, self._dash_values) for template in self._templates], stdin_of(record, value)

    def _start(self, argv: list[bytes], stdin: bytes, folder: str) -> Process:
        try:
            env = {**os.environ, ARTIFACTS_VARIABLE: folder} if folder else None
            return Process(argv, stdin, self._max_output, env)
        except OSError as error:
            if error.errno == errno.E2BIG and self._has_placeholders:
                raise Failure("INVALID_ARGUMENT", "INVALID_PLACEHOLDER", "the arguments are too long") from None
            why = f"{os.fsdecode(argv[0])}: {error.strerror or error}"
            raise Failure("FAILED_PRECONDITION", "COMMAND_NOT_STARTED", why) from None

    def _output(self, process: Process) -> bytes:
        if process.too_large:
            raise payload.too_large(f"more than {self._max_output}", self._max_output)
        if process.exit_code:
            raise _nonzero(process.exit_code, process.stderr_tail)
        data = bytes(process.stdout)
        try:
            data.decode()
        except UnicodeDecodeError:
            result = delimited(0x0A, payload.BYTES_TYPE.encode()) + delimited(0x1A, data)
        else:
            result = delimited(0x0A, self._output_type.encode()) + text_payload(data)
        payload.check_size(len(result), self._max_output)
        return result


@contextlib.contextmanager
def _folder(context: Context) -> Generator[str]:
    """The record's folder for files; "" if it cannot leave any. A command may use it or not, so it is there for each.

    Raises:
        Failure: COMMAND_NOT_STARTED.
    """
    stage = context.common.stage
    if stage is None:
        yield ""
        return
    try:
        folder = str(stage.make(context.index))
    except OSError as error:
        why = f"no folder for its artifacts: {error.strerror or error}"
        raise Failure("RESOURCE_EXHAUSTED", "COMMAND_NOT_STARTED", why) from None
    try:
        yield folder
    finally:
        stage.settle(context.index)


def stdin_of(record: worker_pb2.Payload, value: Any) -> bytes:
    """What a command reads: JSON text as it came, a `json` Value as JSON text, else the payload's raw bytes.

    Raises:
        Failure: INPUT_NOT_JSON.
    """
    kind = record.WhichOneof("kind")
    if kind == "text":
        return record.text.encode()
    if kind == "json":
        try:
            return payload.dumps_exact(value)
        except ValueError as error:  # a Value may hold NaN, JSON may not
            raise Failure("INVALID_ARGUMENT", "INPUT_NOT_JSON", f"not JSON: {error}") from None
    return getattr(record, kind) if kind else b""


def _nonzero(exit_code: int, tail: bytes) -> Failure:
    if exit_code < 0:
        how = f"ended by signal {-exit_code}"
        with contextlib.suppress(ValueError):  # a real-time signal has no name
            how += f" ({signal.Signals(-exit_code).name})"
    else:
        how = f"exit code {exit_code}"
    quoted = tail.decode("utf-8", "replace").strip()
    return Failure("UNKNOWN", "NONZERO_EXIT", f"{how}: {quoted}" if quoted else how, exit_code=str(exit_code))
