"""What was written in a filter? Text → words → nested comparisons with their positions, not yet checked (AIP-160).

    filter      = [ conjunction ]
    conjunction = disjunction { AND disjunction }
    disjunction = term { OR term }                  OR binds tighter than AND
    term        = { NOT } ( "(" conjunction ")" | field op value )
    op          = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
    value       = word | quoted

No recursion follows the text deeper than limits.FILTER_DEPTH.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from batchyard_server.model import limits
from batchyard_server.model.errors import InvalidArgument, Reason

_WORD = re.compile(r"[^\s()=<>!:\"',\\]+")
_VALUE = re.compile(r"[^\s()\"'\\]+")  # after an operator: times and names with colons need no quotes
_OP = re.compile(r"!=|<=|>=|[=<>:]")
_SPACE = re.compile(r"\s*")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)|(\*)", re.DOTALL)
_KEYWORDS = ("AND", "OR", "NOT")
_STAR = "\x00"  # stands for a star that was not escaped; a NUL itself is refused


@dataclass(frozen=True, slots=True)
class Text:
    """A value. `stars`: as `text`, with each star that was not escaped as `_STAR`."""

    text: str
    at: int
    stars: str

    @property
    def is_star(self) -> bool:
        """Whether it is a star alone."""
        return self.stars == _STAR

    @property
    def prefix(self) -> str | None:
        """What comes before a star at the end; None if no star is there."""
        return self.stars[:-1] if self.stars.endswith(_STAR) else None

    @property
    def has_star(self) -> bool:
        """Whether there is a star anywhere."""
        return _STAR in self.stars

    @property
    def has_inner_star(self) -> bool:
        """Whether there is a star elsewhere than at the end."""
        return _STAR in self.stars[:-1]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field op value`, as written."""

    field: str
    at: int
    op: str
    value: Text


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT part."""

    part: Written


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts joined by AND, or by OR: at least two."""

    by: str
    parts: tuple[Written, ...]


Written = Comparison | Negation | Joined


def refuse(field: str, reason: Reason, why: str, at: int) -> NoReturn:
    """Raise InvalidArgument for what is wrong at character `at`, from 0."""
    raise InvalidArgument(field, f"{why}, at character {at}", reason=reason, metadata={"position": str(at)})


def read(text: str, field: str) -> Written | None:
    """What is written; None if nothing is. Raises InvalidArgument (INVALID_FILTER) naming `field`."""
    if len(text.encode()) > limits.FILTER.maximum:
        refuse(field, Reason.INVALID_FILTER, f"must have at most {limits.FILTER.maximum} bytes", 0)
    if _STAR in text:
        refuse(field, Reason.INVALID_FILTER, "has a NUL character", text.index(_STAR))
    return _Reader(text, field).all()


class _Reader:
    def __init__(self, text: str, field: str) -> None:
        self._text = text
        self._field = field
        self._at = 0
        self._terms = 0
        self._depth = 0
        self._skip()

    def all(self) -> Written | None:
        """The whole text."""
        if self._at == len(self._text):
            return None
        written = self._conjunction()
        if self._at < len(self._text):
            self._refuse("AND, OR or the end is expected" if self._text[self._at] != ")" else "no ( is open")
        return written

    def _conjunction(self) -> Written:
        return self._joined("AND", lambda: self._joined("OR", self._term))

    def _joined(self, by: str, part: Callable[[], Written]) -> Written:
        parts = [part()]
        while self._keyword(by):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(by, tuple(parts))

    def _term(self) -> Written:
        negated = self._keyword("NOT")
        if not negated and not self._taken("("):
            return self._comparison()
        self._depth += 1
        if self._depth > limits.FILTER_DEPTH:
            self._refuse(f"is nested deeper than {limits.FILTER_DEPTH}")
        part = self._term() if negated else self._conjunction()
        if not negated and not self._taken(")"):
            self._refuse(") is expected" if self._at == len(self._text) else "AND, OR or ) is expected")
        self._depth -= 1
        return Negation(part) if negated else part

    def _comparison(self) -> Comparison:
        self._terms += 1
        if self._terms > limits.FILTER_TERMS.maximum:
            self._refuse(f"has more than {limits.FILTER_TERMS.maximum} comparisons")
        at = self._at
        found = _WORD.match(self._text, at)
        if found is None or found[0] in _KEYWORDS:
            self._refuse("the name of a field is expected")
        self._go(found.end())
        op = _OP.match(self._text, self._at)
        if op is None:
            self._refuse("one of = != < <= > >= : is expected")
        self._go(op.end())
        return Comparison(found[0], at, op[0], self._value())

    def _value(self) -> Text:
        at = self._at
        if quoted := _QUOTED.match(self._text, at):
            self._go(quoted.end())
            return self._unescaped(quoted[0][1:-1], at)
        if self._text[at : at + 1] in {'"', "'"}:
            self._refuse("the text in quotes has no end")
        found = _VALUE.match(self._text, at)
        if found is None or found[0] in _KEYWORDS:
            self._refuse("a value is expected")
        self._go(found.end())
        return Text(found[0], at, found[0].replace("*", _STAR))

    def _unescaped(self, inner: str, at: int) -> Text:
        """The text between quotes: a backslash is before what stands for itself."""
        for escape in _ESCAPE.finditer(inner):
            if escape[1] and escape[1] not in "\"'\\*":
                refuse(self._field, Reason.INVALID_FILTER, "only \" ' \\ and * follow a \\", at + 1 + escape.start())
        stars = _ESCAPE.sub(lambda escape: escape[1] or _STAR, inner)
        return Text(stars.replace(_STAR, "*"), at, stars)

    def _keyword(self, word: str) -> bool:
        found = _WORD.match(self._text, self._at)
        if found is None or found[0] != word:
            return False
        self._go(found.end())
        return True

    def _taken(self, character: str) -> bool:
        if self._text[self._at : self._at + 1] != character:
            return False
        self._go(self._at + 1)
        return True

    def _go(self, at: int) -> None:
        self._at = at
        self._skip()

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None, "a pattern that may match nothing always matches"
        self._at = found.end()

    def _refuse(self, why: str) -> NoReturn:
        refuse(self._field, Reason.INVALID_FILTER, why, self._at)
