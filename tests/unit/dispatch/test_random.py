"""Does every record end exactly once, whatever happens in whatever order?"""

from __future__ import annotations

import pytest

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Reason
from batchyard_server.model.states import SubtaskState, TaskState
from tests.support.memory_store import Held
from tests.unit.dispatch.play import Play
from tests.unit.dispatch.stage import MAX_WORKER_LOST, NODE, reason


def check_history(game: Play, held: Held) -> None:
    """No execution is kept twice, and retries are as many as may be."""
    allowed = held.task.settings.max_retry_count
    for index in range(held.task.total):
        past = held.history.get(index, [])
        numbers = [each.attempt for each in past]
        outcome = held.outcomes.get(index)
        ended = [*numbers, outcome.attempt] if outcome is not None else numbers
        assert ended == sorted(set(ended))
        retries = sum(each.state == RecordInfo.FAILED for each in past)
        assert retries <= allowed or allowed < 0
        if held.task.key in game.cancelled or outcome is None or outcome.state != RecordInfo.FAILED:
            continue
        if reason(outcome) != Reason.WORKER_LOST:
            assert retries == allowed
    game.retried += sum(len(each) for each in held.history.values())


def check(game: Play) -> None:
    """All is as it must be in the end."""
    for held in game.store.held.values():
        check_history(game, held)
        name = str(held.task.name)
        if held.task.state is TaskState.CANCELLED:
            assert held.task.key in game.cancelled
            continue
        assert sorted(held.outcomes) == list(range(held.task.total))
        assert held.task.ended == held.task.total
        for index, record in held.outcomes.items():
            if record.generation < held.task.generation:
                assert record.state == RecordInfo.SUCCEEDED
                continue
            game.check_attempt(name, index, record.attempt)
            if reason(record) == Reason.WORKER_LOST:
                assert game.crashed[name, index] > MAX_WORKER_LOST
            elif reason(record) == Reason.RECORD_TIMEOUT:
                assert (name, index) in game.timed_out
            elif not game.forgot and game.crashed[name, index] > MAX_WORKER_LOST:
                # Its outcome had been sent when the worker crashed after it.
                assert record.attempt <= game.crashed[name, index]
    for held in game.store.held.values():
        assert not held.leases
        assert sorted(held.ended) == list(range(1, held.task.next_epoch)), "every lease ended once"
        assert held.nodes <= {NODE}
        for end in held.ended.values():
            assert bool(end.error) == (end.state in (SubtaskState.LOST, SubtaskState.KILLED)) or game.forgot


async def play(seed: int, actions: int = 400) -> Play:
    game = Play(seed)
    await game.play(actions)
    await game.finish()
    check(game)
    await game.stage.stop()
    game.stage.check_books()
    return game


@pytest.mark.parametrize("seed", range(60))
async def test_every_record_ends_exactly_once(seed: int) -> None:
    await play(seed)


async def test_retries_are_played() -> None:
    games = [await play(seed) for seed in range(200, 210)]
    assert sum(game.retried for game in games) > 40


async def test_trims_are_played() -> None:
    logs = [(await play(seed)).store.log for seed in range(110, 123)]
    assert sum(log.count("shrink: ok") for log in logs) > 5


async def test_pauses_and_generations_are_played() -> None:
    games = [await play(seed) for seed in range(130, 142)]
    assert sum(game.store.log.count("update: ok") for game in games) > 100
    assert sum(held.task.generation > 1 for game in games for held in game.store.held.values()) > 5
    assert sum(len(game.deleted) for game in games) > 5
