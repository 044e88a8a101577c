"""Which handlers did the operator write down? The TOML of `--handlers`; every mistake stops the start.

    [handlers.NAME]
    kind = "python"                        kind = "command"
    callable = "package.module:attribute"  argv = ["program", "{placeholder}"]

A mistake is reported as `FILE:LINE: reason`. tomllib tells no lines of keys, so they are looked up in the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchyard_server.config.builtin import BUILTIN
from batchyard_server.config.settings import ConfigError, parse_duration
from batchyard_server.model.handler import HandlerSpec, Kind
from batchyard_server.model.names import ID
from batchyard_worker.templates import Template

_COMMON = {"kind", "description", "env", "kill_grace", "concurrency", "rate"}
_KEYS = {
    Kind.PYTHON: _COMMON | {"callable", "python", "path"},
    Kind.COMMAND: _COMMON | {"argv", "output_type", "dash_values"},
}
_CALLABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;.*)?", re.ASCII)
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([smh])", re.ASCII)
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_GRACE_SECONDS = 60.0
_MOST_CONCURRENCY = 1_000_000
_LEAST_RATE, _MOST_RATE = 1 / 86_400, 1e6  # per second
Check = Callable[[str, str], None]
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)$")


def load(path: Path | None) -> dict[str, HandlerSpec]:
    """All handlers by id: the built-in ones, and over them those of the file. Raises ConfigError."""
    handlers = {spec.handler_id: spec for spec in BUILTIN}
    if path is not None:
        handlers.update(_File(path).read())
    return handlers


class _Mistake(Exception):
    """Something is wrong with the value of `key` (of the table itself if empty)."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []

    def read(self) -> dict[str, HandlerSpec]:
        """Parse and check the whole file."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self._path}:1: is not UTF-8") from None
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _TOML_LINE.search(str(error))
            line = int(found[1]) if found else len(text.splitlines())
            raise ConfigError(f"{self._path}:{line}: {_TOML_LINE.sub('', str(error)).strip()}") from None
        self._lines = text.splitlines()
        for key in document:
            if key != "handlers":
                raise self._error("", key, f"unknown key {key!r}; handlers are tables [handlers.NAME]")
        tables = document.get("handlers", {})
        if not isinstance(tables, dict):
            raise self._error("", "handlers", "must hold tables [handlers.NAME]")
        return {name: self._handler(name, table) for name, table in tables.items()}

    def _handler(self, name: str, table: object) -> HandlerSpec:
        try:
            return _spec(name, table, self._path.parent)
        except _Mistake as mistake:
            raise self._error(name, mistake.key, str(mistake)) from None

    def _error(self, name: str, key: str, reason: str) -> ConfigError:
        where = f"handler {name!r}: " if name else ""
        what = f"{key}: " if name and key else ""
        return ConfigError(f"{self._path}:{self._line_of(name, key)}: {where}{what}{reason}")

    def _line_of(self, name: str, key: str) -> int:
        """Where `key` of [handlers.NAME] stands; the table's line if it is not there; 1 if neither is found."""
        quoted = rf"""(?:{re.escape(name)}|"{re.escape(name)}"|'{re.escape(name)}')"""
        header = re.compile(rf"\s*\[\s*handlers\s*\.\s*{quoted}\s*\]" if name else r"(?!)")
        inline = re.compile(rf"\s*(?:handlers\s*\.\s*)?{quoted}\s*[=.]" if name else r"(?!)")
        entry = re.compile(rf"""\s*\[?\s*(?:{re.escape(key)}|"{re.escape(key)}"|'{re.escape(key)}')\s*[=.\]]""")
        table_line, inside = 0, not name
        for number, line in enumerate(self._lines, start=1):
            if header.match(line) or (not table_line and inline.match(line)):
                table_line, inside = number, True
            elif name and line.lstrip().startswith("["):
                inside = False
            if inside and key and entry.match(line):
                return number
        return table_line or 1


def _spec(name: str, table: object, folder: Path) -> HandlerSpec:
    if ID.fullmatch(name) is None:
        raise _Mistake("", f"the name {name!r} must be {ID.pattern}")
    if not isinstance(table, dict):
        raise _Mistake("", "must be a table [handlers.NAME]")
    kinds = {kind.name.lower(): kind for kind in Kind}
    if "kind" not in table:
        raise _Mistake("", 'kind is required: "python" or "command"')
    kind = kinds.get(table["kind"]) if isinstance(table["kind"], str) else None
    if kind is None:
        raise _Mistake("kind", f'{table["kind"]!r} is not "python" or "command"')
    for key in table:
        if key not in _KEYS[kind]:
            raise _Mistake(key, f"unknown key for kind {kind.name.lower()}; known: {', '.join(sorted(_KEYS[kind]))}")
    read = _Reader(table)
    spec = HandlerSpec(
        handler_id=name,
        kind=kind,
        description=read.text("description"),
        env=read.texts("env", _check_env),
        kill_grace_seconds=_kill_grace(read),
        concurrency=read.count("concurrency", _MOST_CONCURRENCY),
        rate=_rate(read),
    )
    if kind is Kind.PYTHON:
        return replace(
            spec,
            callable=read.text("callable", required=True, check=_check_callable),
            python=_python(read.text("python"), folder),
            path=tuple(_folder(each, folder) for each in read.texts("path")),
        )
    return replace(
        spec,
        argv=_argv(read.texts("argv", required=True, empty=True)),
        output_type=read.text("output_type", check=_check_media_type) or spec.output_type,
        dash_values=read.flag("dash_values"),
    )


