"""The handler `python_audit`: what a Python source file consists of."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batchyard_worker.context import Context, RecordError

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# One path more each: branches, loops, handlers, assertions, the `if`s of a comprehension, further conditions.
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert)
_CASE = getattr(ast, "match_case", ())

if TYPE_CHECKING:
    Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_audit(record: Any, context: Context) -> dict[str, Any]:
    """Counts what is in a Python file.

    Args:
        record: The bytes of a .py file (its own coding line counts), or its text.
        context: Unused.

    Returns:
        ``functions``, ``classes``, ``lines``; ``longest_function`` {name, lines} or None; ``complexity`` {total, max,
        function}: McCabe's number summed over the functions (a nested function counts for itself alone) and the
        module's own code, and the function that has most, None without functions.

    Raises:
        RecordError: INVALID_ARGUMENT if it does not parse, with line and text; or is neither bytes nor text.
    """
    if not isinstance(record, (bytes, str)):
        raise RecordError("INVALID_ARGUMENT", f"not the bytes of a Python file: {type(record).__name__}")
    tree = _parse(record)
    functions = list(_functions(tree, ""))
    longest = max(functions, key=lambda item: _length(item[1]), default=None)
    scores = [(_complexity(node), name) for name, node in functions]
    most = max(scores, key=lambda item: item[0], default=None)
    total = _complexity(tree) + sum(score for score, _ in scores)
    separator = b"\n" if isinstance(record, bytes) else "\n"
    lines = record.count(separator) + bool(record and not record.endswith(separator))  # type: ignore[arg-type]
    return {
        "functions": len(functions),
        "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        "lines": lines,
        "longest_function": longest and {"name": longest[0], "lines": _length(longest[1])},
        "complexity": {"total": total, "max": most[0] if most else 0, "function": most[1] if most else None},
    }


def _parse(source: bytes | str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning and the like: the file's business, not ours
            return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        raise RecordError("INVALID_ARGUMENT", f"{where}{error.msg}{text}", retryable=False) from None
    except ValueError as error:  # NUL bytes
        raise RecordError("INVALID_ARGUMENT", str(error), retryable=False) from None
    except (RecursionError, MemoryError):  # the parser's own limits
        raise RecordError("INVALID_ARGUMENT", "nested too deeply to parse", retryable=False) from None


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    """Every function below a node with its dotted name."""
    stack = [(node, prefix)]
    while stack:
        parent, path = stack.pop()
        for child in ast.iter_child_nodes(parent):
            name = path
            if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
                name = f"{path}{child.name}"
                if isinstance(child, _FUNCTIONS):
                    yield name, child
                name += "."
            stack.append((child, name))


def _length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _complexity(node: ast.AST) -> int:
    """McCabe's number of a function or module without the functions inside it."""
    score = 1
    stack = list(ast.iter_child_nodes(node))
    while stack:
        child = stack.pop()
        if isinstance(child, _FUNCTIONS):
            continue
        if isinstance(child, _BRANCHES) or (_CASE and isinstance(child, _CASE)):
            score += 1
        elif isinstance(child, ast.BoolOp):
            score += len(child.values) - 1
        elif isinstance(child, ast.comprehension):
            score += 1 + len(child.ifs)
        stack += ast.iter_child_nodes(child)
    return score
