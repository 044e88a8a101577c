"""How does a filter in OData, as users of the seed write it, become one of ours?

    startswith(id, 'a') and (state eq 'completed' or executionInfo/exitCode lt 0)
    ((id = "a*") AND ((state = SUCCEEDED OR state = FAILED OR state = CANCELLED) OR (exit_code < 0)))

Everything is put in parentheses, since with us OR binds tighter than AND.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from batchyard._errors import BatchyardError
from batchyard._filter_text import any_state, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<time> (?:datetime)?'\d{4}-\d\d-\d\d[Tt][^']*' | \d{4}-\d\d-\d\d[Tt][0-9:.]+(?:[Zz]|[+-]\d\d:\d\d)? )
      | (?P<text> '(?:[^']|'')*' )
      | (?P<number> [+-]?\d+ (?![\w.]) )
      | (?P<word> [A-Za-z_][A-Za-z_0-9]*(?:/[A-Za-z_][A-Za-z_0-9]*)* )
      | (?P<mark> [(),] )
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_COMPARISONS: Final = {"eq": "=", "ne": "!=", "ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TIMES: Final = {
    "statetransitiontime": "state_transition_time",
    "creationtime": "create_time",
    "lastmodifiedtime": "update_time",
    "executioninfo/starttime": "start_time",
    "executioninfo/endtime": "end_time",
}
_STATES: Final = {
    "active": ("DRAFT", "QUEUED", "PAUSED"),
    "preparing": (),
    "running": ("RUNNING", "PAUSING", "CANCELLING"),
    "completed": ("SUCCEEDED", "FAILED", "CANCELLED"),
}
_FIELDS: Final = "id, state, stateTransitionTime, creationTime, lastModifiedTime, executionInfo/startTime, \
executionInfo/endTime, executionInfo/exitCode"
_MOST_DEPTH: Final = 50


class ODataFilterError(BatchyardError, ValueError):
    """A filter in OData that cannot be understood.

    Attributes:
        position: the character, from 0, at which that was seen.
    """

    def __init__(self, text: str, position: int) -> None:
        self.position = position
        super().__init__(f"filter, character {position}: {text}")


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def odata_to_filter(odata: str) -> str:
    """Translate the filter of a list of tasks.

    Fields: `id`, `state` ('active', 'preparing', 'running', 'completed'), `stateTransitionTime`, `creationTime`,
    `lastModifiedTime`, `executionInfo/startTime`, `executionInfo/endTime`, `executionInfo/exitCode`. Comparisons:
    `eq ne ge gt le lt`, of states `eq ne`; `startswith(id, '…')`; `and`, `or`, `not`, parentheses. Times: `datetime'…'`
    or bare, RFC 3339; UTC if they name no offset.

    Returns:
        A filter for `Client.batch.list_info`.

    Raises:
        ODataFilterError: it cannot be understood; with the position.
    """
    return _Parser(odata).parse()


def odata_name_prefix(odata: str) -> str:
    """Return the prefix of `startswith(name, '…')`, the one filter that lists of files have.

    Raises:
        ODataFilterError: it is something else.
    """
    parser = _Parser(odata)
    parser.word("startswith", "startswith(name, '…')")
    return parser.end(parser.prefix_of("name"))


class _Parser:
    def __init__(self, odata: str) -> None:
        self._tokens = _tokens(odata)
        self._next = 0
        self._depth = 0

    def parse(self) -> str:
        return self.end(self._or())

    def end(self, result: str) -> str:
        if self._peek().kind != "end":
            self._fail("`and`, `or` or the end is expected")
        return result

    def word(self, text: str, what: str) -> None:
        if self._peek().text.lower() != text:
            self._fail(f"{what} is expected")
        self._take()

    def prefix_of(self, field: str) -> str:
        """What follows `startswith`: the field and the prefix in parentheses."""
        self.word("(", "`(`")
        self.word(field, f"`{field}`")
        self.word(",", "`,`")
        prefix = self._text()
        self.word(")", "`)`")
        return prefix

    def _or(self) -> str:
        return self._joined("or", self._and)

    def _and(self) -> str:
        return self._joined("and", self._not)

    def _joined(self, word: str, part: Callable[[], str]) -> str:
        parts = [part()]
        while self._peek().kind == "word" and self._peek().text.lower() == word:
            self._take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else "(" + f" {word.upper()} ".join(parts) + ")"

    def _not(self) -> str:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            self._fail("nested too deeply")
        try:
            if self._peek().kind == "word" and self._peek().text.lower() == "not":
                self._take()
                return f"(NOT {self._not()})"
            if self._peek().text == "(":
                self._take()
                inner = self._or()
                self.word(")", "`)`")
                return inner
            return self._term()
        finally:
            self._depth -= 1

    def _term(self) -> str:
        token = self._peek()
        if token.kind != "word":
            self._fail("a field or `startswith` is expected")
        self._take()
        field = token.text.lower()
        if field == "startswith":
            return _prefix(self.prefix_of("id"))
        if field == "id":
            return f"(id {self._comparison()} {quoted(self._text())})"
        if field == "state":
            return self._state()
        if field in _TIMES:
            return f'({_TIMES[field]} {self._comparison()} "{self._time()}")'
        if field == "executioninfo/exitcode":
            return f"(exit_code {self._comparison()} {self._literal('number', 'an integer').text})"
        raise ODataFilterError(f"no field {token.text!r}; there are {_FIELDS}", token.position)

    def _state(self) -> str:
        at, comparison = self._peek().position, self._comparison()
        if comparison not in {"=", "!="}:
            raise ODataFilterError("a state is compared with `eq` or `ne`", at)
        value = self._literal("text", "a state in quotes")
        states = _STATES.get(value.text[1:-1].lower())
        if states is None:
            raise ODataFilterError(f"no state {value.text}; there are {', '.join(_STATES)}", value.position)
        chosen = f"({any_state(states)})" if states else "(NOT id:*)"
        return chosen if comparison == "=" else f"(NOT {chosen})"

    def _comparison(self) -> str:
        found = _COMPARISONS.get(self._peek().text.lower())
        if found is None:
            self._fail(f"one of {', '.join(_COMPARISONS)} is expected")
        self._take()
        return found

    def _text(self) -> str:
        return self._literal("text", "a text in quotes").text[1:-1].replace("''", "'")

    def _time(self) -> str:
        token = self._literal("time", "a time such as datetime'2026-01-31T12:00:00Z'")
        text = token.text.partition("'")[2].rstrip("'") if token.text.endswith("'") else token.text
        try:
            time = datetime.fromisoformat(text)
        except ValueError as error:
            raise ODataFilterError(f"no time: {error}", token.position) from None
        aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def _literal(self, kind: str, what: str) -> _Token:
        token = self._peek()
        if token.kind == "time" and kind == "text" and token.text.startswith("'"):
            return self._take()  # an id that looks like a time
        if token.kind != kind:
            self._fail(f"{what} is expected")
        return self._take()

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _fail(self, text: str) -> NoReturn:
        token = self._peek()
        seen = f", not {token.text!r}" if token.kind != "end" else ", not the end"
        raise ODataFilterError(text + seen, token.position)


def _tokens(odata: str) -> list[_Token]:
    found: list[_Token] = []
    position, end = 0, len(odata.rstrip())
    while position < end:
        match = _TOKEN.match(odata, position)
        if match is None:
            at = position + len(odata[position:]) - len(odata[position:].lstrip())
            raise ODataFilterError(f"{odata[at]!r} is not understood", at)
        kind = match.lastgroup or ""
        found.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    return [*found, _Token("end", "", end)]


def _prefix(text: str) -> str:
    return f"(id = {quoted(text, prefix=True)})" if text else "(id:*)"
