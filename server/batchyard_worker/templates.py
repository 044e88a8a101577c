"""Argument templates of commands: ``{name}`` is a member of the record's JSON object, ``{{`` and ``}}`` are braces."""

from __future__ import annotations

import json
import re
from typing import Any

from batchyard_worker.errors import Failure

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


class Template:
    """One argument: literal text and placeholders. A placeholder never becomes more than a part of it.

    Args:
        text: The template.

    Raises:
        ValueError: A brace that is neither doubled nor part of a placeholder.
    """

    def __init__(self, text: str) -> None:
        self._literals: list[str] = [""]
        self._names: list[str] = []
        position = 0
        for match in _TOKEN.finditer(text):
            self._literals[-1] += text[position : match.start()]
            position = match.end()
            if match[1] is not None:
                self._names.append(match[1])
                self._literals.append("")
            elif match[0] in ("{{", "}}"):
                self._literals[-1] += match[0][0]
            else:
                raise ValueError(f"{text!r}: a single brace at character {match.start()}; write {{{{ or }}}}")
        self._literals[-1] += text[position:]
        if "\0" in text:
            raise ValueError(f"{text!r}: a NUL byte")

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders, in order."""
        return tuple(self._names)

    def fill(self, members: dict[str, Any], dash_values: bool) -> bytes:
        """The argument for one record.

        Args:
            members: The record's JSON object.
            dash_values: Whether a value may begin with a dash.

        Raises:
            Failure: INVALID_PLACEHOLDER.
        """
        text = self._literals[0]
        for name, literal in zip(self._names, self._literals[1:]):
            text += value_text(name, members, dash_values) + literal
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise _invalid(f"the value of a placeholder is not Unicode text: {error}", "") from None


def value_text(name: str, members: dict[str, Any], dash_values: bool) -> str:
    """What stands for a placeholder: a string as it is, a number or boolean as JSON writes it.

    Raises:
        Failure: INVALID_PLACEHOLDER: no such member; null, object or array; a NUL; a leading dash.
    """
    if name not in members:
        raise _invalid(f"the record has no member {name!r}", name)
    value = members[name]
    if isinstance(value, str):
        text = value
    elif isinstance(value, (bool, int, float)):
        text = json.dumps(value)
    else:
        kind = "null" if value is None else "an object" if isinstance(value, dict) else "an array"
        raise _invalid(f"member {name!r} is {kind}, which cannot be part of an argument", name)
    if "\0" in text:
        raise _invalid(f"member {name!r} contains a NUL character", name)
    if text.startswith("-") and not dash_values:
        raise _invalid(f"member {name!r} begins with a dash, which the handler does not allow", name)
    return text


def _invalid(message: str, name: str) -> Failure:
    return Failure("INVALID_ARGUMENT", "INVALID_PLACEHOLDER", message, **({"placeholder": name} if name else {}))
