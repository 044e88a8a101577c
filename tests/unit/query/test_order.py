"""Is an order read as AIP-132 says?"""

from __future__ import annotations

import pytest

from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.filter import NEWEST_FIRST, TaskOrder
from batchyard_server.query import parse_order
from batchyard_server.query.tables import TASK_ORDERS, TASKS


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", NEWEST_FIRST),
        ("  ", NEWEST_FIRST),
        ("create_time desc", NEWEST_FIRST),
        ("create_time desc, name", NEWEST_FIRST),
        (" create_time   desc ,name asc ", NEWEST_FIRST),
        ("create_time", TaskOrder("create_time")),
        ("create_time asc,id", TaskOrder("create_time")),
        ("name", TaskOrder("id")),
        ("name desc", TaskOrder("id", descending=True)),
        ("priority desc", TaskOrder("priority", descending=True)),
    ],
)
def test_an_order(text: str, order: TaskOrder) -> None:
    assert parse_order(text) == order


def test_every_field_orders_both_ways() -> None:
    for name in TASK_ORDERS:
        assert name in TASKS.columns
        assert parse_order(name) == TaskOrder(name)
        assert parse_order(f"{name} desc") == TaskOrder(name, descending=True)


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("colour", 0, "one of name, id, create_time"),
        ("handler", 0, "one of name, id, create_time"),
        ("create_time descending", 0, "one of name, id, create_time"),
        ("create_time DESC", 0, "one of name, id, create_time"),
        (", name", 0, "one of name, id, create_time"),
        ("state, create_time", 6, "only name, ascending, can follow"),
        ("state, name desc", 6, "only name, ascending, can follow"),
        ("state, ", 6, "only name, ascending, can follow"),
        ("state, name, id", 6, "only name, ascending, can follow"),
    ],
)
def test_what_is_no_order_is_refused(text: str, at: int, why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_order(text)
    assert why in refused.value.description
    assert refused.value.metadata["position"] == str(at)
    assert (refused.value.field, refused.value.reason) == ("order_by", Reason.INVALID_ORDER_BY)
