"""Does a script for another SDK run here when only its imports and constructors are changed?

The pairs are the diffs in client/README.md, one for each seed: lines with `-` are the old script's, with `+` ours.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from batchyard import AllRecordsFailedError, Client
from tests.support.server import SECONDS, Process

README = Path(__file__).parents[2] / "client" / "README.md"
CHAPTER = "## Coming from another SDK"
HEADINGS = {
    "000": "Yandex AI Studio: batches",
    "001": "Yandex AI Studio: operations",
    "002": "SQL Machine Learning Server: batches of a service",
    "003": "Toloka: app batches",
    "004": "Azure Batch: tasks",
}
# What a pair's constructor names as the server's address.
ADDRESS = "127.0.0.1:50151"
pytestmark = pytest.mark.xdist_group("pairs")


@pytest.fixture(scope="module")
def nightly(real: Process) -> str:
    """What the scripts of seeds 000 and 001 look for: the task `nightly`, and one that failed.

    Returns:
        The id of the first one's operation; each script is given it as its argument.
    """
    with Client(real.target) as client:
        with pytest.raises(AllRecordsFailedError):
            client.batch.run("lives", [{"fail": "no"}, {"fail": "no"}]).wait(poll_timeout=SECONDS)
        return client.batch.run("echo", [{"n": 1}, {"n": 2}], task_id="nightly").id


def pair(seed: str) -> list[str]:
    """The lines of the diff in the section of a seed."""
    chapter = README.read_text("utf-8").partition(f"\n{CHAPTER}\n")[2].partition("\n## ")[0]
    section = chapter.partition(f"\n### {HEADINGS[seed]}\n")[2].partition("\n### ")[0]
    found = re.findall(r"```diff\n(.*?)```", section, re.DOTALL)
    assert len(found) == 1, f"one diff is wanted below {CHAPTER!r}, {HEADINGS[seed]!r}"
    lines = found[0].splitlines()
    assert {line[:1] for line in lines} <= {" ", "-", "+", ""}
    return lines


def script(seed: str, sign: str) -> str:
    """The old script (`-`) or ours (`+`)."""
    return "".join(line[1:] + "\n" for line in pair(seed) if line[:1] in {" ", "", sign})


def changed(seed: str, sign: str) -> list[ast.stmt]:
    """The statements of one script that the other does not have."""
    kept = [line for line in pair(seed) if line[:1] in {" ", "", sign}]
    lines = {number for number, line in enumerate(kept, 1) if line.startswith(sign)}
    begun = {node.lineno: node for node in ast.walk(ast.parse(script(seed, sign))) if isinstance(node, ast.stmt)}
    within = [node for node in begun.values() if set(range(node.lineno, _head_end(node) + 1)) & lines]
    told = {line for node in within for line in range(node.lineno, _head_end(node) + 1)}
    assert lines <= told, f"changed lines that begin no statement: {lines - told}"
    return within


def _head_end(node: ast.stmt) -> int:
    """The last line of a statement, of a compound one that of its head."""
    body: list[ast.stmt] = getattr(node, "body", [])
    return body[0].lineno - 1 if body else node.end_lineno or node.lineno


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_constructor(node: ast.stmt) -> bool:
    """`name = Class(…)`, also with attributes and calls after it, or `with Class(…) as name:`."""
    if isinstance(node, ast.With | ast.AsyncWith):
        return all(_makes(item.context_expr) for item in node.items)
    return isinstance(node, ast.Assign) and _makes(node.value)


def _makes(value: ast.expr) -> bool:
    """Whether an expression begins with a call of a class, of a bare name or of one in a module."""
    while True:
        if isinstance(value, ast.Call) and _class_name(value.func):
            return True
        if not isinstance(value, ast.Call | ast.Attribute):
            return False
        value = value.func if isinstance(value, ast.Call) else value.value


def _class_name(called: ast.expr) -> bool:
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name[:1].isupper()


@pytest.mark.parametrize("seed", HEADINGS)
@pytest.mark.parametrize("sign", ["-", "+"])
def test_only_imports_and_constructors_change(seed: str, sign: str) -> None:
    statements = changed(seed, sign)
    assert [ast.unparse(node) for node in statements if not is_import(node) and not is_constructor(node)] == []
    assert any(map(is_import, statements))
    assert any(map(is_constructor, statements))


@pytest.mark.parametrize("seed", HEADINGS)
def test_the_script_runs(seed: str, real: Process, nightly: str, tmp_path: Path) -> None:
    ours = script(seed, "+")
    assert ADDRESS in ours
    file = tmp_path / "script.py"
    file.write_text(ours.replace(ADDRESS, real.target))
    done = subprocess.run(
        [sys.executable, file, nightly], capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "a script that prints nothing shows nothing"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("c = Client('a')", True),
        ("tasks = sdk.BatchServiceClient(c, url='b').task", True),
        ("with Client() as c:\n    pass", True),
        ("operation = Client('a').operations.get('b')", True),
        ("c = client.get('a')", False),
        ("print(1)", False),
        ("c = 1", False),
    ],
)
def test_what_is_a_constructor(text: str, wanted: bool) -> None:
    assert is_constructor(ast.parse(text).body[0]) is wanted
