"""What does a filter mean? What was written, held against a table of fields → a typed tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import NoReturn

from batchyard_server.model.errors import Reason
from batchyard_server.model.filter import (
    EVERYTHING,
    All,
    Always,
    Any,
    Compare,
    Contains,
    Field,
    IsSet,
    Kind,
    Node,
    Not,
    Op,
    Prefix,
    Value,
)
from batchyard_server.query import syntax
from batchyard_server.query.syntax import Comparison, Negation, Text, Written
from batchyard_server.query.tables import Column, Table

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUTHS = {"true": True, "false": False}


def parse_filter(text: str, table: Table, project: str, field: str = "filter") -> Node:
    """The filter in `text`; nothing, or `*` alone, matches everything.

    Args:
        text: AIP-160, see syntax.py.
        table: the fields.
        project: whose resources are looked at: what a `name` begins with.
        field: what errors call the text.

    Raises:
        InvalidArgument: INVALID_FILTER, with the position.
    """
    if text.strip() == "*":
        return EVERYTHING
    written = syntax.read(text, field)
    return EVERYTHING if written is None else _Checker(table, project, field).node(written)


@dataclass(frozen=True, slots=True)
class _Checker:
    table: Table
    project: str
    field: str

    def node(self, written: Written) -> Node:
        """The tree of what is written."""
        if isinstance(written, Negation):
            return Not(self.node(written.part))
        if isinstance(written, Comparison):
            return self._comparison(written)
        parts = tuple(map(self.node, written.parts))
        return All(parts) if written.by == "AND" else Any(parts)

    def _comparison(self, written: Comparison) -> Node:
        if written.field == "labels" and self.table.labels:
            return self._label(written)
        name = "id" if written.field == "name" and self.table.collection else written.field
        kind, key = self.table.columns.get(name), ""
        if name.startswith("labels.") and self.table.labels:
            name, key = "labels", self._key(name.removeprefix("labels."), written.at + len("labels."))
            kind = Column(Kind.TEXT)
        if kind is None:
            self._refuse(f"there is no field {written.field!r}; there are {', '.join(self._names())}", written.at)
        found = Field(name, kind.kind, key)
        if written.op == ":" and written.value.is_star:
            return IsSet(found)
        if kind.kind is not Kind.TEXT:
            return self._typed(found, kind, written)
        if written.field == "name":
            return self._name(found, written)
        return self._text(found, written.op, written.value, written.value.text)

    def _label(self, written: Comparison) -> Node:
        """`labels:KEY`, or `labels:*`, which is any label."""
        if written.op != ":":
            self._refuse("labels are compared one by one, as labels.KEY; labels:KEY is what has that label", written.at)
        if written.value.is_star:
            return IsSet(Field("labels", Kind.TEXT))
        return IsSet(Field("labels", Kind.TEXT, self._key(written.value.text, written.value.at)))

    def _key(self, key: str, at: int) -> str:
        if not _LABEL_KEY.fullmatch(key):
            self._refuse("the key of a label is a-z, then a-z 0-9 _ . -, at most 63 in all", at)
        return key

    def _text(self, found: Field, op: str, value: Text, text: str) -> Node:
        if not value.has_star:
            return Contains(found, text) if op == ":" else Compare(found, Op(op), text)
        if op not in {"=", "!="} or value.has_inner_star:
            self._refuse("a * is understood only at the end, with = and !=; write \\* in quotes for a star", value.at)
        prefix = Prefix(found, text[:-1])
        return prefix if op == "=" else All((IsSet(found) if found.key else EVERYTHING, Not(prefix)))

    def _name(self, found: Field, written: Comparison) -> Node:
        """A name is compared as its id is; one that is not of this project's collection is before or behind all."""
        base = f"projects/{self.project}/{self.table.collection}/"
        value = written.value
        whole = value.text
        if whole.startswith(base):
            return self._text(found, written.op, value, whole.removeprefix(base))
        if written.op == ":":
            self._refuse("names are compared with = != < <= > >=, or with = and * at the end", value.at)
        if value.has_star:
            begins = base.startswith(whole[:-1])
            self._text(found, written.op, value, whole)
            return Always(begins == (written.op == "="))
        above = base.encode() > whole.encode()  # every name of the collection compares with it as its beginning does
        return Always(written.op == "!=" or (above and written.op[0] == ">") or (not above and written.op[0] == "<"))

    def _typed(self, found: Field, column: Column, written: Comparison) -> Node:
        op = "=" if written.op == ":" else written.op
        if found.kind is Kind.TRUTH and op not in {"=", "!="}:
            self._refuse("true and false are compared with = and !=", written.value.at)
        return Compare(found, Op(op), self._value(found.kind, column, written.value))

    def _value(self, kind: Kind, column: Column, value: Text) -> Value:
        text = value.text
        if kind is Kind.TRUTH:
            if text not in _TRUTHS:
                self._refuse("true or false is expected", value.at)
            return _TRUTHS[text]
        if kind is Kind.TIME:
            return self._time(value)
        if text in column.words:
            return int(column.words[text])
        if column.words_only:
            self._refuse(f"one of {', '.join(column.words)} is expected", value.at)
        if not _NUMBER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
            self._refuse("a whole number of 64 bits is expected", value.at)
        return int(text)

    def _time(self, value: Text) -> int:
        """Microseconds since 1970 of an RFC 3339 time; what is finer is cut off."""
        found = _TIME.fullmatch(value.text)
        micros = None if found is None else _micros(found)
        if micros is None:
            self._refuse('a time as in "2026-01-31T12:00:00Z" (RFC 3339) is expected', value.at)
        return micros

    def _names(self) -> list[str]:
        names = sorted(self.table.columns)
        return [*names, *(["name"] if self.table.collection else []), *(["labels.KEY"] if self.table.labels else [])]

    def _refuse(self, why: str, at: int) -> NoReturn:
        syntax.refuse(self.field, Reason.INVALID_FILTER, why, at)


def _micros(found: re.Match[str]) -> int | None:
    """Microseconds since 1970 of a match of _TIME; None if there is no such day or time."""
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0))
    try:
        zone = timezone(-offset if found[8] == "-" else offset)
        whole = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
    return (whole - _EPOCH) // timedelta(microseconds=1) + int((found[7] or "0").ljust(9, "0")[:6])
