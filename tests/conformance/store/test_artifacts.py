"""Artifacts: stored with their outcome, listed by index and path, gone with a later outcome, their task, or by name."""

from __future__ import annotations

import pytest

from batchyard_server.model import limits
from batchyard_server.model.artifact import Artifact, ArtifactQuery, NewArtifact, Stage
from batchyard_server.model.errors import AlreadyExists, NotFound, Reason, StaleLease
from batchyard_server.model.names import ArtifactName
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.artifact_store import Unnamed
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.artifacts import content, new
from tests.support.outcomes import flush, retries

ODD = ("a", "a-b", "a/b", "b", "z", "~", "ä", "\ud7ff", "\ue000", "\uffff", "\U0001f600", "\U0010ffff")
FAILED_ONCE = Attempts(begun=1, failures=1)


async def stored(store: Store, found: list[NewArtifact], *, records: int = 4, task_id: str = "a") -> Task:
    """A task all of whose records ended, with these artifacts."""
    task = await store.create_task(make.new_task(task_id, records), None)
    lease = await make.lease(store, task)
    return await store.record_outcomes(lease, flush(task.name, ok=range(records), artifacts=found))


async def listed(
    store: Store, task: Task, index: int | None = None, prefix: str = "", *, limit: int = 1000
) -> list[tuple[int, str]]:
    """(index, path) of all of them, page by page."""
    found: list[Artifact] = []
    after: tuple[int, str] | None = None
    while True:
        query = ArtifactQuery(task_key=task.key, index=index, prefix=prefix, after=after, limit=limit)
        page = await store.artifact_page(query)
        assert len(page.artifacts) <= limit
        found += page.artifacts
        after = page.next
        if after is None:
            return [(each.index, each.content.path) for each in found]


def name(task: Task, index: int, path: str) -> ArtifactName:
    return ArtifactName(task.project, task.task_id, index, path)


async def test_what_came_with_an_outcome_is_read_back(driver: Driver) -> None:
    store = await driver.open()
    driver.clock.advance(7)
    task = await stored(store, new("s", 2, "a/b.txt"))
    wanted = Artifact(index=2, stage="s", content=content("a/b.txt"), create_us=driver.clock.us)
    for _ in range(2):
        assert await store.artifact(task.key, 2, "a/b.txt") == wanted
        assert await store.artifact(task.key, 2, "a") is None
        assert await store.artifact(task.key, 3, "a/b.txt") is None
        page = await store.artifact_page(ArtifactQuery(task_key=task.key, index=2, prefix="", after=None, limit=1))
        assert (page.artifacts, page.next) == ([wanted], None)
        store = await driver.reopen()


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_they_are_listed_by_index_and_then_by_code_point(store: Store, limit: int) -> None:
    found = [*new("s", 3, *reversed(ODD)), *new("s", 0, *ODD), *new("s", 1, "only")]
    task = await stored(store, found)
    of_one = [(0, path) for path in sorted(ODD)]
    of_all = [*of_one, (1, "only"), *((3, path) for path in sorted(ODD))]
    assert await listed(store, task, limit=limit) == of_all
    assert await listed(store, task, 0, limit=limit) == of_one
    assert await listed(store, task, 2, limit=limit) == []


@pytest.mark.parametrize("prefix", ["a", "a/", "ä", "\ud7ff", "\U0010ffff", "\U0010ffff" * 2, "\uffff", "no", ""])
async def test_a_prefix_is_that_of_the_path(store: Store, prefix: str) -> None:
    odd = [*ODD, "\U0010ffff" * 3, "\ud7ffx"]
    task = await stored(store, [*new("s", 0, *odd), *new("s", 2, *odd)])
    wanted = [(0, path) for path in sorted(odd) if path.startswith(prefix)]
    assert await listed(store, task, 0, prefix, limit=2) == wanted
    assert await listed(store, task, None, prefix, limit=2) == [*wanted, *((2, path) for _, path in wanted)]


async def test_a_rare_prefix_gives_short_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARTIFACT_ROWS", 10)
    task = await stored(store, [*new("s", 0, *(f"p{i:03}" for i in range(25))), *new("s", 1, "rare")])
    page = await store.artifact_page(ArtifactQuery(task_key=task.key, index=None, prefix="rare", after=None, limit=5))
    assert (page.artifacts, page.next) == ([], (0, "p009"))
    assert await listed(store, task, None, "rare") == [(1, "rare")]


async def test_of_a_task_that_is_gone(store: Store) -> None:
    task = await stored(store, new("s", 0, "a"))
    await store.delete_task(task.name, make.allow_delete, None)
    with pytest.raises(NotFound):
        await listed(store, task)
    assert await store.task_of(task.key) is None
    while await store.sweep():
        pass
    assert await store.artifact(task.key, 0, "a") is None


async def test_a_task_is_found_by_its_key(store: Store) -> None:
    task = await stored(store, [])
    assert await store.task_of(task.key) == task
    assert await store.task_of(task.key + 1) is None


async def test_an_outcome_that_is_refused_stores_none(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 2), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    with pytest.raises(StaleLease):
        await store.record_outcomes(lease, flush(task.name, ok=[0], artifacts=new("s", 0, "late")))
    assert await listed(store, task) == []


