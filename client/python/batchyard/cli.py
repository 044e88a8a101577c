"""The command `batchyard`: submit, follow and read batch tasks from a shell.

Exit codes: 0 all records succeeded (or the verb did what it says) · 3 some failed · 1 the task failed or was cancelled,
or the call failed · 2 wrong usage · 4 the wait timed out · 130 interrupted. A task never stops because its command did.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import grpc

from batchyard import _cli_artifacts, _cli_output, _cli_verbs, _cli_watch
from batchyard._channel import DEFAULT_TARGET, version
from batchyard._cli_options import DEFAULTS, poll_timeout, span, task_settings
from batchyard._enums import BatchTaskState
from batchyard._errors import BatchTaskError, BatchyardError, RpcError, WaitTimeoutError
from batchyard._sync.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED = 1
TIMED_OUT = 4
INTERRUPTED = 130
# Seconds that a first connection may take; a server on the way answers within milliseconds.
_CONNECT_TIMEOUT = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    args = _parser().parse_args(argv)
    args.waiting_for = None
    try:
        with Client(args.target, project=args.project) as client:
            _connect(client, args)
            code = args.run(client, args)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return _interrupted(args)
    except BrokenPipeError:  # `batchyard results … | head`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except WaitTimeoutError as error:
        return _complain(str(error), TIMED_OUT)
    except BatchTaskError as error:
        with contextlib.suppress(BatchyardError):
            _cli_output.note(_cli_output.task_text(error.partial.info))
        return _complain(f"the task {error.verb}: {error.error.message} (code {error.error.code})", FAILED)
    except RpcError as error:
        return _complain(_describe(error), FAILED)
    except (BatchyardError, ValueError, OSError) as error:
        return _complain(str(error), FAILED)


def _connect(client: Client, args: argparse.Namespace) -> None:
    """Wait for the connection, so that a wrong address is told at once and in plain words."""
    try:
        grpc.channel_ready_future(client.channel).result(timeout=min(args.timeout, _CONNECT_TIMEOUT))
    except grpc.FutureTimeoutError:
        raise BatchyardError(f"no server answers at {args.target}") from None


def _interrupted(args: argparse.Namespace) -> int:
    goes_on = f"; task {args.waiting_for} goes on" if args.waiting_for else ""
    return _complain(f"interrupted{goes_on}", INTERRUPTED)


def _complain(text: str, code: int) -> int:
    _cli_output.note("batchyard: " + text.replace("\n", " "))
    return code


def _describe(error: RpcError) -> str:
    fields = [f"{each.field}: {each.description}" for each in error.detail.field_violations]
    said = "; ".join([error.message, *(each for each in fields if each != error.message)])
    reason = f" / {error.reason}" if error.reason else ""
    return f"{said} ({error.code.name}{reason})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="batchyard", description="Submit, follow and read batch tasks.")
    parser.add_argument("--version", action="version", version=f"batchyard {version()}")
    _common(parser, top=True)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: object, text: str, *, task: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        _common(made, top=False)
        made.set_defaults(run=run, wrong_usage=made.error)
        if task:
            made.add_argument("task", help="task id or name")
        return made

    _submit_options(verb("submit", _cli_verbs.submit, "Submit a file of JSON lines, one record each.", task=False))
    listed = verb("list", _cli_verbs.list_tasks, "List the tasks of the project, newest first.", task=False)
    listed.add_argument(
        "--filter", default="", help="only tasks that match, as in 'labels.team = \"a\" AND priority > 0'"
    )
    listed.add_argument("--order-by", default="", metavar="FIELD", help="another order, as in 'end_time desc'")
    states = [state.name.lower() for state in BatchTaskState if state]
    listed.add_argument("--state", type=str.lower, choices=states, help="only tasks in this state")
    _limit(listed)
    verb("counts", _cli_verbs.counts, "Show how many tasks of the project are in each state.", task=False)
    verb("get", _cli_verbs.get, "Show one task.")
    poll_timeout(verb("wait", _cli_verbs.wait, "Wait for the end of a task."))
    _watch_options(verb("watch", _cli_watch.watch, "Follow a task to its end, or all tasks.", task=False))
    shown = verb("results", _cli_verbs.results, "Show the records of a task with their outcomes.")
    which = shown.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="only those that failed, as they ended")
    which.add_argument("--filter", default="", metavar="FILTER", help="only those, as 'state = FAILED AND index < 9'")
    shown.add_argument("--order", choices=("index", "completion"), default="index")
    shown.add_argument("--input", action="store_true", help="the inputs too (with --json)")
    shown.add_argument("--generation", type=int, metavar="N", help="as they were at its end; default: the current one")
    _limit(shown)
    _limit(verb("subtasks", _cli_verbs.subtasks, "Show what was leased to workers, newest first."))
    tried = verb("attempts", _cli_verbs.attempts, "Show the executions of one record, oldest first.")
    tried.add_argument("index", type=int, metavar="INDEX", help="position of the record in the task")
    said = verb("log", _cli_verbs.log, "Show what one record wrote, a section for each of its executions.")
    said.add_argument("index", type=int, metavar="INDEX", help="position of the record in the task")
    _artifact_verbs(verb)
    verb("pause", _cli_verbs.pause, "Let no further record start; those that run may end.")
    verb("resume", _cli_verbs.resume, "Let a paused task go on.")
    _cancel_options(verb("cancel", _cli_verbs.cancel, "Stop tasks for good; what runs is killed.", task=False))
    again = verb("reactivate", _cli_verbs.reactivate, "Run what failed or did not end of an ended task again.")
    again.add_argument("--all", action="store_true", help="every record, also those that succeeded")
    again.add_argument("--wait", action="store_true", help="wait for the end; the exit code says how it went")
    poll_timeout(again)
    _update_options(verb("update", _cli_verbs.update, "Change the configuration of a task."))
    removed = verb("delete", _cli_verbs.delete, "Delete a draft or ended task with its records.")
    removed.add_argument("--force", action="store_true", help="also one that has not ended; what runs is killed")
    verb("handlers", _cli_verbs.handlers, "List the handlers of the server.", task=False)
    return parser


def _artifact_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    shown = verb("artifacts", _cli_artifacts.artifacts, "List the files that handlers left, by record and path.")
    _limit(shown)
    saved = verb("download", _cli_artifacts.download, "Write these files into a folder, with their checksums verified.")
    text = "made if it is not there; of all records each has a folder of its own in it; default: here"
    saved.add_argument("--output", metavar="DIR", default=".", help=text)
    for parser in (shown, saved):
        parser.add_argument("index", type=int, nargs="?", metavar="INDEX", help="of one record; default: of all")
        parser.add_argument("--prefix", default="", metavar="PATH", help="only those whose path begins with this")


def _common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Add the options that may stand before and after the verb; a later one wins."""

    def default(value: object) -> object:
        return value if top else argparse.SUPPRESS

    environment = os.environ
    parser.add_argument(
        "--target",
        metavar="HOST:PORT",
        default=default(environment.get("BATCHYARD_TARGET", DEFAULT_TARGET)),
        help=f"the server (BATCHYARD_TARGET; default {DEFAULT_TARGET})",
    )
    parser.add_argument(
        "--project",
        metavar="ID",
        default=default(environment.get("BATCHYARD_PROJECT", "default")),
        help="the project (BATCHYARD_PROJECT; default: default)",
    )
    parser.add_argument("--timeout", type=span, metavar="T", default=default(60.0), help="for each call (60)")
    parser.add_argument("--json", action="store_true", default=default(False), help="JSON lines on stdout")


