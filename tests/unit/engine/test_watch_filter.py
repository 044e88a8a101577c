"""Facts of tasks for watchers that filter: one read for all who ask, never what was before a change; and judgements."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from batchyard_server.codec.values import TaskValues
from batchyard_server.engine import watch_filter
from batchyard_server.engine.live import NullLive
from batchyard_server.engine.watch_filter import Facts, Sieve
from batchyard_server.engine.watch_topic import Shown
from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.model.filter import Field, Kind
from batchyard_server.model.task import Task
from batchyard_server.model.watch import Change
from batchyard_server.query import TASKS, parse_filter
from batchyard_server.store.protocols import Store
from tests.support import store as make
from tests.unit.engine.test_watch_hub import entry

UID = Field("uid", Kind.TEXT)


class FakeStore:
    """Answers when the test says so; task 9 is gone."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[list[int]] = []
        self.began: asyncio.Queue[None] = asyncio.Queue()
        self.version = 1
        self.fails = False

    async def tasks_of(self, keys: Sequence[int]) -> Mapping[int, Task]:
        """See Store.tasks_of."""
        self.asked.append(sorted(keys))
        version = self.version
        self.began.put_nowait(None)
        await self.gate.wait()
        if self.fails:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "not now")
        return {
            key: replace(make.new_task(f"t{key}", uid=f"u{key}.{version}").task, key=key) for key in keys if key != 9
        }


def made() -> tuple[FakeStore, Facts]:
    store = FakeStore()
    return store, Facts(cast("Store", store))


def uids(found: Mapping[int, TaskValues | None]) -> dict[int, Any]:
    """What each is now; None of one that is gone."""
    return {key: None if each is None else each(UID) for key, each in found.items()}


async def test_all_who_ask_share_one_read() -> None:
    store, facts = made()
    asked = [asyncio.create_task(facts.of({1, 2, 9})) for _ in range(100)]
    more = asyncio.create_task(facts.of({2, 3}))
    await asyncio.sleep(0)
    asked[0].cancel()
    store.gate.set()
    found = await asyncio.gather(*asked[1:])
    assert all(uids(each) == {1: "u1.1", 2: "u2.1", 9: None} for each in found)
    assert uids(await more) == {2: "u2.1", 3: "u3.1"}
    assert store.asked == [[1, 2, 9], [3]]
    assert uids(await facts.of([1, 3, 9])) == {1: "u1.1", 3: "u3.1", 9: None}
    assert facts.reads == 2


async def test_what_has_changed_is_read_again() -> None:
    store, facts = made()
    early = asyncio.create_task(facts.of([1]))
    await store.began.get()
    store.version = 2
    facts.forget(1)
    late = asyncio.create_task(facts.of([1]))
    await store.began.get()
    store.gate.set()
    assert (uids(await early), uids(await late)) == ({1: "u1.1"}, {1: "u1.2"})
    assert uids(await facts.of([1])) == {1: "u1.2"}
    store.version = 3
    facts.forget(1)
    assert uids(await facts.of([1])) == {1: "u1.3"}


async def test_a_read_that_fails_is_made_again() -> None:
    store, facts = made()
    store.fails = True
    store.gate.set()
    with pytest.raises(Unavailable):
        await facts.of([1])
    left = asyncio.create_task(facts.of([1]))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    await asyncio.sleep(0)
    store.fails = False
    assert uids(await facts.of([1])) == {1: "u1.1"}


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_filter, "_MOST_TASKS", 3)
    store, facts = made()
    store.gate.set()
    for key in range(10, 20):
        await facts.of([key])
    assert len(vars(facts)["_known"]) == 3
    await facts.of([19])
    assert facts.reads == 10
    await facts.of([10])
    assert facts.reads == 11


def sieve(facts: Facts, text: str) -> Sieve:
    return Sieve(NullLive(), facts, text, parse_filter(text, TASKS, "p"))


async def test_a_change_is_judged_once_for_all_of_one_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    store, facts = made()
    store.gate.set()
    changes = [Shown(entry(1, key=1)), Shown(entry(2, key=2)), Shown(entry(3, Change.DELETED, key=9))]
    assert list(await sieve(facts, "").judge(changes)) == [True] * 3
    assert list(await sieve(facts, "state=RUNNING AND id!=t2").judge(changes)) == [True, False, True]
    assert store.asked == [], "changes tell that"
    judged: list[object] = []
    values: Any = watch_filter.ChangeValues

    def noting(*arguments: Any) -> Any:
        judged.append(arguments)
        return values(*arguments)

    monkeypatch.setattr(watch_filter, "ChangeValues", noting)
    for _ in range(5):
        assert list(await sieve(facts, "uid:u2").judge(changes)) == [False, True, True]
    assert (facts.reads, len(judged)) == (1, 2)


async def test_of_a_task_that_is_gone_only_the_end_is_told() -> None:
    store, facts = made()
    store.gate.set()
    changes = [Shown(entry(1, key=9)), Shown(entry(2, Change.DELETED, key=9))]
    assert list(await sieve(facts, "uid:*").judge(changes)) == [False, True]
    assert list(await sieve(facts, "uid:nobody").judge(changes)) == [False, True]


async def test_not_every_judgement_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_filter, "_MOST_VERDICTS", 2)
    _, facts = made()
    change = Shown(entry(1))
    for number in range(5):
        assert list(await sieve(facts, f"id!=x{number}").judge([change])) == [True]
    assert len(change.verdicts) == 2
