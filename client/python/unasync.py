"""Generate the synchronous client from the asynchronous one, or check that it is current.

    python client/python/unasync.py            write batchyard/_sync/*.py
    python client/python/unasync.py --check    exit 1 if they are not what batchyard/_aio/*.py gives

Works on tokens: `await` goes, `async for` becomes `for`, the names below are replaced, lines between
`# async-only: begin` and `# async-only: end` are left out. The result is formatted like everything else.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import re
import subprocess
import sys
import tokenize

PACKAGE = pathlib.Path(__file__).resolve().parent / "batchyard"
HEADER = "# Generated from {source} by client/python/unasync.py; change that file and run `make gen`.\n"
NAMES = {
    "_aio": "_sync",
    "_transport_aio": "_transport_sync",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aiter": "iter",
    "anext": "next",
}
ASYNC_ONLY = re.compile(r"[ \t]*# async-only: begin\n.*?# async-only: end\n\n?", re.DOTALL)


def sync_name(name: str) -> str:
    """Return what a name is called in the synchronous client: `AsyncBatch` → `Batch`."""
    if name in NAMES:
        return NAMES[name]
    return name.removeprefix("Async") if re.match(r"Async[A-Z]", name) else name


def convert(source: str) -> str:
    """Return the synchronous form of a module's text."""
    source = ASYNC_ONLY.sub("", source)
    lines = source.splitlines(keepends=True)
    out: list[str] = []
    row, column = 1, 0
    skip_space = False
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        gap, (row, column) = _gap(lines, (row, column), token.start), token.end
        out.append(gap.lstrip(" ") if skip_space else gap)
        skip_space = token.type == tokenize.NAME and token.string in {"async", "await"}
        if not skip_space:
            out.append(_converted(token, _gap(lines, token.start, token.end)))
    return "".join(out)


def _gap(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two tokens."""
    if begin[0] == end[0]:
        return lines[begin[0] - 1][begin[1] : end[1]] if begin[0] <= len(lines) else ""
    middle = "".join(lines[begin[0] : end[0] - 1])
    last = lines[end[0] - 1][: end[1]] if end[0] <= len(lines) else ""
    return lines[begin[0] - 1][begin[1] :] + middle + last


def _converted(token: tokenize.TokenInfo, text: str) -> str:
    """Return what becomes of a token; `text` is what stands in the source for it."""
    if token.type == tokenize.NAME:
        return sync_name(token.string)
    if token.type in {tokenize.STRING, tokenize.COMMENT}:
        return re.sub(r"\b\w+\b", lambda match: sync_name(match[0]), text)
    return text


def formatted(text: str, path: pathlib.Path) -> str:
    """Sort the imports and format, as `make format` would."""
    ruff = [str(pathlib.Path(sys.executable).with_name("ruff"))]
    name = ["--stdin-filename", str(path), "-"]
    for command in (["check", "--select", "I,F401", "--fix-only", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run([*ruff, *command, *name], input=text, text=True, capture_output=True, check=True)
        text = done.stdout
    return text


def twins() -> dict[pathlib.Path, str]:
    """Return path → text of every synchronous module."""
    made: dict[pathlib.Path, str] = {}
    for source in sorted((PACKAGE / "_aio").glob("[!_]*.py")):
        target = PACKAGE / "_sync" / source.name
        text = HEADER.format(source=f"_aio/{source.name}") + convert(source.read_text("utf-8"))
        made[target] = formatted(text, target)
    return made


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    made = twins()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    extra = [path for path in (PACKAGE / "_sync").glob("[!_]*.py") if path not in made]
    if not check:
        for path in stale:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made[path], "utf-8")
        for path in extra:
            path.unlink()
        return 0
    for path in [*stale, *extra]:
        print(f"not current: {path.relative_to(PACKAGE.parent)}")
    if stale or extra:
        print("run: make gen")
    return 1 if stale or extra else 0


if __name__ == "__main__":
    sys.exit(main())
