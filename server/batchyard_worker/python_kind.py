"""Handlers of kind `python`: a callable that runs in this process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import reduce
from typing import Any

from batchyard_worker import errors, payload
from batchyard_worker.context import Context
from batchyard_worker.errors import Failure
from batchyard_worker.v1 import worker_pb2
from batchyard_worker.value_wire import decode_value
from batchyard_worker.wire import Ended

_LAZY_FLAGS = 0x20 | 0x80 | 0x200  # generator, coroutine, asynchronous generator (inspect.CO_*)
Execute = Callable[[worker_pb2.Payload, Context], Any]


class PythonHandler:
    """A loaded callable.

    Args:
        call: ``call(record, context) -> output``.
        max_output_bytes: Bound of a serialized output.
        max_error_bytes: Bound of a serialized error.
    """

    def __init__(self, call: Callable[[Any, Context], Any], max_output_bytes: int, max_error_bytes: int) -> None:
        self._call = call
        self._max_output = max_output_bytes or payload.DEFAULT_MAX_OUTPUT_BYTES
        self._max_error = max_error_bytes or errors.DEFAULT_MAX_ERROR_BYTES
        self._parameters: tuple[bytes, Callable[[], Any] | None] = (b"", None)

    @classmethod
    def load(cls, load: worker_pb2.Load) -> PythonHandler:
        """Imports ``package.module:attribute``; a class is built once, its instance is what is called.

        Raises:
            Exception: Whatever the import or the constructor raises; TypeError if it cannot be called per record.
        """
        return cls(resolve(load.callable), load.max_output_bytes, load.max_error_bytes)

    def prepare(self, inputs: bytes, parameters: bytes) -> tuple[Execute, Callable[[], Any] | None]:
        """Readies one subtask: see `loop.Kind`."""
        try:
            if self._parameters[0] != parameters:
                self._parameters = (parameters, payload.parameters_of(parameters))
        except Failure as error:
            ended = Ended(error=errors.status_of(error, self._max_error))
            return (lambda record, context: ended), None
        return self._executor(payload.may_hold_long_integer(inputs)), self._parameters[1]

    def _executor(self, long_digits: bool) -> Execute:
        call, max_output, max_error = self._call, self._max_output, self._max_error
        to_python, from_python, dumps = payload.to_python, payload.from_python, payload.dumps
        room = max_output - 16
        # Of a page without a long integer every text may go to orjson unseen.
        quick = None if long_digits or payload.orjson is None else payload.orjson.loads
        json_types = (dict, list, int, float, bool)

        def execute(record: worker_pb2.Payload, context: Context) -> Any:
            try:
                text = record.text
                if text and quick is not None and not record.content_type:
                    try:
                        value = quick(text)
                    except ValueError:
                        value = to_python(record)  # words the error
                elif record.json:
                    try:
                        value = decode_value(record.json)
                    except (ValueError, RecursionError):
                        value = to_python(record)  # words the error
                else:
                    value = to_python(record)
                result = call(value, context)
                if type(result) in json_types:
                    try:
                        data = dumps(result)
                    except (TypeError, ValueError, RecursionError) as error:
                        raise payload.not_serializable(str(error)) from None
                    if len(data) <= room:
                        return data
                if result is None:
                    return Ended()
                return Ended(output=from_python(result, max_output))
            except BaseException as error:  # noqa: BLE001 - SystemExit too ends its record only
                return Ended(error=errors.status_of(error, max_error, log=True))

        return execute


def resolve(spec: str) -> Callable[[Any, Context], Any]:
    """Imports what ``package.module:attribute`` names and makes it callable per record.

    Raises:
        Exception: Whatever the import or the constructor raises.
        ValueError: The spec has no colon.
        TypeError: Not callable, or a coroutine or generator function.
    """
    module, colon, attribute = spec.partition(":")
    if not module or not colon or not attribute:
        raise ValueError(f"{spec!r} is not package.module:attribute")
    target = reduce(getattr, attribute.split("."), importlib.import_module(module))
    if isinstance(target, type):
        target = target()
    if not callable(target):
        raise TypeError(f"{spec} is not callable")
    code = getattr(target, "__code__", None) or getattr(type(target).__call__, "__code__", None)
    if code is not None and code.co_flags & _LAZY_FLAGS:
        raise TypeError(f"{spec} is a generator or coroutine function: a handler returns its output")
    return target
