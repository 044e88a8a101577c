"""Do the handlers that every server has do what they say?"""

from __future__ import annotations

import ast
import pathlib
import sysconfig
import textwrap
import warnings

import pytest

from batchyard_worker import RecordError, builtin
from batchyard_worker.context import Context

CONTEXT = Context(0, "", 1, 1)

SOURCE = textwrap.dedent('''\
    """Module."""
    import os

    if os.sep == "/" and True:
        X = [y for y in range(3) if y]

    class A:
        def short(self):
            return 1

        async def long(self, a):
            async for x in a:
                if x and a or x:
                    try:
                        pass
                    except ValueError:
                        raise
                    finally:
                        pass
            return a if a else None

    def outer():
        def inner():
            while True:
                assert True
        return inner
    ''')


def test_echo() -> None:
    record = object()
    assert builtin.echo(record, CONTEXT) is record


def test_audit() -> None:
    assert builtin.python_audit(SOURCE.encode(), CONTEXT) == {
        "functions": 4,
        "classes": 1,
        "lines": 26,
        "longest_function": {"name": "A.long", "lines": 10},
        # module 1 + if + and + comprehension and its if; short 1; long 1 + for + if + and + or + except + ternary;
        # outer 1; inner 1 + while + assert
        "complexity": {"total": 5 + 1 + 7 + 1 + 3, "max": 7, "function": "A.long"},
    }


def test_audit_of_nothing() -> None:
    assert builtin.python_audit(b"", CONTEXT) == {
        "functions": 0,
        "classes": 0,
        "lines": 0,
        "longest_function": None,
        "complexity": {"total": 1, "max": 0, "function": None},
    }


@pytest.mark.parametrize(("source", "lines"), [(b"x", 1), (b"x\n", 1), (b"x\ny", 2), ("x\n\n", 2)])
def test_lines(source: bytes | str, lines: int) -> None:
    assert builtin.python_audit(source, CONTEXT)["lines"] == lines


def test_match_statements_count_their_cases() -> None:
    source = "match x:\n    case 1: pass\n    case 2: pass\n"
    assert builtin.python_audit(source, CONTEXT)["complexity"]["total"] == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"x = 1\nif x\n    pass\n", "line 2: expected ':': if x"),
        (b"print 1\n", "line 1: Missing parentheses"),
        (b"\xff\xfe", "encoding|utf-8"),
        (b"# coding: nonsense\n", "nonsense"),
        (b"a\0b", "null bytes"),
        ("(" * 1000, "too many nested parentheses"),
        (1, "not the bytes of a Python file: int"),
        (None, "not the bytes of a Python file: NoneType"),
    ],
)
def test_what_does_not_parse(source: object, message: str) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        builtin.python_audit(source, CONTEXT)
    assert caught.value.code == 3
    assert caught.value.retryable is not True


def test_syntax_warnings_are_not_ours() -> None:
    assert builtin.python_audit('"\\d" is 5\n', CONTEXT)["lines"] == 1


def test_the_whole_standard_library_agrees_with_ast_parse() -> None:
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    files = [*folder.glob("*.py"), *folder.glob("json/*.py"), *folder.glob("lib2to3/tests/data/*.py")]
    assert len(files) > 100
    for file in files:
        source = file.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(source)
        except (SyntaxError, ValueError):
            with pytest.raises(RecordError):
                builtin.python_audit(source, CONTEXT)
        else:
            result = builtin.python_audit(source, CONTEXT)
            assert result["complexity"]["total"] >= result["functions"] + 1
