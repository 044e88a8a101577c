"""How the command line shows things: tables for people, tab-separated lines for pipes, JSON lines for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from batchyard import _cli_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard import BatchTaskInfo, HandlerInfo, RecordInfo
    from batchyard._progress import Progress

TASK_COLUMNS = ("task", "state", "handler", "ended", "records", "failed", "created", "display name")
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
    write("\t".join(columns))
    for row in rows:
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
    created = info.create_time.isoformat(timespec="seconds") if info.create_time else ""
    return (info.task_id, info.state.name, info.handler, ended, counts.total, counts.failed, created, info.display_name)


def task_text(info: BatchTaskInfo) -> str:
    """Describe a task in a few lines."""
    lines = {
        "task": info.name,
        "operation": info.operation,
        "display name": info.display_name,
        "handler": info.handler,
        "state": info.state.name,
        "stop reason": info.stop_reason.name if info.stop_reason else "",
        "waiting reason": info.waiting_reason.name if info.waiting_reason else "",
        "records": counts_text(info),
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(info.labels.items())),
        "created": info.create_time or "",
        "started": info.start_time or "",
        "ended": info.end_time or "",
        "error": f"{info.error.message} (code {info.error.code})" if info.error else "",
    }
    return "\n".join(f"{name + ':':<16}{value}" for name, value in lines.items() if value != "")


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
        said: Any = message.error.message.replace("\n", " ")
    else:
        said = _cli_json.dumps(_cli_json.plain_payload(message.output)) if message.HasField("output") else ""
    return (record.index, record.record_id, record.state.name, said)
