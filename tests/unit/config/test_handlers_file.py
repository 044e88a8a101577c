"""Is every mistake in the handlers file found, with its line and a reason?"""

from __future__ import annotations

import pathlib
import sys
import textwrap

import pytest

from batchyard_server.config import handlers_file
from batchyard_server.config.settings import ConfigError
from batchyard_server.model.handler import HandlerSpec, Kind


def load(folder: pathlib.Path, text: str) -> dict[str, HandlerSpec]:
    path = folder / "handlers.toml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return handlers_file.load(path)


def mistake(folder: pathlib.Path, text: str) -> tuple[int, str]:
    """Line and reason of the mistake in `text`."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    where, _, reason = message.partition(": ")
    file, _, line = where.rpartition(":")
    assert file == str(folder / "handlers.toml")
    return int(line), reason


def test_without_a_file_there_are_the_built_in_handlers() -> None:
    handlers = handlers_file.load(None)
    assert sorted(handlers) == ["echo", "python_audit", "thumbnail"]
    assert all(spec.kind is Kind.PYTHON and spec.description for spec in handlers.values())


def test_every_key_is_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "code").mkdir()
    handlers = load(
        tmp_path,
        f"""
        [handlers.score]
        kind = "python"
        description = "Scores a record."
        callable = "package.module:Class.method"
        python = "{sys.executable}"
        path = ["code"]
        env = ["MODEL_URL", "TOKEN_2"]
        kill_grace = "2.5s"
        concurrency = 4
        rate = "90/m"

        [handlers.checksum]
        kind = "command"
        argv = ["sha256sum", "--", "{{path}}", "", "{{{{}}}}"]
        output_type = "text/plain; charset=utf-8"
        dash_values = true
        kill_grace = "0s"
        rate = "0.5/h"
        """,
    )
    assert handlers["score"] == HandlerSpec(
        handler_id="score",
        kind=Kind.PYTHON,
        description="Scores a record.",
        callable="package.module:Class.method",
        python=sys.executable,
        path=(str((tmp_path / "code").resolve()),),
        env=("MODEL_URL", "TOKEN_2"),
        kill_grace_seconds=2.5,
        concurrency=4,
        rate=1.5,
    )
    assert handlers["checksum"] == HandlerSpec(
        handler_id="checksum",
        kind=Kind.COMMAND,
        argv=("sha256sum", "--", "{path}", "", "{{}}"),
        output_type="text/plain; charset=utf-8",
        dash_values=True,
        kill_grace_seconds=0.0,
        rate=0.5 / 3600,
    )
    assert {"echo", "python_audit"} <= set(handlers)


def test_an_entry_of_the_file_wins_over_a_built_in_one(tmp_path: pathlib.Path) -> None:
    handlers = load(tmp_path, '[handlers.echo]\nkind = "command"\nargv = ["cat"]\n')
    assert handlers["echo"].argv == ("cat",)


def test_an_empty_file_is_right(tmp_path: pathlib.Path) -> None:
    assert sorted(load(tmp_path, "# nothing\n")) == ["echo", "python_audit", "thumbnail"]


GOOD = '[handlers.a]\nkind = "python"\ncallable = "m:f"\n'
MISTAKES = {
    "not TOML": (GOOD + "oops\n", 4, "Expected"),
    "not TOML at the end": ('[handlers.a]\nkind = "python', 2, ""),
    "twice": (GOOD + "\n" + GOOD, 5, "Cannot declare"),
    "other table": (GOOD + "[server]\nworkers = 2\n", 4, "unknown key 'server'"),
    "other key": ('title = "x"\n' + GOOD, 1, "unknown key 'title'"),
    "no tables": ("\nhandlers = 5\n", 2, "must hold tables"),
    "no table": ("[handlers]\na = 5\n", 2, "handler 'a': must be a table"),
    "bad name": ('\n[handlers."a b"]\nkind = "python"\n', 2, "the name 'a b'"),
    "no kind": ('[handlers.a]\ncallable = "m:f"\n', 1, "kind is required"),
    "bad kind": ('[handlers.a]\n\nkind = "http"\n', 3, "kind: 'http' is not"),
    "kind no text": ("[handlers.a]\nkind = 1\n", 2, "kind: 1 is not"),
    "unknown key": (GOOD + "timeout = 5\n", 4, "timeout: unknown key for kind python"),
    "concurrency 0": (GOOD + "\n# none\nconcurrency = 0\n", 6, "concurrency: must be from 1 to 1000000, is 0"),
    "concurrency below 0": (GOOD + "concurrency = -1\n", 4, "concurrency: must be from 1 to 1000000, is -1"),
    "much concurrency": (GOOD + "concurrency = 1000001\n", 4, "concurrency: must be from 1 to 1000000"),
    "concurrency a flag": (GOOD + "concurrency = true\n", 4, "concurrency: must be a whole number, is True"),
    "concurrency no number": (GOOD + 'concurrency = "4"\n', 4, "concurrency: must be a whole number, is '4'"),
    "concurrency a fraction": (GOOD + "concurrency = 1.5\n", 4, "concurrency: must be a whole number, is 1.5"),
    "rate a number": (GOOD + "rate = 100\n", 4, "rate: must be a string, is 100"),
    "rate without a period": (GOOD + 'rate = "100"\n', 4, "rate: '100' is not a rate such as 100/s"),
    "rate of another period": (GOOD + 'rate = "100/d"\n', 4, "rate: '100/d' is not a rate"),
    "rate with a space": (GOOD + 'rate = "100 /s"\n', 4, "rate: '100 /s' is not a rate"),
    "rate below 0": (GOOD + 'rate = "-1/s"\n', 4, "rate: '-1/s' is not a rate"),
    "empty rate": (GOOD + 'rate = ""\n', 4, "rate: must not be empty"),
    "rate 0": (GOOD + 'rate = "0/s"\n', 4, "rate: must be from one record a day to 1000000/s, is '0/s'"),
    "low rate": (GOOD + 'rate = "0.04/h"\n', 4, "rate: must be from one record a day"),
    "high rate": (GOOD + 'rate = "1000001/s"\n', 4, "rate: must be from one record a day"),
    "key of the other kind": (GOOD + 'argv = ["x"]\n', 4, "argv: unknown key for kind python"),
    "path of a command": ('[handlers.a]\nkind = "command"\nargv = ["x"]\npath = ["."]\n', 4, "path: unknown key"),
    "no callable": ('[handlers.a]\nkind = "python"\n', 1, "callable is required"),
    "bad callable": ('[handlers.a]\nkind = "python"\ncallable = "m.f"\n', 3, "callable: 'm.f' is not of the form"),
    "worse callable": ('[handlers.a]\nkind = "python"\ncallable = "m:f()"\n', 3, "callable: 'm:f()'"),
    "empty callable": ('[handlers.a]\nkind = "python"\ncallable = ""\n', 3, "callable: must not be empty"),
    "no argv": ('[handlers.a]\nkind = "command"\n', 1, "argv is required"),
    "empty argv": ('[handlers.a]\nkind = "command"\nargv = []\n', 3, "argv: must not be empty"),
    "argv no list": ('[handlers.a]\nkind = "command"\nargv = "ls -l"\n', 3, "argv: must be a list"),
    "argv of numbers": ('[handlers.a]\nkind = "command"\nargv = ["nice", 5]\n', 3, "argv: must be a string, is 5"),
    "single brace": ('[handlers.a]\nkind = "command"\nargv = ["awk", "{"]\n', 3, "argv: '{': a single brace"),
    "placeholder program": ('[handlers.a]\nkind = "command"\nargv = ["{x}"]\n', 3, "argv: the first argument"),
    "empty program": ('[handlers.a]\nkind = "command"\nargv = [""]\n', 3, "argv: the first argument"),
    "NUL": ('[handlers.a]\nkind = "command"\nargv = ["a", "\\u0000"]\n', 3, "argv: must not contain NUL"),
    "no such folder": (GOOD + 'path = ["nowhere"]\n', 4, "path: "),
    "no such interpreter": (GOOD + 'python = "/nowhere/python"\n', 4, "python: /nowhere/python is not a file"),
    "env with value": (GOOD + 'env = ["A=b"]\n', 4, "env: 'A=b' is not the name"),
    "bad duration": (GOOD + 'kill_grace = "1 s"\n', 4, "kill_grace: '1 s' is not a duration"),
    "duration a number": (GOOD + "kill_grace = 1\n", 4, "kill_grace: must be a string"),
    "long grace": (GOOD + 'kill_grace = "2m"\n', 4, "kill_grace: must be at most 60s"),
    "bad type": (
        '[handlers.a]\nkind = "command"\nargv = ["x"]\noutput_type = "json"\n',
        4,
        "output_type: 'json' is not a media type",
    ),
    "flag no flag": (
        '[handlers.a]\nkind = "command"\nargv = ["x"]\ndash_values = "yes"\n',
        4,
        "dash_values: must be true or false",
    ),
    "second of two": (GOOD + '\n[handlers.b]\nkind = "python"\ncallable = "m"\n', 7, "handler 'b': callable"),
    "quoted table": ('[handlers."a"]\nkind = "python"\ncallable = "m"\n', 3, "handler 'a': callable"),
    "spaced table": ('[ handlers . a ]\nkind = "python"\n"callable" = "m"\n', 3, "callable"),
    "inline table": ('[handlers]\na = {kind = "python", callable = "m"}\n', 2, "callable"),
    "dotted keys": ('handlers.a.kind = "python"\nhandlers.a.callable = "m"\n', 1, "callable"),
    "nested table": (GOOD + "[handlers.a.limits]\nx = 1\n", 1, "limits: unknown key"),
}


@pytest.mark.parametrize(("text", "line", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found(tmp_path: pathlib.Path, text: str, line: int, reason: str) -> None:
    found_line, found_reason = mistake(tmp_path, text)
    assert reason in found_reason
    assert found_line == line


def test_a_file_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        handlers_file.load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigError, match=r"latin\.toml:1: is not UTF-8"):
        handlers_file.load(tmp_path / "latin.toml")
