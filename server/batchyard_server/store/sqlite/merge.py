"""How do thousands of one-record segments become few? Joins neighbours in the order of completion.

A joined segment is the concatenation of its parts, so completion numbers, and with them all tokens, stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.store.sqlite import outcomes, tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Debt, Row, Transaction

WORTH = 16  # fewer are not worth a write
WAIT_FOR = 256  # of a generation that goes on: joined when so many are there, so that each is written again only once
_SMALL_RECORDS = 32  # a segment below this is small …
_SMALL_BYTES = limits.SEGMENT_BYTES // WORTH  # … and so are WORTH of them together
_ROWS = 512  # looked at in one call

NEXT = (
    "SELECT first_sequence, count, size, lo, hi, coalesce(length(logs), 0) "
    "FROM outcome_segment INDEXED BY outcome_by_sequence "
    "WHERE task_key = ? AND generation = ? AND first_sequence >= ? ORDER BY first_sequence LIMIT ?"
)
PARTS = (
    "SELECT lo, hi, ranges, ordering, failed, codec, blob, logs FROM outcome_segment INDEXED BY outcome_by_sequence "
    "WHERE task_key = ? AND generation = ? AND first_sequence BETWEEN ? AND ? ORDER BY first_sequence"
)
_REMOVE = "DELETE FROM outcome_segment WHERE task_key = ? AND generation = ? AND first_sequence BETWEEN ? AND ?"
_DEBTS = (
    "SELECT task_key, generation, count(*), min(first_sequence) FROM outcome_segment INDEXED BY outcome_by_sequence "
    "WHERE count < ? AND size <= ? GROUP BY task_key, generation HAVING count(*) >= ?"
)


def segment_came(tx: Transaction, task_key: int, generation: int, count: int, size: int) -> None:
    """A segment was stored."""
    if _is_small(count, size):
        tx.debts.setdefault((task_key, generation), Debt()).small += 1


def generation_ended(tx: Transaction, task_key: int, generation: int) -> None:
    """No more segments will come."""
    debt = tx.debts.get((task_key, generation))
    if debt is not None:
        debt.waits = False
        if debt.small < WORTH:
            del tx.debts[task_key, generation]


def find_debts(reader: Reader) -> dict[tuple[int, int], Debt]:
    """What an earlier process left to be joined. Reads an index once."""
    rows = reader.run(_DEBTS, (_SMALL_RECORDS, _SMALL_BYTES, WORTH))
    return {(key, generation): Debt(small, first, waits=False) for key, generation, small, first in rows}


def take_over(tx: Transaction, found: dict[tuple[int, int], Debt]) -> None:
    """Work on what was found."""
    tx.debts.update(found)


def is_due(tx: Transaction) -> bool:
    """Whether there is something to join. Cheap; may be called from another thread than the writer's."""
    return any(map(_is_due, list(tx.debts.values())))


def _is_due(debt: Debt) -> bool:
    return debt.small >= (WAIT_FOR if debt.waits else WORTH)


def step(tx: Transaction) -> None:
    """Look at one stretch of segments and join what is worth it."""
    due = next((each for each in tx.debts.items() if _is_due(each[1])), None)
    if due is None:
        return
    key, debt = due
    tx.on_undo(lambda: tx.debts.__setitem__(key, debt))
    left = _join_some(tx, key, debt)
    if left is None:
        del tx.debts[key]
    else:
        tx.debts[key] = left


def _join_some(tx: Transaction, key: tuple[int, int], debt: Debt) -> Debt | None:
    """Join some; what is left to be done, None if nothing."""
    held = tasks.entry(tx, key[0])
    if held is None:
        return None
    ended = held.task.generation > key[1] or held.task.state.is_final
    rows = tx.run(NEXT, (*key, debt.first_sequence, _ROWS))
    at_end = len(rows) < _ROWS
    small, position = debt.small, 0
    while position < len(rows):
        length = _run_length(rows[position:])
        more_may_follow = position + length == len(rows) and not (at_end and ended)
        if more_may_follow and position:
            break
        if length >= WORTH:
            _join(tx, key, rows[position : position + length])
        step_size = length if length >= WORTH else 1
        small -= sum(_is_small(count, size) for _, count, size, *_ in rows[position : position + step_size])
        position += step_size
    if position == len(rows) and at_end:
        small = 0
    if ended and not small:
        return None
    first = rows[position - 1][0] + rows[position - 1][1] if position else debt.first_sequence
    return Debt(small, first, waits=at_end and not ended)


def _run_length(rows: Sequence[Row]) -> int:
    """How many of these neighbours, from the first on, make one segment together."""
    records = size = logs = length = 0
    lo, hi = rows[0][3], rows[0][4]
    for _, count, bytes_, first, end, texts in rows:
        records += count
        size += bytes_
        logs += texts
        lo, hi = min(lo, first), max(hi, end)
        too_large = records > limits.OUTCOME_SEGMENT_RECORDS or max(size, logs) > limits.SEGMENT_BYTES
        if not _is_small(count, bytes_) or too_large or hi - lo > outcomes.NARROW:
            break
        length += 1
    return length


def _join(tx: Transaction, key: tuple[int, int], rows: Sequence[Row]) -> None:
    bounds = (*key, rows[0][0], rows[-1][0])
    ordering: list[int] = []
    failed: list[int] = []
    pages: list[bytes] = []
    texts: list[bytes] = []  # one after the other they are a message, too
    for lo, hi, ranges, order, bad, codec, blob, logs in tx.run(PARTS, bounds):
        ordering += outcomes.order_of(lo, hi, ranges, order)
        failed += outcomes.unpack_indexes(bad) if bad is not None else ()
        pages.append(tx.compressor.unpack(codec, blob))
        texts.append(outcomes.unpack_logs(tx.compressor, logs))
    tx.run(_REMOVE, bounds)
    tx.failpoints.hit("store.merge")
    ascending = all(a < b for a, b in pairwise(ordering))
    outcomes.insert_segment(
        tx,
        (*key, rows[0][0]),
        rg.from_indexes(ordering),
        None if ascending else ordering,
        sorted(failed),
        b"".join(pages),
        b"".join(texts),
    )


def _is_small(count: int, size: int) -> bool:
    return count < _SMALL_RECORDS and size <= _SMALL_BYTES
