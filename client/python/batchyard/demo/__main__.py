"""Runs the demonstration: `python -m batchyard.demo` (= `make run`)."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.markup import escape

from batchyard import BatchyardError, Client, rich_progress
from batchyard.demo import report
from batchyard.demo.corpus import Corpus
from batchyard.demo.server import LocalServer, ServerNotStarted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard import BatchTaskResult

_HANDLER = "python_audit"
# What `make serve` serves, and where.
_DATA = Path("batchyard-data")
_SERVE_TARGET = "127.0.0.1:50151"
_SERVICE = "batchyard.v1.BatchTaskService"


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return 0 if exactly the files failed that had to."""
    parser = argparse.ArgumentParser(prog="python -m batchyard.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=_DATA, help="data directory; it is kept")
    parser.add_argument("--library", type=Path, default=None, help="audit this directory instead")
    args = parser.parse_args(argv)
    console = Console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # so that the server is ended then, too
    try:
        return _demonstrate(console, args.data, Corpus(args.library))
    except KeyboardInterrupt:
        console.print("interrupted; the server is stopped")
        return 130
    except ServerNotStarted as error:
        console.print(f"[red]the server did not start:[/] {escape(str(error))}")
    except BatchyardError as error:
        console.print(f"[red]{escape(str(error))}[/]")
    return 1


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _demonstrate(console: Console, data: Path, corpus: Corpus) -> int:
    with LocalServer(data) as server, Client(server.target) as client:
        console.print(f"A server runs on {server.target}; its data directory, {data}, is kept.", soft_wrap=True)
        console.print(
            f"To serve it again afterwards:  [bold]{escape(_serve_command(data))}[/]", highlight=False, soft_wrap=True
        )
        console.print(
            f"Reading, checking and submitting every .py file below {corpus.root}", highlight=False, soft_wrap=True
        )
        result = _run(console, client, corpus)
        audit = report.Audit.of(result.records())
    report.show_extremes(console, audit)
    report.show_failures(console, audit)
    report.show_totals(console, audit, result.info, corpus.size)
    _show_commands(console, data, result)
    return _compare(console, corpus, audit)


def _run(console: Console, client: Client, corpus: Corpus) -> BatchTaskResult:
    with console.status("submitting") as status:
        operation = client.batch.run(
            _HANDLER,
            corpus,
            display_name="the standard library",
            labels={"demo": "stdlib"},
            progress=lambda counts: status.update(f"submitted {counts.total} files"),
        )
    console.print(f"Submitted {corpus.count} files as {operation.task_name}", highlight=False, soft_wrap=True)
    if corpus.added:
        console.print("This library has no file that cannot be parsed: three broken ones were added.")
    if corpus.skipped:
        console.print(
            f"Left out (larger than 1 MiB, or unreadable): {', '.join(corpus.skipped)}", highlight=False, soft_wrap=True
        )
    with rich_progress("audited", console=console) as bar:
        return operation.wait(progress=bar)


def _serve_command(data: Path) -> str:
    return "make serve" if data == _DATA else f"batchyard-server serve --data {shlex.quote(str(data))}"


def _show_commands(console: Console, data: Path, result: BatchTaskResult) -> None:
    """Print how to look at the same task with other tools."""
    info = result.info
    asked = [
        (f'{{"name": "{info.name}"}}', f"{_SERVICE}/GetBatchTask"),
        (f'{{"parent": "{info.name}", "page_size": 3}}', f"{_SERVICE}/ListRecords"),
        (f'{{"name": "{info.operation}"}}', "google.longrunning.Operations/GetOperation"),
    ]
    console.print("\nThe same task with other tools, in another terminal:")
    lines = [_serve_command(data), f"grpcurl -plaintext {_SERVE_TARGET} list"]
    lines += [f"grpcurl -plaintext -d '{body}' {_SERVE_TARGET} {method}" for body, method in asked]
    lines += [f".venv/bin/batchyard results {info.task_id} --failed", ".venv/bin/batchyard watch --all"]
    _show_lines(console, lines)
    console.print("\nRecords that leave files, thumbnails of your own pictures, and how to download them:")
    find = """find ~ -name '*.jpg' | head -100 | sed 's/.*/{"path": "&"}/' > images.jsonl"""
    submit = ".venv/bin/batchyard submit images.jsonl --handler thumbnail --task-id thumbs --wait"
    _show_lines(console, [find, submit, ".venv/bin/batchyard download thumbs --output thumbnails"])


def _show_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print("  " + line, markup=False, highlight=False, soft_wrap=True)


def _compare(console: Console, corpus: Corpus, audit: report.Audit) -> int:
    """Check the failures against `ast.parse` of the same bytes."""
    wrong = sorted(corpus.must_fail.keys() ^ audit.failures.keys())
    done = len(audit.failures) + len(audit.outputs)
    if done != corpus.count:
        wrong.append(f"{corpus.count} files were submitted, {done} came back")
    if wrong:
        console.print(f"\n[red]Not what ast.parse says of the same bytes:[/] {escape(', '.join(wrong))}")
        return 1
    console.print(f"\nExactly the {len(audit.failures)} files failed that ast.parse refuses.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
