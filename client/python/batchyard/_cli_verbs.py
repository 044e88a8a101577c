"""What each verb of the command line does; each returns the exit code."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from batchyard import _cli_json, _cli_output, _payload
from batchyard._cli_options import InputError, settings_of
from batchyard._enums import BatchTaskState
from batchyard.v1 import payload_pb2, record_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Generator, Iterator, Sequence

    from batchyard import BatchTaskInfo, BatchTaskOperation, Client
    from batchyard._settings import TaskChanges

_T = TypeVar("_T")
ALL_SUCCEEDED = 0
SOME_FAILED = 3


def submit(client: Client, args: Namespace) -> int:
    """Submit a file of JSON lines."""
    with _opened(args.file) as file:
        operation = client.batch.run(
            args.handler,
            json_lines(file, args.file, args.id_field),
            task_id=args.task_id,
            request_id=args.request_id,
            progress=_cli_output.bar(args.json),
            timeout=args.timeout,
            **settings_of(args),
        )
    if args.wait:
        if not args.json:
            _cli_output.note(f"task {operation.task_id}")
        return _wait(operation, args)
    if args.json:
        _show(operation.get_task_info(timeout=args.timeout), args)
    else:
        _cli_output.write(operation.task_id)
    return ALL_SUCCEEDED


def wait(client: Client, args: Namespace) -> int:
    """Wait for the end of a task."""
    return _wait(client.batch.get(args.task, timeout=args.timeout), args)


def _wait(operation: BatchTaskOperation, args: Namespace) -> int:
    args.waiting_for = operation.task_id
    result = operation.wait(timeout=args.timeout, poll_timeout=args.poll_timeout, progress=_cli_output.bar(args.json))
    _show(result.info, args)
    return SOME_FAILED if result.counts.succeeded < result.counts.total else ALL_SUCCEEDED


def get(client: Client, args: Namespace) -> int:
    """Show one task."""
    _show(client.batch.get_info(args.task, timeout=args.timeout), args)
    return ALL_SUCCEEDED


def list_tasks(client: Client, args: Namespace) -> int:
    """Show the tasks of the project, newest first or in another order."""
    wanted = args.filter
    if args.state is not None:
        of_state = f"state = {args.state.upper()}"
        wanted = of_state if wanted.strip() in {"", "*"} else f"({wanted}) AND {of_state}"
    infos = _first(client.batch.list_info(filter=wanted, order_by=args.order_by, timeout=args.timeout), args.limit)
    return _show_all(infos, _cli_output.TASK_COLUMNS, _cli_output.task_row, args)


def counts(client: Client, args: Namespace) -> int:
    """Show how many tasks of the project are in each state."""
    found = client.batch.counts(timeout=args.timeout)
    if args.json:
        _cli_output.write(_cli_json.dumps(_cli_json.plain(found)))
        return ALL_SUCCEEDED
    states = [state.name for state in BatchTaskState if state]
    _cli_output.table(_cli_output.COUNT_COLUMNS, ((state, getattr(found, state.lower())) for state in states))
    return ALL_SUCCEEDED


def results(client: Client, args: Namespace) -> int:
    """Show the records of a task with their outcomes."""
    operation = client.batch.get(args.task, timeout=args.timeout)
    view = "full" if args.input else "basic"
    if args.failed:
        records = operation.failed(view=view, generation=args.generation, timeout=args.timeout)
    else:
        records = operation.records(
            filter=args.filter, order=args.order, view=view, generation=args.generation, timeout=args.timeout
        )
    for record in _first(records, args.limit):
        if args.json:
            _cli_output.write(_cli_json.dumps(_cli_json.plain(record.message)))
        else:
            _cli_output.write("\t".join(map(str, _cli_output.record_row(record))))
    return ALL_SUCCEEDED


def subtasks(client: Client, args: Namespace) -> int:
    """Show the subtasks of a task, newest first."""
    operation = client.batch.get(args.task, timeout=args.timeout)
    found = _first(operation.subtasks(timeout=args.timeout), args.limit)
    return _show_all(found, _cli_output.SUBTASK_COLUMNS, _cli_output.subtask_row, args)


def attempts(client: Client, args: Namespace) -> int:
    """Show the executions of one record, oldest first."""
    operation = client.batch.get(args.task, timeout=args.timeout)
    found = operation.attempts(args.index, timeout=args.timeout)
    return _show_all(found, _cli_output.ATTEMPT_COLUMNS, _cli_output.attempt_row, args)


def log(client: Client, args: Namespace) -> int:
    """Show what one record wrote."""
    text = client.batch.get(args.task, timeout=args.timeout).log(args.index, timeout=args.timeout)
    if args.json:
        _cli_output.write(_cli_json.dumps({"index": args.index, "log": text}))
    elif text:
        _cli_output.write(text.removesuffix("\n"))
    return ALL_SUCCEEDED


def pause(client: Client, args: Namespace) -> int:
    """Let no further record start."""
    return _changed(client.batch.pause(args.task, timeout=args.timeout), args)


def resume(client: Client, args: Namespace) -> int:
    """Let a paused task go on."""
    return _changed(client.batch.resume(args.task, timeout=args.timeout), args)


def update(client: Client, args: Namespace) -> int:
    """Change the configuration of a task."""
    changes: TaskChanges = {**settings_of(args)}
    if args.handler is not None:
        changes["handler"] = args.handler
    if args.archived is not None:
        changes["archived"] = args.archived
    defaults: Any = {field.replace("-", "_"): None for field in args.default}
    if twice := sorted(set(changes) & set(defaults)):
        args.wrong_usage(f"a value and --default for {', '.join(twice)}")
    changes |= defaults
    if not changes:
        args.wrong_usage("nothing to change was given")
    return _changed(client.batch.update(args.task, etag=args.etag, timeout=args.timeout, **changes), args)


def reactivate(client: Client, args: Namespace) -> int:
    """Run records of a task that has ended again."""
    scope = "all" if args.all else "failed_and_unfinished"
    operation = client.batch.reactivate(args.task, scope=scope, timeout=args.timeout)
    if args.wait:
        return _wait(operation, args)
    if args.json:
        _show(operation.get_task_info(timeout=args.timeout), args)
    else:
        _cli_output.write(operation.id)
    return ALL_SUCCEEDED


def cancel(client: Client, args: Namespace) -> int:
    """Stop a task, or all that match a filter, for good."""
    if (args.task is None) == (args.filter is None):
        args.wrong_usage("either a task or --filter is needed")
    if args.filter is not None:
        return _cancel_many(client, args)
    if args.dry_run:
        args.wrong_usage("--dry-run goes with --filter")
    operation = client.batch.get(args.task, timeout=args.timeout)
    operation.cancel(timeout=args.timeout)
    if args.json:
        _show(operation.get_task_info(timeout=args.timeout), args)
    return ALL_SUCCEEDED


def _cancel_many(client: Client, args: Namespace) -> int:
    """Stop what matches; show the names, and on stderr how many they are."""
    stopped = client.batch.cancel_many(args.filter, validate_only=args.dry_run, timeout=args.timeout)
    if args.json:
        _cli_output.write(_cli_json.dumps({"count": stopped.count, "tasks": list(stopped.names)}))
        return ALL_SUCCEEDED
    for name in stopped.names:
        _cli_output.write(name.rpartition("/")[2])
    more = ", of which the newest are named" if stopped.count > len(stopped.names) else ""
    _cli_output.note(f"{stopped.count} {'would be ' if args.dry_run else ''}cancelled{more}")
    return ALL_SUCCEEDED


def delete(client: Client, args: Namespace) -> int:
    """Delete a task with everything it owns."""
    client.batch.delete(args.task, force=args.force, timeout=args.timeout)
    return ALL_SUCCEEDED


def handlers(client: Client, args: Namespace) -> int:
    """Show the handlers of the server."""
    found = client.handlers.list(timeout=args.timeout)
    return _show_all(found, _cli_output.HANDLER_COLUMNS, _cli_output.handler_row, args)


def _show(info: BatchTaskInfo, args: Namespace) -> None:
    _cli_output.write(_cli_json.dumps(_cli_json.plain(info.message)) if args.json else _cli_output.task_text(info))


def _show_all(
    found: Iterator[Any], columns: Sequence[str], row: Callable[[Any], Sequence[object]], args: Namespace
) -> int:
    """Show objects that wrap messages, as JSON lines or as a table."""
    if args.json:
        for each in found:
            _cli_output.write(_cli_json.dumps(_cli_json.plain(each.message)))
    else:
        _cli_output.table(columns, map(row, found))
    return ALL_SUCCEEDED


def _changed(info: BatchTaskInfo, args: Namespace) -> int:
    """Say nothing of a verb that did what it says; with --json, what the task is now."""
    if args.json:
        _show(info, args)
    return ALL_SUCCEEDED


def _first(items: Iterator[_T], limit: int | None) -> Iterator[_T]:
    for number, item in enumerate(items):
        if limit is not None and number >= limit:
            return
        yield item


@contextmanager
def _opened(path: str) -> Generator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115, PTH123 - closed below; "-" is no path
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    with file:
        yield file


def json_lines(file: BinaryIO, name: str, id_field: str | None) -> Iterator[record_pb2.RecordInput]:
    """Yield one record per line that is not blank; its JSON text travels unchanged.

    Args:
        file: UTF-8.
        name: for messages.
        id_field: key of each line's object that holds its record_id; None: no ids.

    Raises:
        InputError: a line is not JSON, or lacks the id.
    """
    for number, line in enumerate(file, 1):
        try:
            text = line.strip().decode()
            if not text:
                continue
            value = _payload.load_json(text)
        except ValueError as error:  # UnicodeDecodeError is one
            raise InputError(f"{name}:{number}: not JSON: {error}") from None
        record = record_pb2.RecordInput(payload=payload_pb2.Payload(text=text))
        if id_field is not None:
            if not isinstance(value, dict) or not isinstance(value.get(id_field), (str, int)):
                raise InputError(f"{name}:{number}: no string or integer under {id_field!r}")
            record.record_id = str(value[id_field])
        yield record
