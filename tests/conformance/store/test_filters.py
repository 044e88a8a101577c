"""Pages of a filter in an order are what looking at every task gives: for each field, operator, order and limit."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import pages, task_bytes
from batchyard_server.model.filter import (
    EVERYTHING,
    NEWEST_FIRST,
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
    TaskOrder,
    Value,
)
from batchyard_server.model.states import TaskState
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.query import TASKS
from batchyard_server.query.tables import TASK_ORDERS
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import searches
from tests.support import store as make
from tests.support.searches import IDS, KEYS, TIMES, WORDS, Sample

FIELDS = [
    *(Field(name, column.kind) for name, column in TASKS.columns.items()),
    *(Field("labels", Kind.TEXT, key) for key in KEYS),
]
ORDERS = [TaskOrder(field, descending=descending) for field in TASK_ORDERS for descending in (False, True)]


def value(field: Field, chance: random.Random) -> Value:
    """Something that some tasks have, or that is beside it."""
    if field.kind is Kind.TRUTH:
        return chance.random() < 0.5
    if field.kind is Kind.TIME:
        return chance.choice(TIMES) + chance.choice((-1, 0, 0, 1))
    if field.kind is Kind.NUMBER:
        return chance.choice((-(2**63), -5, 0, 0, 1, 3, 7, 8, 9, 2**63 - 1))
    if field.name in {"id", "uid"}:
        return f"{chance.choice(IDS)}{chance.randint(0, 60)}"
    return chance.choice(("echo", "other")) if field.name == "handler" else chance.choice(WORDS).replace("\0", "")


def term(chance: random.Random, field: Field) -> Node:
    """A comparison, a prefix, a part, or whether it is set."""
    if chance.random() < 0.15:
        return IsSet(field)
    if field.kind is Kind.TEXT and chance.random() < 0.4:
        text = str(value(field, chance))
        return chance.choice((Prefix, Contains))(field, text[: chance.randint(0, 2)])
    ops = (Op.EQ, Op.NE) if field.kind is Kind.TRUTH else tuple(Op)
    return Compare(field, chance.choice(ops), value(field, chance))


def tree(chance: random.Random, depth: int = 3) -> Node:
    """A filter."""
    kind = chance.random()
    if depth == 0 or kind < 0.4:
        return term(chance, chance.choice(FIELDS))
    if kind < 0.5:
        return Not(tree(chance, depth - 1))
    if kind < 0.55:
        return chance.choice((EVERYTHING, Always(truth=False), IsSet(Field("labels", Kind.TEXT))))
    if kind < 0.7:
        state = Field("state", Kind.NUMBER)
        return chance.choice((All, Any))(tuple(term(chance, state) for _ in range(2)))
    parts = tuple(tree(chance, depth - 1) for _ in range(chance.randint(2, 3)))
    return All(parts) if kind < 0.9 else Any(parts)


async def check(store: Store, samples: list[Sample], node: Node, order: TaskOrder, limit: int) -> None:
    """All pages together are what is expected; each is within its limit."""
    query = TaskQuery(
        project="p", limit=limit, max_bytes=make.BIG, filter=node, order=order, running=searches.running(samples)
    )
    found = await searches.pages_of(store, query)
    assert all(page.count == len(pages.infos(page.entries)) <= limit for page in found)
    assert all(page.count == limit for page in found[:-1])  # so few are looked at that none is short
    ids = [task_bytes.name_of(info).task for page in found for info in pages.infos(page.entries)]
    assert ids == searches.expected(samples, node, order)


async def test_every_field_is_compared_with_every_operator(store: Store) -> None:
    chance = random.Random(7)
    samples = await searches.stored(store, chance, 40)
    for field in FIELDS:
        nodes: list[Node] = [IsSet(field)]
        for _ in range(4):
            ops = (Op.EQ, Op.NE) if field.kind is Kind.TRUTH else tuple(Op)
            nodes += [Compare(field, op, value(field, chance)) for op in ops]
            if field.kind is Kind.TEXT:
                texts = [str(value(field, chance))[:size] for size in (0, 1, 2)]
                nodes += [kind(field, text) for kind in (Prefix, Contains) for text in texts]
        for node in nodes:
            for each in (node, Not(node)):
                await check(store, samples, each, NEWEST_FIRST, 1000)


@pytest.mark.parametrize("name", TASK_ORDERS)
async def test_every_order_gives_each_task_once_whatever_the_page(store: Store, name: str) -> None:
    samples = await searches.stored(store, random.Random(8), 36)
    field = Field(name, TASKS.columns[name].kind)
    of_state: list[Node] = [Compare(Field("state", Kind.NUMBER), Op.EQ, state) for state in (3, 8)]
    bounds: list[Node] = [
        Compare(field, op, value(field, random.Random(seed))) for op in Op if op is not Op.NE for seed in (1, 2)
    ]
    if field.kind is Kind.TEXT:
        bounds += [Prefix(field, text) for text in ("", "a", "B", "aé", "\ud7ff", "\U0010ffff")]
    nodes = [EVERYTHING, *of_state, Any(tuple(of_state)), Not(of_state[0]), *bounds, IsSet(field)]
    nodes += [All((a, b)) for a, b in itertools.pairwise([of_state[0], *bounds, Not(Any(tuple(of_state)))])]
    for node, limit, descending in itertools.product(nodes, (1, 2, 7), (False, True)):
        await check(store, samples, node, TaskOrder(name, descending=descending), limit)


_stored: dict[str, tuple[Store, list[Sample]]] = {}


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), order=st.sampled_from(ORDERS), limit=st.sampled_from((1, 2, 7, 60)))
async def test_a_filter_gives_what_matches(driver: Driver, seed: int, order: TaskOrder, limit: int) -> None:
    path = str(driver.directory)
    if path not in _stored:
        store = await driver.open()
        _stored[path] = store, await searches.stored(store, random.Random(9), 50)
    store, samples = _stored[path]
    await check(store, samples, tree(random.Random(seed)), order, limit)


async def test_a_page_stops_by_bytes_and_goes_on_behind_what_it_has(store: Store) -> None:
    samples = await searches.stored(store, random.Random(10), 30)
    for order in (TaskOrder("priority", descending=True), TaskOrder("display_name")):
        node = Compare(Field("counts.total", Kind.NUMBER), Op.GE, 1)
        query = TaskQuery(project="p", limit=1000, max_bytes=1000, filter=node, order=order)
        found = await searches.pages_of(store, query)
        assert len(found) > 5
        assert all(len(page.entries) <= 1000 or page.count == 1 for page in found)
        ids = [task_bytes.name_of(info).task for page in found for info in pages.infos(page.entries)]
        assert ids == searches.expected(samples, node, order)
        for page in found:
            states = [TaskState(BatchTaskInfo.FromString(info).state) for info in pages.infos(page.entries)]
            assert [at for at, _ in page.live] == [at for at, state in enumerate(states) if state.is_live]
