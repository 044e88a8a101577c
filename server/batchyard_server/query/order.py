"""In which order? `order_by` (AIP-132) → TaskOrder."""

from __future__ import annotations

import re
from typing import NoReturn

from batchyard_server.model.errors import Reason
from batchyard_server.model.filter import NEWEST_FIRST, TaskOrder
from batchyard_server.query.syntax import refuse
from batchyard_server.query.tables import TASK_ORDERS

_TERM = re.compile(r"\s*([a-z_]+)(?:\s+(asc|desc))?\s*(?:,|$)", re.ASCII)


def parse_order(text: str, field: str = "order_by") -> TaskOrder:
    """The order in `text`: a field, `desc` behind it or not; then `name` or nothing: ties are by name anyway.

    Raises InvalidArgument (INVALID_ORDER_BY), with the position.
    """
    if not text.strip():
        return NEWEST_FIRST
    found = _TERM.match(text)
    name = "id" if found is not None and found[1] == "name" else found and found[1]
    if found is None or name not in TASK_ORDERS:
        _refuse(field, f"one of name, {', '.join(TASK_ORDERS)} is expected, then desc or nothing", 0)
    rest = text[found.end() :]
    if found[0].endswith(","):
        tie = _TERM.fullmatch(rest)
        if tie is None or tie[0].endswith(",") or tie[1] not in {"name", "id"} or tie[2] == "desc":
            _refuse(field, "only name, ascending, can follow: one field orders, and ties are by name", found.end())
    elif rest:
        _refuse(field, "nothing can follow", found.end())
    return TaskOrder(name, descending=found[2] == "desc")


def _refuse(field: str, why: str, at: int) -> NoReturn:
    refuse(field, Reason.INVALID_ORDER_BY, why, at)