class _Reader:
    """Typed access to a table. Every method raises _Mistake."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table

    def text(self, key: str, *, required: bool = False, check: Check | None = None) -> str:
        """A string, "" if it may be absent and is."""
        if key not in self._table:
            if required:
                raise _Mistake("", f"{key} is required")
            return ""
        return self._text(key, self._table[key], check)

    def texts(
        self, key: str, check: Check | None = None, *, required: bool = False, empty: bool = False
    ) -> tuple[str, ...]:
        """A list of strings, () if it may be absent and is; not empty if required; `empty`: may hold empty strings."""
        if key not in self._table:
            if required:
                raise _Mistake("", f"{key} is required")
            return ()
        values = self._table[key]
        if not isinstance(values, list):
            raise _Mistake(key, "must be a list of strings")
        if required and not values:
            raise _Mistake(key, "must not be empty")
        return tuple(self._text(key, value, check, empty=empty) for value in values)

    def flag(self, key: str) -> bool:
        """A boolean, False if absent."""
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            raise _Mistake(key, "must be true or false")
        return value

    def count(self, key: str, most: int) -> int:
        """A whole number from 1 to `most`, 0 if absent."""
        if key not in self._table:
            return 0
        value = self._table[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise _Mistake(key, f"must be a whole number, is {value!r}")
        if not 1 <= value <= most:
            raise _Mistake(key, f"must be from 1 to {most}, is {value}")
        return value

    def _text(self, key: str, value: object, check: Check | None, *, empty: bool = False) -> str:
        if not isinstance(value, str):
            raise _Mistake(key, f"must be a string, is {value!r}")
        if "\0" in value:
            raise _Mistake(key, "must not contain NUL")
        if not value and not empty:
            raise _Mistake(key, "must not be empty")
        if check is not None:
            check(key, value)
        return value


def _check_callable(key: str, value: str) -> None:
    if _CALLABLE.fullmatch(value) is None:
        raise _Mistake(key, f"{value!r} is not of the form package.module:attribute")


def _check_env(key: str, value: str) -> None:
    if _ENV.fullmatch(value) is None:
        raise _Mistake(key, f"{value!r} is not the name of an environment variable (values come from the server's own)")


def _argv(arguments: Sequence[str]) -> tuple[str, ...]:
    try:
        templates = [Template(argument) for argument in arguments]
    except ValueError as error:
        raise _Mistake("argv", str(error)) from None
    if not arguments[0]:
        raise _Mistake("argv", "the first argument names the program and must not be empty")
    if templates[0].names:
        raise _Mistake("argv", "the first argument names the program and must have no placeholder")
    return tuple(arguments)


def _check_media_type(key: str, value: str) -> None:
    if _MEDIA_TYPE.fullmatch(value) is None or len(value.encode()) > 255:
        raise _Mistake(key, f"{value!r} is not a media type such as text/plain")


def _kill_grace(read: _Reader) -> float:
    text = read.text("kill_grace")
    if not text:
        return BUILTIN[0].kill_grace_seconds
    try:
        seconds = parse_duration(text)
    except ConfigError as error:
        raise _Mistake("kill_grace", str(error)) from None
    if seconds > _MOST_GRACE_SECONDS:
        raise _Mistake("kill_grace", f"must be at most {_MOST_GRACE_SECONDS:g}s")
    return seconds


def _rate(read: _Reader) -> float:
    """Records per second, 0.0 if absent."""
    text = read.text("rate")
    if not text:
        return 0.0
    found = _RATE.fullmatch(text)
    if found is None:
        raise _Mistake("rate", f"{text!r} is not a rate such as 100/s, 30/m or 0.5/h")
    rate = float(found[1]) / _PERIODS[found[2]]
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise _Mistake("rate", f"must be from one record a day to {_MOST_RATE:.0f}/s, is {text!r}")
    return rate


def _python(text: str, folder: Path) -> str:
    if not text:
        return ""
    python = folder / Path(text).expanduser()
    if not python.is_file():
        raise _Mistake("python", f"{python} is not a file")
    return str(python.absolute())  # not resolved: an interpreter finds its virtual environment by this path


def _folder(text: str, folder: Path) -> str:
    found = folder / Path(text).expanduser()
    if not found.is_dir():
        raise _Mistake("path", f"{found} is not a folder")
    return str(found.resolve())
