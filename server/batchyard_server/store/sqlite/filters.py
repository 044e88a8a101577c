"""How is a filter asked of SQLite? Tree → an expression over columns of `task`, its values bound; it is never NULL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from batchyard_server.model.filter import (
    UNSET,
    All,
    Always,
    Compare,
    Contains,
    Field,
    IsSet,
    Node,
    Not,
    Prefix,
    fields_of,
)
from batchyard_server.model.filter import Any as Either

Values = tuple[Any, ...]

_ENDED = "succeeded + failed + cancelled"
_RUNNING = f"min(coalesce(json_extract(?, '$.k' || key), 0), total - ({_ENDED}))"


class Column(NamedTuple):
    """Where a field is: an expression; when it is set, "" = always; and the columns in both."""

    sql: str
    is_set: str
    columns: tuple[str, ...]


def always(name: str) -> Column:
    """One that is always set."""
    return Column(name, "", (name,))


_COUNTED = ("key", "total", "succeeded", "failed", "cancelled")
_OF_TASKS: Mapping[str, Column] = {
    "id": always("task_id"),
    "uid": always("uid"),
    "display_name": Column("display_name", "display_name <> ''", ("display_name",)),
    "handler": always("handler"),
    "state": always("state"),
    "create_time": always("create_us"),
    "start_time": Column("start_us", "start_us > 0", ("start_us",)),
    "end_time": Column("end_us", "end_us > 0", ("end_us",)),
    "update_time": always("update_us"),
    "expire_time": Column("due_us", "due_us > 0 AND state IN (1, 7, 8, 9)", ("due_us", "state")),
    "state_transition_time": always("transition_us"),
    "counts.total": always("total"),
    "counts.pending": Column(f"total - ({_ENDED}) - {_RUNNING}", "", _COUNTED),
    "counts.running": Column(_RUNNING, "", _COUNTED),
    "counts.succeeded": always("succeeded"),
    "counts.failed": always("failed"),
    "counts.cancelled": always("cancelled"),
    "priority": Column("priority", "priority_set", ("priority", "priority_set")),
    "exit_code": Column("exit_code", "exit_code IS NOT NULL", ("exit_code",)),
    "archived": always("archived"),
}
_NOTHING_RUNS: Mapping[int, int] = {}
_LABEL = Column("json_extract(nullif(labels, ''), ?)", "", ("labels",))


class Expression(NamedTuple):
    """An expression with a ? for each of its values."""

    sql: str
    values: Values


def columns_of(node: Node) -> set[str]:
    """The columns of `task` that the filter looks at."""
    return {name for field in fields_of(node) for name in _column(field, _OF_TASKS).columns}


def translate(
    parts: Sequence[Node], running: Mapping[int, int] = _NOTHING_RUNS, columns: Mapping[str, Column] | None = None
) -> Expression:
    """What is true of the rows that match every part. `running`: see TaskQuery; `columns`: by field; None: of tasks."""
    translator = _Translator(running, _OF_TASKS if columns is None else columns)
    sql = " AND ".join(map(translator.sql, parts)) or "1"
    return Expression(sql, tuple(translator.values))


def _column(field: Field, columns: Mapping[str, Column]) -> Column:
    return _LABEL if field.name == "labels" else columns[field.name]


class _Translator:
    def __init__(self, running: Mapping[int, int], columns: Mapping[str, Column]) -> None:
        self.values: list[Any] = []
        self._columns = columns
        self._running = json.dumps({f"k{key}": count for key, count in running.items()})

    def sql(self, node: Node) -> str:
        """The expression, in parentheses where it needs them; its values are added in their order."""
        if isinstance(node, Always):
            return str(int(node.truth))
        if isinstance(node, Not):
            return f"(NOT {self.sql(node.part)})"
        if isinstance(node, All | Either):
            by = " AND " if isinstance(node, All) else " OR "
            return f"({by.join(map(self.sql, node.parts))})"
        if isinstance(node, IsSet):
            return self._is_set(node.field)
        return self._text(node) if isinstance(node, Prefix | Contains) else self._compared(node)

    def _is_set(self, field: Field) -> str:
        if field.name != "labels":
            return f"({_column(field, self._columns).is_set or 1})"
        return f"({self._operand(field)} IS NOT NULL)" if field.key else "(labels <> '')"

    def _compared(self, node: Compare) -> str:
        operand = self._operand(node.field)
        self.values.append(node.value)
        return self._if_set(node.field, f"{operand} {node.op} ?")

    def _text(self, node: Prefix | Contains) -> str:
        operand = self._operand(node.field)
        if isinstance(node, Contains):
            self.values.append(node.text)
            return self._if_set(node.field, f"instr({operand}, ?) > 0")
        self.values += (len(node.text), node.text)
        return self._if_set(node.field, f"substr({operand}, 1, ?) = ?")

    def _if_set(self, field: Field, compared: str) -> str:
        is_set = _column(field, self._columns).is_set
        if field.name == "labels":
            return f"(({compared}) IS TRUE)"
        return f"({compared})" if not is_set or field.name in UNSET else f"({is_set} AND {compared})"

    def _operand(self, field: Field) -> str:
        if field.name == "labels":
            self.values.append(f'$."{field.key}"')
        elif field.name in {"counts.pending", "counts.running"}:
            self.values.append(self._running)
        return _column(field, self._columns).sql
