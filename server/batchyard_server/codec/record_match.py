"""Which records does a filter mean? RecordInfos as bytes, of which only what a filter looks at is parsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model.filter import Field, Node, Value, fields_of
from batchyard_server.model.matching import (
    NEVER_SET,
    NOTHING_KNOWN,
    Known,
    Verdict,
    exactly,
    predicate,
    verdict,
    within,
)
from batchyard_server.model.states import RecordState

_Head = shadow_pb2.RecordHead


def _error_code(head: _Head) -> int | None:
    return head.error.code if head.HasField("error") else None


def _exit_code(head: _Head) -> int | None:
    return head.exit_code if head.HasField("exit_code") else None


_READ: dict[str, Callable[[_Head], Value | None]] = {
    **{name: attrgetter(name) for name in ("state", "index", "record_id", "attempt")},
    "error.code": _error_code,
    "exit_code": _exit_code,
}


def _reading(field: Field) -> Callable[[_Head], Value | None]:
    return _READ[field.name]


class RecordMatch:
    """One filter. Not for two threads at once."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._matches = predicate(node, _reading)
        self._waiting = _Head()
        self.names = {field.name for field in fields_of(node)}

    def positions(self, page: bytes, at: Sequence[int]) -> list[int]:
        """Which ones match of those at these positions of a serialized RawRecordPage."""
        heads, matches = shadow_pb2.RecordHeads.FromString(page).records, self._matches
        if len(at) == len(heads):
            return [position for position, head in enumerate(heads) if matches(head)]
        return [position for position in at if matches(heads[position])]

    def waiting(self, index: int, record_id: str, state: RecordState, attempt: int) -> bool:
        """Whether a record that has no outcome matches."""
        head = self._waiting
        head.index, head.record_id, head.state, head.attempt = index, record_id, state, attempt
        return self._matches(head)

    def of_outcomes(self, start: int, end: int, states: tuple[RecordState, RecordState]) -> Verdict:
        """Of outcomes with indexes of [start, end) and states from the one to the other."""
        known = {"index": within(start, end - 1), "state": within(*states)}
        if states[1] is RecordState.SUCCEEDED:
            known["error.code"] = NEVER_SET
        return self._verdict(known)

    def of_waiting(
        self, start: int, end: int, states: tuple[RecordState, RecordState], *, attempt: int | None, ids: bool
    ) -> Verdict:
        """The same of records that have no outcome; `attempt`: of all of them; `ids`: whether one may have an id."""
        known = {
            "index": within(start, end - 1),
            "state": within(*states),
            "error.code": NEVER_SET,
            "exit_code": NEVER_SET,
        }
        if attempt is not None:
            known["attempt"] = exactly(attempt)
        if not ids:
            known["record_id"] = exactly("")
        return self._verdict(known)

    def _verdict(self, known: dict[str, Known]) -> Verdict:
        return verdict(self._node, lambda field: known.get(field.name, NOTHING_KNOWN))
