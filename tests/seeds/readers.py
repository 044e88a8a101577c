"""How is each seed document read? One reader per way in which they were written; none leaves out a line."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.seeds.seeds import Item, boilerplate, call, named, sentence, sentences, whole

Line = tuple[int, str]


# ----------------------------------------------------------------------------------------- seeds 000 and 001: Yandex

_LINK = re.compile(r"\[([^\[\]]+)\]\([^()]*\)")
_CLASS = re.compile(r"^## \*class\* .*\*\*(\w+)\*\*\{#")
_METHOD = re.compile(r"^(?:\*async\* )?\*\*([\w\\]+)\*\*\((.*)\)\{#")
_MEMBER = re.compile(r"^(?:\*property\* )?\*\*([\w\\]+)\*\*(?:\\: (.*))?\{#")
_CONSTRUCTOR = re.compile(r"^(\w+)\((.*)\)$")
_TYPED = re.compile(r"^(?:- |\|\| Parameters \| )\*\*([\w\\]+)\*\* \((.*?)\)(?: – (.*?))?(?: \|\|)?$")
_RETURNS = re.compile(r"^\|\| Return type \| (.*) \|\|$")
_RETURNED = re.compile(r"^\|\| Returns \| (.*) \|\|$")
_FRAME = re.compile(r"^(---|sourcePath: .*|# .*|#\||\|#|\|\| Parameters \|)$")


def _plain(markdown: str) -> str:
    """A type or a name without its marks: `[*str*](…) *\\|* …` is `str | …`."""
    text = markdown
    while text != (text := _LINK.sub(r"\1", text)):
        pass
    return re.sub(r"<span.*?>(.*?)</span>", r"\1", text).replace("*", "").replace("\\", "").strip()


def yandex(lines: list[str]) -> list[Item]:
    """Pages of a generator that writes names in bold and links every type."""
    items: list[Item] = []
    owner = method = ""
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line:
            continue
        if _FRAME.match(line):
            items += boilerplate(number, line)
        elif found := _CLASS.match(line):
            owner = found[1]
            items += named(number, "class", owner)
        elif found := _METHOD.match(line):
            method = f"{owner}.{_plain(found[1])}"
            separator = re.sub(r"\*<span.*?</span>\*", "KEYWORD-ONLY", found[2])
            items += call(number, method, _plain(separator).replace("KEYWORD-ONLY", "*"))
        elif found := _MEMBER.match(line):
            items += named(
                number, "attribute", f"{owner}.{_plain(found[1])}" + (f": {_plain(found[2])}" if found[2] else "")
            )
        elif found := _CONSTRUCTOR.match(line):
            items += call(number, found[1], re.sub("[‘’]", "", found[2]))
        elif found := _RETURNS.match(line):
            items += named(number, "returns", f"{method}: {_plain(found[1])}")
        elif found := _RETURNED.match(line):
            items += sentence(number, found[1])
        elif found := _typed(line):
            name, kind, text = found
            items += named(number, "type", f"{method}({name}: {kind})") + (sentence(number, text) if text else [])
        else:
            items += sentence(number, line)
    return whole(lines, items, set())


def _typed(line: str) -> tuple[str, str, str] | None:
    """Name, type and description of a parameter that has a line of its own."""
    found = _TYPED.match(_LINK.sub(r"\1", line))
    return (_plain(found[1]), _plain(found[2]), found[3] or "") if found else None


# --------------------------------------------------------------------------------------------- seed 002: ML Server

_OPENED = re.compile(r"^[\w.]*?(\w+)\((.*?)(\)?)$")


def ml_server(lines: list[str]) -> list[Item]:
    """Markdown in which signatures and names of properties stand in code blocks, and parameters are headings."""
    items: list[Item] = []
    joined: set[int] = set()
    paragraph: list[Line] = []
    method, front, code, opened = "", 0, False, ""

    def close() -> None:
        if paragraph:
            items.extend(sentences(paragraph))
            joined.update(number for number, _ in paragraph[1:])
            paragraph.clear()

    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if line == "---" or line.startswith(("```", "#")) or not line or front == 1:
            close()
            front += line == "---"
            code = not code if line.startswith("```") else code
            heading = line.lstrip("# ")
            if line.startswith("### ") and heading not in {"Arguments", "Returns"}:
                items += named(number, "parameter", f"{method}({heading})")
            elif line:
                items += boilerplate(number, line)
        elif not code:
            paragraph.append((number, line))
        elif opened:
            items += [item for item in call(number, opened, line.rstrip(")")) if item.kind == "parameter"]
            opened = ""
        elif found := _OPENED.match(line):
            method = "Batch" if found[1] == "Batch" else f"Batch.{found[1]}"
            items += call(number, method, (found[2] + found[3]).removesuffix(")").rstrip(","))
            opened = "" if found[3] else method
        else:
            items += named(number, "attribute", f"Batch.{line}")
    close()
    return whole(lines, items, joined)


# ------------------------------------------------------------------------------------------------- seed 003: Toloka

_PARAMETER = re.compile(r"^(\w+?)(str|Optional\[.*\])$")
_HEADINGS = {"get_app_batches", "Parameters description", "ParametersTypeDescription", "Examples:"}


def toloka(lines: list[str]) -> list[Item]:
    """One page as plain text: a parameter's name runs into its type; an example; the site's navigation at the end."""
    items: list[Item] = []
    method, example, navigation = "", False, False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        navigation |= line.startswith("Last updated")
        example = line == "Examples:" or (example and not navigation)
        if not line:
            continue
        if navigation or line in _HEADINGS:
            items += boilerplate(number, line)
        elif example:
            items += [Item(number, 0, "example", boilerplate(number, line)[0].name)]
        elif line.endswith("| Source code"):
            method = ".".join(line.partition(" ")[0].split(".")[-2:])
            items += named(number, "method", method)
        elif found := _PARAMETER.match(line):
            items += named(number, "parameter", f"{method}({found[1]}: {found[2]})")
        else:
            items += sentence(number, line)
    return whole(lines, items, set())


# -------------------------------------------------------------------------------------------------- seed 004: Azure

_SECTIONS = {"Constructor", "Parameters", "Variables", "Methods", "Returns", "Exceptions", "Attributes", "Inheritance"}
_COLUMNS = {"Name Description", "Type Description", "Required", "builtins.object"}


class _Azure:
    """Where a reader of seed 004 stands: the method and section that a line belongs to."""

    def __init__(self, lines: list[str]) -> None:
        found = [_CONSTRUCTOR.match(line.strip()) for line in lines]
        self.parameters = {
            each[1]: {p.strip(" *").partition("=")[0] for p in each[2].split(",")} for each in found if each
        }
        self.owner, self.method, self.parameter, self.section = "", "", "", ""

    def items(self, number: int, line: str) -> list[Item]:
        """What one line says."""
        if line in _SECTIONS:
            self.section = line
        if line in _SECTIONS | _COLUMNS or (line == self.owner and self.section == "Inheritance"):
            return boilerplate(number, line)
        if line.endswith(" Class"):
            self.owner = line.removesuffix(" Class")
            return named(number, "class", self.owner)
        if found := _CONSTRUCTOR.match(line):
            return call(number, self._name(found[1]), found[2])
        if line in self.parameters:
            self.method, self.section = line, "" if self.section != "Methods" else "Methods"
            return named(number, "method", self._name(line))
        return self._detail(number, line)

    def _detail(self, number: int, line: str) -> list[Item]:
        method = self._name(self.method or self.owner)
        if self.section == "Parameters":
            if line in self.parameters[self.method or self.owner]:
                self.parameter = line
                return named(number, "parameter", f"{method}({line})")
            if line in {"str", "int"}:
                return named(number, "type", f"{method}({self.parameter}: {line})")
            if line.startswith("Default value: "):
                return named(number, "default", f"{method}({self.parameter}={line.partition(': ')[2]})")
        elif self.section in {"Variables", "Attributes"}:
            name = re.match(r"^([a-z_]+)(?: = .*)?$", line)
            if name:
                return named(number, "attribute", f"{self.owner}.{name[1]}")
        elif self.section == "Returns" and re.match(r"^(None,|<xref:.*)$", line):
            return named(number, "returns", f"{method}: {re.sub('[<>,]|xref:', '', line)}")
        elif self.section == "Exceptions":
            return named(number, "raises", f"{method}: {line}")
        return sentence(number, line)

    def _name(self, method: str) -> str:
        return method if method == self.owner else f"{self.owner}.{method}"


def azure(lines: list[str]) -> list[Item]:
    """One page as plain text: every parameter is a block of name, `Required`, type, text and default."""
    reader = _Azure(lines)
    items = [
        item for number, line in enumerate(lines, 1) if line.strip() for item in reader.items(number, line.strip())
    ]
    return whole(lines, items, set())


READERS: dict[str, Callable[[list[str]], list[Item]]] = {
    "000": yandex,
    "001": yandex,
    "002": ml_server,
    "003": toloka,
    "004": azure,
}
