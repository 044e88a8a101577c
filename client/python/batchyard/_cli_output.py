"""How the command line shows things: tables for people, tab-separated lines for pipes, JSON lines for programs."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

from batchyard import _cli_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from batchyard import BatchTaskInfo, HandlerInfo, RecordAttempt, RecordInfo, Subtask
    from batchyard._progress import Progress

TASK_COLUMNS = ("task", "state", "handler", "ended", "records", "failed", "created", "display name", "archived")
SUBTASK_COLUMNS = ("subtask", "state", "records", "worker", "node", "started", "ended", "exit code", "error")
ATTEMPT_COLUMNS = ("generation", "attempt", "state", "worker", "started", "ended", "exit code", "error")
COUNT_COLUMNS = ("state", "tasks")
HANDLER_COLUMNS = ("handler", "kind", "isolation", "available", "description")


def write(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print one line for people on stderr."""
    sys.stderr.write(text + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show rows: with rich on a terminal, else separated by tabs, as they come."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            pass
        else:
            shown = Table(*columns, box=None, header_style="bold")
            for row in rows:
                shown.add_row(*map(str, row))
            Console().print(shown)
            return
    coming = iter(rows)
    first = next(coming, None)  # nothing is shown where that cannot be got
    write("\t".join(columns))
    for row in () if first is None else itertools.chain([first], coming):
        write("\t".join(map(str, row)))


def bar(as_json: bool) -> Progress:
    """Return the progress to show: a bar on a terminal, nothing elsewhere."""
    if as_json or not sys.stderr.isatty():
        return None
    try:
        import rich  # noqa: F401  # pyright: ignore[reportUnusedImport]  # only whether it is there
    except ImportError:
        return None
    return "bar"


def task_row(info: BatchTaskInfo) -> tuple[object, ...]:
    """Return the columns of TASK_COLUMNS."""
    counts = info.counts
    ended = counts.succeeded + counts.failed + counts.cancelled
    shown = (info.task_id, info.state.name, info.handler, ended, counts.total, counts.failed)
    return (*shown, _time(info.create_time), info.display_name, "archived" if info.archived else "")


def task_text(info: BatchTaskInfo) -> str:
    """Describe a task in a few lines."""
    lines = {
        "task": info.name,
        "operation": info.operation,
        "display name": info.display_name,
        "handler": info.handler,
        "generation": info.generation if info.generation > 1 else "",
        "state": info.state.name,
        "stop reason": info.stop_reason.name if info.stop_reason else "",
        "waiting reason": info.waiting_reason.name if info.waiting_reason else "",
        "records": counts_text(info),
        "settings": ", ".join(_settings(info)),
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(info.labels.items())),
        "created": info.create_time or "",
        "started": info.start_time or "",
        "ended": info.end_time or "",
        "expires": info.expire_time or "",
        "archived": "yes" if info.archived else "",
        "etag": info.etag,
        "error": f"{info.error.message} (code {info.error.code})" if info.error else "",
    }
    return "\n".join(f"{name + ':':<16}{value}" for name, value in lines.items() if value != "")


def _settings(info: BatchTaskInfo) -> Iterator[str]:
    """Yield what is not the default, as `name=value`."""
    message = info.message
    for field in ("priority", "parallel_count"):
        if message.HasField(field):
            yield f"{field}={getattr(message, field)}"
    for part in (message.constraints, message.retry_policy, message.failure_policy):
        for field, value in _cli_json.plain(part).items():
            yield f"{field}={'|'.join(value) if isinstance(value, list) else value}"


def _time(time: datetime | None) -> str:
    return time.isoformat(timespec="seconds") if time else ""


def counts_text(info: BatchTaskInfo) -> str:
    """Say how many records are in which state, on one line."""
    counts = info.counts
    states = ("succeeded", "failed", "cancelled", "running", "pending")
    parts = [f"{getattr(counts, state)} {state}" for state in states if getattr(counts, state)]
    return f"{counts.total}: {', '.join(parts)}" if parts else str(counts.total)


def handler_row(handler: HandlerInfo) -> tuple[object, ...]:
    """Return the columns of HANDLER_COLUMNS."""
    available = "yes" if handler.available else "no"
    return (handler.handler_id, handler.kind.name, handler.isolation.name, available, handler.description)


def record_row(record: RecordInfo) -> tuple[object, ...]:
    """Return index, id, state, and output or error."""
    message = record.message
    if message.HasField("error"):
        said: Any = _one_line(message.error.message)
    else:
        said = _cli_json.dumps(_cli_json.plain_payload(message.output)) if message.HasField("output") else ""
    return (record.index, record.record_id, record.state.name, said)


def subtask_row(subtask: Subtask) -> tuple[object, ...]:
    """Return the columns of SUBTASK_COLUMNS; records as `0-4,7`."""
    parts = [str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in subtask.ranges]
    shown = (subtask.epoch, subtask.state.name, ",".join(parts), subtask.worker, subtask.node)
    error = _one_line(subtask.error.message) if subtask.error else ""
    return (*shown, _time(subtask.start_time), _time(subtask.end_time), _code(subtask.exit_code), error)


def attempt_row(attempt: RecordAttempt) -> tuple[object, ...]:
    """Return the columns of ATTEMPT_COLUMNS."""
    shown = (attempt.generation, attempt.attempt, attempt.state.name, attempt.worker)
    error = _one_line(attempt.error.message) if attempt.error else ""
    return (*shown, _time(attempt.start_time), _time(attempt.end_time), _code(attempt.exit_code), error)


def _code(exit_code: int | None) -> object:
    return "" if exit_code is None else exit_code


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
