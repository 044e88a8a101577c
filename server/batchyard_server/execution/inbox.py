"""Which outcomes came from a worker? Those of its flushes, and those it has but cannot send.

    flush ─▶ take ─────────────────────────────▶ Flush
    written, and not sent for a while ─▶ fetch ─▶ Flush; the flush that brings them again is cut

A handler that never lets go of the interpreter keeps its worker from sending what was finished before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from batchyard_server.codec import logs, outcomes, segments
from batchyard_server.execution import messages
from batchyard_server.execution.cell import Cell
from batchyard_server.model import ranges as rg
from batchyard_server.model.task import Flush
from batchyard_worker.v1 import worker_pb2

UNSENT_NS = 300_000_000  # a worker that is well sends within 25 ms


class Inbox:
    """What one worker has delivered."""

    def __init__(self, cell: Cell, send: Callable[[bytes], None]) -> None:
        self._cell = cell
        self._send = send
        self._place = (0, 0)  # block, and offset behind what the last flush spoke of
        self._known: dict[int, tuple[int, int]] = {}  # by subtask: records that flushes brought; and those fetched too
        self._storing = 0  # what was fetched and is not durable
        self._durable: set[int] = set()  # flushes beyond `_acked`
        self._acked = 0
        self._flush = 0  # the last one
        self._seen = (0, 0, 0, 0)  # subtask, block, bytes written and flush sent when they were looked at last
        self._seen_ns = 0

    def take(self, message: worker_pb2.Outcomes) -> Flush:
        """The outcomes of a flush that are not known yet. Raises ValueError if it makes no sense."""
        page = self._cell.part(message.block, message.start, message.end) + message.page
        self._cell.taken(message.flush)
        self._flush, self._place = message.flush, (message.block, message.end)
        flush = messages.flush(message, page)
        sent, known = self._known.pop(message.lease, (0, 0))
        after = sent + flush.count
        if not message.last:
            self._known[message.lease] = (after, max(after, known))
        return _cut(flush, known - sent) if known > sent else flush

    def fetch(self, number: int, ranges: rg.Ranges, now_ns: int) -> Flush | None:
        """What subtask `number`, which runs, has had for UNSENT_NS without sending it, if there is anything."""
        seen = (number, *self._cell.written())
        if seen != self._seen:
            self._seen, self._seen_ns = seen, now_ns
            return None
        _, block, written, flush = seen
        if now_ns - self._seen_ns < UNSENT_NS or flush != self._flush:
            return None
        self._seen_ns = now_ns
        start = self._place[1] if self._place[0] == block else 0  # else it went on there after its last flush
        sent, known = self._known.get(number, (0, 0))
        records, texts = logs.parse(self._cell.part(block, start, written))
        records = records[known - sent :]
        if not records:
            return None
        self._known[number] = (sent, known + len(records))
        mine = rg.take(rg.take(ranges, known)[1], len(records))[0]
        # Whether they left files the worker says only with its flush, which comes too late.
        staged = list(rg.indexes(mine))
        return replace(outcomes.of_records(mine, records), logs=_within(texts, mine), staged=staged)

    def unsent(self) -> logs.Texts:
        """What records wrote that have ended and are in no flush; for when the worker is gone."""
        block, written, _ = self._cell.written()
        start = self._place[1] if self._place[0] == block else 0
        try:
            return logs.parse(self._cell.part(block, start, written))[1] if start < written else ()
        except ValueError:  # a handler wrote where it must not
            return ()

    def storing(self) -> Callable[[], None]:
        """What was fetched is being stored; the result is to be called when it is durable."""
        self._storing += 1
        return self._stored

    def _stored(self) -> None:
        self._storing -= 1
        self._acknowledge()

    def durable(self, flush: int) -> None:
        """A flush is durable, or was refused."""
        self._durable.add(flush)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Tell the worker. Acks say "everything up to", so one that overtook another, or what was fetched, waits."""
        before = self._acked
        while not self._storing and self._acked + 1 in self._durable:
            self._acked += 1
            self._durable.discard(self._acked)
        if self._acked != before:
            self._send(messages.ack(self._acked))


def _cut(flush: Flush, known: int) -> Flush:
    """The flush without its first `known` records."""
    known = min(known, flush.count)
    mine = rg.take(flush.ranges, known)[1]
    first = mine[0][0] if mine else None
    return replace(
        flush,
        ranges=mine,
        count=flush.count - known,
        page=segments.join_page(segments.split_page(flush.page)[known:]),
        failed=[index for index in flush.failed if first is not None and index >= first],
        failures=[each for each in flush.failures if first is not None and each[0] >= first],
        logs=_within(flush.logs, mine),
        staged=[index for index in flush.staged if first is not None and index >= first],
    )


def _within(texts: logs.Texts, ranges: rg.Ranges) -> logs.Texts:
    return logs.only(texts, set(rg.indexes(ranges))) if texts else ()
