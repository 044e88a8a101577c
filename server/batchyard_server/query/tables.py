"""Which fields may a filter or an order name?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchyard_server.model.errors import Code
from batchyard_server.model.filter import Kind
from batchyard_server.model.states import RecordState, TaskState


@dataclass(frozen=True, slots=True)
class Column:
    """A field: `words` stand for numbers; `words_only`: nothing else is taken."""

    kind: Kind
    words: Mapping[str, int] = field(default_factory=dict[str, int])
    words_only: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of one kind of resource.

    Attributes:
        columns: by name.
        collection: what stands in a `name` between `projects/{project}` and the id; "" = it has no name.
        labels: whether it has labels.
    """

    columns: Mapping[str, Column]
    collection: str = ""
    labels: bool = False


_TEXT = Column(Kind.TEXT)
_NUMBER = Column(Kind.NUMBER)
_TRUTH = Column(Kind.TRUTH)
_TIME = Column(Kind.TIME)
_TASK_STATE = Column(Kind.NUMBER, {state.name: state for state in TaskState}, words_only=True)
_RECORD_STATE = Column(Kind.NUMBER, {state.name: state for state in RecordState}, words_only=True)
_CODE = Column(Kind.NUMBER, {code.name: code for code in Code})

TASKS = Table(
    {
        "id": _TEXT,
        "uid": _TEXT,
        "display_name": _TEXT,
        "handler": _TEXT,
        "state": _TASK_STATE,
        "create_time": _TIME,
        "start_time": _TIME,
        "end_time": _TIME,
        "update_time": _TIME,
        "expire_time": _TIME,
        "state_transition_time": _TIME,
        "counts.total": _NUMBER,
        "counts.pending": _NUMBER,
        "counts.running": _NUMBER,
        "counts.succeeded": _NUMBER,
        "counts.failed": _NUMBER,
        "counts.cancelled": _NUMBER,
        "priority": _NUMBER,
        "exit_code": _NUMBER,
        "archived": _TRUTH,
    },
    collection="batchTasks",
    labels=True,
)
RECORDS = Table(
    {
        "state": _RECORD_STATE,
        "index": _NUMBER,
        "record_id": _TEXT,
        "error.code": _CODE,
        "attempt": _NUMBER,
        "exit_code": _NUMBER,
    }
)
OPERATIONS = Table(
    {
        "id": _TEXT,
        "done": _TRUTH,
        "error.code": _CODE,
        "metadata.batch_task": _TEXT,
        "metadata.generation": _NUMBER,
        "metadata.state": _TASK_STATE,
        "metadata.create_time": _TIME,
        "metadata.start_time": _TIME,
        "metadata.end_time": _TIME,
    },
    collection="operations",
)
TASK_ORDERS = ("id", "create_time", "update_time", "end_time", "display_name", "priority", "state")
