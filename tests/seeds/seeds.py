"""What do the five seed documents promise? Each line of them, read into one list: the inventory.

The documents are not part of this repository: they lie in a folder `shared/seeds` beside or above a checkout. What they
say is kept in `inventory.json`: names of classes, methods and parameters as they are, of a sentence only a digest.

    python -m tests.seeds.seeds        write inventory.json again from the documents
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

HERE = pathlib.Path(__file__).parent
INVENTORY = HERE / "inventory.json"
README = HERE / "README.md"
SEEDS = ("000", "001", "002", "003", "004")
# What needs no test: headings, table frames, front matter, navigation, blank lines of code.
BOILERPLATE = "boilerplate"
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a line of a document says.

    Attributes:
        line: 1-based; of a sentence the line on which it begins.
        part: which sentence of its line, from 1; 0: the line holds no more than one.
        kind: class, method, attribute, parameter, type, default, returns, raises, example, sentence or boilerplate.
        name: what is named, with its type or default if the document gives one; of text (the last three kinds) the
            BLAKE2b-64 of it with whitespace normalised.
    """

    line: int
    part: int
    kind: str
    name: str

    @property
    def key(self) -> str:
        """How README.md refers to it: `LINE` or `LINE.PART`."""
        return f"{self.line}.{self.part}" if self.part else str(self.line)


def digest(text: str) -> str:
    """BLAKE2b-64 of a text with whitespace normalised, in hexadecimal."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).hexdigest()


def sentences(lines: list[tuple[int, str]]) -> list[Item]:
    """The sentences of one paragraph, given as its lines with their numbers."""
    found: list[tuple[int, str]] = []
    starts, text = [], ""
    for number, line in lines:
        starts.append((len(text), number))
        text += line.strip() + " "
    begin = 0
    for part in SENTENCE_END.split(text.strip()):
        begin = text.index(part, begin)
        found.append((max(number for start, number in starts if start <= begin), part))
        begin += len(part)
    many = Counter(number for number, _ in found)
    seen: Counter[int] = Counter()
    items: list[Item] = []
    for number, part in found:
        seen[number] += 1
        items.append(Item(number, seen[number] if many[number] > 1 else 0, "sentence", digest(part)))
    return items


def sentence(number: int, text: str) -> list[Item]:
    """The sentences of one line."""
    return sentences([(number, text)])


def named(number: int, kind: str, name: str) -> list[Item]:
    """One item with a name."""
    return [Item(number, 0, kind, name)]


def boilerplate(number: int, line: str) -> list[Item]:
    """A line that promises nothing."""
    return [Item(number, 0, BOILERPLATE, digest(line))]


def call(number: int, name: str, parameters: str) -> list[Item]:
    """A signature: the method, and each parameter as `METHOD(PARAMETER)`."""
    parts = [each.strip() for each in parameters.split(", ")]
    return named(number, "method", name) + [Item(number, 0, "parameter", f"{name}({each})") for each in parts if each]


def whole(lines: list[str], items: list[Item], joined: set[int]) -> list[Item]:
    """Check that every line with text was read; `joined`: those that belong to a sentence begun before them.

    Raises:
        ValueError: some were not.
    """
    read = {item.line for item in items} | joined
    missing = [number for number, line in enumerate(lines, 1) if line.strip() and number not in read]
    if missing:
        raise ValueError(f"lines read into nothing: {missing}")
    return items


def document(seed: str) -> pathlib.Path | None:
    """The document of a seed, None on a machine that does not have it."""
    for folder in HERE.parents[1].parents:
        found = sorted((folder / "shared" / "seeds").glob(f"{seed}_*.txt"))
        if found:
            return found[0]
    return None


def read(seed: str, text: str) -> list[Item]:
    """The inventory of a document.

    Raises:
        ValueError: a line that is not blank was read into nothing.
    """
    from tests.seeds import readers

    return sorted(readers.READERS[seed](text.splitlines()), key=lambda item: (item.line, item.part))


def inventory() -> dict[str, list[Item]]:
    """What inventory.json holds, by seed."""
    kept: dict[str, list[list[str]]] = json.loads(INVENTORY.read_text("utf-8"))
    return {seed: [_item(*row) for row in rows] for seed, rows in kept.items()}


def _item(key: str, kind: str, name: str) -> Item:
    line, _, part = key.partition(".")
    return Item(int(line), int(part or 0), kind, name)


def section(seed: str) -> str:
    """The section of README.md that speaks of a seed."""
    found = re.search(rf"^## Seed {seed}\b.*?(?=^## |\Z)", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return found[0] if found else ""


def rows(seed: str) -> Iterator[tuple[str, str, list[str]]]:
    """The rows of a seed's table: keys, promise, tests as `FOLDER/FILE.py::NAME` below tests/.

    A test that is named without a file is in the seed's own one.
    """
    for keys, promise, tests in re.findall(
        r"^\| *(\d[\d.,\- ]*?) *\| *(.*?) *\| *(.*?) *\|$", section(seed), re.MULTILINE
    ):
        names = re.findall(r"`([^`]+)`", tests)
        yield keys, promise, [name if "::" in name else f"seeds/test_seed_{seed}.py::{name}" for name in names]


def covers(keys: str) -> set[tuple[int, int]]:
    """(line, part) of what a row speaks of: `7`, `7-9`, `55.2`, `55.2-4`, with commas between."""
    found: set[tuple[int, int]] = set()
    for key in keys.replace(" ", "").split(","):
        line, dot, part = key.partition(".")
        first, _, last = (part if dot else line).partition("-")
        numbers = range(int(first), int(last or first) + 1)
        found |= {(int(line), number) if dot else (number, 0) for number in numbers}
    return found


def main() -> int:
    """Write inventory.json; 1 if a document is missing."""
    parts: list[str] = []
    for seed in SEEDS:
        path = document(seed)
        if path is None:
            print(f"there is no document of seed {seed} here", file=sys.stderr)
            return 1
        lines = [json.dumps([item.key, item.kind, item.name]) for item in read(seed, path.read_text("utf-8"))]
        parts.append(f'"{seed}": [\n' + ",\n".join(lines) + "\n]")
    INVENTORY.write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
