"""`batchyard watch`: a table that changes on a terminal, a line per message for pipes, JSON lines for programs."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from batchyard import _cli_json, _cli_output
from batchyard._record_info import RecordInfo
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Generator, Iterator

    from batchyard import Client
    from batchyard.v1.operation_status_pb2 import OperationStatus

ALL_SUCCEEDED = 0
FAILED = 1
SOME_FAILED = 3
COLUMNS: Final = ("time", "task", "state", "ended", "records", "failed", "running")
# Tasks that a table remembers; it shows as many of the last changed ones as the terminal has lines for.
_MOST_TASKS: Final = 500
_LINES_AROUND: Final = 4  # of the table's head, and of the shell below it
_REFRESH_PER_SECOND: Final = 8
_State = batch_task_pb2.BatchTaskInfo.State


class _Shown(Protocol):
    """Shows messages."""

    def show(self, message: OperationStatus) -> None:
        """Show one."""


def watch(client: Client, args: Namespace) -> int:
    """Follow a task to its end, or all tasks until interrupted."""
    if (args.task is None) != args.all:
        args.wrong_usage("either a task or --all is needed")
    if args.filter and not args.all:
        args.wrong_usage("--filter goes with --all")
    options: dict[str, Any] = {
        "include_records": args.records,
        "resume_token": args.resume_token,
        "timeout": args.timeout,
    }
    if args.all:
        _follow(client.batch.watch(filter=args.filter, **options), args)
        return ALL_SUCCEEDED
    operation = client.batch.get(args.task, timeout=args.timeout)
    args.waiting_for = operation.task_id
    last = _follow(operation.watch(**options), args)
    # Nothing comes after the token of the last message.
    return _code(last or operation.get_task_info(timeout=args.timeout).message)


def _follow(messages: Iterator[OperationStatus], args: Namespace) -> OperationStatus | None:
    """Show every message; return the last one that tells of a change."""
    last: OperationStatus | None = None
    with closing(cast("Generator[OperationStatus]", messages)) as read, _shower(args) as shower:
        for message in read:
            shower.show(message)
            if message.state:
                last = message
    return last


def _code(last: OperationStatus | batch_task_pb2.BatchTaskInfo) -> int:
    """Return the exit code of a task that has ended, and say why it failed."""
    if last.HasField("error"):
        verb = "was cancelled" if last.state == _State.CANCELLED else "failed"
        _cli_output.note(f"batchyard: the task {verb}: {last.error.message} (code {last.error.code})")
        return FAILED
    return SOME_FAILED if last.counts.succeeded < last.counts.total else ALL_SUCCEEDED


@contextmanager
def _shower(args: Namespace) -> Generator[_Shown]:
    """Choose how messages are shown; a table is left on the screen as it was at the end."""
    if args.json:
        yield _JsonLines()
    elif args.records or not sys.stdout.isatty():
        yield _Lines()
    else:
        try:
            from rich.live import Live
        except ImportError:
            yield _Lines()
            return
        table = _Table()
        with Live(get_renderable=table.render, refresh_per_second=_REFRESH_PER_SECOND):
            yield table


class _JsonLines:
    """Every message as a line of JSON."""

    def show(self, message: OperationStatus) -> None:
        _write(_cli_json.dumps(_cli_json.plain(message)))


class _Lines:
    """A line of COLUMNS per change, and one per outcome, as `results` shows it; separated by tabs."""

    def show(self, message: OperationStatus) -> None:
        for record in message.records:
            _write("\t".join(map(str, ("", *_cli_output.record_row(RecordInfo(record))))))
        if message.state or message.deleted:
            _write("\t".join(map(str, row(message))))


class _Table:
    """The last changed tasks, the latest on top. Drawn by a thread of rich."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, tuple[object, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def show(self, message: OperationStatus) -> None:
        if message.state or message.deleted:
            with self._lock:
                self._rows[message.batch_task] = row(message)
                self._rows.move_to_end(message.batch_task)
                while len(self._rows) > _MOST_TASKS:
                    self._rows.popitem(last=False)

    def render(self) -> Any:
        """Return the table as it is now."""
        from rich.console import Console
        from rich.table import Table

        with self._lock:
            rows = list(self._rows.values())
        lines = max(Console().height - _LINES_AROUND, 1)
        shown = Table(*COLUMNS, box=None, header_style="bold")
        for each in reversed(rows[-lines:]):
            shown.add_row(*map(str, each))
        return shown


def row(message: OperationStatus) -> tuple[object, ...]:
    """Return the columns of COLUMNS."""
    counts = message.counts
    time = message.event_time.ToDatetime().isoformat(timespec="milliseconds") + "Z"
    state = "DELETED" if message.deleted else _State.Name(message.state)
    ended = counts.succeeded + counts.failed + counts.cancelled
    task = message.batch_task.rpartition("/")[2]
    return time, task, state, ended, counts.total, counts.failed, counts.running


def _write(text: str) -> None:
    """Print one line at once: whoever reads it wants to know now."""
    _cli_output.write(text)
    sys.stdout.flush()