async def test_of_a_record_that_is_tried_again_there_are_none(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 2), None)
    lease = await make.lease(store, task)
    sent = flush(task.name, ok=[0], failed=[1], artifacts=new("s", 0, "kept"))
    await store.record_outcomes(lease, sent, retries(sent, {1: FAILED_ONCE}))
    assert await listed(store, task) == [(0, "kept")]


# -- later generations ------------------------------------------------------------------------------------------------


async def test_they_stay_until_a_later_outcome_takes_their_place(driver: Driver) -> None:
    store = await driver.open()
    gone: list[Unnamed] = []
    store.watch_unnamed(gone.extend)
    task = await stored(store, [*new("s1", 0, "a", "b"), *new("s1", 1, "a"), *new("s1", 3, "a")])
    task = await store.update_task(task.name, make.reactivate_all, None)
    assert len(await listed(store, task)) == 4
    first = await make.lease(store, task, (0, 2))
    store = await driver.reopen()  # so that nothing of it is known by heart
    store.watch_unnamed(gone.extend)
    await store.record_outcomes(first, flush(task.name, ok=[0], generation=2, artifacts=new("s2", 0, "b", "c")))
    assert await listed(store, task) == [(0, "b"), (0, "c"), (1, "a"), (3, "a")]
    found = await store.artifact(task.key, 0, "b")
    assert found is not None
    assert found.stage == "s2"
    assert gone == [Unnamed(Stage(task.folder, "s1"), frozenset({0}))]
    second = await make.lease(store, task, (2, 4))
    await store.record_outcomes(second, flush(task.name, failed=[2, 3], generation=2))
    await store.record_outcomes(first, flush(task.name, ok=[1], generation=2))
    assert await listed(store, task) == [(0, "b"), (0, "c")]
    assert {each.indexes for each in gone} == {frozenset({0}), frozenset({3}), frozenset({1})}


async def test_those_of_records_that_are_not_run_again_stay(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 2), None)
    lease = await make.lease(store, task)
    sent = flush(task.name, ok=[0], failed=[1], artifacts=[*new("s", 0, "a"), *new("s", 1, "a")])
    task = await store.record_outcomes(lease, sent)
    task = await make.finish(store, await store.update_task(task.name, make.reactivate, None))
    assert await listed(store, task) == [(0, "a")]


async def test_a_task_without_any_is_not_looked_through(store: Store) -> None:
    gone: list[Unnamed] = []
    store.watch_unnamed(gone.extend)
    task = await stored(store, [])
    await make.finish(store, await store.update_task(task.name, make.reactivate_all, None))
    assert gone == []


# -- by name ----------------------------------------------------------------------------------------------------------


async def test_one_is_deleted_by_name(store: Store) -> None:
    gone: list[Unnamed] = []
    leave = store.watch_unnamed(gone.extend)
    task = await stored(store, new("s", 1, "a", "b"))
    await store.delete_artifact(name(task, 1, "a"), None, allow_missing=False)
    assert await listed(store, task) == [(1, "b")]
    assert gone == [Unnamed(Stage(task.folder, "s"), frozenset({1}))]
    assert await store.get_task(task.name) == task
    leave()
    await store.delete_artifact(name(task, 1, "b"), None, allow_missing=False)
    assert len(gone) == 1


async def test_deleting_what_is_not_there(store: Store) -> None:
    task = await stored(store, new("s", 1, "a"))
    for missing in (name(task, 1, "b"), name(task, 0, "a"), ArtifactName("p", "other", 1, "a")):
        with pytest.raises(NotFound):
            await store.delete_artifact(missing, None, allow_missing=False)
    await store.delete_artifact(name(task, 1, "b"), None, allow_missing=True)
    with pytest.raises(NotFound) as caught:
        await store.delete_artifact(ArtifactName("p", "other", 1, "a"), None, allow_missing=True)
    assert caught.value.resource_type == "batchyard.dev/BatchTask"
    assert await listed(store, task) == [(1, "a")]


async def test_deleting_twice_with_the_same_request(store: Store) -> None:
    task = await stored(store, new("s", 1, "a", "b"))
    for _ in range(2):
        await store.delete_artifact(name(task, 1, "a"), make.request(), allow_missing=False)
    with pytest.raises(AlreadyExists) as caught:
        await store.delete_artifact(name(task, 1, "b"), make.request(digest=b"other"), allow_missing=False)
    assert caught.value.reason is Reason.REQUEST_ID_REUSED
    await store.delete_artifact(name(task, 0, "no"), make.request(2), allow_missing=True)
    await store.delete_artifact(name(task, 0, "no"), make.request(2), allow_missing=True)
    assert await listed(store, task) == [(1, "b")]


async def test_which_files_a_stage_must_have(store: Store) -> None:
    task = await stored(store, [*new("s1", 0, "a", "b/c"), *new("s2", 1, "a"), *new("s1", 2, "x")])
    found = await store.artifacts_in(Stage(task.folder, "s1"), [0, 1, 2, 3])
    assert found == {0: {"a", "b/c"}, 2: {"x"}}
    assert await store.artifacts_in(Stage(task.folder, "no"), [0, 1]) == {}
    assert await store.artifacts_in(Stage(task.folder, "s1"), []) == {}
