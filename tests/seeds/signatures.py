"""Has a method the signature that a document writes, `(task: str, *, timeout: float = 60) -> Result`?"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any


def ours(text: str, replaced: Mapping[str, str], *, sync: bool) -> str:
    """What is wanted of our method: the document's signature with its type variables and wider types replaced."""
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text.replace("Async", "") if sync else text


def has(function: Any, wanted: str) -> str:
    """The signature of a function as text, without `self` and without what it has beyond the wanted one.

    What is beyond must be keyword-only and optional, so that no call that the document allows means another thing.
    """
    found = inspect.signature(function)
    names = {argument.arg for argument in _function(wanted).args.args + _function(wanted).args.kwonlyargs}
    kept = [
        each
        for name, each in found.parameters.items()
        if name != "self" and (name in names or each.kind is not each.KEYWORD_ONLY or each.default is each.empty)
    ]
    return str(found.replace(parameters=kept)).replace("'", "")


def says(name: str, text: str) -> set[tuple[str, str]]:
    """What a signature adds to the inventory of its document: (kind, name) of its parameters, types and result."""
    function = _function(text)
    arguments = function.args
    defaults = [None] * len(arguments.args) + list(arguments.kw_defaults)
    said = {("method", name), ("parameter", f"{name}(*)"), ("returns", f"{name}: {text.partition(' -> ')[2]}")}
    for argument, default in zip(arguments.args + arguments.kwonlyargs, defaults, strict=True):
        value = f"={ast.unparse(default)}" if default is not None else ""
        said.add(("parameter", f"{name}({argument.arg}{value})"))
        assert argument.annotation is not None
        said.add(("type", f"{name}({argument.arg}: {ast.unparse(argument.annotation)})"))
    return said


def _function(text: str) -> ast.FunctionDef:
    (node,) = ast.parse(f"def f{text}: ...").body
    assert isinstance(node, ast.FunctionDef)
    return node
