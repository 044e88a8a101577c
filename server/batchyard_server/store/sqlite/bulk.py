"""How are many tasks stored at once? Column by column, since what is done once for each of a thousand is what it costs.

creates ─▶ each checked against what is there ─▶ rows of those that are new, table by table ─▶ entries and events
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from batchyard_server.model.errors import BatchyardError, Refused
from batchyard_server.model.task import NewTask, RequestKey, Task
from batchyard_server.store.sqlite import counts, inputs, operations, requests, submit, tasks
from batchyard_server.store.sqlite.transaction import Transaction

Create = tuple[NewTask, RequestKey | None]


def create(
    tx: Transaction, *, recent: inputs.Recent, creates: Sequence[Create], request: RequestKey | None, atomic: bool
) -> list[Task | BatchyardError]:
    """See Store.create_tasks."""
    if requests.known_to_create(tx, request) is None:
        requests.remember_batch(tx, request)
    answers: list[Task | BatchyardError] = []
    new: list[Create] = []
    made: dict[int, Task] = {}
    tx.on_undo(partial(_forget, tx, new))
    for position, (create, own) in enumerate(creates):
        try:
            known = requests.known_to_create(tx, own)
            if known is not None:
                answers.append(made.get(known[0]) or submit.created_before(tx, *known))
                continue
            submit.check_new(tx, create)
            inputs.check_new_ids(tx, create.record_ids)
        except BatchyardError as error:
            if atomic:
                raise Refused(position, error) from None
            answers.append(error)
            continue
        task = made[create.task.key] = create.task
        answers.append(task)
        new.append((create, own))
        tx.names[task.project, task.task_id.lower()] = task.key  # at once: the next one may have the same id
        if own is not None:
            requests.mark(tx, own, task)
    _store(tx, recent, new)
    return answers


def _store(tx: Transaction, recent: inputs.Recent, new: Sequence[Create]) -> None:
    tasks.insert_many(tx, new)
    operations.insert_many(tx, [create.task for create, _ in new])
    requests.remember_many(tx, [(own, create.task) for create, own in new if own is not None])
    inputs.insert_many(tx, [create for create, _ in new])
    counts.come_many(tx, [create.task for create, _ in new])
    for create, _ in new:
        recent.add(create.task.key, create.segments)


def _forget(tx: Transaction, new: Sequence[Create]) -> None:
    for create, own in new:
        tx.names.pop((create.task.project, create.task.task_id.lower()), None)
        if own is not None:
            tx.calls.pop((own.project, own.request_id), None)
