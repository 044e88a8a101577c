"""Errors of records: google.rpc.Status bytes with the project's ErrorInfo, within their size."""

from __future__ import annotations

import contextlib
import sys
import traceback

from batchyard_worker.context import CANONICAL_CODES, RecordError
from batchyard_worker.v1 import worker_pb2

DOMAIN = "batchyard.dev"
DEFAULT_MAX_ERROR_BYTES = 16 * 1024
MAX_STACK_ENTRIES = 64
_TYPE = "type.googleapis.com/google.rpc."
_ELLIPSIS = "…"
_OWN_FOLDER = __file__.rpartition("/")[0] + "/"


class Failure(Exception):
    """A record fails for a reason that the worker found, not the handler.

    Args:
        code: Canonical name of the code.
        reason: Name in ErrorReason.
        message: For the caller.
        metadata: Of the ErrorInfo.
    """

    def __init__(self, code: str, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.code = CANONICAL_CODES[code]
        self.reason = reason
        self.message = message
        self.metadata = metadata


def status_of(error: BaseException, max_bytes: int, *, log: bool = False) -> bytes:
    """The serialized Status of whatever ended a record.

    Args:
        error: A `Failure` of the worker, a `RecordError` of the handler, or any other exception of the handler
            (SystemExit and KeyboardInterrupt too), which becomes UNKNOWN with a DebugInfo.
        max_bytes: Bound of the result.
        log: Also write the traceback of any other exception into the record's log.
    """
    if isinstance(error, Failure):
        return build(error.code, error.reason, error.message, error.metadata, max_bytes)
    if isinstance(error, RecordError):
        metadata = {} if error.retryable is None else {"retryable": "true" if error.retryable else "false"}
        return build(error.code, "RECORD_ERROR", error.message, metadata, max_bytes)
    name = type_name(type(error))
    text = _text_of(error)
    message = f"{name}: {text}" if text else name
    stack = stack_of(error)
    if log:
        _write_traceback(error, message, stack)
    return build(2, "HANDLER_EXCEPTION", message, {"type": name}, max_bytes, stack)


def build(
    code: int,
    reason: str,
    message: str,
    metadata: dict[str, str],
    max_bytes: int,
    stack: list[str] | None = None,
) -> bytes:
    """A serialized Status of at most ``max_bytes``.

    What does not fit is left out in this order: the outer entries of the stack, then the end of the message.
    """
    info = worker_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    for key, value in metadata.items():
        info.metadata[key] = clip(value, 512)
    details = [worker_pb2.Any(type_url=_TYPE + "ErrorInfo", value=info.SerializeToString())]
    empty = worker_pb2.Status(code=code, details=details).ByteSize()
    room = max(max_bytes - empty - 8, 0)
    message = clip(message, room)
    status = worker_pb2.Status(code=code, message=message, details=details)
    if stack:
        entries = _fit(stack, max_bytes - status.ByteSize() - 128)
        if entries:
            debug = worker_pb2.DebugInfo(stack_entries=entries)
            status.details.add(type_url=_TYPE + "DebugInfo", value=debug.SerializeToString())
    return status.SerializeToString()


def clip(text: str, max_bytes: int) -> str:
    """The text as valid Unicode, cut at a character's end so that its UTF-8 has at most ``max_bytes``."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= max_bytes:
        return data.decode()
    room = max_bytes - len(_ELLIPSIS.encode())
    if room < 0:
        return ""
    return data[:room].decode("utf-8", "ignore") + _ELLIPSIS


def type_name(cls: type) -> str:
    """The name of a type as a traceback shows it."""
    if cls.__module__ in ("builtins", "__main__"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def stack_of(error: BaseException) -> list[str]:
    """The traceback, innermost call last, one entry per frame or per repeated frame; the worker's own are left out."""
    try:
        entries = traceback.extract_tb(error.__traceback__, limit=-MAX_STACK_ENTRIES)
        kept = [entry for entry in entries if not _is_own(entry.filename)]
        return [text.rstrip("\n") for text in traceback.StackSummary.from_list(kept).format()]
    except Exception as fault:  # noqa: BLE001 - a loader's get_source or an exotic file name; the record's error matters more
        return [f"no traceback: {type(fault).__name__}"]


def _write_traceback(error: BaseException, message: str, stack: list[str]) -> None:
    """Writes the traceback of an exception that a handler did not mean to raise into the record's log."""
    with contextlib.suppress(Exception):  # a loader's get_source, an exotic __str__, no room
        if _is_plain(error) and len(stack) < MAX_STACK_ENTRIES:
            text = "\n".join(["Traceback (most recent call last):", *stack, message, ""])
        else:
            trace = error.__traceback__
            while trace is not None and _is_own(trace.tb_frame.f_code.co_filename):
                trace = trace.tb_next
            text = "".join(traceback.format_exception(type(error), error, trace))
        if sys.__stderr__ is not None:
            sys.__stderr__.write(text)


def _is_plain(error: BaseException) -> bool:
    """Whether its traceback is the stack and one line more."""
    chained = error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__)
    more = isinstance(error, SyntaxError) or hasattr(error, "exceptions") or hasattr(error, "__notes__")
    return not chained and not more


def _is_own(filename: str) -> bool:
    """Whether a frame is the worker's machinery; the built-in handlers are handlers."""
    return filename.startswith(_OWN_FOLDER) and not filename.startswith(_OWN_FOLDER + "builtin/")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 - whatever a handler's __str__ does
        return f"<its text raised {type(fault).__name__}>"


def _fit(stack: list[str], room: int) -> list[str]:
    """The innermost entries that fit."""
    kept: list[str] = []
    for entry in reversed(stack):
        entry = clip(entry, 2048)
        room -= len(entry.encode()) + 4
        if room < 0:
            break
        kept.append(entry)
    return kept[::-1]
