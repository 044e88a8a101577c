"""What the verbs `artifacts` and `download` of the command line do; each returns the exit code."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from batchyard import _cli_json, _cli_output

if TYPE_CHECKING:
    from argparse import Namespace

    from batchyard import Artifact, Client

_DONE = 0


def artifacts(client: Client, args: Namespace) -> int:
    """Show the artifacts of a task or of one record."""
    operation = client.batch.get(args.task, timeout=args.timeout)
    found = islice(operation.artifacts(args.index, prefix=args.prefix, timeout=args.timeout), args.limit)
    if args.json:
        for artifact in found:
            _cli_output.write(_cli_json.dumps(_cli_json.plain(artifact.message)))
    else:
        _cli_output.table(("index", "path", "size", "type", "sha256"), map(_row, found))
    return _DONE


def _row(artifact: Artifact) -> tuple[object, ...]:
    return (artifact.index, artifact.path, artifact.size, artifact.content_type, artifact.sha256.hex())


def download(client: Client, args: Namespace) -> int:
    """Write the artifacts of a task or of one record into a folder, and their paths to stdout."""
    operation = client.batch.get(args.task, timeout=args.timeout)
    progress = "bar" if _cli_output.bar(args.json) else None
    written = operation.download(args.index, args.output, prefix=args.prefix, progress=progress, timeout=args.timeout)
    for path in written:
        _cli_output.write(_cli_json.dumps({"file": str(path)}) if args.json else str(path))
    return _DONE
