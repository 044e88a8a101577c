"""`batchyard-server`: flags and environment → Config → app.

Nothing heavy is imported before PYTHONPATH is off this process's own path: it is meant for the workers.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchyard_server.config import handlers_file
from batchyard_server.config.settings import Config, ConfigError, check_exposure, parse_address, parse_duration
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.handler import Isolation

USAGE_ERROR = 2
_LEVELS = tuple(level.name.lower() for level in Isolation)
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    environment = os.environ
    module_path = take_python_path(environment)
    arguments = parser(environment).parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_LOG_FORMAT)
    try:
        config = make_config(arguments, environment, module_path)
    except ConfigError as error:
        print(f"batchyard-server: {error}", file=sys.stderr)
        return USAGE_ERROR
    from batchyard_server import app

    return app.run(config)


def take_python_path(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Drop the folders of PYTHONPATH from this process's module path and return them, absolute.

    A folder that holds the server's own packages stays, or a server that runs from a checkout would lose itself.
    """
    folders = [Path(each).absolute() for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    foreign = {each for each in folders if not _holds_ours(each)}
    sys.path[:] = [each for each in sys.path if Path(each).absolute() not in foreign]
    return tuple(map(str, folders))


def _holds_ours(folder: Path) -> bool:
    return any(Path(folder, package, "__init__.py").is_file() for package in ("batchyard_server", "batchyard"))


def make_config(
    arguments: argparse.Namespace, environment: Mapping[str, str], module_path: tuple[str, ...] = ()
) -> Config:
    """Check what was asked for. Raises ConfigError."""
    listen = parse_address(arguments.listen)
    check_exposure(listen, insecure=_flag(arguments.insecure, environment, "BATCHYARD_INSECURE"))
    failpoints = environment.get("BATCHYARD_FAILPOINTS", "")
    try:
        Failpoints(failpoints)
    except ValueError as error:
        raise ConfigError(f"BATCHYARD_FAILPOINTS: {error}") from None
    return Config(
        data=Path(arguments.data),
        listen=listen,
        handlers=handlers_file.load(Path(arguments.handlers) if arguments.handlers else None),
        workers=_whole("--workers", arguments.workers, least=1, most=1024),
        drain_timeout_seconds=parse_duration(arguments.drain_timeout),
        max_worker_lost=_whole("--max-worker-lost", arguments.max_worker_lost, least=0, most=1_000_000),
        max_task_lifetime_seconds=_lifetime(arguments.max_task_lifetime),
        isolation=_isolation(arguments.isolation),
        module_path=module_path,
        failpoints=failpoints,
    )


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """What may be said on the command line; defaults come from `environment`."""
    main_parser = argparse.ArgumentParser(
        prog="batchyard-server", description="Runs batches of records through handlers, over gRPC.", allow_abbrev=False
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve a data directory", allow_abbrev=False)

    def option(flag: str, metavar: str, default: str, text: str) -> None:
        variable = "BATCHYARD_" + flag.removeprefix("--").replace("-", "_").upper()
        shown = f"{text} (default: {default or 'none'}; also {variable})"
        serve.add_argument(flag, metavar=metavar, default=environment.get(variable, default), help=shown)

    option("--data", "DIR", "./batchyard-data", "folder of the store, made if it is missing")
    option("--listen", "HOST:PORT", "127.0.0.1:50151", "where to listen; port 0 picks a free one")
    option("--handlers", "FILE.toml", "", "handlers beside the built-in ones")
    option("--workers", "N", str(os.cpu_count() or 1), "worker processes")
    option("--drain-timeout", "DURATION", "30s", "what running records get at SIGTERM before they are killed")
    option("--max-worker-lost", "N", "2", "how often a worker may die under a record before the record fails")
    option("--max-task-lifetime", "DURATION", "180d", "what a task may take from its creation to its end")
    option("--isolation", "LEVEL", "auto", f"how processes are found and killed: auto, {', '.join(_LEVELS)}")
    serve.add_argument(
        "--insecure",
        action="store_true",
        help="listen beyond loopback although callers are not identified (also BATCHYARD_INSECURE=1)",
    )
    return main_parser


def _flag(given: bool, environment: Mapping[str, str], variable: str) -> bool:
    value = environment.get(variable, "").lower()
    if value not in {"", "0", "1", "false", "true", "no", "yes"}:
        raise ConfigError(f"{variable}: {value!r} is not 1 or 0")
    return given or value in {"1", "true", "yes"}


def _lifetime(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ConfigError(f"--max-task-lifetime: {text!r} leaves a task no time")
    return seconds


def _isolation(text: str) -> str:
    if text not in ("auto", *_LEVELS):
        raise ConfigError(f"--isolation: {text!r} is not one of auto, {', '.join(_LEVELS)}")
    return "" if text == "auto" else text


def _whole(flag: str, text: str, *, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise ConfigError(f"{flag}: {text!r} is not a whole number from {least} to {most}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
