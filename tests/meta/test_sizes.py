"""Is every file and function short enough to be read in one go?"""

from __future__ import annotations

from tests.meta import sources

FILE_LINES = 400
FUNCTION_LINES = 60
LINE_CHARACTERS = 120
# The contract's one service is one file, its comments included; lists are not read in one go.
CODE = (".py", ".sh", ".go", ".java", ".ts", ".rs", ".cc", ".cpp", ".h", "Makefile")


def test_files() -> None:
    lengths = {name: sources.text(name).count("\n") for name in sources.written(*CODE)}
    assert len(lengths) > 20
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_functions() -> None:
    long = [
        f"{name}: {function} has {length} lines"
        for name in sources.written(".py")
        for function, length in sources.functions(name)
        if length > FUNCTION_LINES
    ]
    assert long == []


def test_lines() -> None:
    long = [
        f"{name}:{number}"
        for name in sources.written(*CODE, ".proto", ".toml", ".yaml")
        if not name.startswith("proto/google/") and not name.endswith(".py")  # Python's are judged by ruff
        for number, line in enumerate(sources.text(name).splitlines(), 1)
        if len(line) > LINE_CHARACTERS
    ]
    assert long == []
