"""The records of the demonstration: Python files, and which of them cannot be parsed."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batchyard import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

# Installed packages are not the standard library, though they lie below it.
_FOREIGN: Final = {"site-packages", "dist-packages", "__pycache__"}
# The server's bound on one record.
_MOST_BYTES: Final = 1024 * 1024
_BROKEN: Final = "broken"


class Corpus:
    """Every `.py` file of the running Python's standard library, read and parsed while it is iterated.

    If all of it can be parsed (Debian's own Python has no broken files), three broken files follow.

    Attributes:
        root: the library's directory.
        must_fail: record_id → what `ast.parse` says of the same bytes.
        count: how many records were yielded.
        size: their bytes.
        added: whether the broken files had to be added.
        skipped: files that are no record: larger than the bound, or unreadable.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(sysconfig.get_path("stdlib"))
        self.must_fail: dict[str, str] = {}
        self.count = 0
        self.size = 0
        self.added = False
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[Record]:
        for path in sorted(self.root.rglob("*.py")):
            relative = path.relative_to(self.root)
            if _FOREIGN.isdisjoint(relative.parts) and path.is_file():
                yield from self._file(path, relative.as_posix())
        if not self.must_fail:
            self.added = True
            for entry in sorted(
                resources.files("batchyard.demo").joinpath(_BROKEN).iterdir(), key=lambda each: each.name
            ):
                yield self._record(f"{_BROKEN}/{entry.name.removesuffix('.txt')}.py", entry.read_bytes())

    def _file(self, path: Path, name: str) -> Iterator[Record]:
        try:
            source = path.read_bytes()
        except OSError:
            self.skipped.append(name)
            return
        if len(source) > _MOST_BYTES:
            self.skipped.append(name)
            return
        yield self._record(name, source)

    def _record(self, name: str, source: bytes) -> Record:
        self.count += 1
        self.size += len(source)
        why = parse_failure(source)
        if why is not None:
            self.must_fail[name] = why
        return Record(source, record_id=name)


def parse_failure(source: bytes) -> str | None:
    """Return why these bytes are no Python program, None if they are one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a file warns of does not matter here
            ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; the parser's own limits
        return str(error) or type(error).__name__
    return None
