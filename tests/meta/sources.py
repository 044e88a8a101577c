"""Which files are ours? What git tracks, with the generated code told apart."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import subprocess
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATED = re.compile(r"(_pb2(_grpc)?\.pyi?$|_pb\.(go|ts|js|d\.ts)$|\.pb\.(go|cc|h)$|/gen/|baseline\.binpb$)")


@functools.cache
def tracked() -> tuple[str, ...]:
    """Files that git tracks or would track, relative to the root: a new file is judged before it is added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(name for name in output.split("\0") if name and (ROOT / name).is_file()))


def written(*suffixes: str, below: str = "") -> list[str]:
    """Hand-written files with one of these suffixes."""
    return [
        name
        for name in tracked()
        if name.startswith(below) and name.endswith(suffixes) and GENERATED.search(name) is None
    ]


def text(name: str) -> str:
    """Content of a tracked text file; empty for a binary one."""
    data = (ROOT / name).read_bytes()
    return "" if b"\0" in data else data.decode()


@functools.cache
def module(name: str) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(text(name), filename=name)


def functions(name: str) -> Iterator[tuple[str, int]]:
    """Every function of a Python file with its length in lines, decorators left out."""
    for node in ast.walk(module(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
