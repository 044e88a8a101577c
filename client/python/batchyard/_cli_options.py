"""Options of the command line that several verbs share, and what their texts mean."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, Final

from batchyard import _payload
from batchyard._errors import BatchyardError
from batchyard._policies import FailurePolicy, RetryPolicy, code_number
from batchyard._settings import TaskSettings

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|[smhd]?)")
# Settings whose option gives the value as it is.
_PLAIN: Final = (
    "display_name",
    "priority",
    "parallel_count",
    "max_wall_clock_time",
    "record_timeout",
    "retention_time",
    "max_retry_count",
)
# Options that make up a policy together.
_RETRY: Final = ("initial_backoff", "max_backoff", "multiplier", "retryable_codes")
_FAILURE: Final = ("max_failed_records", "max_failed_ratio")
# What `update --default` takes.
DEFAULTS: Final = sorted(field.replace("_", "-") for field in TaskSettings.__optional_keys__)


class InputError(BatchyardError):
    """The user's own input cannot be used."""


def task_settings(parser: ArgumentParser) -> None:
    """Add the options of what can be set of a task; None: not given."""
    add = parser.add_argument
    add("--parameters", metavar="JSON", help="arguments for the whole batch")
    add("--label", type=label, action="append", default=[], metavar="KEY=VALUE", help="repeatable; all the labels")
    add("--display-name", metavar="TEXT")
    add("--priority", type=int, metavar="N", help="-1000 to 1000; higher gets workers first; default 0")
    add("--parallel-count", type=int, metavar="N", help="most records that run at the same time; default: all slots")
    add("--max-wall-clock-time", type=span, metavar="T", help="90, 90s, 15m, 2h, 7d for the whole; default: no limit")
    add("--record-timeout", type=span, metavar="T", help="for one record; default: no limit")
    add("--retention-time", type=span, metavar="T", help="how long it is kept after its end; default 30d")
    add("--max-retry-count", type=int, metavar="N", help="retries of a record that failed; -1: any number; default 0")
    group = parser.add_argument_group("retry policy", "together they take the place of the whole policy")
    group.add_argument("--initial-backoff", type=span, metavar="T", help="longest wait before the first retry; 1s")
    group.add_argument("--max-backoff", type=span, metavar="T", help="longest wait before any; 5m")
    group.add_argument("--multiplier", type=float, metavar="X", help="each wait is so many times the one before; 2")
    group.add_argument(
        "--retryable-code", dest="retryable_codes", type=_code, action="append", metavar="CODE", help="repeatable"
    )
    group = parser.add_argument_group("failure policy", "together they take the place of the whole policy")
    group.add_argument("--max-failed-records", type=int, metavar="N", help="stop the task when more have failed")
    group.add_argument("--max-failed-ratio", type=float, metavar="R", help="the same as a part of all, 0 to 1")


def settings_of(args: Namespace) -> TaskSettings:
    """Return the settings that were given.

    Raises:
        InputError: the parameters are not JSON.
    """
    given: dict[str, Any] = {field: getattr(args, field) for field in _PLAIN}
    given["labels"] = dict(args.label) or None
    given["parameters"] = _json_value("--parameters", args.parameters)
    for policy, kind, fields in (("retry_policy", RetryPolicy, _RETRY), ("failure_policy", FailurePolicy, _FAILURE)):
        parts = {field: value for field in fields if (value := getattr(args, field)) is not None}
        given[policy] = kind(**parts) if parts else None
    settings: Any = {field: value for field, value in given.items() if value is not None}
    return settings


def poll_timeout(parser: ArgumentParser) -> None:
    """Add the option of everything that waits."""
    parser.add_argument("--poll-timeout", type=span, metavar="T", help="stop waiting after this time: exit 4")


def span(text: str) -> float:
    """Read a length of time: a number of seconds, or one with a unit."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: a time is needed, such as 90, 0.5s, 15m, 2h, 7d")
    return float(found[1]) * _UNITS[found[2]]


def label(text: str) -> tuple[str, str]:
    """Read KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: KEY=VALUE is needed")
    return key, value


def _code(text: str) -> int:
    try:
        return code_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _json_value(option: str, text: str | None) -> object:
    if text is None:
        return None
    try:
        return _payload.load_json(text)
    except ValueError as error:
        raise InputError(f"{option}: not JSON: {error}") from None