def _submit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.jsonl", help="one JSON value per line; - reads stdin")
    parser.add_argument("--handler", required=True, metavar="NAME", help="what is run over each record")
    parser.add_argument("--wait", action="store_true", help="wait for the end; the exit code says how it went")
    poll_timeout(parser)
    parser.add_argument("--id-field", metavar="KEY", help="take each record's id from this key of its object")
    parser.add_argument("--task-id", metavar="ID", help="id of the new task; default: made by the server")
    parser.add_argument("--request-id", metavar="UUID4", help="makes the command safe to repeat")
    task_settings(parser)


def _update_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--etag", metavar="ETAG", help="only if its configuration is still that one (see get)")
    parser.add_argument("--archived", action=argparse.BooleanOptionalAction, help="mark it as seen no more, or not")
    parser.add_argument(
        "--default",
        action="append",
        default=[],
        choices=DEFAULTS,
        metavar="SETTING",
        help=f"give it its default again; repeatable: {', '.join(DEFAULTS)}",
    )
    parser.add_argument("--handler", metavar="NAME", help="another handler, of a draft")
    task_settings(parser)


def _watch_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", help="task id or name; the exit code says how it went, as that of wait")
    parser.add_argument("--all", action="store_true", help="all tasks of the project, until interrupted")
    parser.add_argument("--filter", metavar="FILTER", default="", help="with --all: only tasks that match it")
    parser.add_argument("--records", action="store_true", help="outcomes too, a line each")
    parser.add_argument("--resume-token", metavar="TOKEN", default="", help="of a line of --json: go on after it")


def _cancel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", help="task id or name")
    text = "all tasks that match, e.g. 'state=QUEUED AND labels.team=red' or '*'; names the first 100"
    parser.add_argument("--filter", metavar="FILTER", help=text)
    parser.add_argument("--dry-run", action="store_true", help="with --filter: stop nothing, only count and name them")


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many")


if __name__ == "__main__":
    sys.exit(main())
