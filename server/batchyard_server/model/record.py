"""Which records does a reader want, and what does it get?"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from batchyard_server.model.filter import EVERYTHING, Node

CURRENT_GENERATION = 0
EVERY_GENERATION = -1


class Order(enum.IntEnum):
    """`RecordInfo.Order` on the wire."""

    INDEX = 1
    COMPLETION = 2


class View(enum.IntEnum):
    """`RecordInfo.View` on the wire."""

    BASIC = 1
    FULL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """One page of the records of a task as they are in a generation: by its own outcomes, and what succeeded before.

    Attributes:
        generation: the current one, as it is now, or an earlier one, as it was at its end. In order COMPLETION also
            EVERY_GENERATION: every outcome that there ever was, by commit, and nothing else.
        position: where to begin. INDEX: an index. COMPLETION: a completion number; from that behind the generation's
            last outcome on, the cancelled ones follow in order of index, so position = that + k is the k-th of them.
        running: indexes that run now (shown as RUNNING placeholders).
        whole: end the page at the end of a stored segment once half of what was asked for is there, so that whole
            segments are passed on instead of cut; for streams, where the next page follows at once.
        filter: which ones (fields: query.tables.RECORDS). With one a page looks at limits.EXAMINED_RECORDS at most: it
            may be short, or empty, and yet not be the last.
    """

    task_key: int
    generation: int
    order: Order
    view: View
    position: int
    max_records: int
    max_bytes: int
    running: frozenset[int] = frozenset()
    whole: bool = False
    filter: Node = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """`records`: serialized RawRecordPage without tokens. `next_position` continues after them; `more` = right now."""

    records: bytes
    count: int
    next_position: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One execution of a record that ended.

    Attributes:
        info: serialized RecordAttempt.
        log: what it wrote, where that was asked for; None = that is in a file, see model.artifact.LOG_PATH.
    """

    generation: int
    attempt: int
    info: bytes
    log: bytes | None = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """The executions of some records that wrote something, by index. `next`: where to go on, None = nowhere."""

    logs: list[tuple[int, list[PastAttempt]]]
    next: int | None
